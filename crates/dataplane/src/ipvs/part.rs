//! What the kernel should hold for one Service: virtual servers, elements of our sets, addresses to be held. Pure.
//!
//! Each frontend is a virtual server of its own. Who comes from inside, a pod or the node, has the cluster's list also where an external
//! policy is `Local`: for that an external frontend's first packet from inside is marked, and a server by mark has that list. It is there
//! whatever the policy, so that a change of policy moves nobody from one server to another, which would end his connections.
//! Persistence and marks do not go together in the kernel (it leaves the port as the client sent it): a sticky port of policy `Local` has
//! a hash of the client's address inside, and one of policy `Cluster` one server for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use stead_model::{Family, Frontend};
use stead_plan::{Algorithm, Backend, FrontendKind, List, ServicePlan, ServicePortPlan, Settings, TrafficPolicy};
use stead_sys::ipvs::{Name, SchedulerFlags, Server};

use super::{element::Element, marks::Marking};

/// A virtual server with its destinations and their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VirtualServer {
    pub(super) server: Server,
    pub(super) destinations: BTreeMap<SocketAddr, u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) servers: BTreeMap<Name, VirtualServer>,
    pub(super) elements: BTreeSet<Element>,
    pub(super) held: BTreeSet<IpAddr>,
}

/// Whether a port's frontends from outside need a server of their own for who comes from inside.
pub(super) fn needs_mark(port: &ServicePortPlan) -> bool {
    let is_external = port.frontends.iter().any(|rule| rule.kind.is_external());
    is_external && (port.affinity.is_none() || port.external_policy == TrafficPolicy::Local)
}

/// The part of one Service; `marking` gives each port that [`needs_mark`] its mark.
pub(super) fn lower(service: &ServicePlan, settings: &Settings, scheduler: &str, marking: &Marking<'_>) -> Part {
    let mut part = Part::default();
    for port in &service.ports {
        part.add_port(port, settings, scheduler, marking.of(port));
    }
    part
}

impl Part {
    fn add_port(&mut self, port: &ServicePortPlan, settings: &Settings, scheduler: &str, mark: Option<u32>) {
        let Some(family) = port.frontends.first().map(|rule| rule.frontend.family()) else { return };
        let all = port.backends.iter().chain(&port.draining);
        let local = all.filter(|backend| backend.local).map(|backend| Element::Hairpin(backend.address.ip()));
        self.elements.extend(local);
        let mark = mark.filter(|_| is_there(port, List::Cluster));
        if let Some(mark) = mark {
            let name = Name::Marked(family, mark);
            self.servers.insert(name, virtual_server(port, List::Cluster, inside(port, scheduler)));
        }
        for rule in &port.frontends {
            let list = match rule.kind {
                FrontendKind::ClusterIp => port.internal_policy,
                _ => port.external_policy,
            };
            self.add_frontend(port, rule.frontend, rule.kind, list.into(), settings);
            let server = virtual_server(port, list.into(), outside(port, scheduler));
            self.servers.insert(Name::At(rule.frontend), server);
            if let Some(mark) = mark.filter(|_| rule.kind.is_external()) {
                self.elements.insert(Element::Inside(rule.frontend, mark));
            }
        }
    }

    fn add_frontend(
        &mut self,
        port: &ServicePortPlan,
        frontend: Frontend,
        kind: FrontendKind,
        list: List,
        settings: &Settings,
    ) {
        let address = frontend.address;
        self.elements.insert(Element::Frontend(frontend));
        match (is_there(port, list), is_there(port, List::Cluster)) {
            (true, _) => {}
            (false, true) => drop(self.elements.insert(Element::Dropped(frontend))),
            (false, false) => drop(self.elements.insert(Element::Refused(frontend))),
        }
        if kind.is_external() {
            self.elements.insert(match port.external_policy {
                TrafficPolicy::Cluster => Element::Masquerade(frontend),
                TrafficPolicy::Local => Element::MasqueradeNode(frontend),
            });
            self.admit(port, frontend, kind, settings);
        }
        let is_in_ranges = settings.service_ranges.iter().any(|range| range.contains(&address));
        let is_held = match kind {
            FrontendKind::ClusterIp => true,
            FrontendKind::NodePort => false,
            FrontendKind::LoadBalancer | FrontendKind::ExternalIp => !settings.own_addresses.contains(&address),
        };
        if is_held {
            self.held.insert(address);
            match kind {
                FrontendKind::ClusterIp if is_in_ranges => {}
                FrontendKind::ClusterIp => drop(self.elements.insert(Element::Outlying(address))),
                _ => drop(self.elements.insert(Element::Lent(address))),
            }
        }
    }

    /// Who may come in. The node sends to an address that it holds from that address.
    fn admit(&mut self, port: &ServicePortPlan, frontend: Frontend, kind: FrontendKind, settings: &Settings) {
        let Some(sources) = &port.sources else { return };
        self.elements.insert(Element::Ranged(frontend));
        for range in sources {
            self.elements.insert(Element::Range(frontend, range.network(), range.broadcast()));
        }
        let own = settings.own_addresses.iter().filter(|own| Family::of(**own) == frontend.family());
        let is_itself = sources.iter().any(|range| range.contains(&frontend.address));
        if !is_itself && own.into_iter().any(|own| port.admits(kind, *own)) {
            self.elements.insert(Element::Range(frontend, frontend.address, frontend.address));
        }
    }
}

fn is_there(port: &ServicePortPlan, list: List) -> bool {
    port.list(list).next().is_some()
}

fn virtual_server(port: &ServicePortPlan, list: List, server: Server) -> VirtualServer {
    let weight = |backend: &Backend| (backend.address, u32::from(port.weights.of(backend.address.ip())));
    let draining = port.draining.iter().filter(|backend| backend.lists.has(list));
    let destinations = port.list(list).map(weight).chain(draining.map(|backend| (backend.address, 0)));
    VirtualServer { server, destinations: destinations.collect() }
}

/// For who comes from outside, or to a virtual IP.
fn outside(port: &ServicePortPlan, scheduler: &str) -> Server {
    let (scheduler, flags) = schedule(port, scheduler);
    Server { scheduler: scheduler.into(), flags, persistence: port.affinity }
}

/// For who is marked.
fn inside(port: &ServicePortPlan, scheduler: &str) -> Server {
    let (scheduler, flags) = match port.affinity {
        Some(_) => (HASH, SchedulerFlags::default()),
        None => schedule(port, scheduler),
    };
    Server { scheduler: scheduler.into(), flags, persistence: None }
}

/// Maglev's tables: the same on every node that has the same destinations.
const HASH: &str = "mh";

/// A scheduler that passes weights over has a brother that does not.
fn schedule<'s>(port: &ServicePortPlan, scheduler: &'s str) -> (&'s str, SchedulerFlags) {
    let mut weights = port.backends.iter().map(|backend| port.weights.of(backend.address.ip()));
    let first = weights.next();
    let is_weighted = weights.any(|weight| Some(weight) != first);
    let by_weight = |scheduler: &'s str| match scheduler {
        "rr" if is_weighted => "wrr",
        "lc" if is_weighted => "wlc",
        other => other,
    };
    match port.algorithm {
        Algorithm::Random => (by_weight(scheduler), SchedulerFlags::default()),
        Algorithm::RoundRobin => (by_weight("rr"), SchedulerFlags::default()),
        Algorithm::SourceHash => (HASH, SchedulerFlags::default()),
        Algorithm::Maglev => (HASH, SchedulerFlags::PORT),
    }
}
