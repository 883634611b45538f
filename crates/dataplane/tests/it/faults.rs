//! Every system call of the plane fails, one after the other and in every way: afterwards the kernel is as planned, and whatever was said to
//! be done is done.
//!
//! The life of a plane is short here: it adopts what another left, changes a Service, forgets the connections of the backend that left, and
//! puts right what somebody removed. It is lived again for each call and each fault; `STEAD_FAULT_SHARE` says which part of them in percent.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard},
};

use stead_dataplane::{Class, DataPlane, Error, NfTables, Scope, Verified};
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, Lists, Plan, ServicePlan, ServicePortPlan};
use stead_sys::{
    conntrack::{Conntrack, Entry},
    link::{Links, Route},
    namespace::Namespace,
    netlink::{self, Bus, Kernel, Socket, Wait, Wire},
    nft::{BaseChain, Chain, Change, Hook, Name, Nftables, Statement, Table, Transaction, Verdict},
};

/// What errno.h has.
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const ENFILE: i32 = 23;
const ENOSPC: i32 = 28;
const ENOBUFS: i32 = 105;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The request does not reach the kernel.
    Unsent(i32),
    /// The kernel does as it is asked; its answer is lost.
    Lost(i32),
    /// The kernel does as it is asked; its answer comes after one has stopped waiting.
    Late(i32),
    /// The kernel refuses the request, of a batch the first change.
    Refused(i32),
    /// The same, of a batch as a whole.
    Aborted(i32),
    /// The kernel says of its answer that it mixes two states.
    Mixed,
}

const FAULTS: [Fault; 14] = [
    Fault::Unsent(ENOBUFS),
    Fault::Unsent(EAGAIN),
    Fault::Unsent(EINTR),
    Fault::Lost(ENOBUFS),
    Fault::Lost(ENOMEM),
    Fault::Late(EAGAIN),
    Fault::Late(EINTR),
    Fault::Refused(EBUSY),
    Fault::Refused(ENOSPC),
    Fault::Refused(ENFILE),
    Fault::Refused(EAGAIN),
    Fault::Aborted(ENOMEM),
    Fault::Aborted(EBUSY),
    Fault::Mixed,
];

/// Which calls fail, and how; shared by all sockets of a plane.
#[derive(Debug, Default)]
struct Script {
    calls: usize,
    /// The first of those that fail, and how many do.
    fails: Option<(usize, usize, Fault)>,
    /// Whether anything has failed.
    has_failed: bool,
}

impl Script {
    /// How this call fails, if it does and can.
    fn next(&mut self, can: impl Fn(Fault) -> bool) -> Option<Fault> {
        let call = self.calls;
        self.calls += 1;
        let (first, count, fault) = self.fails?;
        let fails = (first..first + count).contains(&call) && can(fault);
        self.has_failed |= fails;
        fails.then_some(fault)
    }
}

/// A socket that fails by the script.
#[derive(Debug)]
struct Faulty {
    kernel: Kernel,
    script: Arc<Mutex<Script>>,
    /// Answers that the kernel did not give.
    made_up: VecDeque<Vec<u8>>,
}

