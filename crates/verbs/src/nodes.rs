//! `stead cordon`, `uncordon` and `drain`: a node gets no new pods, gets them again, or loses those it has.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, MERGE_PATCH, Next, escape},
    chosen::{Choice, Chosen, Reach, items},
    connection::Connection,
    duration::Span,
    error::{VerbError, told},
    following::{Followed, Seen, follow},
    kinds::{Kind, Kinds},
    selection,
    write::{DryRun, WriteOptions},
};

#[derive(Debug, Args)]
pub struct CordonArgs {
    /// Names of nodes
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Those with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    options: WriteOptions,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    nodes: CordonArgs,
    /// Also pods that nothing keeps, and that nothing makes anew
    #[arg(long)]
    force: bool,
    /// Go on where DaemonSets have pods, which stay
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes, whose files go with them
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Seconds that each pod has for its end (negative: the pod's own)
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// How long to wait, as 30s or 5m (0: for ever)
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true)]
    timeout: Span,
    /// Only pods with these labels
    #[arg(long, value_name = "SELECTOR")]
    pod_selector: Option<String>,
    /// Delete pods even where the server could evict them
    #[arg(long)]
    disable_eviction: bool,
}

/// Whether a node takes new pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Cordoned,
    Open,
}

impl Scheduling {
    fn changed(self) -> &'static str {
        match self {
            Self::Cordoned => "cordoned",
            Self::Open => "uncordoned",
        }
    }

    fn already(self) -> &'static str {
        match self {
            Self::Cordoned => "already cordoned",
            Self::Open => "already uncordoned",
        }
    }
}

pub(crate) async fn run(args: &CordonArgs, wanted: Scheduling) -> Result<(), VerbError> {
    let (api, nodes) = args.read().await?;
    cordon(args, &api, &nodes, wanted).await
}

impl CordonArgs {
    async fn read(&self) -> Result<(Api, Vec<Chosen>), VerbError> {
        let selector = selection::given(self.selector.as_ref());
        if self.nodes.is_empty() && selector.is_none() {
            return Err(VerbError::usage("name a node, or choose nodes by --selector"));
        }
        if !self.nodes.is_empty() && selector.is_some() {
            return Err(VerbError::usage("cannot specify both a node name and a --selector option"));
        }
        let name = |node: &String| node.split_once('/').map_or(node.as_str(), |(_, name)| name).to_owned();
        let words: Vec<String> = std::iter::once("nodes".to_owned()).chain(self.nodes.iter().map(name)).collect();
        let choice = Choice { selector: self.selector.clone(), ..Choice::default() };
        let (api, read) = choice.read(&words, &Reach::default(), &self.connection).await?;
        told(read.problems)?;
        Ok((api, read.objects))
    }
}

async fn cordon(args: &CordonArgs, api: &Api, nodes: &[Chosen], wanted: Scheduling) -> Result<(), VerbError> {
    for node in nodes {
        let is_cordoned = node.object["spec"]["unschedulable"] == true;
        let is_so = is_cordoned == (wanted == Scheduling::Cordoned);
        if !is_so && args.options.dry_run != DryRun::Client {
            let value = if wanted == Scheduling::Cordoned { json!(true) } else { Value::Null };
            let path = format!("{}?{}", node.path()?, args.options.query());
            api.patch(&path, MERGE_PATCH, &json!({"spec": {"unschedulable": value}})).await?;
        }
        let done = if is_so { wanted.already() } else { wanted.changed() };
        args.options.report(&node.kind, node.object.clone(), done)?;
    }
    Ok(())
}

pub(crate) async fn drain(args: &DrainArgs) -> Result<(), VerbError> {
    let (api, nodes) = args.nodes.read().await?;
    cordon(&args.nodes, &api, &nodes, Scheduling::Cordoned).await?;
    let kinds = Kinds::read(&api).await?;
    let pods = kinds.find("pods")?;
    let mut problems = Vec::new();
    let mut left = Vec::new();
    for node in &nodes {
        match empty(args, &api, pods, node).await {
            Ok(()) => args.nodes.options.report(&node.kind, node.object.clone(), "drained")?,
            Err(error) => {
                let text = error.to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text);
                eprintln!("error: unable to drain node {:?} due to error: {text}, continuing command...", node.name());
                left.push(node.name());
                problems.push(error);
            }
        }
    }
    if !left.is_empty() {
        eprintln!("There are pending nodes to be drained:");
        left.iter().for_each(|name| eprintln!(" {name}"));
    }
    told(problems)
}

