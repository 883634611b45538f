//! Node ports on 127.0.0.1, over TCP: a process of the node reaches them there by a listener of ours, as packets to loopback cannot be translated without
//! `route_localnet`, which would open the node's loopback to its neighbours.
//!
//! Owns these listeners and what goes through them: one backend of the plan's cluster list for each connection, chosen as the plan says ([`Pool`]), the next one where that refuses, bytes both ways
//! with as much held back as two buffers. A connection whose backend leaves the plan is cut, as the kernel's are. A port without backends is closed, so that
//! it is refused; nobody off the node can reach it, and who comes from no loopback address is reset.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use socket2::SockRef;
use stead_api::service_snapshot::{ServiceSnapshot, ServiceType};
use stead_client::EventKind;
use stead_dataplane::Pool;
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{List, Plan, ServicePortPlan};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};

use crate::{listeners::Listeners, report::ServiceRecorder};

const RETRY: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What some Services have on 127.0.0.1: by number where their node ports lead. A Service without any has an empty map.
#[derive(Debug)]
pub(crate) enum Change {
    /// Of all Services; others have none.
    All(BTreeMap<ObjectKey, BTreeMap<u16, Target>>),
    Some(BTreeMap<ObjectKey, BTreeMap<u16, Target>>),
}

/// Where connections to one port go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    port: u16,
    /// For new ones.
    pool: Pool,
    /// Where others may go on besides.
    draining: Vec<SocketAddr>,
    affinity: Option<Duration>,
}

/// What the plan says of the node ports of one Service to a process of the node.
pub(crate) fn targets(snapshot: &ServiceSnapshot, plan: &Plan, key: &ObjectKey) -> BTreeMap<u16, Target> {
    let (Some(service), Some(planned)) = (snapshot.service(key), plan.services.get(key)) else {
        return BTreeMap::new();
    };
    if !matches!(service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer) {
        return BTreeMap::new();
    }
    let own = &plan.settings.own_addresses;
    let mut targets = BTreeMap::new();
    for port in service.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        let is_it = |each: &&ServicePortPlan| each.name == port.name && each.protocol == port.protocol && is_v4(each);
        let (Some(number), Some(planned)) = (port.node_port, planned.ports.iter().find(is_it)) else { continue };
        // Whoever sends from the node may come in where one of its addresses may.
        let is_admitted = |ranges: &[ipnet::IpNet]| {
            ranges.iter().any(|range| range.contains(&LOOPBACK) || own.iter().any(|address| range.contains(address)))
        };
        let Some(pool) = Pool::of(planned, List::Cluster) else { continue };
        if planned.sources.as_deref().is_none_or(is_admitted) {
            let others = planned.backends.iter().chain(&planned.draining).map(|backend| backend.address);
            let draining = others.filter(|address| !pool.has(*address)).collect();
            targets.insert(number.get(), Target { port: number.get(), pool, draining, affinity: planned.affinity });
        }
    }
    targets
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn is_v4(port: &ServicePortPlan) -> bool {
    port.frontends.iter().any(|rule| Family::of(rule.frontend.address) == Family::V4)
}

type Id = (ObjectKey, u16);

pub(crate) struct LocalPorts {
    recorder: ServiceRecorder,
    ports: HashMap<Id, watch::Sender<Target>>,
    listeners: Listeners<Id>,
    connections: Arc<Semaphore>,
}

impl LocalPorts {
    pub(crate) fn new(recorder: ServiceRecorder, budget: usize) -> Self {
        let connections = Arc::new(Semaphore::new(budget / 2));
        Self { recorder, ports: HashMap::new(), listeners: Listeners::new(budget), connections }
    }

