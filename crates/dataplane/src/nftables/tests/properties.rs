//! Whatever plans follow each other: the tables mean what `decide` says, and the difference to what stands is never more than it.

use std::{collections::BTreeSet, time::Duration};

use ipnet::IpNet;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::subsequence,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use stead_model::{Frontend, Protocol};
use stead_plan::{
    Algorithm, Arrival, Backend, DetectLocal, FrontendKind, FrontendRule, Lists, MasqueradeAll, Packet, ServicePlan,
    ServicePortPlan, TrafficPolicy, decide,
};

use super::{
    model::{Model, Outcome},
    settings,
};
use crate::nftables::*;

const PODS: usize = 6;
const SERVICES: usize = 4;

fn ip(family: Family, v4: [u8; 4], v6: [u16; 2]) -> std::net::IpAddr {
    match family {
        Family::V4 => v4.into(),
        Family::V6 => [0xfd56, v6[0], 0, 0, 0, 0, 0, v6[1]].into(),
    }
}

fn pod(family: Family, number: usize, lists: Lists) -> Backend {
    let digit = number as u8 + 1;
    let address = ip(family, [10, 244, 1, digit], [0x244, digit.into()]);
    Backend { address: (address, 8080).into(), local: number.is_multiple_of(2), lists }
}

fn node(family: Family) -> std::net::IpAddr {
    ip(family, [192, 168, 56, 101], [0, 0x101])
}

fn host(backend: Backend) -> IpNet {
    backend.address.ip().into()
}

/// A load-balancer's or external address.
fn external(family: Family, number: u8) -> std::net::IpAddr {
    ip(family, [192, 0, 2, number + 1], [0x1b, u16::from(number) + 1])
}

/// One port of a Service, drawn at random.
#[derive(Clone, Debug)]
struct Draw {
    protocol: Protocol,
    family: Family,
    pods: Vec<(usize, Lists)>,
    node_port: Option<u16>,
    external: Vec<u8>,
    policies: [TrafficPolicy; 2],
    sources: Option<Vec<usize>>,
    affinity: Option<u64>,
    algorithm: Algorithm,
    weights: Vec<u8>,
    outlying: bool,
}

/// Where sources come from, by the numbers that a draw has.
const SOURCES: usize = 4;

fn source_range(family: Family, number: usize) -> IpNet {
    let text = match (family, number) {
        (Family::V4, 0) => "10.244.1.1/32",
        (Family::V4, 1) => "10.244.1.2/31",
        (Family::V4, 2) => "192.168.56.0/24",
        (Family::V4, _) => "1.2.3.0/25",
        (Family::V6, 0) => "fd56:244::1/128",
        (Family::V6, 1) => "fd56:244::2/127",
        (Family::V6, 2) => "fd56::/64",
        (Family::V6, _) => "fd56:9::/32",
    };
    text.parse().unwrap()
}

/// A table of hashes takes as long as thousands of other entries, so few have one.
fn draw(hashed_in_1000: u32) -> impl Strategy<Value = Draw> {
    let algorithm = prop_oneof![
        1000 => Just(Algorithm::Random),
        300 => Just(Algorithm::RoundRobin),
        hashed_in_1000 => Just(Algorithm::SourceHash),
        hashed_in_1000 => Just(Algorithm::Maglev),
    ];
    let weights = option::weighted(0.2, vec(1..4u8, PODS)).prop_map(Option::unwrap_or_default);
    let protocol = prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    let lists = prop_oneof![3 => Just(Lists::Both), 1 => Just(Lists::Cluster), 1 => Just(Lists::Local)];
    let pods = (subsequence((0..PODS).collect::<Vec<_>>(), 0..=PODS).prop_shuffle(), vec(lists, PODS));
    let policy = || prop_oneof![2 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)];
    let outside = (
        option::of(30_000..30_003u16),
        subsequence((0..3u8).collect::<Vec<_>>(), 0..=2),
        [policy(), policy()],
        option::weighted(0.3, subsequence((0..SOURCES).collect::<Vec<_>>(), 0..=SOURCES)),
    );
    let affinity = option::weighted(0.3, 1..4u64);
    let balance = (affinity, algorithm, weights);
    (protocol, family, pods, outside, balance, proptest::bool::weighted(0.1)).prop_map(
        |(protocol, family, pods, outside, (affinity, algorithm, weights), outlying)| {
            let ((pods, lists), (node_port, external, policies, sources)) = (pods, outside);
            let pods = pods.into_iter().zip(lists).collect();
            let algorithm = if affinity.is_some() { Algorithm::Random } else { algorithm };
            Draw {
                protocol,
                family,
                pods,
                node_port,
                external,
                policies,
                sources,
                affinity,
                algorithm,
                weights,
                outlying,
            }
        },
    )
}

