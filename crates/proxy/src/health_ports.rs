//! Health-check node ports: by them load balancers learn which nodes have endpoints of a Service whose external policy is `Local`.
//!
//! Owns what each such Service is answered: the number of its ready endpoints on this node, and whether the proxy is well. Any path is answered; who is not in
//! the Service's source ranges is not. Endpoints that only serve while they terminate do not count: nothing new should come here.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use ipnet::IpNet;
use stead_api::service_snapshot::{ServiceSnapshot, ServiceType, Touched, TrafficPolicy};
use stead_client::{EventKind, ServiceCache, Subscription};
use stead_model::{Family, ObjectKey};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    NodePortAddresses,
    endpoints::Sources,
    http::{Answer, json, serve_some},
    listeners::Listeners,
    report::ServiceRecorder,
};

const RETRY: Duration = Duration::from_secs(5);
/// Connections of all these ports together; probes are short.
const CONNECTIONS: usize = 1024;
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// What one Service is answered. Clones share it.
#[derive(Clone, Debug)]
struct Check(Arc<RwLock<Content>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    key: ObjectKey,
    port: u16,
    /// Ready endpoints on this node, IPv4 and IPv6.
    endpoints: [usize; 2],
    sources: Option<Box<[IpNet]>>,
}

/// Whether other ports are wanted than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    Changed,
    Unchanged,
}

/// Which listener: the Service's, its port and address.
type Id = (ObjectKey, SocketAddr);

pub(crate) struct HealthPorts {
    node: String,
    cache: ServiceCache,
    sources: Arc<Sources>,
    recorder: ServiceRecorder,
    checks: BTreeMap<ObjectKey, Check>,
    listeners: Listeners<Id>,
    connections: Arc<Semaphore>,
}

impl Content {
    /// `None` where the Service has no such port.
    fn of(snapshot: &ServiceSnapshot, node: &str, key: &ObjectKey) -> Option<Self> {
        let service = snapshot.service(key)?;
        let is_meant = service.service_type == ServiceType::LoadBalancer
            && service.external_policy == TrafficPolicy::Local
            && !service.has_other_proxy;
        let port = service.health_check_node_port.filter(|_| is_meant)?.get();
        let mut local = BTreeSet::new();
        for slice in snapshot.slices_of(key).iter().filter(|slice| !slice.is_headless) {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.is_ready());
            local.extend(ready.filter(|each| slice.node_of(each) == Some(node)).map(|each| each.address));
        }
        let count = |family| local.iter().filter(|address| Family::of(**address) == family).count();
        let sources = service.source_ranges.clone();
        Some(Self { key: key.clone(), port, endpoints: Family::ALL.map(count), sources })
    }

    fn admits(&self, client: IpAddr) -> bool {
        self.sources.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&client)))
    }

    fn answer(&self, client: IpAddr, is_well: bool) -> Answer {
        let [v4, v6] = self.endpoints;
        let endpoints = if client.is_ipv4() { v4 } else { v6 };
        let (namespace, name) = (&self.key.namespace, &self.key.name);
        let body = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
             \"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {is_well}\n}}"
        );
        let status = if endpoints > 0 && is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut answer = json(status, body);
        answer.headers_mut().insert(WEIGHT, HeaderValue::from(endpoints));
        answer
    }
}

impl HealthPorts {
    pub(crate) fn new(sources: Arc<Sources>, recorder: ServiceRecorder, budget: usize) -> Self {
        Self {
            node: sources.node.clone(),
            cache: sources.cache.clone(),
            sources,
            recorder,
            checks: BTreeMap::new(),
            listeners: Listeners::new(budget),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    /// Serves for ever, on the addresses that node ports answer on.
    pub(crate) async fn run(mut self, mut news: Subscription, chosen: NodePortAddresses) -> Infallible {
        let mut serving = self.sources.serving.subscribe();
        loop {
            let retry = async {
                match self.listeners.lacks_any() {
                    true => sleep(RETRY).await,
                    false => std::future::pending().await,
                }
            };
            let is_due = tokio::select! {
                touched = news.next() => self.update(&touched) == Ports::Changed,
                Ok(()) = serving.changed() => true,
                () = retry => true,
            };
            if is_due {
                let addresses = match chosen {
                    // One socket for all of them, and those to come.
                    NodePortAddresses::All => vec![Ipv6Addr::UNSPECIFIED.into()],
                    _ => serving.borrow().clone(),
                };
                self.listen(&addresses);
            }
        }
    }

    /// Nothing is answered, and nothing closed, before all lists are complete.
    fn update(&mut self, touched: &Touched) -> Ports {
        let snapshot = self.cache.read();
        if !snapshot.is_synced() {
            return Ports::Unchanged;
        }
        let all = snapshot.services().filter(|_| touched.synced).map(|service| &service.key);
        let mut ports = Ports::Unchanged;
        for key in all.chain(&touched.services) {
            let port_before = self.checks.get(&**key).map(|check| check.content().port);
            let content = Content::of(&snapshot, &self.node, key);
            if port_before != content.as_ref().map(|content| content.port) {
                ports = Ports::Changed;
            }
            match (content, self.checks.get(&**key)) {
                (None, None) => {}
                (None, Some(_)) => drop(self.checks.remove(&**key)),
                (Some(content), Some(check)) => *check.0.write().unwrap_or_else(PoisonError::into_inner) = content,
                (Some(content), None) => {
                    self.checks.insert((**key).clone(), Check(Arc::new(RwLock::new(content))));
                }
            }
        }
        ports
    }

    fn listen(&mut self, addresses: &[IpAddr]) {
        let wanted: BTreeMap<Id, Check> = self
            .checks
            .iter()
            .flat_map(|(key, check)| {
                let port = check.content().port;
                addresses.iter().map(move |address| ((key.clone(), SocketAddr::new(*address, port)), check.clone()))
            })
            .collect();
        // First those that go, as their ports may be others' now.
        self.listeners.keep(|id| wanted.contains_key(id));
        for (id, check) in wanted {
            let (sources, connections) = (Arc::clone(&self.sources), Arc::clone(&self.connections));
            let serve = |listener| {
                let asked = check.clone();
                let admits = move |client: SocketAddr| asked.content().admits(client.ip().to_canonical());
                let answer = move |_: &Request<Incoming>, client: SocketAddr| {
                    let is_well = sources.health.standing(Instant::now()).is_healthy;
                    check.content().answer(client.ip().to_canonical(), is_well)
                };
                tokio::spawn(serve_some(listener, connections, admits, answer)).abort_handle()
            };
            if let Err(error) = self.listeners.open(&id, id.1, serve) {
                let (key, port) = (&id.0, id.1.port());
                let message =
                    format!("node {} failed to start healthcheck \"{key}\" on port {port}: {error}", self.node);
                self.recorder.record(key, EventKind::Warning, "FailedToStartServiceHealthcheck", message);
            }
        }
    }
}

impl Check {
    fn content(&self) -> Content {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