/// Ends the node's pods, and waits until they are gone.
async fn empty(args: &DrainArgs, api: &Api, kind: &Kind, node: &Chosen) -> Result<(), VerbError> {
    let fields = escape(&format!("spec.nodeName={}", node.name()));
    let labels = args.pod_selector.as_ref().map(|text| format!("&labelSelector={}", escape(text))).unwrap_or_default();
    let all = items(api.get(&format!("{}?fieldSelector={fields}{labels}", kind.collection(None))).await?);
    let fates: Vec<(&Value, Fate)> = all.iter().map(|pod| (pod, args.fate(pod))).collect();
    let refusals = by_message(&fates, |fate| if let Fate::Refused(text) = fate { Some(text) } else { None });
    if !refusals.is_empty() {
        let refusals: Vec<String> = refusals.iter().map(|text| format!("cannot delete {text}")).collect();
        return Err(VerbError::Usage(match refusals.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }));
    }
    let warnings = by_message(&fates, |fate| match fate {
        Fate::Goes(text) => *text,
        Fate::Stays(text) => Some(text),
        Fate::Refused(_) => None,
    });
    if !warnings.is_empty() {
        eprintln!("Warning: {}", warnings.join("; "));
    }
    let evicts = kind.subresources.iter().any(|name| name == "eviction") && !args.disable_eviction;
    let going: Vec<&Value> =
        fates.iter().filter(|(_, fate)| matches!(fate, Fate::Goes(_))).map(|(pod, _)| *pod).collect();
    for pod in &going {
        end(args, api, kind, pod, evicts).await?;
    }
    if args.nodes.options.dry_run != DryRun::None {
        return Ok(());
    }
    for pod in going {
        let (namespace, name, uid) =
            (stead_api::meta::namespace(pod), stead_api::meta::name(pod), stead_api::meta::uid(pod));
        let followed = follow(api, kind, namespace, name, args.timeout.limit(), |seen| match seen {
            Seen::Object(object) if stead_api::meta::uid(object) == uid => Ok(Next::More),
            Seen::Object(_) | Seen::Gone => Ok(Next::Stop),
        });
        match followed.await? {
            Followed::Stopped => println!("pod/{name} {}", if evicts { "evicted" } else { "deleted" }),
            Followed::TimedOut => {
                let problem = format!("error when waiting for pod {name:?} in namespace {namespace:?} to terminate");
                return Err(VerbError::usage(format!("{problem}: global timeout reached")));
            }
        }
    }
    Ok(())
}

async fn end(args: &DrainArgs, api: &Api, kind: &Kind, pod: &Value, evicts: bool) -> Result<(), VerbError> {
    let (namespace, name) = (stead_api::meta::namespace(pod), stead_api::meta::name(pod));
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    match args.nodes.options.dry_run {
        DryRun::None => {}
        DryRun::Client => {
            println!("evicting pod {namespace}/{name} (dry run)");
            return Ok(());
        }
        DryRun::Server => options["dryRun"] = json!(["All"]),
    }
    let path = kind.object(namespace, name)?;
    let answer = if evicts {
        let note = if args.nodes.options.dry_run == DryRun::Server { " (server dry run)" } else { "" };
        println!("evicting pod {namespace}/{name}{note}");
        let metadata = json!({"name": name, "namespace": namespace});
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata, "deleteOptions": options});
        api.send(Method::POST, &format!("{path}/eviction"), &eviction).await
    } else {
        api.send(Method::DELETE, &path, &options).await
    };
    match answer {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// What happens to a pod, and what is said of it.
enum Fate {
    Goes(Option<&'static str>),
    Stays(&'static str),
    Refused(&'static str),
}

impl DrainArgs {
    fn fate(&self, pod: &Value) -> Fate {
        let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let keeper = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let has_files = volumes.any(|volume| !volume["emptyDir"].is_null());
        match keeper {
            _ if is_over => Fate::Goes(None),
            Some(keeper) if keeper["kind"] == "DaemonSet" && self.ignore_daemonsets => {
                Fate::Stays("ignoring DaemonSet-managed Pods")
            }
            Some(keeper) if keeper["kind"] == "DaemonSet" => {
                Fate::Refused("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
            }
            _ if has_files && !self.delete_emptydir_data => {
                Fate::Refused("Pods with local storage (use --delete-emptydir-data to override)")
            }
            None if !self.force => {
                Fate::Refused("cannot delete Pods that declare no controller (use --force to override)")
            }
            None => Fate::Goes(Some("deleting Pods that declare no controller")),
            Some(_) => Fate::Goes(has_files.then_some("deleting Pods with local storage")),
        }
    }
}

/// Each message once, with the pods that it is about.
fn by_message<'a>(fates: &'a [(&Value, Fate)], message: impl Fn(&'a Fate) -> Option<&'static str>) -> Vec<String> {
    let mut messages: Vec<(&str, Vec<String>)> = Vec::new();
    for (pod, fate) in fates {
        let Some(text) = message(fate) else { continue };
        let pod = format!("{}/{}", stead_api::meta::namespace(pod), stead_api::meta::name(pod));
        match messages.iter_mut().find(|(known, _)| *known == text) {
            Some((_, pods)) => pods.push(pod),
            None => messages.push((text, vec![pod])),
        }
    }
    messages.into_iter().map(|(text, pods)| format!("{text}: {}", pods.join(", "))).collect()
}