fn port(number: usize, draw: &Draw, taken: &mut BTreeSet<Frontend>) -> ServicePortPlan {
    let net = if draw.outlying { 97 } else { 96 };
    let virtual_ip = ip(draw.family, [10, net, 0, number as u8 + 1], [u16::from(net), number as u16 + 1]);
    let frontend = |address, port| Frontend { address, protocol: draw.protocol, port };
    let node_port = draw.node_port.map(|port| (frontend(node(draw.family), port), FrontendKind::NodePort));
    let external = draw.external.iter().map(|number| {
        let kind = if *number == 0 { FrontendKind::ExternalIp } else { FrontendKind::LoadBalancer };
        (frontend(external(draw.family, *number), 80), kind)
    });
    let all = [(frontend(virtual_ip, 80), FrontendKind::ClusterIp)].into_iter().chain(node_port).chain(external);
    let free = all.filter(|(frontend, _)| taken.insert(*frontend));
    let mut frontends: Vec<_> = free.map(|(frontend, kind)| FrontendRule { frontend, kind }).collect();
    frontends.sort_unstable();
    let has_local_list = draw.policies.contains(&TrafficPolicy::Local);
    let pods = draw.pods.iter().map(|(number, lists)| {
        let lists = if has_local_list && number.is_multiple_of(2) { *lists } else { Lists::Cluster };
        pod(draw.family, *number, lists)
    });
    let mut backends: Vec<_> = pods.collect();
    backends.sort_unstable();
    let sources = draw.sources.iter().map(|numbers| {
        let mut ranges: Vec<_> = numbers.iter().map(|number| source_range(draw.family, *number)).collect();
        ranges.sort_unstable();
        ranges.into()
    });
    ServicePortPlan {
        protocol: draw.protocol,
        frontends,
        backends,
        affinity: draw.affinity.map(Duration::from_secs),
        algorithm: draw.algorithm,
        weights: (0..)
            .zip(&draw.weights)
            .map(|(number, weight)| (host(pod(draw.family, number, Lists::Both)), *weight))
            .collect(),
        internal_policy: draw.policies[0],
        external_policy: draw.policies[1],
        sources: sources.into_iter().next(),
        ..ServicePortPlan::default()
    }
}

type World = Vec<Option<Draw>>;

fn plan(world: &World, mode: usize) -> Plan {
    let mut taken = BTreeSet::new();
    let mut plan = Plan { settings: settings(), ..Plan::default() };
    match mode {
        0 => {}
        1 => plan.settings.detect_local = DetectLocal::Unknown,
        2 => plan.settings.detect_local = DetectLocal::Bridge("veth1".into()),
        3 => plan.settings.detect_local = DetectLocal::Prefix("veth".into()),
        _ => plan.settings.masquerade_all = MasqueradeAll::Yes,
    }
    for (number, draw) in world.iter().enumerate() {
        if let Some(draw) = draw {
            let ports = vec![port(number, draw, &mut taken)];
            plan.services.insert(key(number), ServicePlan { ports });
        }
    }
    plan
}

fn key(number: usize) -> ObjectKey {
    ObjectKey::new("default", format!("s{number}"))
}

fn worlds() -> impl Strategy<Value = Vec<World>> {
    vec(vec(option::weighted(0.8, draw(60)), SERVICES), 1..6)
}