    /// Serves what it is told of, for ever.
    pub(crate) async fn run(mut self, mut changes: mpsc::UnboundedReceiver<Change>) -> Infallible {
        loop {
            let retry = async {
                match self.listeners.lacks_any() {
                    true => sleep(RETRY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(change) = changes.recv() => self.on_change(change),
                () = retry => {}
            }
            self.listen();
        }
    }

    fn on_change(&mut self, change: Change) {
        let services = match change {
            Change::All(services) => {
                self.ports.retain(|(key, _), _| services.contains_key(key));
                services
            }
            Change::Some(services) => services,
        };
        self.ports.retain(|(key, port), _| services.get(key).is_none_or(|targets| targets.contains_key(port)));
        for (key, targets) in services {
            for (port, target) in targets {
                let id = (key.clone(), port);
                match self.ports.get(&id) {
                    Some(known) => drop(known.send_replace(target)),
                    None => drop(self.ports.insert(id, watch::Sender::new(target))),
                }
            }
        }
        self.listeners.keep(|id| self.ports.contains_key(id));
    }

    fn listen(&mut self) {
        for (id, target) in &self.ports {
            let (key, port) = id;
            let (target, connections) = (target.subscribe(), Arc::clone(&self.connections));
            let serve = |listener| tokio::spawn(serve(listener, target, connections)).abort_handle();
            if let Err(error) = self.listeners.open(id, SocketAddr::new(LOOPBACK, *port), serve) {
                let message = format!("node port {port} is not served on 127.0.0.1: {error}");
                self.recorder.record(key, EventKind::Warning, "LocalhostNodePortTaken", message);
            }
        }
    }
}

async fn serve(listener: TcpListener, target: watch::Receiver<Target>, connections: Arc<Semaphore>) {
    let before = Arc::new(Before::default());
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            // Where the node's loopback is open to its neighbours (`route_localnet`, which kube-proxy leaves behind), they come as far as here.
            Ok((stream, client)) if !client.ip().is_loopback() => reset(&stream),
            Ok((stream, client)) => {
                let (target, before) = (target.clone(), Arc::clone(&before));
                tokio::spawn(async move {
                    forward(stream, client, target, &before).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What earlier connections to a port leave to later ones.
#[derive(Debug, Default)]
struct Before {
    /// Who was connected to last, and when: all clients are one to affinity, as all are this node.
    last: Mutex<Option<(SocketAddr, Instant)>>,
    connections: AtomicUsize,
}

async fn forward(mut client: TcpStream, from: SocketAddr, mut target: watch::Receiver<Target>, before: &Before) {
    let choice = target.borrow().choose(from, before);
    for backend in choice {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(backend)).await {
            Ok(Ok(mut server)) => {
                *before.last() = Some((backend, Instant::now()));
                // Small answers do not wait for large ones.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = gone(&mut target, backend) => reset(&client),
                }
                return;
            }
            Ok(Err(error)) => tracing::debug!(%backend, %error, "a backend does not answer; the next one"),
            Err(_) => tracing::debug!(%backend, "a backend takes too long; the next one"),
        }
    }
    reset(&client);
}

/// The client is told at once.
fn reset(client: &TcpStream) {
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
}

/// Until connections to the backend may not go on.
async fn gone(target: &mut watch::Receiver<Target>, backend: SocketAddr) {
    while target.borrow_and_update().keeps(backend) {
        if target.changed().await.is_err() {
            return;
        }
    }
}

impl Before {
    fn last(&self) -> MutexGuard<'_, Option<(SocketAddr, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// In the order of trying.
    fn choose(&self, client: SocketAddr, before: &Before) -> Vec<SocketAddr> {
        let turn = before.connections.fetch_add(1, Ordering::Relaxed);
        let to = Frontend { address: LOOPBACK, protocol: Protocol::Tcp, port: self.port };
        let mut choice = self.pool.choose(client, to, turn, &mut rand::rng());
        if let (Some(affinity), Some((backend, at))) = (self.affinity, *before.last())
            && at.elapsed() < affinity
            && self.pool.has(backend)
        {
            choice.retain(|other| *other != backend);
            choice.insert(0, backend);
        }
        choice
    }

    fn keeps(&self, backend: SocketAddr) -> bool {
        self.pool.has(backend) || self.draining.contains(&backend)
    }
}

#[cfg(test)]
mod tests;
