//! The behaviour suite: each case takes a [`Bench`] and holds for every data plane, in both families.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use stead_dataplane::{Departed, Scope, Verified};
use stead_model::Protocol;
use stead_plan::{FrontendKind, ServicePortPlan, TrafficPolicy};
use stead_testbed::{Calls, Failure, Host};

pub(crate) use crate::balance::*;
pub(crate) use crate::matrix::{
    any_change_leads_where_the_plan_says, every_rule_holds_for_every_client, pods_are_known_by_their_links,
};
use crate::{
    bench::{Bench, POD_PORT, eventually},
    limits::{self, Limit},
    matrix,
};

pub(crate) const ALL_PODS: [(u8, u8); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];
const REFUSED_TRIES: usize = 3;

/// Makes a test of every case for a plane, over IPv4 and IPv6.
#[macro_export]
macro_rules! behaviour_tests {
    ($open:expr) => {
        $crate::behaviour_tests!($open, $crate::limits::NONE);
    };
    ($open:expr, $limits:expr) => {
        $crate::behaviour_tests!($open, $limits;
            connections_are_spread_and_pods_keep_their_source
            clients_from_outside_are_masqueraded
            what_nobody_serves_is_refused
            a_pod_reaches_itself
            node_ports_answer_from_everywhere
            datagrams_are_spread_and_refused
            weights_are_kept
            turns_go_round
            a_client_address_has_its_backend
            a_flow_has_its_backend_on_every_node
            a_client_sticks_to_its_backend
            an_affinity_ends_with_its_backend_and_with_its_time
            scaling_under_load_loses_nothing
            a_service_that_comes_and_goes_is_served_or_refused
            a_restart_is_not_noticed
            a_restart_removes_what_the_plan_lacks
            what_somebody_else_removed_comes_back
            connections_of_departed_backends_are_forgotten
            a_draining_backend_finishes_what_it_has
            connections_of_departed_services_are_forgotten
            a_datagram_flow_that_was_there_first_finds_the_service
            every_rule_holds_for_every_client
            pods_are_known_by_their_links
            any_change_leads_where_the_plan_says
            connections_that_a_change_forbids_are_cut
            removal_leaves_nothing
        );
    };
    ($open:expr; $($case:ident)*) => { $crate::behaviour_tests!($open, $crate::limits::NONE; [] $($case)*); };
    ($open:expr, $limits:expr; $($case:ident)*) => { $crate::behaviour_tests!($open, $limits; [] $($case)*); };
    // With attributes for each case.
    ($open:expr; $attributes:tt $($case:ident)*) => {
        $crate::behaviour_tests!($open, $crate::limits::NONE; $attributes $($case)*);
    };
    ($open:expr, $limits:expr; $attributes:tt $($case:ident)*) => {
        mod v4 {
            $($crate::behaviour_tests!(@ $attributes fn $case() {
                $crate::behaviour::$case(&mut $crate::bench::Bench::limited($open, stead_model::Family::V4, $limits));
            });)*
        }
        mod v6 {
            $($crate::behaviour_tests!(@ $attributes fn $case() {
                $crate::behaviour::$case(&mut $crate::bench::Bench::limited($open, stead_model::Family::V6, $limits));
            });)*
        }
    };
    (@ [$(#[$attribute:meta])*] $case:item) => { #[test] $(#[$attribute])* $case };
}

fn assert_refused(host: &Host, protocol: Protocol, to: SocketAddr) {
    /// EPERM: a datagram that the own host's rules reject does not leave `send`.
    const REJECTED: Failure = Failure::Other(1);
    /// Before the client's retransmission.
    const AT_ONCE: Duration = Duration::from_millis(900);
    /// A loaded machine may be late now and then; refusals that never come are late each time.
    const ROUNDS: usize = 5;
    let mut slowest = Duration::MAX;
    for _ in 0..ROUNDS {
        let tally = host.call(protocol, to, Calls::of(REFUSED_TRIES));
        let refused = tally.all_failed(Failure::Refused) || (protocol == Protocol::Udp && tally.all_failed(REJECTED));
        assert!(refused, "{} to {to}/{protocol}: {tally}", host.name());
        slowest = slowest.min(tally.slowest);
        if slowest < AT_ONCE {
            return;
        }
    }
    panic!("{} to {to}/{protocol}: refused, but after {slowest:?} at best", host.name());
}

fn assert_served(host: &Host, protocol: Protocol, to: SocketAddr, servers: &[&str]) {
    let tally = host.call(protocol, to, Calls::of(60));
    assert_eq!((tally.failed(), tally.servers()), (0, servers.to_vec()), "{} to {to}/{protocol}: {tally}", host.name());
}

pub(crate) fn connections_are_spread_and_pods_keep_their_source(bench: &mut Bench) {
    bench.all("web", [bench.web(&ALL_PODS[1..])]);
    let (to, family) = (bench.cluster_ip(1, 80), bench.family);
    let servers = ["pod-1-2", "pod-2-1", "pod-2-2"];
    let pod = bench.pod(1, 1);
    let tally = pod.call(Protocol::Tcp, to, Calls::of(300));
    assert_eq!((tally.failed(), tally.servers()), (0, servers.to_vec()), "{tally}");
    // 100 expected, standard deviation 8.
    assert!(tally.answers.values().all(|count| (60..=140).contains(count)), "{tally}");
    let source = if bench.lacks(Limit::SourceIsLost) { bench.lab.node(1) } else { pod };
    // Where it is the node's, any of its addresses.
    let is_kept = tally.sources == [source.address(family)].into();
    assert!(is_kept || (bench.lacks(Limit::SourceIsLost) && !tally.sources.contains(&pod.address(family))), "{tally}");
    assert_served(bench.lab.node(1), Protocol::Tcp, to, &servers);
}

pub(crate) fn clients_from_outside_are_masqueraded(bench: &mut Bench) {
    bench.all("web", [bench.web(&[(2, 1)])]);
    let (outside, node) = (bench.lab.outside(), bench.lab.node(1));
    bench.route_to_virtual_ip(outside, 1);
    for client in [outside, node] {
        let tally = client.call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(20));
        assert_eq!((tally.failed(), tally.servers()), (0, vec!["pod-2-1"]), "{tally}");
        assert_eq!(tally.sources, [node.address(bench.family)].into(), "{}: {tally}", client.name());
        if bench.lacks(Limit::SourceIsLost) {
            continue;
        }
        // A port drawn at random may be one that the backend still remembers in TIME_WAIT. That one of these is taken is possible.
        let keeps_port = || {
            let mut flow = client.open(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap();
            flow.ask().unwrap().source.port() == flow.local().unwrap().port()
        };
        assert!((0..3).any(|_| keeps_port()), "{}: a free source port is not kept", client.name());
    }
}

pub(crate) fn what_nobody_serves_is_refused(bench: &mut Bench) {
    let empty = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
        let mut port = bench.port(protocol, 1, Some(30080), &[]);
        port.name = protocol.to_string().into();
        port
    });
    bench.all("empty", empty);
    bench.change("web", [bench.port(Protocol::Tcp, 2, Some(30081), &[(1, 1)])]);
    let clients = [bench.pod(1, 2), bench.lab.node(1)];
    for client in clients {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_refused(client, protocol, bench.cluster_ip(1, 80));
            assert_refused(client, protocol, bench.node_port(30080));
            // No such port of the virtual IP, no such virtual IP.
            assert_refused(client, protocol, bench.cluster_ip(2, 81));
            assert_refused(client, protocol, bench.cluster_ip(77, 80));
        }
        assert_served(client, Protocol::Tcp, bench.cluster_ip(2, 80), &["pod-1-1"]);
    }
    assert_refused(bench.lab.outside(), Protocol::Tcp, bench.node_port(30080));
    bench.delete("web");
    for client in [bench.pod(1, 2), bench.lab.node(1)] {
        assert_refused(client, Protocol::Tcp, bench.cluster_ip(2, 80));
    }
    assert_refused(bench.lab.outside(), Protocol::Tcp, bench.node_port(30081));
}

