//! What the kernel should hold for the whole plan, and how it gets there from what it holds. Pure.
//!
//! It gets there in two strides, since nothing of IPVS is undone by itself. The first adds what is wanted and keeps new connections from
//! what is not: weight 0 for a destination, refusal for a frontend. The second, which the cleaner takes when what was asked just before is
//! answered, removes the rest; with a destination its connections end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use stead_sys::ipvs::{Change, Name};

use super::{
    element::Element,
    options::Holds,
    part::{Part, VirtualServer},
};

/// What is wanted.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) servers: BTreeMap<Name, VirtualServer>,
    /// With how many parts want it.
    pub(super) elements: BTreeMap<Element, usize>,
    pub(super) held: BTreeMap<IpAddr, usize>,
}

/// What the kernel holds that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) servers: BTreeMap<Name, VirtualServer>,
    pub(super) elements: BTreeSet<Element>,
    pub(super) held: BTreeSet<IpAddr>,
}

/// What has to be looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    servers: BTreeSet<Name>,
    elements: BTreeSet<Element>,
    held: BTreeSet<IpAddr>,
}

/// One stride. Elements are removed before others are added, and with them; addresses come before servers and go after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stride {
    pub(super) remove: Vec<Element>,
    pub(super) add: Vec<Element>,
    pub(super) hold: Vec<IpAddr>,
    pub(super) servers: Vec<Change>,
    pub(super) release: Vec<IpAddr>,
}

impl Program {
    pub(super) fn add(&mut self, part: &Part) {
        self.servers.extend(part.servers.iter().map(|(name, server)| (*name, server.clone())));
        part.elements.iter().for_each(|element| *self.elements.entry(*element).or_default() += 1);
        part.held.iter().for_each(|address| *self.held.entry(*address).or_default() += 1);
    }

    pub(super) fn holds(&self) -> Holds {
        let first = Element::Lent(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match self.elements.range(first..).next() {
            Some((Element::Lent(IpAddr::V4(_)), _)) => Holds::External,
            _ => Holds::Virtual,
        }
    }

    pub(super) fn remove(&mut self, part: &Part) {
        part.servers.keys().for_each(|name| drop(self.servers.remove(name)));
        part.elements.iter().for_each(|element| lower(&mut self.elements, *element));
        part.held.iter().for_each(|address| lower(&mut self.held, *address));
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Touched {
    pub(super) fn add(&mut self, part: &Part) {
        self.servers.extend(part.servers.keys());
        self.elements.extend(&part.elements);
        self.held.extend(&part.held);
    }

    pub(super) fn all(program: &Program, standing: &Standing) -> Self {
        Self {
            servers: program.servers.keys().chain(standing.servers.keys()).copied().collect(),
            elements: program.elements.keys().chain(&standing.elements).copied().collect(),
            held: program.held.keys().chain(&standing.held).copied().collect(),
        }
    }
}

impl Standing {
    /// The first stride of what is touched; afterwards the kernel holds what this says, if it refuses nothing.
    pub(super) fn approach(&mut self, program: &Program, touched: &Touched) -> Stride {
        let mut stride = Stride::default();
        for address in &touched.held {
            if program.held.contains_key(address) && self.held.insert(*address) {
                stride.hold.push(*address);
            }
        }
        for element in &touched.elements {
            self.approach_element(program, *element, &mut stride);
        }
        for name in &touched.servers {
            let (wanted, stands) = (program.servers.get(name), self.servers.get_mut(name));
            match (wanted, stands) {
                (Some(wanted), Some(stands)) => approach_server(*name, wanted, stands, &mut stride.servers),
                (Some(wanted), None) => {
                    let mut stands = VirtualServer { server: wanted.server.clone(), destinations: BTreeMap::new() };
                    stride.servers.push(Change::AddServer(*name, wanted.server.clone()));
                    approach_server(*name, wanted, &mut stands, &mut stride.servers);
                    self.servers.insert(*name, stands);
                }
                // By frontend new ones are refused; those by mark get none, since nobody is marked.
                (None, _) => {}
            }
        }
        stride
    }

    /// A frontend that departs stays ours until its server is gone, and is refused meanwhile.
    fn approach_element(&mut self, program: &Program, element: Element, stride: &mut Stride) {
        let is_wanted = program.elements.contains_key(&element);
        match (element, is_wanted) {
            (_, true) => {
                if self.elements.insert(element) {
                    stride.add.push(element);
                }
                // It may have been about to depart.
                if let Element::Frontend(frontend) = element {
                    self.approach_refusal(program, Element::Refused(frontend), stride);
                }
            }
            (Element::Frontend(frontend), false) if self.elements.contains(&element) => {
                let refused = Element::Refused(frontend);
                if self.elements.insert(refused) {
                    stride.add.push(refused);
                }
            }
            (Element::Refused(frontend), false) if self.departs(program, Element::Frontend(frontend)) => {}
            (_, false) => {
                if self.elements.remove(&element) {
                    stride.remove.push(element);
                }
            }
        }
    }

    fn approach_refusal(&mut self, program: &Program, refused: Element, stride: &mut Stride) {
        if !program.elements.contains_key(&refused) && self.elements.remove(&refused) {
            stride.remove.push(refused);
        }
    }

    fn departs(&self, program: &Program, element: Element) -> bool {
        self.elements.contains(&element) && !program.elements.contains_key(&element)
    }

    /// The second stride: all that is not wanted goes.
    pub(super) fn leave(&mut self, program: &Program) -> Stride {
        let mut stride = Stride::default();
        self.servers.retain(|name, stands| {
            let Some(wanted) = program.servers.get(name) else {
                stride.servers.push(Change::DeleteServer(*name));
                return false;
            };
            stands.destinations.retain(|address, _| {
                let stays = wanted.destinations.contains_key(address);
                if !stays {
                    stride.servers.push(Change::DeleteDestination(*name, *address));
                }
                stays
            });
            true
        });
        self.elements.retain(|element| {
            let stays = program.elements.contains_key(element);
            if !stays {
                stride.remove.push(*element);
            }
            stays
        });
        self.held.retain(|address| {
            let stays = program.held.contains_key(address);
            if !stays {
                stride.release.push(*address);
            }
            stays
        });
        stride
    }
}

/// Destinations come before others lose their weight.
fn approach_server(name: Name, wanted: &VirtualServer, stands: &mut VirtualServer, changes: &mut Vec<Change>) {
    if stands.server != wanted.server {
        stands.server = wanted.server.clone();
        changes.push(Change::SetServer(name, wanted.server.clone()));
    }
    for (address, weight) in &wanted.destinations {
        if !stands.destinations.contains_key(address) {
            changes.push(Change::AddDestination(name, *address, *weight));
        }
    }
    let weigh = |address: &SocketAddr| wanted.destinations.get(address).copied().unwrap_or(0);
    for (address, weight) in &mut stands.destinations {
        if *weight != weigh(address) {
            *weight = weigh(address);
            changes.push(Change::SetDestination(name, *address, *weight));
        }
    }
    for (address, weight) in &wanted.destinations {
        stands.destinations.entry(*address).or_insert(*weight);
    }
}

impl Stride {
    pub(super) fn operations(&self) -> usize {
        self.remove.len() + self.add.len() + self.hold.len() + self.servers.len() + self.release.len()
    }
}
