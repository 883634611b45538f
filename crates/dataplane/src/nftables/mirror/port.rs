//! One service port as the kernel has it, and which endpoint gets which slot.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, List, ServicePortPlan, Settings, TrafficPolicy};

use super::slots::Slots;
use crate::{
    flows::Sender,
    nftables::{
        id::{EndpointId, Kind, ListId, Way},
        program::Entry,
    },
};

/// One service port as the kernel has it: up to two lists, each of them with endpoints of its own, so that who is remembered for one is never met by
/// the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortState {
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    pub(super) policies: Policies,
    pub(super) frontends: Box<[FrontendRule]>,
    /// `None` where no frontend leads there.
    pub(super) cluster: Option<ListState>,
    /// Few have one, so it takes no room in those that have not.
    pub(super) local: Option<Box<ListState>>,
    pub(super) sources: Option<Box<[IpNet]>>,
    /// Not in the kernel's maps, but connections there go on.
    pub(super) draining: Box<[Backend]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListState {
    pub(super) id: ListId,
    pub(super) kind: Kind,
    pub(super) endpoints: Box<[Endpoint]>,
    pub(super) slots: Slots,
}

/// A backend of one list. There is one for each backend that the kernel has, so it is no larger than it must be: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(super) id: EndpointId,
    ip: IpAddr,
    port: u16,
    local: bool,
}

impl Endpoint {
    fn new(id: EndpointId, backend: &Backend) -> Self {
        Self { id, ip: backend.address.ip(), port: backend.address.port(), local: backend.local }
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// A port's policies: what leads which frontend to which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policies {
    pub(super) internal: TrafficPolicy,
    pub(super) external: TrafficPolicy,
}

impl Policies {
    pub(super) fn of(port: &ServicePortPlan) -> Self {
        Self { internal: port.internal_policy, external: port.external_policy }
    }

    pub(super) fn list(self, kind: FrontendKind, sender: Sender) -> List {
        sender.list(kind, self.internal, self.external)
    }

    /// The ways by which these frontends lead to a list.
    pub(super) fn ways(self, frontends: &[FrontendRule], list: List) -> impl Iterator<Item = (Way, Frontend)> {
        frontends.iter().flat_map(move |rule| {
            let by_inside = self.has_inside(rule.kind) && list == List::Cluster;
            let direct = (self.list(rule.kind, Sender::Outside) == list).then_some(Way::Frontends);
            direct.into_iter().chain(by_inside.then_some(Way::Inside)).map(|way| (way, rule.frontend))
        })
    }

    /// Whether pods and the node have another list.
    pub(super) fn has_inside(self, kind: FrontendKind) -> bool {
        self.list(kind, Sender::Inside) != self.list(kind, Sender::Outside)
    }
}

impl PortState {
    pub(super) fn lists(&self) -> impl Iterator<Item = &ListState> {
        self.cluster.iter().chain(self.local.as_deref())
    }

    /// Kinds in use, and by which ways.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (Way, Kind)> {
        let has_inside = self.frontends.iter().any(|rule| self.policies.has_inside(rule.kind));
        let inside = self.cluster.iter().filter(move |_| has_inside).map(|list| (Way::Inside, list.kind));
        self.lists().map(|list| (Way::Frontends, list.kind)).chain(inside)
    }

