//! Which mark stands for which port. A mark is whole: IPVS compares all of its bits, so ours begin with a byte of their own and replace
//! whatever a packet had. Only first packets of connections from inside to external frontends bear one.

use std::collections::{BTreeMap, BTreeSet};

use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{ServicePlan, ServicePortPlan};

use super::part::needs_mark;

const FIRST: u32 = 0x5e00_0001;
const LAST: u32 = 0x5eff_ffff;

/// Whether a mark can be one of ours.
pub(super) fn is_ours(mark: u32) -> bool {
    (FIRST..=LAST).contains(&mark)
}

type Port = (Box<str>, Protocol, Option<Family>);

fn port_of(port: &ServicePortPlan) -> Port {
    (port.name.clone(), port.protocol, port.frontends.first().map(|rule| rule.frontend.family()))
}

#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    of: BTreeMap<ObjectKey, BTreeMap<Port, u32>>,
    taken: BTreeSet<u32>,
    /// Where the search for a free one begins.
    next: u32,
}

/// The marks of one Service's ports.
pub(super) struct Marking<'m>(Option<&'m BTreeMap<Port, u32>>);

impl Marking<'_> {
    pub(super) fn of(&self, port: &ServicePortPlan) -> Option<u32> {
        if needs_mark(port) { self.0?.get(&port_of(port)).copied() } else { None }
    }
}

impl Marks {
    /// Gives each port of the Service that needs one a mark, and takes back those of others. A port keeps what it has, or else gets what
    /// `standing` has for one of its frontends, if that is free.
    pub(super) fn assign(
        &mut self,
        key: &ObjectKey,
        service: Option<&ServicePlan>,
        standing: &BTreeMap<Frontend, u32>,
    ) -> Marking<'_> {
        let mut before = self.of.remove(key).unwrap_or_default();
        let ports = service.into_iter().flat_map(|service| &service.ports).filter(|port| needs_mark(port));
        let mut after = BTreeMap::new();
        let mut new = Vec::new();
        for port in ports {
            match before.remove(&port_of(port)) {
                Some(mark) => drop(after.insert(port_of(port), mark)),
                None => new.push(port),
            }
        }
        for mark in before.into_values() {
            self.taken.remove(&mark);
        }
        for port in new {
            let stands = port.frontends.iter().find_map(|rule| standing.get(&rule.frontend)).copied();
            let mark =
                stands.filter(|mark| is_ours(*mark) && !self.taken.contains(mark)).unwrap_or_else(|| self.free());
            self.taken.insert(mark);
            after.insert(port_of(port), mark);
        }
        if after.is_empty() {
            return Marking(None);
        }
        Marking(Some(self.of.entry(key.clone()).or_insert(after)))
    }

    /// Marks that stand for something of others, so that no port gets them.
    pub(super) fn reserve(&mut self, marks: impl IntoIterator<Item = u32>) {
        self.taken.extend(marks);
    }

    fn free(&mut self) -> u32 {
        let mut mark = self.next.clamp(FIRST, LAST);
        while self.taken.contains(&mark) {
            mark = if mark == LAST { FIRST } else { mark + 1 };
        }
        self.next = mark + 1;
        mark
    }
}
