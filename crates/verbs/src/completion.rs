//! What may stand in the place of a kind, a name, a namespace, a container or a port on a command line, as the server has it now.
//!
//! Whoever completes a command line wants an answer soon or none: what cannot be asked is nothing, and nothing is said about it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use stead_api::meta;

use crate::{
    api::Api,
    connection::{Connection, Part},
    error::VerbError,
    kinds::{Kind, Kinds},
    pods,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `TYPE`, `TYPE NAME…` or `TYPE/NAME…`.
    Objects,
    /// A kind and nothing else.
    Kind,
    /// `POD` or `TYPE/NAME` of what has pods.
    Pod,
    /// A container of the pod that the first word names.
    Container,
    /// `[LOCAL:]REMOTE` of what the first word names.
    Ports,
    Node,
    Namespace,
    Context,
    /// A cluster of the kubeconfig, and a user of it.
    Cluster,
    Login,
}

/// The command line up to there.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The verb and what it consists of, `rollout status`.
    pub verb: &'a [String],
    /// The words behind that are no flags.
    pub words: &'a [String],
    /// Values of flags by their long names.
    pub flags: &'a BTreeMap<String, Vec<String>>,
}

/// A shell that waits longer than this feels broken.
const PATIENCE: Duration = Duration::from_secs(5);
const NAMES_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// What may have pods.
const WITH_PODS: [&str; 8] =
    ["daemonsets", "deployments", "jobs", "pods", "replicasets", "replicationcontrollers", "services", "statefulsets"];

impl Place {
    /// What a word is that definitions call by this name.
    pub fn of_word(name: &str) -> Option<Self> {
        Some(match name {
            "TYPE" => Self::Objects,
            "TYPE[.FIELD…]" => Self::Kind,
            "POD" => Self::Pod,
            "CONTAINER" => Self::Container,
            "[LOCAL:]REMOTE" => Self::Ports,
            "NODE" => Self::Node,
            _ => return None,
        })
    }

    /// What the value of a flag is.
    pub fn of_flag(long: &str) -> Option<Self> {
        Some(match long {
            "namespace" => Self::Namespace,
            "container" => Self::Container,
            "context" => Self::Context,
            "cluster" => Self::Cluster,
            "user" => Self::Login,
            _ => return None,
        })
    }
}

/// Everything that begins with `current` and may stand there.
pub fn candidates(place: Place, line: &Line<'_>, current: &str) -> Vec<String> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let asked = async { tokio::time::timeout(PATIENCE, ask(place, line, current)).await };
    let found = runtime.block_on(asked).ok().and_then(Result::ok).unwrap_or_default();
    // A name that a shell would read as more than one word is nobody's.
    let is_word = |word: &String| word.starts_with(current) && !word.contains(char::is_whitespace);
    found.into_iter().filter(is_word).collect()
}

async fn ask(place: Place, line: &Line<'_>, current: &str) -> Result<Vec<String>, VerbError> {
    let connection = line.connection();
    match place {
        Place::Context => return connection.names(Part::Contexts),
        Place::Cluster => return connection.names(Part::Clusters),
        Place::Login => return connection.names(Part::Users),
        _ => {}
    }
    let api = connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let asking = Asking { api: &api, kinds: &kinds, line };
    match place {
        Place::Objects => asking.objects(current).await,
        Place::Kind => Ok(asking.kinds()),
        Place::Pod => asking.pods(current).await,
        Place::Container => asking.containers().await,
        Place::Ports => asking.ports(current).await,
        Place::Node if line.words.is_empty() => asking.names("nodes").await,
        Place::Namespace => asking.names("namespaces").await,
        Place::Node | Place::Context | Place::Cluster | Place::Login => Ok(Vec::new()),
    }
}

impl Line<'_> {
    fn connection(&self) -> Connection {
        let value = |flag: &str| self.flags.get(flag).and_then(|values| values.last()).cloned();
        Connection {
            kubeconfig: value("kubeconfig").map(Into::into),
            context: value("context"),
            namespace: value("namespace"),
            user: value("as"),
            groups: self.flags.get("as-group").cloned().unwrap_or_default(),
            cluster: value("cluster"),
            login: value("user"),
            server: value("server"),
            token: value("token"),
            certificate_authority: value("certificate-authority"),
            client_certificate: value("client-certificate"),
            client_key: value("client-key"),
            tls_server_name: value("tls-server-name"),
            ..Connection::default()
        }
    }

    fn verb(&self) -> &str {
        self.verb.first().map(String::as_str).unwrap_or_default()
    }
}

