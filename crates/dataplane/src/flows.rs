//! Which connections must be forgotten: those that go where their frontend no longer leads. Pure; reading and deleting is the data plane's.
//!
//! It is a security property: an address that left a Service may belong to a stranger tomorrow, and an entry in the kernel's table of
//! connections would go on delivering there. Connections to a backend that their frontend still has are never named here.
//!
//! They are named in two ways that agree: one by one, by [`is_stale`], or together, by the [`patterns`] of a frontend over UDP. Over TCP
//! entries of connections that have ended must stay, which no pattern can say: while one stands its masqueraded port is given to nobody
//! else, and a backend that still has that port in TIME_WAIT would answer a new connection from it with anything but a SYN.

mod cleaner;
mod led;
mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

pub(crate) use cleaner::{Book, FlowCleaner, Leavings};
pub(crate) use led::{Led, Sender};
pub(crate) use ledger::{Ledger, Step, widened};
use stead_model::{Frontend, Protocol};
use stead_sys::conntrack::{Entry, Pattern, Status};

/// What has to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// All Services, and what is left of earlier ones in the service ranges.
    pub everything: bool,
    pub frontends: BTreeMap<Frontend, Suspects>,
}

/// Connections to one frontend that may have to go; what it has when they are judged decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// No Service had the frontend any more.
    pub departed: bool,
    /// It is new and not over TCP, so that clients may have been sending to it before.
    pub arrived: bool,
    /// Backends that it no longer led to.
    pub severed: BTreeSet<SocketAddr>,
    /// It no longer led certain senders where it led them, or let them in.
    pub by_sender: bool,
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
        for (frontend, suspects) in other.frontends {
            let ours = self.frontends.entry(frontend).or_default();
            ours.departed |= suspects.departed;
            ours.arrived |= suspects.arrived;
            ours.severed.extend(suspects.severed);
            ours.by_sender |= suspects.by_sender;
        }
    }

    /// Frontends led to `before`, and lead to `after`.
    pub(crate) fn compare(&mut self, before: BTreeMap<Frontend, Led>, mut after: BTreeMap<Frontend, Led>) {
        for (frontend, led) in before {
            let leads = after.remove(&frontend);
            let departed = leads.is_none();
            let leads = leads.unwrap_or_default();
            let severed = &led.outside - &leads.outside;
            let by_sender = !departed && (led.sources != leads.sources || severed != &led.inside - &leads.inside);
            if departed || by_sender || !severed.is_empty() {
                let suspects = self.frontends.entry(frontend).or_default();
                suspects.departed |= departed;
                suspects.by_sender |= by_sender;
                suspects.severed.extend(severed);
            }
        }
        // A client may already be sending to what is new.
        let arrived = after.into_keys().filter(|frontend| frontend.protocol != Protocol::Tcp);
        arrived.for_each(|frontend| self.frontends.entry(frontend).or_default().arrived = true);
    }

    pub fn departed(&mut self, frontend: Frontend) {
        self.frontends.entry(frontend).or_default().departed = true;
    }

    pub fn has_departed(&self, frontend: &Frontend) -> bool {
        self.frontends.get(frontend).is_some_and(|suspects| suspects.departed)
    }
}

/// Where frontends lead.
pub trait Routes {
    /// Whether connections from `source`, or from anywhere, to `frontend` may go to `backend`. `None`: they are none of our business;
    /// `Some` with `false` also where it is known that the frontend is nobody's.
    fn leads(&self, frontend: &Frontend, source: Option<IpAddr>, backend: SocketAddr) -> Option<bool>;

    /// Whether the frontend is somebody's.
    fn has(&self, frontend: &Frontend) -> bool;
}

/// What takes in all stale ones of the suspects of `frontend` and none that is not; `None` where the kernel cannot tell them from others.
pub fn patterns(frontend: &Frontend, suspects: &Suspects, routes: &impl Routes) -> Option<Vec<Pattern>> {
    if frontend.protocol != Protocol::Udp || suspects.by_sender {
        return None;
    }
    let all = Pattern::to(frontend.protocol, frontend.socket())?;
    let translated = all.with(Status::DESTINATION_NAT);
    let is_known = routes.has(frontend);
    let mut patterns = Vec::new();
    if suspects.departed && !is_known {
        patterns.push(translated);
    } else {
        let stale = suspects.severed.iter().filter(|backend| routes.leads(frontend, None, **backend) == Some(false));
        patterns.extend(stale.filter_map(|backend| translated.at(*backend)));
    }
    if suspects.departed || (suspects.arrived && is_known) {
        patterns.push(all.without(Status::DESTINATION_NAT));
    }
    Some(patterns)
}

