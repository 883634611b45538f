//! Every rule of Services for every kind of client: what `decide` says, what the client saw, and what the servers counted.
//!
//! A cell is one rule, client, destination and protocol. All cells are tried and printed; a rule with fewer than all of them fails. SCTP
//! is spoken by raw chunks, since not every kernel has its sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use stead_dataplane::Scope;
use stead_model::{Family, Frontend, Protocol};
use stead_plan::{
    Arrival, Backend, DetectLocal, FrontendKind, FrontendRule, Lists, Packet, Plan, ServicePortPlan, TrafficPolicy,
    Verdict, decide,
};
use stead_sys::link::Route;
use stead_testbed::{Calls, Failure, Host, Lab, POD_RANGES, Tally};

use crate::{
    bench::Bench,
    limits::{Limit, protocols},
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    PodHere,
    PodElsewhere,
    Node,
    Outside,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    ClusterIp,
    NodePort,
    Balancer,
    External,
    UndefinedPort,
    NobodysIp,
}

const CLIENTS: [Client; 4] = [Client::PodHere, Client::PodElsewhere, Client::Node, Client::Outside];
const DESTINATIONS: [To; 6] =
    [To::ClusterIp, To::NodePort, To::Balancer, To::External, To::UndefinedPort, To::NobodysIp];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const CLUSTER: TrafficPolicy = TrafficPolicy::Cluster;
const LOCAL: TrafficPolicy = TrafficPolicy::Local;
/// A pod of either node that is no client.
const BOTH: &[(u8, u8)] = &[(1, 2), (2, 2)];
const THERE: &[(u8, u8)] = &[(2, 2)];

/// What the Service of a row is like.
struct Row {
    name: &'static str,
    internal: TrafficPolicy,
    external: TrafficPolicy,
    pods: &'static [(u8, u8)],
    sources: Option<Sources>,
    affinity: Option<Duration>,
}

/// Who may come in from outside.
#[derive(Clone, Copy)]
enum Sources {
    Pods,
    OutsideHost,
    Nobody,
}

const PLAIN: Row = Row { name: "", internal: CLUSTER, external: CLUSTER, pods: BOTH, sources: None, affinity: None };

fn rows() -> Vec<Row> {
    vec![
        Row { name: "policy Cluster", ..PLAIN },
        Row { name: "policy Local", internal: LOCAL, external: LOCAL, ..PLAIN },
        Row { name: "policy Local, none here", internal: LOCAL, external: LOCAL, pods: THERE, ..PLAIN },
        Row { name: "policy Local, none anywhere", internal: LOCAL, external: LOCAL, pods: &[], ..PLAIN },
        Row { name: "policy Cluster, none anywhere", pods: &[], ..PLAIN },
        Row { name: "internal policy Local", internal: LOCAL, ..PLAIN },
        Row { name: "external policy Local", external: LOCAL, ..PLAIN },
        Row { name: "for pods", sources: Some(Sources::Pods), ..PLAIN },
        Row { name: "for a host outside, Local", external: LOCAL, sources: Some(Sources::OutsideHost), ..PLAIN },
        Row { name: "for nobody", sources: Some(Sources::Nobody), ..PLAIN },
        Row { name: "a pod's own", internal: LOCAL, external: LOCAL, pods: &[(1, 1)], ..PLAIN },
        Row { name: "sticky", affinity: Some(Duration::from_secs(600)), ..PLAIN },
        Row { name: "sticky, policy Local", external: LOCAL, affinity: Some(Duration::from_secs(601)), ..PLAIN },
    ]
}

/// Addresses outside every range.
fn external(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => [198, 51, 100, number].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()].into(),
    }
}

const VIP: u8 = 1;
const NOBODYS: u8 = 77;
const NODE_PORT: u16 = 30080;

