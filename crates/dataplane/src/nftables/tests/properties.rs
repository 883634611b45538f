//! Whatever plans follow each other: the tables mean what `decide` says, and the difference to what stands is never more than it.

use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use stead_model::{Frontend, Protocol};
use stead_plan::{Arrival, Backend, FrontendKind, FrontendRule, Lists, Packet, ServicePlan, ServicePortPlan, decide};

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

fn pod(family: Family, number: usize) -> Backend {
    let digit = number as u8 + 1;
    let address = ip(family, [10, 244, 1, digit], [0x244, digit.into()]);
    Backend { address: (address, 8080).into(), local: number.is_multiple_of(2), lists: Lists::Cluster }
}

fn node(family: Family) -> std::net::IpAddr {
    ip(family, [192, 168, 56, 101], [0, 0x101])
}

/// One port of a Service, drawn at random.
#[derive(Clone, Debug)]
struct Draw {
    protocol: Protocol,
    family: Family,
    pods: Vec<usize>,
    node_port: Option<u16>,
    affinity: Option<u64>,
    outlying: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let protocol = prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    let pods = subsequence((0..PODS).collect::<Vec<_>>(), 0..=PODS).prop_shuffle();
    let node_port = option::of(30_000..30_003u16);
    let affinity = option::weighted(0.3, 1..4u64);
    (protocol, family, pods, node_port, affinity, proptest::bool::weighted(0.1)).prop_map(
        |(protocol, family, pods, node_port, affinity, outlying)| Draw {
            protocol,
            family,
            pods,
            node_port,
            affinity,
            outlying,
        },
    )
}

fn port(number: usize, draw: &Draw, taken: &mut BTreeSet<Frontend>) -> ServicePortPlan {
    let net = if draw.outlying { 97 } else { 96 };
    let virtual_ip = ip(draw.family, [10, net, 0, number as u8 + 1], [u16::from(net), number as u16 + 1]);
    let frontend = |address, port| Frontend { address, protocol: draw.protocol, port };
    let node_port = draw.node_port.map(|port| (frontend(node(draw.family), port), FrontendKind::NodePort));
    let all = [(frontend(virtual_ip, 80), FrontendKind::ClusterIp)].into_iter().chain(node_port);
    let free = all.filter(|(frontend, _)| taken.insert(*frontend));
    let mut frontends: Vec<_> = free.map(|(frontend, kind)| FrontendRule { frontend, kind }).collect();
    frontends.sort_unstable();
    let mut backends: Vec<_> = draw.pods.iter().map(|number| pod(draw.family, *number)).collect();
    backends.sort_unstable();
    ServicePortPlan {
        protocol: draw.protocol,
        frontends,
        backends,
        affinity: draw.affinity.map(Duration::from_secs),
        ..ServicePortPlan::default()
    }
}

type World = Vec<Option<Draw>>;

fn plan(world: &World) -> Plan {
    let mut taken = BTreeSet::new();
    let mut plan = Plan { settings: settings(), ..Plan::default() };
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
    vec(vec(option::weighted(0.8, draw()), SERVICES), 1..6)
}

/// Every packet that some plan could have a meaning for.
fn packets() -> impl Iterator<Item = Packet<'static>> {
    let to = Family::ALL.into_iter().flat_map(|family| {
        let virtual_ips = (0..=SERVICES as u8).flat_map(move |number| {
            [96, 97].map(|net| (ip(family, [10, net, 0, number + 1], [net.into(), u16::from(number) + 1]), 80))
        });
        let node_ports = (30_000..30_003).map(move |port| (node(family), port));
        let ports = virtual_ips.chain(node_ports).chain([(ip(family, [10, 96, 0, 1], [96, 1]), 81)]);
        ports.flat_map(move |(address, port)| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Frontend { address, protocol, port })
        })
    });
    to.flat_map(|destination| {
        let family = destination.family();
        let sources = [pod(family, 0).address.ip(), pod(family, 1).address.ip(), ip(family, [1, 2, 3, 4], [9, 9])];
        sources.map(|source| Packet { source, arrival: Arrival::OnLink("eth0"), destination })
    })
}

fn assert_means(model: &Model, plan: &Plan) {
    for packet in packets() {
        let expect: BTreeSet<Outcome> = match decide(plan, &packet) {
            stead_plan::Verdict::Pass => [Outcome::Pass].into(),
            stead_plan::Verdict::Refuse => [Outcome::Refuse].into(),
            stead_plan::Verdict::Drop => [Outcome::Drop].into(),
            stead_plan::Verdict::To { backends, masquerade, affinity, .. } => {
                let outcome = |backend: &Backend| Outcome::To {
                    address: backend.address,
                    masqueraded: masquerade.applies(packet.source, backend),
                };
                let stuck = model.repeated(packet.source, packet.destination).len();
                assert!(affinity.is_none() || stuck == 1, "{packet:?} does not stick: {plan:?}");
                backends.into_iter().map(outcome).collect()
            }
        };
        assert_eq!(model.outcomes(packet.source, packet.destination), expect, "{packet:?} of {plan:?}");
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
    fn tables_mean_what_the_plan_says_and_equal_plans_ask_for_nothing(worlds in worlds(), wide in any::<bool>()) {
        let mut model = Model::default();
        let mut last = plan(&worlds[0]);
        let (mut state, _) = start(&mut model, &last);
        assert_means(&model, &last);
        for world in &worlds[1..] {
            let next = plan(world);
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
        worlds in worlds(), next in vec(option::weighted(0.8, draw()), SERVICES),
    ) {
        let mut model = Model::default();
        let mut last = plan(&worlds[0]);
        let (mut state, _) = start(&mut model, &last);
        for world in &worlds[1..] {
            let next = plan(world);
            let keys = changed(&last, &next);
            model.commit(&state.step(&next, Scope::Services(&keys)).unwrap().0).unwrap();
            last = next;
        }
        let (_, nothing) = start(&mut model.clone(), &last);
        prop_assert!(nothing.is_empty(), "{nothing}");
        let next = plan(&next);
        start(&mut model, &next);
        assert_means(&model, &next);
    }

    #[test]
    fn whatever_somebody_removes_comes_back(world in vec(option::weighted(0.9, draw()), SERVICES), what in any::<u16>()) {
        let plan = plan(&world);
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
