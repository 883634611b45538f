//! Which connections must be forgotten: those that go where their frontend no longer leads. Pure; reading and deleting is the data plane's.
//!
//! It is a security property: an address that left a Service may belong to a stranger tomorrow, and an entry in the kernel's table of
//! connections would go on delivering there. Connections to a backend that its frontend still has are never named here.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_sys::conntrack::{Entry, Status};

/// What has to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// All Services, and what is left of earlier ones in the service ranges.
    pub everything: bool,
    pub services: BTreeSet<ObjectKey>,
    /// Frontends that no Service has any more. One that has come back meanwhile is judged by what it has now.
    pub departed: BTreeSet<Frontend>,
}

impl Cleaning {
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn merge(&mut self, other: Self) {
        self.everything |= other.everything;
        self.services.extend(other.services);
        self.departed.extend(other.departed);
    }
}

/// Where frontends lead; connections to others are none of our business unless `ranges` has them.
#[derive(Clone, Debug, Default)]
pub struct Index {
    frontends: HashMap<Frontend, Vec<SocketAddr>>,
    /// Where a frontend that is not in the index is known to be nobody's.
    pub ranges: Vec<IpNet>,
}

impl Index {
    /// `frontend` leads to these backends and to no others.
    pub fn insert(&mut self, frontend: Frontend, backends: Vec<SocketAddr>) {
        self.frontends.insert(frontend, backends);
    }

    /// Whether entries of a family can be concerned at all.
    pub fn concerns(&self, family: Family) -> bool {
        self.frontends.keys().any(|frontend| frontend.family() == family)
            || self.ranges.iter().any(|range| Family::of(range.addr()) == family)
    }

    /// Whether the entry must go.
    ///
    /// A translated connection must if its frontend does not lead to its backend. One that is not translated must if a packet sent today
    /// would be translated or refused, and if the kernel would not find out by itself: TCP that was answered ends by itself.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        let destination = entry.original.destination;
        let address = destination.ip();
        let frontend = Frontend { address, protocol: entry.protocol, port: destination.port() };
        let backends = match self.frontends.get(&frontend) {
            Some(backends) => &backends[..],
            None if self.ranges.iter().any(|range| range.contains(&address)) => &[],
            None => return false,
        };
        if entry.status.has(Status::DESTINATION_NAT) {
            !backends.contains(&entry.reply.source)
        } else {
            entry.protocol != Protocol::Tcp || !entry.status.has(Status::SEEN_REPLY)
        }
    }
}