impl To {
    fn socket(self, bench: &Bench) -> SocketAddr {
        match self {
            Self::ClusterIp => bench.cluster_ip(VIP, 80),
            Self::NodePort => bench.node_port(NODE_PORT),
            Self::Balancer => SocketAddr::new(external(bench.family, 1), 80),
            Self::External => SocketAddr::new(external(bench.family, 2), 80),
            Self::UndefinedPort => bench.cluster_ip(VIP, 81),
            Self::NobodysIp => bench.cluster_ip(NOBODYS, 80),
        }
    }
}

impl Client {
    fn host(self, lab: &Lab) -> &Host {
        match self {
            Self::PodHere => lab.pod(1, 1),
            Self::PodElsewhere => lab.pod(2, 1),
            Self::Node => lab.node(1),
            Self::Outside => lab.outside(),
        }
    }

    fn arrival(self, pods_link: &'static str) -> Arrival<'static> {
        match self {
            Self::PodHere => Arrival::OnLink(pods_link),
            Self::Node => Arrival::FromNode,
            Self::PodElsewhere | Self::Outside => Arrival::OnLink("eth0"),
        }
    }
}

/// One port of a row's Service with every kind of frontend.
pub(crate) fn port(
    bench: &Bench,
    protocol: Protocol,
    policies: [TrafficPolicy; 2],
    pods: &[(u8, u8)],
) -> ServicePortPlan {
    let kinds = [
        (To::ClusterIp, FrontendKind::ClusterIp),
        (To::NodePort, FrontendKind::NodePort),
        (To::Balancer, FrontendKind::LoadBalancer),
        (To::External, FrontendKind::ExternalIp),
    ];
    let rule = |(to, kind): (To, FrontendKind)| {
        let socket = to.socket(bench);
        FrontendRule { frontend: Frontend { address: socket.ip(), protocol, port: socket.port() }, kind }
    };
    let mut frontends: Vec<_> = kinds.map(rule).into();
    frontends.sort_unstable();
    let backend = |(node, pod): &(u8, u8)| {
        let backend = bench.backend(*node, *pod);
        let is_both = backend.local && policies.contains(&LOCAL);
        Backend { lists: if is_both { Lists::Both } else { Lists::Cluster }, ..backend }
    };
    let mut backends: Vec<_> = pods.iter().map(backend).collect();
    backends.sort_unstable();
    let [internal_policy, external_policy] = policies;
    let name = protocol.to_string().into();
    ServicePortPlan {
        name,
        protocol,
        frontends,
        backends,
        internal_policy,
        external_policy,
        ..ServicePortPlan::default()
    }
}

fn ports(bench: &Bench, row: &Row) -> Vec<ServicePortPlan> {
    let ranges = row.sources.map(|sources| match sources {
        Sources::Pods => POD_RANGES.iter().copied().filter(|range| Family::of(range.addr()) == bench.family).collect(),
        Sources::OutsideHost => [bench.lab.outside().address(bench.family).into()].into(),
        Sources::Nobody => Box::default(),
    });
    let port = |protocol| ServicePortPlan {
        sources: ranges.clone(),
        affinity: row.affinity,
        ..port(bench, protocol, [row.internal, row.external], row.pods)
    };
    PROTOCOLS.map(port).into()
}

/// Ways to all destinations by the node under test.
pub(crate) fn route_by_node(bench: &Bench) {
    let addresses = [VIP, NOBODYS].map(|number| bench.virtual_ip(number)).into_iter();
    let externals = [1, 2].map(|number| external(bench.family, number));
    let by_node = bench.lab.node(1).address(bench.family);
    for address in addresses.chain(externals) {
        for host in [bench.lab.outside(), bench.lab.node(2)] {
            let route = Route { to: address.into(), via: Some(by_node), link: None };
            host.links().unwrap().replace_route(route).unwrap();
        }
    }
    // So that what the node sends there gets as far as its rules.
    let mut links = bench.lab.node(1).links().unwrap();
    let uplink = links.index("eth0").unwrap();
    for address in externals {
        links.replace_route(Route { to: address.into(), via: None, link: Some(uplink) }).unwrap();
    }
}

type Place = (Client, To, Protocol);

/// What a cell came to.
struct Cell {
    place: Place,
    verdict: String,
    tally: Tally,
    problem: Option<String>,
    /// Whether some answers cannot come back by the node.
    is_lossy: bool,
}

pub(crate) fn every_rule_holds_for_every_client(bench: &mut Bench) {
    route_by_node(bench);
    let other = bench.port(Protocol::Tcp, 9, None, &[(2, 1)]);
    bench.all("other", [other]);
    try_rows(bench, rows());
}

/// The same where pods are known by the links that they come in by, one each or one bridge for all, and no range of theirs is. Where the kernel has
/// br_netfilter the bridge shows the rules what it passes on between its ports.
pub(crate) fn pods_are_known_by_their_links(bench: &mut Bench) {
    if bench.lacks(Limit::LinksAreUnknown) {
        return;
    }
    route_by_node(bench);
    let other = bench.port(Protocol::Tcp, 9, None, &[(2, 1)]);
    bench.plan.settings.detect_local = DetectLocal::Prefix("pod".into());
    bench.all("other", [other]);
    let rows = || {
        let meant = ["policy Cluster", "policy Local", "external policy Local", "a pod's own"];
        rows().into_iter().filter(move |row| meant.contains(&row.name)).collect::<Vec<_>>()
    };
    try_rows(bench, rows());
    bench.bridge_pods(BRIDGE);
    bench.plan.settings.detect_local = DetectLocal::Bridge(BRIDGE.into());
    bench.apply(Scope::All);
    try_rows(bench, rows());
    // As container runtimes and bridge plugins set it up: what the bridge would switch passes the rules too.
    for family in ["iptables", "ip6tables"] {
        let node = bench.lab.node(1);
        if let Err(error) = node.set_sysctl(&format!("bridge.bridge-nf-call-{family}"), "1") {
            println!("not run: bridged packets that pass the rules; the kernel lacks br_netfilter ({error:#})");
            return;
        }
    }
    try_rows(bench, rows());
}

const BRIDGE: &str = "cni0";

fn try_rows(bench: &mut Bench, rows: Vec<Row>) {
    let (mut printed, mut problems) = (format!("pods: {:?}\n", bench.plan.settings.detect_local), 0);
    for row in rows {
        let ports = ports(bench, &row);
        bench.change("web", ports);
        let before = bench.answered();
        let cells = cells(bench, row.affinity, &every_place());
        assert_eq!(cells.len(), CLIENTS.len() * DESTINATIONS.len() * PROTOCOLS.len(), "every cell is tried");
        for Cell { place, verdict, tally, problem, .. } in &cells {
            let mark = problem.as_deref().unwrap_or("as decided");
            printed += &format!("{:30} {place:?}: {verdict}; {tally}: {mark}\n", row.name);
            problems += usize::from(problem.is_some());
        }
        let seen: usize = cells.iter().map(|cell| cell.tally.answered()).sum();
        let counted = bench.answered() - before;
        let is_lossy = cells.iter().any(|cell| cell.is_lossy);
        // Of sticky ones one more was asked in each cell.
        if counted < seen as u64 || (!is_lossy && row.affinity.is_none() && counted != seen as u64) {
            printed += &format!("{:30} servers counted {counted}, clients {seen}\n", row.name);
            problems += 1;
        }
        // A datagram from a port that was used before would go on as that flow went.
        bench.delete("web");
    }
    println!("{printed}");
    assert_eq!(problems, 0, "cells that are not as decided");
}

/// A Service that changes at random: after each change the kernel holds what a new process would put there, and a sample of packets goes
/// where it is decided.
pub(crate) fn any_change_leads_where_the_plan_says(bench: &mut Bench) {
    const STEPS: usize = 20;
    const SAMPLE: usize = 8;
    let seed = std::env::var("STEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    println!("STEAD_SEED={seed}");
    let mut random = Random(seed);
    route_by_node(bench);
    let other = bench.port(Protocol::Tcp, 9, None, &[(2, 1)]);
    bench.all("other", [other]);
    for step in 0..STEPS {
        let row = Row {
            name: "random",
            internal: random.pick(&[CLUSTER, LOCAL]),
            external: random.pick(&[CLUSTER, LOCAL]),
            pods: random.pick(&[&[], BOTH, THERE, &[(1, 1)], &[(1, 1), (1, 2), (2, 1), (2, 2)]]),
            sources: random.pick(&[
                None,
                None,
                None,
                Some(Sources::Pods),
                Some(Sources::OutsideHost),
                Some(Sources::Nobody),
            ]),
            affinity: random.pick(&[None, None, Some(Duration::from_secs(600))]),
        };
        let ports = ports(bench, &row);
        // A Service that goes in between is a change too; otherwise datagrams must not come from ports that were used before.
        bench.delete("web");
        bench.change("web", ports);
        let again = bench.another_plane().apply(&bench.plan, Scope::All).unwrap();
        assert_eq!(again.operations, 0, "step {step} of seed {seed}");
        let sample = (0..SAMPLE).map(|_| (random.pick(&CLIENTS), random.pick(&DESTINATIONS), random.pick(&PROTOCOLS)));
        let places: Vec<_> = sample.collect();
        for Cell { place, verdict, tally, problem, .. } in cells(bench, row.affinity, &places) {
            assert_eq!(problem, None, "step {step} of seed {seed}, {place:?}: {verdict}; {tally}");
        }
    }
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        among[(mixed ^ (mixed >> 31)) as usize % among.len()]
    }
}

fn every_place() -> Vec<Place> {
    let mut places = Vec::new();
    for client in CLIENTS {
        for to in DESTINATIONS {
            places.extend(PROTOCOLS.map(|protocol| (client, to, protocol)));
        }
    }
    places
}

fn cells(bench: &Bench, affinity: Option<Duration>, places: &[Place]) -> Vec<Cell> {
    /// Conversations at once.
    const AT_ONCE: usize = 16;
    let pods_link = bench.pods_link;
    let asked = Asked { lab: &bench.lab, family: bench.family, plan: &bench.plan, limits: bench.limits };
    let places: Vec<_> = places.iter().map(|place| (*place, place.1.socket(bench))).collect();
    let mut cells = Vec::new();
    for chunk in places.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asking: Vec<_> = chunk
                .iter()
                .map(|((client, to, protocol), socket)| {
                    let place = (*client, *to, *protocol);
                    scope.spawn(move || cell(asked, affinity, place, client.arrival(pods_link), *socket))
                })
                .collect();
            cells.extend(asking.into_iter().map(|asked| asked.join().unwrap()));
        });
    }
    cells
}

