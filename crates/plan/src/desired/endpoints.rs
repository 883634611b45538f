//! Which endpoints of one port get traffic, and by which list.
//!
//! Topology: where all ready endpoints have node hints and one is for this node, those for it are the cluster list; else the same with zones;
//! else all are. Where nobody is ready, those that serve while they terminate take their place, in each list by itself.

use std::net::SocketAddr;

use stead_api::service_snapshot::{EndpointView, ServicePortView, SliceView};
use stead_model::{Family, Protocol};

use super::{NodeContext, is_usable};
use crate::table::{Backend, Lists};

/// The endpoints of a port in one family, ascending by address.
pub(super) struct Endpoints(Vec<Endpoint>);

/// One address and port, whatever number of slices name it.
struct Endpoint {
    address: SocketAddr,
    local: bool,
    is_ready: bool,
    /// Serves still while it terminates.
    is_leaving: bool,
    is_serving: bool,
    node_hint: Hint,
    zone_hint: Hint,
}

/// Whether an endpoint should serve us.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    Missing,
    Others,
    Us,
}

/// Whether any policy asks for the endpoints of this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalList {
    Wanted,
    Unused,
}

/// The ports of all slices of a Service, in order: one of thousands is found at once.
pub(super) struct Targets<'s>(Vec<Target<'s>>);

struct Target<'s> {
    name: &'s str,
    protocol: Protocol,
    port: u16,
    slice: &'s SliceView,
}

impl<'s> Targets<'s> {
    pub(super) fn of(slices: &[&'s SliceView]) -> Self {
        let of_slice = |slice: &&'s SliceView| {
            let slice: &'s SliceView = slice;
            slice.ports.iter().map(move |port| Target {
                name: &port.name,
                protocol: port.protocol,
                port: port.port,
                slice,
            })
        };
        let mut targets: Vec<_> = slices.iter().flat_map(of_slice).collect();
        targets.sort_by_key(Target::key);
        Self(targets)
    }

    /// Those that a Service's port leads to.
    fn named(&self, name: &str, protocol: Protocol) -> impl Iterator<Item = &Target<'s>> {
        let start = self.0.partition_point(|target| target.key() < (name, protocol));
        self.0[start..].iter().take_while(move |target| target.name == name && target.protocol == protocol)
    }
}

impl<'s> Target<'s> {
    fn key(&self) -> (&'s str, Protocol) {
        (self.name, self.protocol)
    }
}

impl Endpoints {
    pub(super) fn of(targets: &Targets<'_>, port: &ServicePortView, family: Family, context: &NodeContext) -> Self {
        let mut endpoints = Vec::new();
        for Target { port, slice, .. } in targets.named(&port.name, port.protocol) {
            if slice.family == Some(family) {
                let usable = slice.endpoints.iter().filter(|endpoint| is_usable(endpoint.address));
                endpoints.reserve(slice.endpoints.len());
                endpoints.extend(usable.map(|endpoint| Endpoint::of(slice, endpoint, *port, context)));
            }
        }
        endpoints.sort_unstable_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by(|other, endpoint| {
            let same = other.address == endpoint.address;
            if same {
                endpoint.merge(other);
            }
            same
        });
        Self(endpoints)
    }

    /// Who gets new connections, and who keeps old ones. A pod that is there, though not ready, may still finish what it began; a flow of
    /// datagrams has no end of its own, so it stays only where the pod says that it still serves.
    pub(super) fn split(self, protocol: Protocol, local_list: LocalList) -> (Vec<Backend>, Vec<Backend>) {
        let for_us = self.topology();
        let is_any_ready = self.0.iter().any(|endpoint| endpoint.is_ready);
        let is_ours = |endpoint: &Endpoint| endpoint.local && local_list == LocalList::Wanted;
        let is_ready_here = self.0.iter().any(|endpoint| endpoint.is_ready && is_ours(endpoint));
        let has_turn =
            |endpoint: &Endpoint, is_any_ready| if is_any_ready { endpoint.is_ready } else { endpoint.is_leaving };

        let count = self.0.iter().filter(|endpoint| endpoint.is_ready).count();
        let (mut backends, mut draining) = (Vec::with_capacity(count), Vec::new());
        for endpoint in &self.0 {
            let in_cluster = has_turn(endpoint, is_any_ready) && (!is_any_ready || for_us(endpoint));
            let in_local = is_ours(endpoint) && has_turn(endpoint, is_ready_here);
            let backend = |lists| Backend { address: endpoint.address, local: endpoint.local, lists };
            if let Some(lists) = Lists::of(in_cluster, in_local) {
                backends.push(backend(lists));
            } else if endpoint.is_serving || protocol != Protocol::Udp {
                draining.push(backend(if is_ours(endpoint) { Lists::Both } else { Lists::Cluster }));
            }
        }
        backends.shrink_to_fit();
        (backends, draining)
    }

    /// Says of a ready endpoint whether it is for this node.
    fn topology(&self) -> fn(&Endpoint) -> bool {
        let decides = |hint: fn(&Endpoint) -> Hint| {
            let mut hints = self.0.iter().filter(|endpoint| endpoint.is_ready).map(hint);
            hints.clone().all(|hint| hint != Hint::Missing) && hints.any(|hint| hint == Hint::Us)
        };
        if decides(|endpoint| endpoint.node_hint) {
            |endpoint| endpoint.node_hint == Hint::Us
        } else if decides(|endpoint| endpoint.zone_hint) {
            |endpoint| endpoint.zone_hint == Hint::Us
        } else {
            |_| true
        }
    }
}

impl Endpoint {
    fn of(slice: &SliceView, endpoint: &EndpointView, port: u16, context: &NodeContext) -> Self {
        Self {
            address: SocketAddr::new(endpoint.address, port),
            local: slice.node_of(endpoint) == Some(&*context.node),
            is_ready: endpoint.is_ready(),
            is_leaving: endpoint.is_serving() && endpoint.is_terminating(),
            is_serving: endpoint.is_ready() || endpoint.is_serving(),
            node_hint: Hint::of(slice.node_hints_of(endpoint), Some(&*context.node)),
            zone_hint: Hint::of(slice.zone_hints_of(endpoint), context.zone.as_deref()),
        }
    }

    /// Two slices may name one endpoint while it moves between them: what either says holds, and hints are those of one that is ready.
    fn merge(&mut self, other: &Self) {
        if other.is_ready {
            let ours = |hint| if self.is_ready { hint } else { Hint::Missing };
            let (node_hint, zone_hint) = (ours(self.node_hint), ours(self.zone_hint));
            self.node_hint = node_hint.max(other.node_hint);
            self.zone_hint = zone_hint.max(other.zone_hint);
        }
        self.local |= other.local;
        self.is_ready |= other.is_ready;
        self.is_leaving |= other.is_leaving;
        self.is_serving |= other.is_serving;
    }
}

impl Hint {
    fn of<'h>(mut hints: impl Iterator<Item = &'h str>, us: Option<&str>) -> Self {
        match hints.next() {
            None => Self::Missing,
            Some(first) if us.is_some_and(|us| first == us || hints.any(|hint| hint == us)) => Self::Us,
            Some(_) => Self::Others,
        }
    }
}
