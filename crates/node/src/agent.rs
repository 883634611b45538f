//! The agent of one node: a loop over news of its pods, around the pure decisions of [`crate::pod`].
//!
//! Every cause of work is an `Event`; every action runs in a task of its own and comes back as one. What runs survives the agent:
//! at its start it takes over the containers and networks that are here, and it takes nothing down before it has seen the first
//! full list of pods.

mod act;
mod adopt;
mod node;
mod pressure;
mod prober;
mod readiness;
mod report;
mod upkeep;
mod volumes;
mod withdraw;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use serde_json::Value;
use stead_api::{item::object_key, snapshot::Change};
use stead_client::{Query, Recorder, ServiceCache, watch};
use stead_model::ObjectKey;
use tokio::{
    sync::{mpsc, watch as latest},
    task::AbortHandle,
};

use crate::{
    config::Config,
    image::{Store, StoreError},
    net::{Network, NetworkError},
    pod::{Input, Note, Observed, Run, Severity, step},
    runtime::{ContainerRuntime, OciRuntime, RuntimeError},
    server::{LogIndex, Networks, ServerError},
};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("a node needs at least one address")]
    NoAddress,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("directory of containers")]
    Containers(#[source] io::Error),
    #[error("containers that are here already")]
    Adopt(#[from] RuntimeError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Every cause of work.
#[derive(Debug)]
enum Event {
    Pod(Box<Change<Pod>>),
    News {
        uid: String,
        input: Input,
    },
    /// A status was written, at this revision, or there is nobody to tell any more.
    Told {
        uid: String,
        revision: Option<u64>,
    },
    /// A released pod's things are gone, and so is its object.
    Released {
        uid: String,
    },
    ImagesChanged,
}

/// One pod, from its first sight until nothing of it is left.
#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    /// The API has no such object any more.
    is_gone: bool,
    observed: Observed,
    /// The status that was told last, and the revision that came of it.
    told: PodStatus,
    told_revision: u64,
    is_telling: bool,
    wake_at: Option<Timestamp>,
    probes: BTreeMap<(String, u32), AbortHandle>,
}

/// What actions need; shared by their tasks.
struct Shared {
    config: Config,
    client: Client,
    cache: ServiceCache,
    store: Store,
    runtime: Arc<dyn ContainerRuntime>,
    network: Arc<Mutex<Network>>,
    recorder: Recorder,
    /// Why no pod can be started here.
    problems: latest::Sender<readiness::Problems>,
    events: mpsc::UnboundedSender<Event>,
    logs: LogIndex,
}

struct Agent {
    shared: Arc<Shared>,
    pods: BTreeMap<String, Entry>,
    /// What the runtime had at the start, for pods that have not been seen yet.
    found: adopt::FoundRuns,
    /// Pods that the list under way has named; `None` while there is none, or none that says which pods are gone.
    listed: Option<BTreeSet<String>>,
}

/// Runs the agent of one node until it fails for good or the future is dropped. Containers go on without it.
///
/// `cache` must watch at least Services and Nodes of the same cluster as `client`.
pub async fn run(config: Config, client: Client, cache: ServiceCache) -> Result<(), AgentError> {
    if config.node_addresses.is_empty() {
        return Err(AgentError::NoAddress);
    }
    let store = Store::open(&config.image_dir)?;
    let network = Network::open(config.state_dir.join("network"), &config.pod_ranges, config.namespace)?;
    let network = Arc::new(Mutex::new(network));
    let runtime = OciRuntime::open(config.state_dir.join("containers"), config.shim.clone());
    let runtime: Arc<dyn ContainerRuntime> = Arc::new(runtime.map_err(AgentError::Containers)?);
    let found = adopt::FoundRuns::read(&*runtime).await?;
    let logs = LogIndex::default();
    let _server = match &config.server {
        Some(server) => {
            let networks = Networks(network.clone());
            Some(crate::server::start(server, &config.node_addresses, logs.clone(), runtime.clone(), networks).await?)
        }
        None => None,
    };
    let (events, mut arriving) = mpsc::unbounded_channel();
    let recorder = Recorder::new(client.clone(), "kubelet", &config.node_name);
    let shared = Arc::new(Shared {
        config,
        client: client.clone(),
        cache,
        store,
        runtime,
        network,
        recorder,
        problems: latest::Sender::default(),
        events,
        logs,
    });
    let _upkeep = upkeep::start(&shared);
    let query = Query::all("/api/v1/pods").fields(format!("spec.nodeName={}", shared.config.node_name));
    let mut pods = std::pin::pin!(watch::<Pod>(client, query));
    let mut agent = Agent { shared, pods: BTreeMap::new(), found, listed: None };
    loop {
        let wake = agent.next_wake();
        let event = tokio::select! {
            Some(change) = pods.next() => Event::Pod(Box::new(change)),
            Some(event) = arriving.recv() => event,
            () = tokio::time::sleep(wake) => {
                agent.on_wake();
                continue;
            }
        };
        agent.on_event(event);
    }
}

impl Agent {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Pod(change) => self.on_pod(*change),
            Event::News { uid, input } => {
                let Some(entry) = self.pods.get_mut(&uid) else { return };
                let notes = entry.observed.apply(input, Timestamp::now());
                self.shared.tell_events(&entry.pod, notes);
                self.settle(&uid);
            }
            Event::Told { uid, revision } => {
                if let Some(entry) = self.pods.get_mut(&uid) {
                    entry.is_telling = false;
                    entry.told_revision = revision.unwrap_or(entry.told_revision);
                }
                self.settle(&uid);
            }
            Event::Released { uid } => {
                if let Some(entry) = self.pods.get_mut(&uid) {
                    entry.is_gone = true;
                }
                self.settle(&uid);
            }
            Event::ImagesChanged => {
                let uids: Vec<String> = self.pods.keys().cloned().collect();
                for uid in uids {
                    self.on_event(Event::News { uid, input: Input::ImagesChanged });
                }
            }
        }
    }

    fn on_pod(&mut self, change: Change<Pod>) {
        match change {
            Change::Init => self.listed = Some(BTreeSet::new()),
            Change::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.extend(pod.metadata.uid.clone());
                }
                self.on_object(pod);
            }
            Change::Apply(pod) => self.on_object(pod),
            Change::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid {
                    self.on_gone(&uid);
                }
            }
            Change::Unread(key, _) => match (self.uid_of(&key), &mut self.listed) {
                (Some(uid), Some(listed)) => drop(listed.insert(uid)),
                // It may be any of those that run here.
                (None, _) => self.listed = None,
                (Some(_), None) => {}
            },
            Change::UnreadGone(key, _) => {
                if let Some(uid) = self.uid_of(&key) {
                    self.on_gone(&uid);
                }
            }
            Change::InitDone => {
                let Some(listed) = self.listed.take() else { return };
                // Now that all pods have been seen: what runs for none of them is taken down.
                let network = self.shared.network();
                let lost = self.found.pods().into_iter().chain(network.pods());
                for uid in lost.filter(|uid| !listed.contains(uid)) {
                    if self.pods.contains_key(&uid) {
                        continue;
                    }
                    let observed = self.found.observed_of_lost(&uid, network.find(&uid), Timestamp::now());
                    self.shared.await_ends(&uid, &observed);
                    self.pods.insert(uid.clone(), Entry::new(adopt::lost_pod(&uid), observed));
                }
                drop(network);
                let gone: Vec<String> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                gone.iter().for_each(|uid| self.on_gone(uid));
            }
        }
    }

    /// The pod of this name that was read last.
    fn uid_of(&self, key: &ObjectKey) -> Option<String> {
        let mut named = self.pods.iter().filter(|(_, entry)| object_key(&entry.pod.metadata) == *key);
        named.next_back().map(|(uid, _)| uid.clone())
    }

    fn on_object(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone().filter(|uid| is_file_name(uid)) else { return };
        let revision = pod.metadata.resource_version.as_deref().and_then(|revision| revision.parse().ok()).unwrap_or(0);
        let shared = &self.shared;
        match self.pods.get_mut(&uid) {
            Some(entry) => {
                // Older than what was told since, it would undo that.
                if revision >= entry.told_revision && !entry.is_telling {
                    entry.told = pod.status.clone().unwrap_or_default();
                }
                entry.pod = Arc::new(pod);
            }
            None => {
                let place = shared.network().find(&uid);
                let observed = self.found.observed_of(&pod, place, Timestamp::now());
                shared.await_ends(&uid, &observed);
                self.pods.insert(uid.clone(), Entry::new(pod, observed));
            }
        }
        self.settle(&uid);
    }

    /// The object is gone from the API: what is still here of it goes at once.
    fn on_gone(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.is_gone = true;
        let mut pod = (*entry.pod).clone();
        adopt::mark_deleted(&mut pod, Timestamp::now());
        entry.pod = Arc::new(pod);
        self.settle(uid);
    }

    /// Decides about one pod, begins what is to be done, and tells the API how it stands.
    fn settle(&mut self, uid: &str) {
        let now = Timestamp::now();
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let decision = step(&entry.pod, &mut entry.observed, now);
        entry.wake_at = decision.wake_at;
        self.shared.tell_events(&entry.pod, decision.notes);
        for action in decision.actions {
            self.shared.begin(uid, &entry.pod, &entry.observed, entry.is_gone, action);
        }
        self.shared.keep_probing(uid, entry);
        self.shared.logs.update(&entry.pod, &entry.observed);
        if !entry.is_gone {
            self.shared.maybe_tell(uid, entry, now);
        } else if entry.observed.is_released && !entry.is_telling {
            self.shared.logs.remove(&entry.pod);
            self.found.forget(uid);
            self.pods.remove(uid);
        }
    }

    fn next_wake(&self) -> Duration {
        let next = self.pods.values().filter_map(|entry| entry.wake_at).min();
        let left = next.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        left.unwrap_or(Duration::from_secs(3600))
    }

    fn on_wake(&mut self) {
        let now = Timestamp::now();
        let due = self.pods.iter().filter(|(_, entry)| entry.wake_at.is_some_and(|at| at <= now));
        let due: Vec<String> = due.map(|(uid, _)| uid.clone()).collect();
        due.iter().for_each(|uid| self.settle(uid));
    }
}

impl Entry {
    fn new(pod: Pod, observed: Observed) -> Self {
        let told = pod.status.clone().unwrap_or_default();
        Self {
            pod: Arc::new(pod),
            is_gone: false,
            observed,
            told,
            told_revision: 0,
            is_telling: false,
            wake_at: None,
            probes: BTreeMap::new(),
        }
    }
}

/// Uids become names of directories; no API server makes one that could not be.
fn is_file_name(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= 128 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.probes.values().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn network(&self) -> std::sync::MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes over how it stands with what pods need; the Node tells it where it is news.
    fn note(&self, need: readiness::Need, problem: Option<String>) {
        self.problems.send_if_modified(|problems| problems.note(need, problem));
    }

    /// The loop may have ended; then nobody needs the news.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