pub(crate) fn a_pod_reaches_itself(bench: &mut Bench) {
    let ports = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
        let mut port = bench.port(protocol, 1, Some(30080), &[(1, 1)]);
        port.name = protocol.to_string().into();
        port
    });
    bench.all("web", ports);
    let pod = bench.pod(1, 1);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for to in [bench.cluster_ip(1, 80), bench.node_port(30080)] {
            let tally = pod.call(protocol, to, Calls::of(10));
            assert_eq!((tally.failed(), tally.servers()), (0, vec!["pod-1-1"]), "{tally}");
            assert!(!tally.sources.contains(&pod.address(bench.family)), "{tally}");
        }
    }
}

pub(crate) fn node_ports_answer_from_everywhere(bench: &mut Bench) {
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    let servers = ["pod-1-1", "pod-1-2", "pod-2-1", "pod-2-2"];
    let to = bench.node_port(30080);
    for client in [bench.lab.outside(), bench.lab.far(), bench.pod(1, 1), bench.pod(2, 1), bench.lab.node(1)] {
        let tally = client.call(Protocol::Tcp, to, Calls::of(80));
        assert_eq!((tally.failed(), tally.servers()), (0, servers.to_vec()), "{}: {tally}", client.name());
        let own = client.address(bench.family);
        let is_node = client.name() == "node1";
        assert!(is_node || !tally.sources.contains(&own), "{}: {tally}", client.name());
    }
    // The port goes, and what is behind it stays.
    bench.change("web", [bench.web(&ALL_PODS)]);
    assert_refused(bench.lab.outside(), Protocol::Tcp, to);
    assert_served(bench.pod(1, 1), Protocol::Tcp, bench.cluster_ip(1, 80), &servers);
}