impl Faulty {
    fn socket(namespace: &Namespace, script: &Arc<Mutex<Script>>) -> Socket {
        let kernel = Kernel::open_in(Bus::Netfilter, namespace).unwrap();
        Socket::over(Box::new(Self { kernel, script: Arc::clone(script), made_up: VecDeque::new() }))
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Wire for Faulty {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_of_sending = |fault| matches!(fault, Fault::Unsent(_) | Fault::Refused(_) | Fault::Aborted(_));
        let fault = self.script().next(is_of_sending);
        match fault {
            Some(Fault::Unsent(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Refused(errno) | Fault::Aborted(errno)) if !is_batch(bytes) => {
                let answers = sequences(bytes).into_iter().flat_map(|sequence| acknowledgement(sequence, errno));
                self.made_up.push_back(answers.collect());
                Ok(())
            }
            Some(Fault::Refused(errno)) => {
                let sequences = sequences(bytes);
                let refused = acknowledgement(sequences[1], errno);
                let end = acknowledgement(sequences[sequences.len() - 1], 0);
                self.made_up.push_back([refused, end].concat());
                Ok(())
            }
            Some(Fault::Aborted(errno)) => {
                self.made_up.push_back(acknowledgement(sequences(bytes)[0], errno));
                Ok(())
            }
            _ => self.kernel.send(bytes),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
        if let Some(answer) = self.made_up.pop_front() {
            buffer[..answer.len()].copy_from_slice(&answer);
            return Ok(answer.len());
        }
        if wait == Wait::No {
            return self.kernel.receive(buffer, wait);
        }
        let is_of_receiving = |fault| matches!(fault, Fault::Lost(_) | Fault::Late(_) | Fault::Mixed);
        let fault = self.script().next(is_of_receiving);
        match fault {
            Some(Fault::Late(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Lost(errno)) => {
                self.kernel.receive(buffer, wait)?;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(Fault::Mixed) => {
                let length = self.kernel.receive(buffer, wait)?;
                mix(&mut buffer[..length]);
                Ok(length)
            }
            _ => self.kernel.receive(buffer, wait),
        }
    }
}

/// Where each message of a datagram begins.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut start = 0;
    while let Some(length) = bytes.get(start..start + 4) {
        starts.push(start);
        start += (u32::from_ne_bytes(length.try_into().unwrap()) as usize).next_multiple_of(4);
    }
    starts
}

/// Whether it begins with `NFNL_MSG_BATCH_BEGIN`.
fn is_batch(bytes: &[u8]) -> bool {
    bytes[4..6] == 16_u16.to_ne_bytes()
}

fn sequences(bytes: &[u8]) -> Vec<u32> {
    let sequence = |start: usize| u32::from_ne_bytes(bytes[start + 8..start + 12].try_into().unwrap());
    starts(bytes).into_iter().map(sequence).collect()
}

/// `NLMSG_ERROR` about a request, of which no more than the header is repeated.
fn acknowledgement(sequence: u32, errno: i32) -> Vec<u8> {
    const ERROR: u16 = 2;
    let mut bytes = Vec::new();
    bytes.extend(36_u32.to_ne_bytes());
    bytes.extend(ERROR.to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend((-errno).to_ne_bytes());
    bytes.extend([0; 16]);
    bytes
}

/// Sets NLM_F_DUMP_INTR in every message.
fn mix(bytes: &mut [u8]) {
    for start in starts(bytes) {
        bytes[start + 6] |= 0x10;
    }
}

const NODE: &str = "192.168.56.101";
const VIRTUAL_IP: &str = "10.96.0.1";

/// Has the kernel keep track of connections also where our table is gone.
fn track(namespace: &Namespace) {
    let name = Name { family: Family::V4, table: "track" };
    let base = Some(BaseChain { hook: Hook::Output, priority: -100 });
    let rule = vec![Statement::NotTranslated, Statement::Verdict(Verdict::Accept)];
    let changes = vec![
        Change::AddTable(name, Table { comment: "".into() }),
        Change::AddChain(name, Chain { name: "out".into(), base }),
        Change::AddRule(name, "out".into(), rule),
    ];
    Nftables::open_in(namespace).unwrap().commit(&Transaction { changes }, None).unwrap();
}

fn virtual_ip() -> SocketAddr {
    format!("{VIRTUAL_IP}:53").parse().unwrap()
}

/// A node, and two backends over UDP on it.
struct Node {
    namespace: Namespace,
    backends: [UdpSocket; 2],
    conntrack: Conntrack,
    key: ObjectKey,
}

impl Node {
    fn new() -> Self {
        let namespace = Namespace::create().unwrap();
        let mut links = Links::open_in(&namespace).unwrap();
        let loopback = links.index("lo").unwrap();
        links.add_address(loopback, format!("{NODE}/32").parse().unwrap()).unwrap();
        links.replace_route(Route { to: "10.96.0.0/16".parse().unwrap(), via: None, link: Some(loopback) }).unwrap();
        track(&namespace);
        // A flow that nobody answers is forgotten after half a minute, unless told otherwise.
        let timeout = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
        namespace.run(|| std::fs::write(timeout, "3600").unwrap()).unwrap();
        let backends = [(); 2].map(|()| namespace.run(|| UdpSocket::bind((NODE, 0)).unwrap()).unwrap());
        let conntrack = Conntrack::open_in(&namespace).unwrap();
        Self { namespace, backends, conntrack, key: ObjectKey::new("default", "dns") }
    }

    /// The plan with these of the backends, and with as many Services more.
    fn plan(&self, backends: &[usize], more: u16) -> Plan {
        let frontend = |port| Frontend { address: VIRTUAL_IP.parse().unwrap(), protocol: Protocol::Udp, port };
        let backend = |number: &usize| {
            let address = self.backends[*number].local_addr().unwrap();
            Backend { address, local: true, lists: Lists::Cluster }
        };
        let mut backends: Vec<_> = backends.iter().map(backend).collect();
        backends.sort_unstable();
        let port = |port, backends: &[Backend]| ServicePortPlan {
            protocol: Protocol::Udp,
            frontends: vec![FrontendRule { frontend: frontend(port), kind: FrontendKind::ClusterIp }],
            backends: backends.to_vec(),
            ..ServicePortPlan::default()
        };
        let mut plan = Plan::default();
        plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap()];
        plan.settings.own_addresses = vec![NODE.parse().unwrap()];
        plan.services.insert(self.key.clone(), ServicePlan { ports: vec![port(53, &backends)] });
        for number in 0..more {
            let key = ObjectKey::new("default", format!("more-{number}"));
            plan.services.insert(key, ServicePlan { ports: vec![port(1000 + number, &backends)] });
        }
        plan
    }

    /// Makes flows through the virtual IP until both backends have one.
    fn fill(&mut self) {
        while self.flows() != [true, true] {
            self.ask();
        }
    }

    /// Sends one datagram to the virtual IP, from a port of its own.
    fn ask(&self) {
        let client = self.namespace.run(|| UdpSocket::bind((NODE, 0)).unwrap()).unwrap();
        client.send_to(b"?", virtual_ip()).unwrap();
    }

    /// Where flows to the virtual IP really go.
    fn leads(&mut self) -> BTreeSet<SocketAddr> {
        let mut leads = BTreeSet::new();
        let each =
            |entry: Entry| leads.extend((entry.original.destination == virtual_ip()).then_some(entry.reply.source));
        self.conntrack.read(each).unwrap();
        leads
    }

    /// Which backends have a flow.
    fn flows(&mut self) -> [bool; 2] {
        let leads = self.leads();
        self.backends.each_ref().map(|backend| leads.contains(&backend.local_addr().unwrap()))
    }

    fn has_untranslated(&mut self) -> bool {
        self.leads().contains(&virtual_ip())
    }

    fn assert_as_planned(&self, plan: &Plan, what: &str) {
        let again = NfTables::open_in(&self.namespace).unwrap().apply(plan, Scope::All).unwrap();
        assert_eq!(again.operations, 0, "{what}: the kernel is not as planned though the plane said so");
    }

    /// One life of a plane with this fault. Whether anything failed, and how many calls it took.
    fn live(&mut self, fails: Option<(usize, usize, Fault)>) -> (bool, usize) {
        let what = format!("{fails:?}");
        let (before, after) = (self.plan(&[0, 1], 3), self.plan(&[0], 3));
        let mut predecessor = NfTables::open_in(&self.namespace).unwrap();
        predecessor.apply(&before, Scope::All).unwrap();
        self.fill();

        let script = Arc::new(Mutex::new(Script { fails, ..Script::default() }));
        let nft = Nftables::over(Faulty::socket(&self.namespace, &script));
        let conntrack = Conntrack::over(Faulty::socket(&self.namespace, &script));
        let mut plane = NfTables::over(nft, conntrack);
        let adopted = self.plan(&[0, 1], 2);
        until_done(&what, || plane.apply(&adopted, Scope::All));
        self.assert_as_planned(&adopted, &what);
        until_done(&what, || plane.cleaner().clean());
        let changed: BTreeSet<ObjectKey> = before.services.keys().cloned().collect();
        until_done(&what, || plane.apply(&adopted, Scope::Services(&changed)));
        until_done(&what, || plane.apply(&after, Scope::Services(&changed)));
        self.assert_as_planned(&after, &what);
        until_done(&what, || plane.cleaner().clean());
        assert_eq!(self.flows(), [true, false], "{what}: flows to the backend that stays and to the one that left");

        let removal = Change::DeleteTable(Name { family: Family::V4, table: "stead" });
        Nftables::open_in(&self.namespace).unwrap().commit(&Transaction { changes: vec![removal] }, None).unwrap();
        self.ask();
        assert!(self.has_untranslated(), "{what}");
        // One that fails may have put it right all the same; then the next finds nothing.
        until_done(&what, || plane.verify());
        assert_eq!(until_done(&what, || plane.verify()), Verified::Intact, "{what}");
        self.assert_as_planned(&after, &what);
        until_done(&what, || plane.cleaner().clean());
        assert_eq!(self.flows(), [true, false], "{what}: after it was put right");
        assert!(!self.has_untranslated(), "{what}: a flow of when there were no rules is there still");
        let script = script.lock().unwrap();
        (script.has_failed, script.calls)
    }
}

/// Does it as the proxy does: again after a failure that may pass.
fn until_done<T>(what: &str, mut step: impl FnMut() -> Result<T, Error>) -> T {
    const TRIES: usize = 8;
    for _ in 1..TRIES {
        match step() {
            Ok(done) => return done,
            Err(error) => assert_ne!(error.class(), Class::Permanent, "{what}: {error:?}"),
        }
    }
    step().unwrap_or_else(|error| panic!("{what}: still {error:?} after {TRIES} tries"))
}

#[test]
fn whatever_call_fails_the_kernel_is_as_planned_afterwards() {
    let share = std::env::var("STEAD_FAULT_SHARE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut node = Node::new();
    let (has_failed, calls) = node.live(None);
    assert!(!has_failed && calls > 60, "{calls} calls");
    let (mut lives, mut failures, mut due) = (0, 0, 0);
    for first in 0..calls {
        for fault in FAULTS {
            for count in [1, 3] {
                due += share;
                if due < 100 {
                    continue;
                }
                due -= 100;
                lives += 1;
                failures += usize::from(node.live(Some((first, count, fault))).0);
            }
        }
    }
    println!("{lives} lives of {calls} calls, {failures} of them with a failure");
    assert!(failures * 4 > lives, "{failures} of {lives} lives had a failure");
}

#[test]
fn a_full_set_is_read_again_and_made_room_in() {
    let node = Node::new();
    let mut plane = NfTables::open_in(&node.namespace).unwrap();
    let plan = node.plan(&[0, 1], 3);
    plane.apply(&plan, Scope::All).unwrap();
    let Plan { mut services, settings } = node.plan(&[0, 1], 4);
    let output = node.namespace.run(|| fill_by_hand("frontends")).unwrap();
    assert!(output.contains("Too many open files"), "the set is full: {output}");
    let added = ObjectKey::new("default", "more-3");
    services.retain(|key, _| *key == added || plan.services.contains_key(key));
    let plan = Plan { services, settings };
    plane.apply(&plan, Scope::Services(&BTreeSet::from([added]))).unwrap();
    node.assert_as_planned(&plan, "a full set");
}

/// Adds elements of nobody's to a set of ours until there is no room; what `nft` says then.
fn fill_by_hand(set: &str) -> String {
    let add = |numbers: std::ops::Range<u32>| {
        let element = |number| format!("10.96.77.{} . tcp . {} : 1:{number:x}", number % 250, number / 250 + 1);
        let elements: Vec<_> = numbers.map(element).collect();
        nft(&format!("add element ip stead {set} {{ {} }}", elements.join(", ")))
    };
    let (mut number, mut step) = (0, 1000);
    loop {
        let said = add(number..number + step);
        match (said.is_empty(), step) {
            (true, _) => number += step,
            (false, 1) => return said,
            (false, _) => step = step.div_ceil(10),
        }
    }
}

fn nft(text: &str) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn what_overruns_is_told_and_the_next_request_is_answered() {
    let node = Node::new();
    let mut plane = NfTables::open_in(&node.namespace).unwrap();
    plane.apply(&node.plan(&[0, 1], 300), Scope::All).unwrap();
    let script = Arc::new(Mutex::new(Script { fails: Some((1, 1, Fault::Lost(ENOBUFS))), ..Script::default() }));
    let mut nft = Nftables::over(Faulty::socket(&node.namespace, &script));
    let name = Name { family: Family::V4, table: "stead" };
    // A dump of several datagrams is given up at its first.
    let lost = nft.rules(name).unwrap_err();
    assert!(matches!(&lost, stead_sys::nft::Error::Netlink(netlink::Error::Receive { .. })), "{lost:?}");
    assert!(!nft.rules(name).unwrap().is_empty());
}
