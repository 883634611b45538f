//! What a change of some Services asks of the kernel, and what leaves with it.

use std::collections::{BTreeMap, HashMap};

use stead_model::{Family, Frontend, ObjectKey};
use stead_plan::FrontendKind;

use super::{PortState, position};
use crate::{
    flows::{Cleaning, Led, Sender},
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
    /// Connections that the change may have made stale.
    pub(crate) cleaning: Cleaning,
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
        let departed =
            Departed { frontends: &before.frontends - &after.frontends, backends: &before.backends - &after.backends };
        if departed != Departed::default() {
            self.departed.insert(key.clone(), departed);
        }
        self.suspect(old, new);
    }

    fn suspect(&mut self, old: &[PortState], new: &[PortState]) {
        let frontends = |ports: &[PortState]| -> BTreeMap<Frontend, Led> {
            let of_port = |port: &PortState| {
                port.frontends.iter().map(|rule| (rule.frontend, led(port, rule.kind))).collect::<Vec<_>>()
            };
            ports.iter().flat_map(of_port).collect()
        };
        self.cleaning.compare(frontends(old), frontends(new));
    }
}

fn led(port: &PortState, kind: FrontendKind) -> Led {
    Led {
        inside: port.led(kind, Sender::Inside).collect(),
        outside: port.led(kind, Sender::Outside).collect(),
        sources: port.sources.clone().filter(|_| kind.is_external()),
    }
}