pub(crate) fn datagrams_are_spread_and_refused(bench: &mut Bench) {
    bench.all("dns", [bench.port(Protocol::Udp, 1, Some(30053), &ALL_PODS)]);
    let servers = ["pod-1-1", "pod-1-2", "pod-2-1", "pod-2-2"];
    for client in [bench.pod(1, 1), bench.lab.node(1)] {
        assert_served(client, Protocol::Udp, bench.cluster_ip(1, 80), &servers);
        assert_refused(client, Protocol::Tcp, bench.cluster_ip(1, 80));
    }
    assert_served(bench.lab.outside(), Protocol::Udp, bench.node_port(30053), &servers);
    bench.change("dns", [bench.port(Protocol::Udp, 1, Some(30053), &[])]);
    for client in [bench.pod(1, 1), bench.lab.node(1)] {
        assert_refused(client, Protocol::Udp, bench.cluster_ip(1, 80));
    }
    assert_refused(bench.lab.outside(), Protocol::Udp, bench.node_port(30053));
}

pub(crate) fn a_client_sticks_to_its_backend(bench: &mut Bench) {
    let mut port = bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS);
    port.affinity = Some(Duration::from_secs(3));
    bench.all("web", [port]);
    for client in [bench.pod(1, 1), bench.lab.node(1), bench.lab.outside()] {
        let to = if client.name() == "outside" { bench.node_port(30080) } else { bench.cluster_ip(1, 80) };
        if bench.lacks(Limit::NewcomersMayScatter) {
            client.ask(Protocol::Tcp, to).unwrap();
        }
        let tally = client.call(Protocol::Tcp, to, Calls::of(60));
        assert_eq!((tally.failed(), tally.servers().len()), (0, 1), "{}: {tally}", client.name());
    }
    // Every connection extends it.
    let (pod, to) = (bench.pod(1, 1), bench.cluster_ip(1, 80));
    let calls = Calls { concurrency: 1, pace: Duration::from_millis(400), ..Calls::of(12) };
    let tally = pod.call(Protocol::Tcp, to, calls);
    assert_eq!((tally.failed(), tally.servers().len()), (0, 1), "{tally}");
}

