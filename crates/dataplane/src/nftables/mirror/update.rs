//! What a change of some Services asks of the kernel, and what leaves with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::FrontendKind;

use super::{PortState, port::Sender, position};
use crate::{
    flows::Cleaning,
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
                port.frontends.iter().map(|rule| (rule.frontend, Led::of(port, rule.kind))).collect::<Vec<_>>()
            };
            ports.iter().flat_map(of_port).collect()
        };
        let (before, mut after) = (frontends(old), frontends(new));
        for (frontend, led) in before {
            let leads = after.remove(&frontend);
            let departed = leads.is_none();
            let leads = leads.unwrap_or_default();
            let severed = &led.outside - &leads.outside;
            let by_sender = !departed && (led.sources != leads.sources || severed != &led.inside - &leads.inside);
            if departed || by_sender || !severed.is_empty() {
                let suspects = self.cleaning.frontends.entry(frontend).or_default();
                suspects.departed |= departed;
                suspects.by_sender |= by_sender;
                suspects.severed.extend(severed);
            }
        }
        // A client may already be sending to what is new.
        let arrived = after.into_keys().filter(|frontend| frontend.protocol != Protocol::Tcp);
        arrived.for_each(|frontend| self.cleaning.frontends.entry(frontend).or_default().arrived = true);
    }
}

/// Where connections to a frontend may go, by who sends.
#[derive(Default, PartialEq, Eq)]
struct Led {
    inside: BTreeSet<SocketAddr>,
    outside: BTreeSet<SocketAddr>,
    sources: Option<Box<[IpNet]>>,
}

impl Led {
    fn of(port: &PortState, kind: FrontendKind) -> Self {
        Self {
            inside: port.led(kind, Sender::Inside).collect(),
            outside: port.led(kind, Sender::Outside).collect(),
            sources: port.sources.clone().filter(|_| kind.is_external()),
        }
    }
}