/// Every packet that some plan could have a meaning for.
fn packets() -> impl Iterator<Item = Packet<'static>> {
    let to = Family::ALL.into_iter().flat_map(|family| {
        let virtual_ips = (0..=SERVICES as u8).flat_map(move |number| {
            [96, 97].map(|net| (ip(family, [10, net, 0, number + 1], [net.into(), u16::from(number) + 1]), 80))
        });
        let node_ports = (30_000..30_003).map(move |port| (node(family), port));
        let externals = (0..3).flat_map(move |number| [80, 81].map(|port| (external(family, number), port)));
        let ports = virtual_ips.chain(node_ports).chain(externals).chain([(ip(family, [10, 96, 0, 1], [96, 1]), 81)]);
        ports.flat_map(move |(address, port)| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Frontend { address, protocol, port })
        })
    });
    to.flat_map(|destination| {
        let family = destination.family();
        let pod = |number| pod(family, number, Lists::Both).address.ip();
        let sources = [
            (pod(0), Arrival::OnLink("veth1")),
            (pod(1), Arrival::OnLink("veth2")),
            (ip(family, [1, 2, 3, 4], [9, 9]), Arrival::OnLink("eth0")),
            (node(family), Arrival::FromNode),
        ];
        sources.map(|(source, arrival)| Packet { source, arrival, destination })
    })
}

fn assert_means(model: &Model, plan: &Plan) {
    packets().for_each(|packet| assert_goes(model, plan, &packet));
}

fn assert_goes(model: &Model, plan: &Plan, packet: &Packet<'_>) {
    const SOURCE_PORT: u16 = 40_001;
    {
        let verdict = decide(plan, packet);
        let certain = verdict.certain(packet, SOURCE_PORT);
        let expect: BTreeSet<Outcome> = match verdict {
            stead_plan::Verdict::Pass => [Outcome::Pass].into(),
            stead_plan::Verdict::Refuse => [Outcome::Refuse].into(),
            stead_plan::Verdict::Drop => [Outcome::Drop].into(),
            stead_plan::Verdict::To { backends, masquerade, affinity, .. } => {
                let outcome = |backend: &Backend| Outcome::To {
                    address: backend.address,
                    masqueraded: masquerade.applies(packet.source, backend),
                };
                if let Some(backend) = certain {
                    assert_eq!(model.outcome(packet, SOURCE_PORT), outcome(backend), "{packet:?} of {plan:?}");
                    let all: BTreeSet<_> = backends.into_iter().map(outcome).collect();
                    assert!(model.outcomes(packet).is_subset(&all), "{packet:?} of {plan:?}");
                    return;
                }
                let stuck = model.repeated(packet).len();
                assert!(affinity.is_none() || stuck == 1, "{packet:?} does not stick: {plan:?}");
                backends.into_iter().map(outcome).collect()
            }
        };
        assert_eq!(model.outcomes(packet), expect, "{packet:?} of {plan:?}");
    }
}

/// A process that has just started, and the transaction it begins with.
fn start(model: &mut Model, plan: &Plan) -> (State, Transaction) {
    let actuals = Family::ALL.map(|family| model.actual(family));
    let (mirror, _) = lower(plan, &actuals).unwrap();
    let (transaction, known) = reconcile(&mirror, actuals);
    model.commit(&transaction).unwrap();
    (State { mirror, known, generation: 0, suspect: false }, transaction)
}

