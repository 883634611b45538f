//! What a change of some Services asks of the kernel, and what leaves with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stead_model::{Family, ObjectKey, Protocol};

use super::{PortState, position};
use crate::{
    nftables::program::{Difference, Entry},
    plane::Departed,
};

/// What an update of the mirror asks of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub(crate) differences: [Difference; 2],
    /// Whether a kind or a setting changed, so that chains and rules do.
    pub(crate) skeleton: bool,
    pub(crate) departed: BTreeMap<ObjectKey, Departed>,
    /// Services with new frontends over UDP: a client may already be sending to them.
    pub(crate) arrived: BTreeSet<ObjectKey>,
    pub(super) touched: HashMap<Entry, usize>,
}

impl Update {
    pub(super) fn compare(&mut self, key: &ObjectKey, old: &[PortState], new: &[PortState]) {
        if old == new {
            return;
        }
        for family in Family::ALL {
            let entries = |ports: &[PortState]| {
                let mut entries = Vec::new();
                ports
                    .iter()
                    .filter(|port| port.family == family)
                    .for_each(|port| port.each_entry(|entry| entries.push(entry)));
                entries
            };
            self.differences[position(family)].extend(entries(old), entries(new));
        }
        let parts = |ports: &[PortState]| {
            let mut all = Departed::default();
            for port in ports {
                all.frontends.extend(port.frontends.iter().map(|rule| rule.frontend));
                all.backends.extend(port.addresses().map(|address| (port.protocol, address)));
            }
            all
        };
        let (before, after) = (parts(old), parts(new));
        if after
            .frontends
            .iter()
            .any(|frontend| frontend.protocol != Protocol::Tcp && !before.frontends.contains(frontend))
        {
            self.arrived.insert(key.clone());
        }
        let departed =
            Departed { frontends: &before.frontends - &after.frontends, backends: &before.backends - &after.backends };
        if departed != Departed::default() {
            self.departed.insert(key.clone(), departed);
        }
    }
}