pub(crate) fn an_affinity_ends_with_its_backend_and_with_its_time(bench: &mut Bench) {
    let mut port = bench.web(&ALL_PODS);
    port.affinity = Some(Duration::from_secs(60));
    bench.all("web", [port.clone()]);
    let to = bench.cluster_ip(1, 80);
    let first = bench.pod(1, 1).ask(Protocol::Tcp, to).unwrap().server;
    let address = bench.lab.pods().find(|pod| pod.name() == first).unwrap().address(bench.family);
    port.backends.retain(|backend| backend.address.ip() != address);
    bench.change("web", [port.clone()]);
    let next = bench.pod(1, 1).ask(Protocol::Tcp, to).unwrap().server;
    let tally = bench.pod(1, 1).call(Protocol::Tcp, to, Calls::of(20));
    assert_eq!((tally.failed(), tally.servers()), (0, vec![&*next]), "{tally}");
    assert_ne!(next, first);

    port.affinity = Some(Duration::from_secs(1));
    bench.change("web", [port]);
    let second = bench.pod(1, 1).ask(Protocol::Tcp, to).unwrap().server;
    eventually("another backend after the affinity's time", || {
        // The time itself is what is tested: nothing but waiting ends it.
        std::thread::sleep(Duration::from_millis(1100));
        bench.pod(1, 1).ask(Protocol::Tcp, to).unwrap().server != second
    });
}

pub(crate) fn scaling_under_load_loses_nothing(bench: &mut Bench) {
    let time = Duration::from_secs(2) * stead_testbed::patience();
    bench.all("web", [bench.web(&ALL_PODS)]);
    let calls = Calls { concurrency: 4, pace: Duration::from_millis(1), ..Calls::of(usize::MAX) };
    let load = bench.pod(1, 1).load(Protocol::Tcp, bench.cluster_ip(1, 80), calls).unwrap();
    let (mut operations, mut steps) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < time {
        steps += 1;
        let (pods, draining) = ALL_PODS.split_at([1, 3, 2, 4][steps % 4]);
        operations += bench.change("web", [bench.web_draining(pods, draining)]).operations;
    }
    let tally = load.stop().unwrap();
    assert!(
        steps > 20 && operations > steps && tally.answered() > 100,
        "{steps} steps, {operations} operations, {tally}"
    );
    assert_eq!(tally.failed(), 0, "{tally}");
}

pub(crate) fn a_service_that_comes_and_goes_is_served_or_refused(bench: &mut Bench) {
    bench.all("web", [bench.web(&[(2, 1)])]);
    let calls = Calls { concurrency: 2, ..Calls::of(usize::MAX) };
    let load = bench.pod(1, 1).load(Protocol::Tcp, bench.cluster_ip(1, 80), calls).unwrap();
    /// Each may leave somebody waiting, but few do.
    const WAITING: usize = 5;
    // Where each is a run of a program, fewer have to do.
    let times = if bench.lacks(Limit::SourceIsLost) { 25 } else { 100 };
    for _ in 0..times {
        bench.delete("web");
        bench.change("web", [bench.web(&[(2, 1)])]);
        // The first packet after the change finds the Service, and the load has time to find it too.
        assert_eq!(bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap().server, "pod-2-1");
    }
    let served = load.stop().unwrap();
    let timed_out = served.failures.get(&Failure::TimedOut).copied().unwrap_or(0);
    // Who has sent all it has to say when the Service goes cannot be told; anybody who still has something to send is.
    assert!(served.answered() > 0 && timed_out <= WAITING, "{served}");
    assert_served(bench.pod(1, 1), Protocol::Tcp, bench.cluster_ip(1, 80), &["pod-2-1"]);
}

pub(crate) fn a_restart_is_not_noticed(bench: &mut Bench) {
    let mut sticky = bench.port(Protocol::Tcp, 2, None, &ALL_PODS);
    sticky.affinity = Some(Duration::from_secs(600));
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    bench.change("sticky", [sticky]);
    let to = bench.cluster_ip(1, 80);
    let stuck_to = bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(2, 80)).unwrap().server;
    let mut flow = bench.pod(1, 1).open(Protocol::Tcp, to).unwrap();
    let server = flow.ask().unwrap().server;
    let calls = Calls { concurrency: 4, ..Calls::of(usize::MAX) };
    let load = bench.pod(1, 1).load(Protocol::Tcp, to, calls).unwrap();
    for _ in 0..5 {
        bench.restart();
        let applied = bench.apply(Scope::All);
        assert_eq!((applied.operations, bench.forgotten), (0, 0), "{applied:?}");
        assert_eq!(flow.ask().unwrap().server, server);
    }
    let tally = load.stop().unwrap();
    assert!(tally.failed() == 0 && tally.answered() > 10, "{tally}");
    assert_eq!(bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(2, 80)).unwrap().server, stuck_to);
}

