//! The environment of a container: the image's variables, the container's own, and those that name Services; and `$(NAME)` in texts.
//!
//! Of what is named twice the container's own word counts, and of its own the last. Values of other objects come in as they are now:
//! what is created or changed later is not in the environment of a container that runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use stead_api::service_snapshot::ServiceView;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEnvironment {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    NoKey { namespace: String, name: String, key: String },
    #[error("environment variable {name}: field {path} is not served")]
    Field { name: String, path: String },
    #[error("environment variable {0}: its source is not served")]
    Source(String),
}

/// A search path for images that name none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The pod's addresses and those of its node, for variables that ask for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    pub pod: &'a [IpAddr],
    pub host: &'a [IpAddr],
}

/// What variables of a pod may be taken from, by name, as far as there is such an object in its namespace.
pub(crate) type ConfigMaps = BTreeMap<String, ConfigMap>;

/// A container's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `NAME=value`, each name once.
    pub lines: Vec<String>,
    /// What `$(NAME)` in command and arguments may name: all variables but the image's.
    pub known: BTreeMap<String, String>,
}

/// The environment of `container`. `services` are those that exist now, in any order.
pub(crate) fn environment<'a>(
    pod: &Pod,
    container: &Container,
    image: &[String],
    services: impl Iterator<Item = &'a ServiceView>,
    config_maps: &ConfigMaps,
    hostname: &str,
    addresses: Addresses<'_>,
) -> Result<Environment, InvalidEnvironment> {
    let services = service_variables(pod, services);
    let mut known: BTreeMap<String, String> = services.iter().cloned().collect();
    let mut own = from_config_maps(container, config_maps)?;
    known.extend(own.iter().cloned());
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match reference(pod, &variable.name, source, config_maps, addresses)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), &known),
        };
        known.insert(variable.name.clone(), value.clone());
        own.push((variable.name.clone(), value));
    }
    let mut lines = Lines::default();
    let split = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in std::iter::once(PATH).chain(image.iter().map(String::as_str)).filter_map(split) {
        lines.set(&name, &value);
    }
    lines.set("HOSTNAME", hostname);
    let names: BTreeSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
    own.iter().for_each(|(name, value)| lines.set(name, value));
    let free = services.iter().filter(|(name, _)| !names.contains(name.as_str()));
    free.for_each(|(name, value)| lines.set(name, value));
    Ok(Environment { lines: lines.into_texts(), known })
}

/// The ConfigMaps that a container's variables are taken from.
pub(crate) fn config_maps_of(container: &Container) -> impl Iterator<Item = &str> {
    let whole = container.env_from.iter().flatten().filter_map(|source| source.config_map_ref.as_ref());
    let keys = container.env.iter().flatten().filter_map(|variable: &EnvVar| {
        variable.value_from.as_ref().and_then(|source| source.config_map_key_ref.as_ref())
    });
    whole.map(|reference| reference.name.as_str()).chain(keys.map(|reference| reference.name.as_str()))
}

/// Puts in the values of `$(NAME)`; `$$` is a dollar, and a name that is not known stays as it stands.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Variables in the order they were set, the last value of each counting.
#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn into_texts(self) -> Vec<String> {
        self.0.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// What `envFrom` gives, in order; of each ConfigMap by key.
fn from_config_maps(
    container: &Container,
    config_maps: &ConfigMaps,
) -> Result<Vec<(String, String)>, InvalidEnvironment> {
    let mut variables = Vec::new();
    for source in container.env_from.iter().flatten() {
        let Some(reference) = &source.config_map_ref else {
            return Err(InvalidEnvironment::Source("envFrom".to_owned()));
        };
        match config_maps.get(&reference.name) {
            Some(config_map) => {
                let prefix = source.prefix.as_deref().unwrap_or_default();
                let data = config_map.data.iter().flatten();
                variables.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
            }
            None if reference.optional == Some(true) => {}
            None => return Err(InvalidEnvironment::NoConfigMap(reference.name.clone())),
        }
    }
    Ok(variables)
}