struct Asking<'a> {
    api: &'a Api,
    kinds: &'a Kinds,
    line: &'a Line<'a>,
}

impl Asking<'_> {
    /// Kinds that the verb is for, as `deployments.apps`.
    fn kinds(&self) -> Vec<String> {
        let is_for = |kind: &&&Kind| match self.line.verb() {
            "scale" => kind.subresources.iter().any(|part| part == "scale"),
            "rollout" => ["deployments", "daemonsets", "statefulsets"].contains(&kind.plural.as_str()),
            "expose" => ["deployments", "pods", "replicasets", "replicationcontrollers", "services"]
                .contains(&kind.plural.as_str()),
            _ => kind.verbs.iter().any(|verb| verb == "get"),
        };
        let mut names: Vec<String> =
            self.kinds.preferred().iter().filter(is_for).map(|kind| kind.full_plural()).collect();
        names.sort();
        names
    }

    async fn objects(&self, current: &str) -> Result<Vec<String>, VerbError> {
        let words = self.line.words;
        let rest = |found: Vec<String>| found.into_iter().filter(|word| !words.contains(word)).collect();
        match words.first().filter(|first| !first.contains('/')) {
            Some(kind) => Ok(rest(self.names(kind).await?)),
            None => match current.split_once('/') {
                Some((kind, _)) => Ok(rest(self.within(kind).await?)),
                None if words.is_empty() => {
                    let (first, _) = current.rsplit_once(',').unwrap_or_default();
                    let kept = if first.is_empty() { String::new() } else { format!("{first},") };
                    Ok(self.kinds().into_iter().map(|kind| format!("{kept}{kind}")).collect())
                }
                None => Ok(self.kinds().into_iter().map(|kind| format!("{kind}/")).collect()),
            },
        }
    }

    async fn pods(&self, current: &str) -> Result<Vec<String>, VerbError> {
        if let Some((kind, _)) = current.split_once('/') {
            return self.within(kind).await;
        }
        let mut found = self.names("pods").await?;
        let is_served = |name: &&&str| self.kinds.find(name).is_ok();
        found.extend(WITH_PODS.iter().filter(is_served).map(|name| format!("{name}/")));
        Ok(found)
    }

    async fn containers(&self) -> Result<Vec<String>, VerbError> {
        let Some(word) = self.line.words.first() else { return Ok(Vec::new()) };
        let pods = pods::of(self.api, self.kinds, word).await?;
        let spec = pods.first().map(|pod| &pod["spec"]).unwrap_or(&Value::Null);
        let lists = [&spec["initContainers"], &spec["containers"]];
        let containers = lists.into_iter().filter_map(Value::as_array).flatten();
        Ok(containers.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect())
    }

    async fn ports(&self, current: &str) -> Result<Vec<String>, VerbError> {
        let Some(word) = self.line.words.first() else { return Ok(Vec::new()) };
        let service = match word.split_once('/') {
            Some((kind, name)) => {
                Some(self.kinds.find(kind)?).filter(|kind| kind.kind == "Service").map(|kind| (kind, name))
            }
            None => None,
        };
        let ports: Vec<Value> = match service {
            Some((kind, name)) => {
                let service = kind.read(self.api, &self.api.namespace, name).await?;
                list(&service["spec"]["ports"]).map(|port| port["port"].clone()).collect()
            }
            None => {
                let pods = pods::of(self.api, self.kinds, word).await?;
                let containers = pods.first().map(|pod| &pod["spec"]["containers"]).unwrap_or(&Value::Null);
                list(containers).flat_map(|one| list(&one["ports"])).map(|port| port["containerPort"].clone()).collect()
            }
        };
        let local = current.split(':').next().filter(|local| !local.is_empty());
        Ok(ports
            .iter()
            .map(|port| format!("{}:{port}", local.map_or_else(|| port.to_string(), str::to_owned)))
            .collect())
    }

    /// `TYPE/NAME` of each.
    async fn within(&self, kind: &str) -> Result<Vec<String>, VerbError> {
        Ok(self.names(kind).await?.into_iter().map(|name| format!("{kind}/{name}")).collect())
    }

    async fn names(&self, kind: &str) -> Result<Vec<String>, VerbError> {
        let path = self.kinds.find(kind)?.collection(Some(&self.api.namespace));
        let found = self.api.get_as(&path, NAMES_ONLY).await?;
        Ok(list(&found["items"]).map(|object| meta::name(object).to_owned()).collect())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