/// What of a bench threads may share.
#[derive(Clone, Copy)]
struct Asked<'a> {
    lab: &'a Lab,
    family: Family,
    plan: &'a Plan,
    limits: &'static [Limit],
}

fn cell(
    Asked { lab, family, plan, limits }: Asked<'_>,
    affinity: Option<Duration>,
    place: Place,
    arrival: Arrival<'_>,
    socket: SocketAddr,
) -> Cell {
    /// Of those that nobody answers.
    const SILENCE: Duration = Duration::from_millis(300);
    let (client, _, protocol) = place;
    let host = client.host(lab);
    let source = host.address(family);
    let destination = Frontend { address: socket.ip(), protocol, port: socket.port() };
    let packet = Packet { source, arrival, destination };
    let verdict = match decide(plan, &packet) {
        Verdict::To { .. } if !protocols(limits).contains(&protocol) => Verdict::Refuse,
        verdict => verdict,
    };
    let is_relayed = limits.contains(&Limit::SourceIsLost);
    // EPERM: what the own host's rules do not let out never leaves `send`.
    let unsent = |tally: &Tally| protocol != Protocol::Tcp && tally.all_failed(Failure::Other(1));
    let silent = |count| host.call(protocol, socket, Calls { timeout: SILENCE, ..Calls::of(count) });
    let (text, tally, problem, is_lossy) = match &verdict {
        Verdict::Pass => {
            let tally = silent(2);
            let problem = (tally.answered() > 0).then(|| "answered".to_owned());
            ("pass".to_owned(), tally, problem, false)
        }
        Verdict::Refuse => {
            let tally = host.call(protocol, socket, Calls::of(2));
            let is_so = tally.all_failed(Failure::Refused) || unsent(&tally);
            ("refuse".to_owned(), tally, (!is_so).then(|| "not refused".to_owned()), false)
        }
        Verdict::Drop => {
            let tally = silent(2);
            let is_so = tally.all_failed(Failure::TimedOut) || unsent(&tally);
            ("drop".to_owned(), tally, (!is_so).then(|| "not dropped".to_owned()), false)
        }
        Verdict::To { backends, masquerade, .. } => {
            let name = |backend: &Backend| {
                let is_it = |pod: &&Host| pod.address(family) == backend.address.ip();
                lab.pods().find(is_it).map_or_else(String::new, |pod| pod.name().to_owned())
            };
            // What another node's pod is sent with its sender's address is answered past this node.
            let comes_back = |backend: &Backend| {
                is_relayed
                    || backend.local
                    || masquerade.applies(source, backend)
                    || matches!(client, Client::PodHere | Client::Node)
            };
            let expect: BTreeSet<String> =
                backends.iter().filter(|each| comes_back(each)).map(|each| name(each)).collect();
            let is_lossy = expect.len() < backends.len();
            // Of several packets that find an entry whose backend is gone, one may end the entry that another has made in its place:
            // so the first is asked alone.
            if affinity.is_some() && !is_lossy {
                host.call(protocol, socket, Calls::of(1));
            }
            // So many that one of them is left out by chance once in 100,000 cells; where most of them time out, once in 30,000 of two.
            let calls = Calls::of(12 * backends.len().max(2));
            let tally = if is_lossy { silent(16) } else { host.call(protocol, socket, calls) };
            let sources: BTreeMap<_, _> =
                backends.iter().map(|each| (name(each), is_relayed || masquerade.applies(source, each))).collect();
            let problem = check_served(&tally, &expect, affinity, is_lossy)
                .or_else(|| check_sources(&tally, source, &sources, client));
            let names = sources.keys().cloned().collect::<Vec<_>>().join(" ");
            (format!("to {names}, {masquerade:?}"), tally, problem, is_lossy)
        }
    };
    Cell { place, verdict: text, tally, problem, is_lossy }
}

