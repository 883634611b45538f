//! One service port as the kernel has it, and which endpoint gets which slot.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use stead_model::{Family, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, Settings};

use crate::nftables::{
    id::{EndpointId, Kind, ListId, slots},
    program::Entry,
};

/// One service port as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortState {
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    pub(super) list: ListId,
    pub(super) kind: Kind,
    pub(super) frontends: Box<[FrontendRule]>,
    /// Endpoint by slot; slots beyond the last begin again at the first.
    pub(super) endpoints: Box<[(EndpointId, Backend)]>,
    /// Not in the kernel's maps, but connections there go on.
    pub(super) draining: Box<[SocketAddr]>,
}

impl PortState {
    /// Where connections may go, new ones or old.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().map(|(_, backend)| backend.address).chain(self.draining.iter().copied())
    }

    /// The elements that are this port's alone.
    pub(super) fn each_entry(&self, mut each: impl FnMut(Entry)) {
        each(Entry::List(self.list, self.kind));
        for rule in &self.frontends {
            each(Entry::Frontend(rule.frontend, self.list));
            if rule.kind == FrontendKind::NodePort {
                each(Entry::External(rule.frontend));
            }
        }
        let ids = self.endpoints.iter().map(|(id, _)| *id);
        let slots = (0..slots(self.endpoints.len())).zip(ids.cycle());
        slots.for_each(|(slot, id)| each(Entry::Slot(self.list, slot, id)));
        self.endpoints.iter().for_each(|(id, backend)| each(Entry::Backend(*id, backend.address)));
    }

    /// What it asks for that others may ask for too.
    pub(super) fn shared<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Entry> + 'a {
        let local = self.endpoints.iter().filter(|(_, backend)| backend.local);
        let outside = |address: &IpAddr| !settings.service_ranges.iter().any(|range| range.contains(address));
        let virtual_ips = self.frontends.iter().filter(|rule| rule.kind == FrontendKind::ClusterIp);
        local
            .map(|(_, backend)| Entry::Hairpin(backend.address.ip()))
            .chain(virtual_ips.map(|rule| rule.frontend.address).filter(outside).map(Entry::Outlying))
    }
}

/// Slots for `backends`, which has no duplicates: who has one keeps it where he can, so that a change of one backend touches few slots.
pub(super) fn place(
    previous: &[(EndpointId, SocketAddr)],
    backends: &[Backend],
    mut allocate: impl FnMut() -> EndpointId,
) -> Box<[(EndpointId, Backend)]> {
    if previous.is_empty() {
        return backends.iter().map(|backend| (allocate(), *backend)).collect();
    }
    let mut wanted: HashMap<SocketAddr, Backend> = backends.iter().map(|backend| (backend.address, *backend)).collect();
    let mut slots: Vec<Option<(EndpointId, Backend)>> =
        previous.iter().map(|(id, address)| wanted.remove(address).map(|backend| (*id, backend))).collect();
    let arrived = backends.iter().filter(|backend| wanted.remove(&backend.address).is_some());
    let mut arrived = arrived.map(|backend| (allocate(), *backend)).collect::<Vec<_>>().into_iter();
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