fn changed(old: &Plan, new: &Plan) -> BTreeSet<ObjectKey> {
    let keys = old.services.keys().chain(new.services.keys());
    keys.filter(|key| old.services.get(*key) != new.services.get(*key)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tables_mean_what_the_plan_says_and_equal_plans_ask_for_nothing(
        worlds in worlds(), wide in any::<bool>(), mode in 0..5usize,
    ) {
        let mut model = Model::default();
        let mut last = plan(&worlds[0], mode);
        let (mut state, _) = start(&mut model, &last);
        assert_means(&model, &last);
        for world in &worlds[1..] {
            let next = plan(world, mode);
            let keys = changed(&last, &next);
            let scope = if wide { Scope::All } else { Scope::Services(&keys) };
            let (transaction, _) = state.step(&next, scope).unwrap();
            model.commit(&transaction).unwrap();
            assert_means(&model, &next);
            let (again, _) = state.step(&next, Scope::Services(&keys)).unwrap();
            prop_assert!(again.is_empty(), "{again}");
            last = next;
        }
        let (again, _) = start(&mut model, &last).0.step(&last, Scope::All).unwrap();
        model.commit(&again).unwrap();
        assert_means(&model, &last);
    }

    #[test]
    fn a_new_process_writes_nothing_for_the_same_plan_and_no_more_than_the_old_one_for_another(
        worlds in worlds(), mode in 0..5usize, next in vec(option::weighted(0.8, draw(60)), SERVICES),
    ) {
        let mut model = Model::default();
        let mut last = plan(&worlds[0], mode);
        let (mut state, _) = start(&mut model, &last);
        for world in &worlds[1..] {
            let next = plan(world, mode);
            let keys = changed(&last, &next);
            model.commit(&state.step(&next, Scope::Services(&keys)).unwrap().0).unwrap();
            last = next;
        }
        let (_, nothing) = start(&mut model.clone(), &last);
        prop_assert!(nothing.is_empty(), "{nothing}");
        let next = plan(&next, mode);
        start(&mut model, &next);
        assert_means(&model, &next);
    }

    #[test]
    fn whatever_somebody_removes_comes_back(
        world in vec(option::weighted(0.9, draw(60)), SERVICES), mode in 0..5usize, what in any::<u16>(),
    ) {
        let plan = plan(&world, mode);
        let mut model = Model::default();
        let (state, _) = start(&mut model, &plan);
        meddle(&mut model, usize::from(what));
        for round in 0..2 {
            let actuals = Family::ALL.map(|family| model.actual(family));
            let (transaction, _) = reconcile(&state.mirror, actuals);
            prop_assert!(round == 0 || transaction.is_empty(), "{transaction}");
            model.commit(&transaction).unwrap();
            assert_means(&model, &plan);
        }
    }
}

/// One Service of a world becomes another, again and again; each time a few packets are looked at, and now and then everything.
#[test]
fn ten_thousand_changes_lead_where_each_plan_says() {
    const STEPS: usize = 10_000;
    let seed = std::env::var("STEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(56u64);
    println!("STEAD_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let all: Vec<_> = packets().collect();
    let mut world = vec![None; SERVICES];
    let (mut model, mut last) = (Model::default(), plan(&world, 0));
    let (mut state, _) = start(&mut model, &last);
    let step = (0..SERVICES, option::weighted(0.8, draw(1)), subsequence((0..all.len()).collect::<Vec<_>>(), 4));
    for number in 0..STEPS {
        let (place, draw, sample) = step.new_tree(&mut runner).unwrap().current();
        world[place] = draw;
        let next = plan(&world, 0);
        let keys = changed(&last, &next);
        let (transaction, _) = state.step(&next, Scope::Services(&keys)).unwrap();
        model.commit(&transaction).unwrap_or_else(|error| panic!("step {number} of seed {seed}: {error}"));
        sample.iter().for_each(|packet| assert_goes(&model, &next, &all[*packet]));
        if number % 250 == 249 {
            let actuals = Family::ALL.map(|family| model.actual(family));
            let (nothing, _) = reconcile(&state.mirror, actuals);
            assert!(nothing.is_empty(), "step {number} of seed {seed}: {nothing}");
            assert_means(&model, &next);
        }
        last = next;
    }
}

/// Removes or adds something, anything.
fn meddle(model: &mut Model, what: usize) {
    let Some(table) = model.tables.values_mut().nth(what % 2) else { return };
    match what / 2 % 6 {
        0 => drop(table.verdicts.pop_last()),
        1 => {
            let chains = table.chains.len();
            table.chains.values_mut().nth(what / 12 % chains).unwrap().1.clear();
        }
        2 => {
            let chains = table.chains.len();
            table.chains.values_mut().nth(what / 12 % chains).unwrap().1.insert(0, Vec::new());
        }
        3 => {
            let sets = table.sets.len();
            table.sets.values_mut().nth(what / 12 % sets).unwrap().1.pop_first();
        }
        4 => {
            let lists = &mut table.sets.get_mut("lists").unwrap().1;
            lists.insert(vec![1, 2, 3, 4], vec![5, 6, 7, 8]);
        }
        _ => {
            let family = *model.tables.keys().next().unwrap();
            model.tables.remove(&family);
        }
    }
}
