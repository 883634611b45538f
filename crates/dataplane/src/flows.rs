//! Which connections must be forgotten: those that go where their frontend no longer leads. Pure; reading and deleting is the data plane's.
//!
//! It is a security property: an address that left a Service may belong to a stranger tomorrow, and an entry in the kernel's table of
//! connections would go on delivering there. Connections to a backend that its frontend still has are never named here.

use std::{collections::BTreeSet, net::SocketAddr};

use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_sys::conntrack::{Entry, Filter, Status};

/// What has to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// All Services, and what is left of earlier ones in the service ranges.
    pub everything: bool,
    pub services: BTreeSet<ObjectKey>,
    /// Frontends that no Service had any more. One that has come back meanwhile is judged by what it has now.
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

/// Where frontends lead.
pub trait Routes {
    /// Whether connections to `frontend` may go to `backend`. `None`: they are none of our business; `Some` with `false` also where it
    /// is known that the frontend is nobody's.
    fn leads(&self, frontend: &Frontend, backend: SocketAddr) -> Option<bool>;
}

/// What has to be read to see every entry to one of these frontends: one by one while they are few.
pub fn filters(frontends: &BTreeSet<Frontend>) -> Vec<Filter> {
    /// The kernel walks its whole table for each filter, which in a quiet table costs more than showing what is in it.
    const FEW: usize = 2;
    if frontends.len() <= FEW {
        let to = |frontend: &Frontend| Filter::To {
            protocol: frontend.protocol,
            destination: SocketAddr::new(frontend.address, frontend.port),
        };
        return frontends.iter().map(to).collect();
    }
    let concerns = |family: &Family| frontends.iter().any(|frontend| frontend.family() == *family);
    Family::ALL.into_iter().filter(concerns).map(Filter::Family).collect()
}

/// Whether the entry must go. `departed` are frontends that are nobody's unless `routes` knows them.
///
/// A translated connection must if its frontend does not lead to its backend. One that is not translated must if a packet sent today
/// would be translated or refused, and if the kernel would not find out by itself: TCP that was answered ends by itself.
pub fn is_stale(entry: &Entry, routes: &impl Routes, departed: &BTreeSet<Frontend>) -> bool {
    if entry.is_over {
        return false;
    }
    let destination = entry.original.destination;
    let frontend = Frontend { address: destination.ip(), protocol: entry.protocol, port: destination.port() };
    let leads = routes.leads(&frontend, entry.reply.source).or_else(|| departed.contains(&frontend).then_some(false));
    let Some(leads) = leads else { return false };
    if entry.status.has(Status::DESTINATION_NAT) {
        !leads
    } else {
        entry.protocol != Protocol::Tcp || !entry.status.has(Status::SEEN_REPLY)
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

    /// Virtual IP 10.96.0.1 over TCP and UDP; the rest of its range is nobody's.
    struct OneService;

    impl Routes for OneService {
        fn leads(&self, frontend: &Frontend, backend: SocketAddr) -> Option<bool> {
            match frontend.address.to_string().as_str() {
                "10.96.0.1" if frontend.port == 80 => Some(backend == socket("10.244.1.2:8080")),
                address => address.starts_with("10.96.7.").then_some(false),
            }
        }
    }

    fn is_stale(entry: &Entry) -> bool {
        let departed = BTreeSet::from([frontend(Protocol::Udp, "192.168.56.101:30080")]);
        super::is_stale(entry, &OneService, &departed)
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
            assert_eq!(is_stale(&entry(protocol, to, from, status)), expect, "{protocol} {to} at {from}");
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
        assert!(is_stale(&over));
        over.is_over = true;
        assert!(!is_stale(&over));
    }

    #[test]
    fn what_is_nobodys_goes_too() {
        assert!(is_stale(&entry(Protocol::Tcp, "10.96.7.7:80", "10.244.1.2:8080", TRANSLATED)));
        assert!(!is_stale(&entry(Protocol::Tcp, "10.97.7.7:80", "10.244.1.2:8080", TRANSLATED)));
    }

    #[test]
    fn few_frontends_are_read_one_by_one_and_many_together() {
        let few = BTreeSet::from(["10.96.0.1:80", "[fd56:96::1]:80"].map(|text| frontend(Protocol::Tcp, text)));
        assert_eq!(filters(&few).len(), 2);
        assert!(filters(&few).iter().all(|filter| matches!(filter, Filter::To { .. })));
        let mut many = few;
        many.insert(frontend(Protocol::Tcp, "10.96.0.1:81"));
        assert_eq!(filters(&many), Family::ALL.map(Filter::Family));
        assert_eq!(filters(&BTreeSet::new()), []);
    }
}
