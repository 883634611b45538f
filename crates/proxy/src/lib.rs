//! The Service proxy daemon: one event loop from watch events to kernel.
//!
//! Owns when things happen: nothing before all lists are complete, a lone change at once, changes that wait together as one,
//! failures again after a while, foreign changes put right within [`VERIFY_PERIOD`], connections of what left forgotten beside all
//! that. What a Service means is `stead-plan`'s, how a kernel is told is `stead-dataplane`'s; this crate only carries from one to the
//! other, reports what could not be done, and tells over HTTP how it is.
//! Beside the loop it serves what the kernel cannot: health-check node ports, and node ports on 127.0.0.1.
//! It removes nothing when it ends: the kernel goes on forwarding, and the next process adopts what it finds.

mod addresses;
mod cleaning;
mod endpoints;
mod forwarder;
mod health;
mod health_ports;
mod http;
mod listeners;
mod local_ports;
mod lock;
mod metrics;
mod no_local;
mod predecessors;
mod report;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic;
mod triggers;
mod zpages;

use std::{
    convert::Infallible,
    future, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use ipnet::IpNet;
use jiff::Timestamp;
use kube::Client;
use stead_client::{Backoff, EventKind, Recorder, Requests, ServiceCache, Subscription};
use stead_dataplane::{Class, DataPlane, Mode, TrafficError};
pub use stead_plan::{DetectLocal, MasqueradeAll, OpenRange};
use stead_plan::{Plan, Problem, plan_all};
use stead_sys::link::LinkError;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use self::{
    addresses::{AddressNotices, KernelAddresses},
    cleaning::clean_after,
    endpoints::Sources,
    forwarder::{Event, Forwarder},
    health_ports::HealthPorts,
    local_ports::LocalPorts,
    report::{NodeRecorder, Reporter, ServiceRecorder},
    traffic::Meter,
};
pub use self::{
    endpoints::{Endpoints, WhenTaken},
    lock::{Lock, LockError},
    predecessors::Predecessors,
    surroundings::{LocalhostPorts, NodePortAddresses, PodTraffic},
    traffic::ServiceTraffic,
};

/// How often the kernel is compared with what was put into it.
pub const VERIFY_PERIOD: Duration = Duration::from_secs(10);

/// Upstream's default.
const SYNC_PERIOD: Duration = Duration::from_secs(30);
const RANGES_PATIENCE: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Before a step that cannot succeed as things stand is tried again; any event tries it sooner.
const PERMANENT_WAIT: Duration = Duration::from_secs(30);

/// What the process was told about its node and cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which data plane it is given, for those who ask.
    pub mode: Mode,
    /// `Some`: another one was wanted, which could not be had.
    pub instead_of: Option<InsteadOf>,
    /// This node's name, as endpoints give it.
    pub node: String,
    /// Ranges that virtual IPs come from, beside those of ServiceCIDR objects: what no Service has in them is refused.
    pub service_ranges: Vec<IpNet>,
    pub pods: PodTraffic,
    pub masquerade_all: MasqueradeAll,
    /// Ranges in which even this node's own addresses may be external ones of a Service.
    pub open_to_external: Vec<OpenRange>,
    /// Addresses that no Service gets, such as the API server's.
    pub reserved: Vec<IpAddr>,
    /// `Some`: why the kernel cannot choose by a hash; who asks for that is told, and gets what is at random.
    pub without_hashes: Option<Arc<str>>,
    pub node_ports: NodePortAddresses,
    pub localhost_ports: LocalhostPorts,
    /// The node's address of its family, whatever its Node object says.
    pub primary: Option<IpAddr>,
    pub endpoints: Endpoints,
    pub traffic: ServiceTraffic,
    /// What the client of the API server has sent, for `/metrics`.
    pub requests: Requests,
    /// Once a change waits for twice as long the proxy is not healthy.
    pub sync_period: Duration,
}