pub(crate) fn a_restart_removes_what_the_plan_lacks(bench: &mut Bench) {
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    bench.change("other", [bench.port(Protocol::Udp, 2, Some(30053), &ALL_PODS[..2])]);
    let mut flow = bench.lab.outside().open(Protocol::Udp, bench.node_port(30053)).unwrap();
    flow.ask().unwrap();
    bench.restart();
    bench.plan.services.remove(&stead_model::ObjectKey::new("default", "other"));
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS[2..])]);
    assert_refused(bench.pod(1, 1), Protocol::Udp, bench.cluster_ip(2, 80));
    assert_eq!(flow.ask(), Err(Failure::Refused));
    assert_served(bench.pod(1, 1), Protocol::Tcp, bench.cluster_ip(1, 80), &["pod-2-1", "pod-2-2"]);
    assert_served(bench.lab.outside(), Protocol::Tcp, bench.node_port(30080), &["pod-2-1", "pod-2-2"]);
}

pub(crate) fn what_somebody_else_removed_comes_back(bench: &mut Bench) {
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    assert_eq!(bench.plane.verify().unwrap(), Verified::Intact);
    bench.restart();
    bench.plane.remove().unwrap();
    // The plane that wrote the rules knows nothing of the removal.
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    let mut meddler = bench.another_plane();
    meddler.remove().unwrap();
    assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { operations } if operations > 0));
    assert_eq!(bench.plane.verify().unwrap(), Verified::Intact);
    let servers = ["pod-1-1", "pod-1-2", "pod-2-1", "pod-2-2"];
    assert_served(bench.pod(1, 1), Protocol::Tcp, bench.cluster_ip(1, 80), &servers);
    // A change meets the same, and heals it on its way.
    meddler.remove().unwrap();
    bench.change("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS[..2])]);
    assert_served(bench.lab.outside(), Protocol::Tcp, bench.node_port(30080), &servers[..2]);
}

pub(crate) fn connections_of_departed_backends_are_forgotten(bench: &mut Bench) {
    let protocols = limits::protocols(bench.limits);
    let ports = |bench: &Bench, pods: &[(u8, u8)]| {
        let port = |protocol: &Protocol| {
            let mut port = bench.port(*protocol, 1, Some(30080), pods);
            port.name = protocol.to_string().into();
            port
        };
        protocols.iter().map(port).collect::<Vec<_>>()
    };
    bench.all("web", ports(bench, &[(1, 2), (2, 1)]));
    let untouched = bench.port(Protocol::Udp, 2, None, &[(2, 1)]);
    bench.change("other", [untouched]);
    let mut other = bench.pod(1, 1).open(Protocol::Udp, bench.cluster_ip(2, 80)).unwrap();
    other.ask().unwrap();

    // Flows until there are some to either backend, over each way in.
    let ways = [
        (Protocol::Tcp, true),
        (Protocol::Udp, true),
        (Protocol::Udp, false),
        (Protocol::Sctp, true),
        (Protocol::Sctp, false),
    ];
    for (protocol, inside) in ways.into_iter().filter(|(protocol, _)| protocols.contains(protocol)) {
        let (client, to) = match inside {
            true => (bench.pod(1, 1), bench.cluster_ip(1, 80)),
            false => (bench.lab.outside(), bench.node_port(30080)),
        };
        let mut flows = Vec::new();
        eventually("flows to both backends", || {
            let mut flow = client.open(protocol, to).unwrap();
            let server = flow.ask().unwrap().server;
            flows.push((server, flow));
            ["pod-1-2", "pod-2-1"].iter().all(|name| flows.iter().any(|(server, _)| server == name))
        });
        let left = bench.backend(2, 1);
        let departing = ports(bench, &[(1, 2)]);
        let applied = bench.change("web", departing);
        let departed = applied.departed.values().next().cloned().unwrap_or_default();
        let expect = protocols.iter().map(|protocol| (*protocol, left.address)).collect();
        assert_eq!(departed, Departed { backends: expect, ..Departed::default() });
        let gone = flows.iter().filter(|(server, _)| server == "pod-2-1").count();
        assert!(bench.forgotten >= gone, "{}, {gone} of {}", bench.forgotten, flows.len());
        for (server, flow) in &mut flows {
            let stays = server == "pod-1-2";
            match (flow.ask(), protocol) {
                (Ok(answer), _) if stays => assert_eq!(&answer.server, server),
                // A datagram goes to who is left, a connection is not known there.
                (Ok(answer), Protocol::Udp | Protocol::Sctp) => assert_eq!(answer.server, "pod-1-2"),
                (Err(Failure::Reset), Protocol::Tcp) if !stays => {}
                (result, _) => panic!("{protocol} flow to {server}: {result:?}"),
            }
        }
        let back = ports(bench, &[(1, 2), (2, 1)]);
        bench.change("web", back);
    }
    assert_eq!(other.ask().unwrap().server, "pod-2-1");
}