/// The value of a variable that is taken from somewhere; `None` where it may be missing and is.
fn reference(
    pod: &Pod,
    name: &str,
    source: &EnvVarSource,
    config_maps: &ConfigMaps,
    addresses: Addresses<'_>,
) -> Result<Option<String>, InvalidEnvironment> {
    if let Some(field) = &source.field_ref {
        let value = pod_field(pod, field, addresses);
        let unserved = || InvalidEnvironment::Field { name: name.to_owned(), path: field.field_path.clone() };
        return value.map(Some).ok_or_else(unserved);
    }
    let Some(key) = &source.config_map_key_ref else { return Err(InvalidEnvironment::Source(name.to_owned())) };
    let config_map = config_maps.get(&key.name);
    let value = config_map.and_then(|config_map| config_map.data.as_ref()?.get(&key.key));
    match (value, config_map) {
        (Some(value), _) => Ok(Some(value.clone())),
        (None, _) if key.optional == Some(true) => Ok(None),
        (None, None) => Err(InvalidEnvironment::NoConfigMap(key.name.clone())),
        (None, Some(_)) => Err(InvalidEnvironment::NoKey {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: key.name.clone(),
            key: key.key.clone(),
        }),
    }
}

/// `None` for a field that is not served. A label or annotation that the pod lacks is empty.
fn pod_field(pod: &Pod, field: &ObjectFieldSelector, addresses: Addresses<'_>) -> Option<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
    let first = |addresses: &[IpAddr]| all(addresses).into_iter().next().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    let spec = pod.spec.as_ref();
    Some(match field.field_path.as_str() {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "spec.nodeName" => spec.map(|spec| text(&spec.node_name))?,
        "spec.serviceAccountName" => spec.map(|spec| text(&spec.service_account_name))?,
        "status.podIP" => first(addresses.pod),
        "status.podIPs" => all(addresses.pod).join(","),
        "status.hostIP" => first(addresses.host),
        "status.hostIPs" => all(addresses.host).join(","),
        path => match path.strip_suffix("']").and_then(|path| path.split_once("['"))? {
            ("metadata.labels", key) => entry(&pod.metadata.labels, key),
            ("metadata.annotations", key) => entry(&pod.metadata.annotations, key),
            _ => return None,
        },
    })
}

/// The variables that name Services, as upstream writes them: those of the pod's namespace, unless it wants none, and `kubernetes` of
/// `default` in any case, if there is none of that name in the pod's own. Of a Service the first virtual IP counts, and one without is left
/// out. Services come by name, so that the same ones give the same environment.
fn service_variables<'a>(pod: &Pod, services: impl Iterator<Item = &'a ServiceView>) -> Vec<(String, String)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let has_links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut chosen: BTreeMap<&str, &ServiceView> = BTreeMap::new();
    for service in services.filter(|service| !service.is_headless && !service.cluster_ips.is_empty()) {
        let (name, is_own) = (&*service.key.name, &*service.key.namespace == namespace && has_links);
        let is_master = &*service.key.namespace == "default" && name == "kubernetes";
        if is_own || is_master && !chosen.contains_key(name) {
            chosen.insert(name, service);
        }
    }
    chosen.into_values().flat_map(variables_of).collect()
}

fn variables_of(service: &ServiceView) -> Vec<(String, String)> {
    let (Some(address), Some(first)) = (service.cluster_ips.first(), service.ports.first()) else { return Vec::new() };
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let name = upper(&service.key.name);
    let host = match address {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    let mut variables = vec![
        (format!("{name}_SERVICE_HOST"), address.to_string()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    let named = service.ports.iter().filter(|port| !port.name.is_empty());
    variables.extend(named.map(|port| (format!("{name}_SERVICE_PORT_{}", upper(&port.name)), port.port.to_string())));
    for (n, port) in service.ports.iter().enumerate() {
        let protocol = port.protocol.to_string();
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if n == 0 {
            variables.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
        variables.extend([
            (prefix.clone(), url),
            (format!("{prefix}_PROTO"), protocol.to_lowercase()),
            (format!("{prefix}_PORT"), port.port.to_string()),
            (format!("{prefix}_ADDR"), address.to_string()),
        ]);
    }
    variables
}

#[cfg(test)]
mod tests;