/// A data plane that was wanted and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsteadOf {
    pub mode: Mode,
    /// With what to do about it, in one line.
    pub why: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open rtnetlink to learn this node's addresses")]
    Addresses(#[source] io::Error),
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("read this node's addresses")]
    Read(#[from] LinkError),
    #[error(transparent)]
    Traffic(#[from] TrafficError),
}

/// Who acts after each step of the loop, beside it.
struct Followers {
    /// Told that something may have been programmed.
    changed: Notify,
    local_ports: mpsc::UnboundedSender<local_ports::Change>,
}

/// Forwards Services on this node until it is dropped. The network namespace is that of the calling thread, and `lock` is held for as long;
/// `cache` is watched by someone or filled by hand. What `predecessors` left is removed once `plane` serves. Problems become log lines and, through `client`, Kubernetes Events.
///
/// # Errors
/// Before anything is programmed, and where an address of [`Endpoints`] cannot be had that must be; other failures are logged and tried again.
pub async fn run(
    _lock: Lock,
    config: Config,
    client: Client,
    cache: ServiceCache,
    plane: Box<dyn DataPlane>,
    predecessors: Predecessors,
) -> Result<Infallible, Error> {
    let addresses = KernelAddresses::open().map_err(Error::Addresses)?;
    let notices = AddressNotices::open().map_err(Error::Addresses)?.into_stream();
    let meter = Meter::open(config.traffic)?;
    let recorder = Recorder::new(client, "stead-proxy", &config.node);
    let (node, services) =
        (NodeRecorder::new(recorder.clone(), &config.node), ServiceRecorder::new(recorder, cache.clone()));
    node.record(EventKind::Normal, "Starting", "Starting the Service proxy.".to_owned());
    if let Some(InsteadOf { mode: wanted, why }) = &config.instead_of {
        let message = format!("mode {wanted} cannot be had, mode {} serves instead: {why}", config.mode);
        tracing::warn!("{message}");
        node.record(EventKind::Warning, "ProxyModeUnavailable", message);
    }
    let sources = Arc::new(Sources::new(&config, cache.clone()));
    let wanted = config.instead_of.as_ref().map_or(config.mode, |instead_of| instead_of.mode);
    sources.metrics.on_mode(config.mode, wanted);
    let (local_ports, local_changes) = mpsc::unbounded_channel();
    let followers = Followers { changed: Notify::new(), local_ports };
    let budget = listeners::budget();
    let health_ports = HealthPorts::new(Arc::clone(&sources), services.clone(), budget);
    let local_ports = LocalPorts::new(services.clone(), budget);

    let news = cache.subscribe();
    let health_ports = health_ports.run(cache.subscribe(), config.node_ports.clone());
    let endpoints = endpoints::run(config.endpoints.clone(), Arc::clone(&sources), &node);
    let reporter = Reporter::new(node.clone(), services);
    let cleaning = clean_after(&followers.changed, plane.cleaner(), &sources.metrics);
    let telling = meter.clone().tell(&sources.metrics);
    let forwarder =
        Forwarder::new(config, cache, Box::new(addresses), plane).metered_by(meter).succeeding(predecessors);
    tokio::select! {
        never = forward(forwarder, news, notices, VERIFY_PERIOD, reporter, &followers, &sources) => match never {},
        never = cleaning => match never {},
        never = telling => match never {},
        never = health_ports => match never {},
        never = local_ports.run(local_changes) => match never {},
        ended = endpoints => ended,
    }
}

/// The plan of this node, and what of it cannot be had, once all lists are complete; for who only wants to look.
///
/// # Errors
/// Where the kernel does not tell the node's addresses.
pub async fn plan_once(config: &Config, cache: &ServiceCache) -> Result<(Plan, Vec<Problem>), Error> {
    let mut addresses = KernelAddresses::open().map_err(Error::Addresses)?;
    let mut news = cache.subscribe();
    while !cache.read().is_synced() {
        news.next().await;
    }
    // Older clusters have no ServiceCIDRs, so these are not waited for without end.
    let all_listed = async {
        while cache.pulses().any(|(_, pulse)| pulse.last().is_none()) {
            tokio::time::sleep(FIRST_WAIT).await;
        }
    };
    let _ = tokio::time::timeout(RANGES_PATIENCE, all_listed).await;
    let addresses = addresses::Addresses::read(&mut addresses)?;
    let snapshot = cache.read();
    Ok(plan_all(&snapshot, &config.context(&snapshot, addresses)))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            instead_of: None,
            node: String::new(),
            service_ranges: Vec::new(),
            pods: PodTraffic::default(),
            masquerade_all: MasqueradeAll::default(),
            open_to_external: Vec::new(),
            reserved: Vec::new(),
            without_hashes: None,
            node_ports: NodePortAddresses::All,
            localhost_ports: LocalhostPorts::default(),
            primary: None,
            endpoints: Endpoints::default(),
            traffic: ServiceTraffic::default(),
            requests: Requests::default(),
            sync_period: SYNC_PERIOD,
        }
    }
}

/// The loop: waits for the next cause of work, has it done on a thread that may block, and plans the next try if it failed.
async fn forward(
    mut forwarder: Forwarder,
    mut news: Subscription,
    notices: impl Stream<Item = ()>,
    verify_period: Duration,
    mut reporter: Reporter,
    followers: &Followers,
    sources: &Sources,
) -> Infallible {
    let mut notices = pin!(notices.chain(futures::stream::pending()));
    let mut verification = interval_at(Instant::now() + verify_period, verify_period);
    verification.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut retry_at = None;
    loop {
        let event = tokio::select! {
            touched = news.next() => Event::Touched(touched),
            _ = notices.next() => Event::AddressesChanged,
            _ = verification.tick() => Event::VerifyDue,
            () = until(retry_at) => Event::RetryDue,
        };
        let (start, seen) = (std::time::Instant::now(), sources.cache.seen());
        if matches!(event, Event::Touched(_) | Event::AddressesChanged) {
            sources.health.on_queued(start);
            sources.metrics.on_queued(Timestamp::now());
        }
        let mut report;
        (forwarder, report) = on_blocking_thread(forwarder, move |forwarder| forwarder.on_event(event)).await;
        let took = start.elapsed();
        followers.changed.notify_one();
        if let Some(change) = report.local.take() {
            // The other end lives as long as this loop.
            let _ = followers.local_ports.send(change);
        }
        sources.serving.send_if_modified(|serving| {
            let is_modified = *serving != forwarder.serving_addresses();
            if is_modified {
                *serving = forwarder.serving_addresses().to_vec();
            }
            is_modified
        });
        if forwarder.has_started() {
            sources.on_step(&report, start, took, seen);
        }
        retry_at = report.failure.as_ref().map(|failure| {
            let wait = match failure.class() {
                Class::Conflict if backoff.failures() == 0 => {
                    backoff.next_wait();
                    Duration::ZERO
                }
                Class::Conflict | Class::Transient => backoff.next_wait(),
                Class::Permanent => PERMANENT_WAIT,
            };
            Instant::now() + wait
        });
        if retry_at.is_none() {
            backoff.reset();
        }
        reporter.tell(report, took);
    }
}

/// Lends `worker` to a thread that may block.
async fn on_blocking_thread<W, T>(mut worker: W, work: impl FnOnce(&mut W) -> T + Send + 'static) -> (W, T)
where
    W: Send + 'static,
    T: Send + 'static,
{
    let step = tokio::task::spawn_blocking(move || {
        let done = work(&mut worker);
        (worker, done)
    });
    match step.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down: this future is about to be dropped.
            Err(_) => future::pending().await,
        },
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}