pub(crate) fn a_draining_backend_finishes_what_it_has(bench: &mut Bench) {
    bench.all("web", [bench.web(&[(2, 1)])]);
    let mut flow = bench.pod(1, 1).open(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap();
    flow.ask().unwrap();
    let applied = bench.change("web", [bench.web_draining(&[(2, 2)], &[(2, 1)])]);
    assert!(bench.forgotten == 0 && applied.departed.is_empty(), "{applied:?}");
    assert_eq!(flow.ask().unwrap().server, "pod-2-1");
    assert_served(bench.pod(1, 1), Protocol::Tcp, bench.cluster_ip(1, 80), &["pod-2-2"]);
    bench.restart();
    bench.all("web", [bench.web_draining(&[(2, 2)], &[(2, 1)])]);
    assert_eq!(flow.ask().unwrap().server, "pod-2-1");
    bench.change("web", [bench.web(&[(2, 2)])]);
    assert_eq!(bench.forgotten, 1);
    assert_eq!(flow.ask(), Err(Failure::Reset));
}

pub(crate) fn connections_of_departed_services_are_forgotten(bench: &mut Bench) {
    let protocols = limits::protocols(bench.limits).iter().copied();
    for protocol in protocols.filter(|protocol| *protocol != Protocol::Tcp) {
        bench.all("web", [bench.port(protocol, 1, Some(30080), &[(2, 1)])]);
        let mut inside = bench.pod(1, 1).open(protocol, bench.cluster_ip(1, 80)).unwrap();
        let mut outside = bench.lab.outside().open(protocol, bench.node_port(30080)).unwrap();
        let served = [&mut inside, &mut outside].map(|flow| flow.ask().unwrap().server);
        assert_eq!(served, ["pod-2-1", "pod-2-1"]);
        bench.delete("web");
        assert_eq!(bench.forgotten, 2);
        assert_eq!(inside.ask(), Err(Failure::Refused));
        // The node itself has nobody at that port; of SCTP it knows nothing at all.
        let nobody = if protocol == Protocol::Sctp { Failure::Unreachable } else { Failure::Refused };
        assert_eq!(outside.with_timeout(Duration::from_millis(500)).ask(), Err(nobody));
    }
}

pub(crate) fn a_datagram_flow_that_was_there_first_finds_the_service(bench: &mut Bench) {
    bench.all("other", [bench.port(Protocol::Tcp, 9, None, &[(2, 1)])]);
    let mut early = bench.lab.outside().open(Protocol::Udp, bench.node_port(30080)).unwrap();
    assert_eq!(early.ask(), Err(Failure::Refused));
    bench.change("dns", [bench.port(Protocol::Udp, 1, Some(30080), &[(2, 1)])]);
    assert_eq!(early.ask().unwrap().server, "pod-2-1");
}

pub(crate) fn connections_that_a_change_forbids_are_cut(bench: &mut Bench) {
    use TrafficPolicy::{Cluster, Local};
    matrix::route_by_node(bench);
    let all = [(1, 2), (2, 2)];
    let protocols = limits::protocols(bench.limits);
    let ports = |bench: &Bench, policies, sources: Option<IpAddr>| {
        let port = |protocol: &Protocol| {
            let sources = sources.map(|address| [address.into()].into());
            ServicePortPlan { sources, ..matrix::port(bench, *protocol, policies, &all) }
        };
        protocols.iter().map(port).collect::<Vec<_>>()
    };
    let open = ports(bench, [Cluster; 2], None);
    let to = |open: &[ServicePortPlan], kind| {
        let rule = open[0].frontends.iter().find(|rule| rule.kind == kind).unwrap();
        rule.frontend.socket()
    };
    let (virtual_ip, balancer) = (to(&open, FrontendKind::ClusterIp), to(&open, FrontendKind::LoadBalancer));
    let clients = [(true, virtual_ip), (true, balancer), (false, balancer)];
    let outside = bench.lab.outside().address(bench.family);
    let pod = bench.pod(1, 1).address(bench.family);
    // What becomes of the Service, and who goes on then: by whether the client is a pod, where it goes, and whether the server is here.
    type GoesOn = fn(bool, bool, bool) -> bool;
    let changes: [([TrafficPolicy; 2], Option<IpAddr>, GoesOn); 4] = [
        ([Cluster, Local], None, |is_pod, _, is_here| is_pod || is_here),
        ([Local, Cluster], None, |_, is_virtual_ip, is_here| !is_virtual_ip || is_here),
        ([Cluster; 2], Some(outside), |is_pod, is_virtual_ip, _| is_virtual_ip || !is_pod),
        ([Cluster; 2], Some(pod), |is_pod, is_virtual_ip, _| is_virtual_ip || is_pod),
    ];
    for (policies, sources, goes_on) in changes {
        let open = ports(bench, [Cluster; 2], None);
        bench.all("web", open);
        let mut flows = Vec::new();
        for (is_pod, to) in clients {
            let client = if is_pod { bench.pod(1, 1) } else { bench.lab.outside() };
            for protocol in protocols.iter().copied() {
                let from = flows.len();
                eventually("flows to both backends", || {
                    let mut flow = client.open(protocol, to).unwrap();
                    let server = flow.ask().unwrap().server;
                    flows.push((is_pod, to, protocol, server, flow.with_timeout(Duration::from_millis(500))));
                    ["pod-1-2", "pod-2-2"].iter().all(|name| flows[from..].iter().any(|flow| flow.3 == *name))
                });
            }
        }
        let changed = ports(bench, policies, sources);
        bench.change("web", changed);
        for (is_pod, to, protocol, server, flow) in &mut flows {
            let answer = flow.ask();
            let is_same = answer.as_ref().is_ok_and(|answer| answer.server == *server);
            // A datagram of a flow that was cut may be taken for a new one, and be sent to who may have it.
            let is_anew = *protocol != Protocol::Tcp && answer.as_ref().is_ok_and(|answer| answer.server != *server);
            let is_meant = goes_on(*is_pod, *to == virtual_ip, server == "pod-1-2");
            let is_right = if is_meant { is_same } else { is_anew || answer.is_err() };
            assert!(is_right, "{policies:?} {sources:?}: pod {is_pod} to {to}/{protocol} at {server}: {answer:?}");
        }
    }
}

pub(crate) fn removal_leaves_nothing(bench: &mut Bench) {
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &ALL_PODS)]);
    let to = bench.node_port(30080);
    assert_served(bench.lab.outside(), Protocol::Tcp, to, &["pod-1-1", "pod-1-2", "pod-2-1", "pod-2-2"]);
    bench.plane.remove().unwrap();
    assert_refused(bench.lab.outside(), Protocol::Tcp, to);
    bench.plane.remove().unwrap();
    let direct = SocketAddr::new(bench.pod(2, 1).address(bench.family), POD_PORT);
    assert_served(bench.pod(1, 1), Protocol::Tcp, direct, &["pod-2-1"]);
}