/// Whether the entry must go. Frontends that have departed are nobody's unless `routes` knows them.
///
/// A translated connection must if its frontend does not lead to its backend. One that is not translated must if a packet sent today
/// would be translated or refused, and if the kernel would not find out by itself: TCP that was answered ends by itself.
pub fn is_stale(entry: &Entry, routes: &impl Routes, cleaning: &Cleaning) -> bool {
    if entry.is_over {
        return false;
    }
    let destination = entry.original.destination;
    let frontend = Frontend { address: destination.ip(), protocol: entry.protocol, port: destination.port() };
    let departed = || cleaning.has_departed(&frontend).then_some(false);
    let source = Some(entry.original.source.ip());
    let Some(leads) = routes.leads(&frontend, source, entry.reply.source).or_else(departed) else { return false };
    // IPVS translates without saying so in the status.
    let is_translated = entry.status.has(Status::DESTINATION_NAT) || entry.reply.source != destination;
    if is_translated { !leads } else { entry.protocol != Protocol::Tcp || !entry.status.has(Status::SEEN_REPLY) }
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

    /// Is led nowhere.
    const STRANGER: &str = "198.51.100.7:40000";

    /// Virtual IP 10.96.0.1 over TCP and UDP; the rest of its range is nobody's.
    struct OneService;

    impl Routes for OneService {
        fn leads(&self, frontend: &Frontend, source: Option<IpAddr>, backend: SocketAddr) -> Option<bool> {
            if self.has(frontend) {
                return Some(source != Some(socket(STRANGER).ip()) && backend == socket("10.244.1.2:8080"));
            }
            frontend.address.to_string().starts_with("10.96.7.").then_some(false)
        }

        fn has(&self, frontend: &Frontend) -> bool {
            frontend.socket() == socket("10.96.0.1:80")
        }
    }

    fn is_stale(entry: &Entry) -> bool {
        let mut cleaning = Cleaning::default();
        cleaning.departed(frontend(Protocol::Udp, "192.168.56.101:30080"));
        super::is_stale(entry, &OneService, &cleaning)
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
    fn who_may_not_come_any_more_is_cut() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut entry = entry(protocol, "10.96.0.1:80", "10.244.1.2:8080", TRANSLATED);
            assert!(!is_stale(&entry));
            entry.original.source = socket(STRANGER);
            assert!(is_stale(&entry));
        }
        let suspects = Suspects { by_sender: true, ..Suspects::default() };
        assert_eq!(patterns(&frontend(Protocol::Udp, "10.96.0.1:80"), &suspects, &OneService), None);
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
    fn patterns_name_what_was_severed_and_is_not_led_to_again() {
        const TRANSLATED: Status = Status::DESTINATION_NAT;
        let severed = |texts: &[&str]| Suspects {
            severed: texts.iter().map(|text| socket(text)).collect(),
            ..Suspects::default()
        };
        let check = |to: &str, suspects: &Suspects, expect: &dyn Fn(Pattern) -> Vec<Pattern>| {
            let found = patterns(&frontend(Protocol::Udp, to), suspects, &OneService).unwrap();
            assert_eq!(found, expect(Pattern::to(Protocol::Udp, socket(to)).unwrap()), "{to}");
        };
        let (kept, gone) = ("10.244.1.2:8080", "10.244.1.3:8080");
        let untranslated = |all: Pattern| all.without(TRANSLATED);
        let at_gone = |all: Pattern| all.with(TRANSLATED).at(socket(gone)).unwrap();
        check("10.96.0.1:80", &severed(&[kept, gone]), &|all| vec![at_gone(all)]);
        check("10.96.0.1:80", &severed(&[kept]), &|_| vec![]);
        // None of our business any more, unless it is known to have departed.
        check("192.168.56.101:30080", &severed(&[gone]), &|_| vec![]);
        let departed = Suspects { departed: true, ..severed(&[kept, gone]) };
        check("192.168.56.101:30080", &departed, &|all| vec![all.with(TRANSLATED), untranslated(all)]);
        // It has come back.
        check("10.96.0.1:80", &departed, &|all| vec![at_gone(all), untranslated(all)]);
        let arrived = Suspects { arrived: true, ..Suspects::default() };
        check("10.96.0.1:80", &arrived, &|all| vec![untranslated(all)]);
        check("192.168.56.101:30080", &arrived, &|_| vec![]);
    }

    #[test]
    fn no_pattern_takes_what_the_kernel_cannot_tell_from_others() {
        for (protocol, to) in [
            (Protocol::Udp, "[fd56:96::1]:80"),
            (Protocol::Sctp, "10.96.0.1:80"),
            // Ended connections stay.
            (Protocol::Tcp, "10.96.0.1:80"),
        ] {
            let departed = Suspects { departed: true, ..Suspects::default() };
            assert_eq!(patterns(&frontend(protocol, to), &departed, &OneService), None, "{protocol} {to}");
        }
    }
}
