//! How connections are spread: cases of the behaviour suite for algorithms and weights.

use std::collections::{BTreeMap, BTreeSet};

use stead_dataplane::Scope;
use stead_model::{Frontend, Protocol};
use stead_plan::{Algorithm, Arrival, Packet, Plan, ServicePortPlan, decide, maglev};
use stead_testbed::{Calls, Host};

use crate::{behaviour::ALL_PODS, bench::Bench};

/// The name of the pod that a packet certainly goes to.
fn certain(bench: &Bench, plan: &Plan, client: &Host, source_port: u16, protocol: Protocol, number: u8) -> String {
    let to = bench.cluster_ip(number, 80);
    let destination = Frontend { address: to.ip(), protocol, port: to.port() };
    let packet = Packet { source: client.address(bench.family), arrival: Arrival::OnLink("eth0"), destination };
    let address = decide(plan, &packet).certain(&packet, source_port).expect("a hash decides").address;
    let mut pods = bench.lab.pods();
    pods.find(|pod| pod.address(bench.family) == address.ip()).expect("a pod").name().to_owned()
}

pub(crate) fn weights_are_kept(bench: &mut Bench) {
    const WEIGHTS: [u8; 4] = [50, 30, 10, 10];
    const CALLS: usize = 600;
    let mut port = bench.web(&ALL_PODS);
    let addresses = ALL_PODS.map(|(node, pod)| bench.pod(node, pod).address(bench.family));
    port.weights = addresses.into_iter().map(Into::into).zip(WEIGHTS).collect();
    bench.all("web", [port.clone()]);
    let tally = bench.pod(1, 1).call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(CALLS));
    assert_eq!(tally.failed(), 0, "{tally}");
    let deviation = |((node, pod), weight): ((u8, u8), u8)| {
        let answers = tally.answers.get(bench.pod(node, pod).name()).copied().unwrap_or(0) as f64;
        let expected = CALLS as f64 * f64::from(weight) / 100.0;
        (answers - expected).powi(2) / expected
    };
    // Chi-square with three degrees of freedom: beyond 30 once in a million.
    let chi_square: f64 = ALL_PODS.into_iter().zip(WEIGHTS).map(deviation).sum();
    assert!(chi_square < 30.0, "{chi_square}: {tally}");

    // The lightest leaves: its slot, and a chain for as many slots as are left.
    port.backends.remove(3);
    let operations = bench.change("web", [port]).operations;
    assert!(operations < 20, "{operations}");
}

pub(crate) fn turns_go_round(bench: &mut Bench) {
    let mut ports = [1, 2].map(|number| bench.port(Protocol::Tcp, number, None, &ALL_PODS));
    ports.iter_mut().for_each(|port| port.algorithm = Algorithm::RoundRobin);
    let [first, second] = ports;
    bench.all("web", [first]);
    bench.change("other", [second.clone()]);
    // Turns of one Service mean nothing to the other.
    let mut asked: [Vec<String>; 2] = Default::default();
    for _ in 0..12 {
        for (number, asked) in (1..).zip(&mut asked) {
            asked.push(bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(number, 80)).unwrap().server);
        }
    }
    for asked in asked {
        assert_eq!(asked[..4].iter().collect::<BTreeSet<_>>().len(), 4, "{asked:?}");
        assert!(asked.windows(5).all(|turns| turns[0] == turns[4]), "{asked:?}");
    }
    bench.restart();
    assert_eq!(bench.apply(Scope::All).operations, 0);
    let addresses = ALL_PODS.map(|(node, pod)| bench.pod(node, pod).address(bench.family));
    let weighted =
        ServicePortPlan { weights: addresses.into_iter().map(Into::into).zip([3, 2, 1, 1]).collect(), ..second };
    bench.change("other", [weighted]);
    let calls = (0..14).map(|_| bench.pod(1, 1).ask(Protocol::Tcp, bench.cluster_ip(2, 80)).unwrap().server);
    let mut counts = BTreeMap::<String, usize>::new();
    calls.for_each(|server| *counts.entry(server).or_default() += 1);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [6, 4, 2, 2]);
}

pub(crate) fn a_client_address_has_its_backend(bench: &mut Bench) {
    let mut port = bench.web(&ALL_PODS);
    port.algorithm = Algorithm::SourceHash;
    bench.all("web", [port]);
    bench.route_to_virtual_ip(bench.lab.outside(), 1);
    for client in [bench.pod(1, 1), bench.pod(1, 2), bench.lab.outside()] {
        let tally = client.call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(20));
        let expect = certain(bench, &bench.plan, client, 1, Protocol::Tcp, 1);
        assert_eq!((tally.failed(), tally.servers()), (0, vec![&*expect]), "{}: {tally}", client.name());
    }
}

pub(crate) fn a_flow_has_its_backend_on_every_node(bench: &mut Bench) {
    const PORTS: std::ops::Range<u16> = 20_000..20_040;
    let mut port = bench.port(Protocol::Udp, 1, None, &ALL_PODS);
    port.algorithm = Algorithm::Maglev;
    bench.all("web", [port.clone()]);
    let mut there = bench.plan.clone();
    there.settings.own_addresses = vec![bench.lab.node(2).address(bench.family)];
    there.settings.node_addresses.clone_from(&there.settings.own_addresses);
    let ports = there.services.values_mut().flat_map(|service| &mut service.ports);
    ports.flat_map(|port| &mut port.backends).for_each(|backend| backend.local = !backend.local);
    bench.plane_on(2).apply(&there, Scope::All).unwrap();

    let client = bench.lab.outside();
    let ask = |port| client.open_from(Protocol::Udp, port, bench.cluster_ip(1, 80)).unwrap().ask().unwrap().server;
    let asked = [1, 2].map(|node| {
        bench.route_to_virtual_ip_by(client, 1, node);
        PORTS.map(ask).collect::<Vec<_>>()
    });
    let expect: Vec<_> = PORTS.map(|port| certain(bench, &there, client, port, Protocol::Udp, 1)).collect();
    assert_eq!(expect.iter().collect::<BTreeSet<_>>().len(), 4, "{expect:?}");
    assert_eq!(asked, [expect.clone(), expect.clone()]);

    // Whoever had another backend keeps it, but for a few.
    let left = bench.pod(2, 2).name().to_owned();
    port.backends.retain(|backend| backend.address != bench.backend(2, 2).address);
    let slots = usize::from(maglev::table_size(4));
    let operations = bench.change("web", [port]).operations;
    assert!(operations < slots * 2 / 3, "{operations}");
    bench.route_to_virtual_ip_by(bench.lab.outside(), 1, 1);
    let client = bench.lab.outside();
    let ask = |port| client.open_from(Protocol::Udp, port, bench.cluster_ip(1, 80)).unwrap().ask().unwrap().server;
    let [before, _] = &asked;
    let moved = before.iter().zip(PORTS.map(ask)).filter(|(old, new)| **old != left && *old != new).count();
    assert!(moved <= 2, "{moved}");
    bench.restart();
    assert_eq!(bench.apply(Scope::All).operations, 0);
}
