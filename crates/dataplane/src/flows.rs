//! Which connections must be forgotten: those that go where their frontend no longer leads. Pure; reading and deleting is the data plane's.
//!
//! It is a security property: an address that left a Service may belong to a stranger tomorrow, and an entry in the kernel's table of
//! connections would go on delivering there. Connections to a backend that its frontend still has are never named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_sys::conntrack::{Entry, Filter, Status};

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
    frontends: BTreeMap<Frontend, Vec<SocketAddr>>,
    /// Where a frontend that is not in the index is known to be nobody's.
    pub ranges: Vec<IpNet>,
}

impl Index {
    /// Connections to `frontend` may go to these addresses and to no others.
    pub fn insert(&mut self, frontend: Frontend, backends: Vec<SocketAddr>) {
        self.frontends.insert(frontend, backends);
    }

    /// What has to be read to see every entry that may be concerned: frontends one by one while they are few.
    pub fn filters(&self) -> Vec<Filter> {
        /// The kernel's work for one filter is about a tenth of that for showing everything.
        const FEW: usize = 8;
        if self.ranges.is_empty() && self.frontends.len() <= FEW {
            let to = |frontend: &Frontend| Filter::To {
                protocol: frontend.protocol,
                destination: SocketAddr::new(frontend.address, frontend.port),
            };
            return self.frontends.keys().map(to).collect();
        }
        let concerns = |family: &Family| {
            self.frontends.keys().any(|frontend| frontend.family() == *family)
                || self.ranges.iter().any(|range| Family::of(range.addr()) == *family)
        };
        Family::ALL.into_iter().filter(concerns).map(Filter::Family).collect()
    }

    /// Whether the entry must go.
    ///
    /// A translated connection must if its frontend does not lead to its backend. One that is not translated must if a packet sent today
    /// would be translated or refused, and if the kernel would not find out by itself: TCP that was answered ends by itself.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        if entry.is_over {
            return false;
        }
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

#[cfg(test)]
mod tests {
    use stead_sys::conntrack::Tuple;

    use super::*;

    const TRANSLATED: Status = Status(Status::DESTINATION_NAT.0 | Status::SEEN_REPLY.0);

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn frontend(protocol: Protocol, text: &str) -> Frontend {
        Frontend { address: socket(text).ip(), protocol, port: socket(text).port() }
    }

    fn index() -> Index {
        let mut index = Index::default();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            index.insert(frontend(protocol, "10.96.0.1:80"), vec![socket("10.244.1.2:8080")]);
        }
        index.insert(frontend(Protocol::Udp, "192.168.56.101:30080"), Vec::new());
        index
    }

    fn entry(protocol: Protocol, to: &str, from: &str, status: Status) -> Entry {
        let client = socket("10.244.2.9:40000");
        Entry {
            protocol,
            original: Tuple { source: client, destination: socket(to) },
            reply: Tuple { source: socket(from), destination: client },
            zone: 0,
            status,
            is_over: false,
            id: None,
        }
    }

    #[test]
    fn connections_to_anything_but_a_backend_of_their_frontend_go() {
        let check = |protocol, to: &str, from: &str, status, expect: bool| {
            assert_eq!(index().is_stale(&entry(protocol, to, from, status)), expect, "{protocol} {to} at {from}");
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            check(protocol, "10.96.0.1:80", "10.244.1.2:8080", TRANSLATED, false);
            check(protocol, "10.96.0.1:80", "10.244.1.3:8080", TRANSLATED, true);
            check(protocol, "10.96.0.1:80", "10.244.1.2:8081", TRANSLATED, true);
            // Nothing is known of these.
            check(protocol, "10.96.0.1:81", "10.244.1.3:8080", TRANSLATED, false);
            check(protocol, "10.96.0.2:80", "10.244.1.3:8080", TRANSLATED, false);
            check(protocol, "10.244.1.3:8080", "10.244.1.3:8080", Status(0), false);
        }
        check(Protocol::Udp, "192.168.56.101:30080", "10.244.1.2:8080", TRANSLATED, true);
        check(Protocol::Tcp, "192.168.56.101:30080", "10.244.1.2:8080", TRANSLATED, false);
        // Not translated: as if there were no Service.
        check(Protocol::Udp, "10.96.0.1:80", "10.96.0.1:80", Status::SEEN_REPLY, true);
        check(Protocol::Tcp, "10.96.0.1:80", "10.96.0.1:80", Status(0), true);
        check(Protocol::Tcp, "10.96.0.1:80", "10.96.0.1:80", Status::SEEN_REPLY, false);
    }

    #[test]
    fn what_is_over_is_left_to_the_kernel() {
        let mut over = entry(Protocol::Tcp, "10.96.0.1:80", "10.244.1.3:8080", TRANSLATED);
        assert!(index().is_stale(&over));
        over.is_over = true;
        assert!(!index().is_stale(&over));
    }

    #[test]
    fn in_a_service_range_what_has_no_frontend_goes_too() {
        let index = Index { ranges: vec!["10.96.0.0/16".parse().unwrap()], ..index() };
        assert!(index.is_stale(&entry(Protocol::Tcp, "10.96.7.7:80", "10.244.1.2:8080", TRANSLATED)));
        assert!(!index.is_stale(&entry(Protocol::Tcp, "10.97.7.7:80", "10.244.1.2:8080", TRANSLATED)));
        assert_eq!(index.filters(), [Filter::Family(Family::V4)]);
    }

    #[test]
    fn few_frontends_are_read_one_by_one_and_many_together() {
        assert_eq!(index().filters().len(), 3);
        let mut many = index();
        (1..10).for_each(|port| many.insert(frontend(Protocol::Tcp, &format!("[fd56:96::1]:{port}")), Vec::new()));
        assert_eq!(many.filters(), Family::ALL.map(Filter::Family));
        assert_eq!(Index::default().filters(), []);
    }
}