fn check_served(
    tally: &Tally,
    expect: &BTreeSet<String>,
    affinity: Option<Duration>,
    is_lossy: bool,
) -> Option<String> {
    let servers: BTreeSet<String> = tally.answers.keys().cloned().collect();
    let are_all = match affinity {
        Some(_) => servers.is_subset(expect) && (servers.len() == 1 || is_lossy),
        None if is_lossy && expect.len() > 1 => servers.is_subset(expect) && !servers.is_empty(),
        None => servers == *expect,
    };
    let is_whole = tally.failed() == 0 || (is_lossy && tally.failures.keys().eq([&Failure::TimedOut]));
    (!are_all || !is_whole).then(|| format!("expected {expect:?}"))
}

/// The servers saw the client's own address, or not, as it was decided; a node's own address may be what it is masqueraded with.
fn check_sources(
    tally: &Tally,
    source: IpAddr,
    masqueraded: &BTreeMap<String, bool>,
    client: Client,
) -> Option<String> {
    let answered = || tally.answers.keys().filter_map(|server| masqueraded.get(server));
    let is_kept = tally.sources.contains(&source);
    let is_wrong = match client {
        _ if tally.answers.is_empty() => false,
        Client::Node => false,
        _ if answered().all(|masqueraded| *masqueraded) => is_kept,
        _ if answered().all(|masqueraded| !*masqueraded) => tally.sources != [source].into(),
        _ => !is_kept,
    };
    is_wrong.then(|| "another source".to_owned())
}