    /// Where connections may go, new ones or old.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let endpoints = self.lists().flat_map(|list| &list.endpoints).map(Endpoint::address);
        endpoints.chain(self.draining.iter().map(|backend| backend.address))
    }

    /// Where connections of such a sender to a frontend of this kind may go, new ones or old.
    pub(super) fn led(&self, kind: FrontendKind, sender: Sender) -> impl Iterator<Item = SocketAddr> {
        let list = self.policies.list(kind, sender);
        let state = match list {
            List::Cluster => self.cluster.as_ref(),
            List::Local => self.local.as_deref(),
        };
        let endpoints = state.into_iter().flat_map(|state| &state.endpoints).map(Endpoint::address);
        let draining = self.draining.iter().filter(move |backend| backend.lists.has(list));
        endpoints.chain(draining.map(|backend| backend.address))
    }

    /// Whether a source may come in through a frontend of this kind.
    pub(super) fn admits(&self, kind: FrontendKind, source: IpAddr) -> bool {
        let ranges = self.sources.as_ref().filter(|_| kind.is_external());
        ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&source)))
    }

    /// The elements that are this port's alone.
    pub(super) fn each_entry(&self, mut each: impl FnMut(Entry)) {
        for list in self.lists() {
            list.each_entry(&mut each);
        }
        for (list, state) in [(List::Cluster, self.cluster.as_ref()), (List::Local, self.local.as_deref())] {
            let Some(state) = state else { continue };
            self.policies.ways(&self.frontends, list).for_each(|(way, frontend)| match way {
                Way::Frontends => each(Entry::Frontend(frontend, state.id)),
                Way::Inside => each(Entry::Inside(frontend, state.id)),
            });
        }
        for FrontendRule { frontend, .. } in self.frontends.iter().filter(|rule| rule.kind.is_external()) {
            each(match self.policies.external {
                TrafficPolicy::Cluster => Entry::External(*frontend),
                TrafficPolicy::Local => Entry::ExternalLocal(*frontend),
            });
            if let Some(sources) = &self.sources {
                each(Entry::Ranged(*frontend));
                sources.iter().for_each(|range| each(Entry::Range(*frontend, *range)));
            }
        }
    }

    /// What it asks for that others may ask for too.
    pub(super) fn shared<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Entry> + 'a {
        let outside = |address: &IpAddr| !settings.service_ranges.iter().any(|range| range.contains(address));
        let virtual_ips = self.frontends.iter().filter(|rule| rule.kind == FrontendKind::ClusterIp);
        let endpoints = self.lists().flat_map(|list| &list.endpoints);
        endpoints
            .filter(|endpoint| endpoint.local)
            .map(|endpoint| Entry::Hairpin(endpoint.ip))
            .chain(virtual_ips.map(|rule| rule.frontend.address).filter(outside).map(Entry::Outlying))
    }
}

impl ListState {
    fn each_entry(&self, each: &mut impl FnMut(Entry)) {
        each(Entry::List(self.id, self.kind));
        let slots = (0..).zip(self.slots.ids(&self.endpoints));
        slots.for_each(|(slot, id)| each(Entry::Slot(self.id, slot, id)));
        self.endpoints.iter().for_each(|endpoint| each(Entry::Backend(endpoint.id, endpoint.address())));
    }
}

/// Ids for `backends`, which has no duplicates: who has one keeps it, and his place where he can, so that a change of one backend touches few
/// slots.
pub(super) fn place(
    previous: &[(EndpointId, SocketAddr)],
    backends: &[Backend],
    mut allocate: impl FnMut() -> EndpointId,
) -> Box<[Endpoint]> {
    if previous.is_empty() {
        return backends.iter().map(|backend| Endpoint::new(allocate(), backend)).collect();
    }
    let mut wanted: HashMap<SocketAddr, Backend> = backends.iter().map(|backend| (backend.address, *backend)).collect();
    let mut slots: Vec<Option<Endpoint>> =
        previous.iter().map(|(id, address)| Some(Endpoint::new(*id, &wanted.remove(address)?))).collect();
    let arrived = backends.iter().filter(|backend| wanted.remove(&backend.address).is_some());
    let mut arrived = arrived.map(|backend| Endpoint::new(allocate(), backend)).collect::<Vec<_>>().into_iter();
    for slot in &mut slots {
        if slot.is_none() {
            *slot = arrived.next();
        }
    }
    slots.extend(arrived.map(Some));
    let mut at = 0;
    while at < slots.len() {
        match slots[at] {
            Some(_) => at += 1,
            None => {
                slots.swap_remove(at);
            }
        }
    }
    slots.into_iter().flatten().collect()
}
