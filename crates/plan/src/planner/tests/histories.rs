//! Whatever was written before, the plan is what one from nothing would be, and what the oracle expects.

use std::collections::BTreeSet;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::planner::oracle::{Expected, World, expect, packets};

/// One write to a cluster.
#[derive(Clone, Debug)]
enum Write {
    Service(&'static str, Option<Value>),
    Slice(&'static str, Option<Value>),
    NodeAddresses(Vec<IpAddr>),
    OwnAddresses(Vec<IpAddr>),
    Zone(Option<&'static str>),
}

const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
const SLICES: [&str; 5] = ["e", "f", "g", "h", "i"];
const VIPS: [&str; 7] =
    ["10.96.0.1", "10.96.0.2", "fd56:96::1", "198.51.100.1", "127.0.0.1", "192.168.56.101", "not an address"];
/// What Services name as external addresses: of another Service, of the node, open though it is the node's, reserved, and free.
const EXTERNALS: [&str; 7] =
    ["10.96.0.1", "192.168.56.101", "10.0.2.15", "192.0.2.9", "192.0.2.1", "fd56:1b::1", "169.254.169.254"];
const SOURCES: [&str; 6] =
    ["10.244.0.0/16", "192.168.56.0/24", "10.244.1.0/24", "0.0.0.0/0", "fd56:244::/48", "no range"];
const NODE_ADDRESSES: [&str; 3] = ["192.168.56.101", "10.0.2.15", "fd56::101"];
/// Some are virtual IPs: of a Service perhaps, of nobody, and a node's own address.
const ENDPOINTS: [&str; 12] = [
    "10.244.1.2",
    "10.244.1.3",
    "10.244.2.2",
    "169.254.1.1",
    "fd56:244:1::2",
    "?",
    "10.96.0.1",
    "10.96.0.2",
    "10.96.0.77",
    "fd56:96::1",
    "192.168.56.101",
    "198.51.100.1",
];

fn service_port() -> impl Strategy<Value = Value> {
    let fields = (
        select(&["", "http"][..]),
        select(&["TCP", "UDP"][..]),
        select(&[80, 81][..]),
        select(&[0, 80, 30080, 30081][..]),
    );
    fields.prop_map(|(name, protocol, port, node_port)| {
        json!({"name": name, "protocol": protocol, "port": port, "nodePort": node_port})
    })
}

fn a_service(name: &'static str) -> impl Strategy<Value = Value> {
    let policy = || prop_oneof![2 => Just("Cluster"), 1 => Just("Local")];
    let shape = (
        prop_oneof![3 => Just("ClusterIP"), 3 => Just("NodePort"), 3 => Just("LoadBalancer"), 1 => Just("ExternalName")],
        vec(select(&VIPS[..]), 1..3),
        vec(service_port(), 1..3),
        option::weighted(0.3, select(&[1, 600][..])),
        (policy(), policy()),
        prop_oneof![8 => Just(json!({})), 1 => Just(json!({"service.kubernetes.io/service-proxy-name": "other"}))],
        prop_oneof![8 => Just(false), 1 => Just(true)],
        (
            vec(select(&EXTERNALS[..]), 0..3),
            vec(select(&EXTERNALS[..]), 0..3),
            prop_oneof![2 => vec(select(&SOURCES[..]), 0..1), 1 => vec(select(&SOURCES[..]), 1..3)],
        ),
    );
    shape.prop_map(move |(kind, ips, ports, sticky, (internal, external), labels, is_headless, outside)| {
        let (external_ips, ingress, sources) = outside;
        let ips = if is_headless { vec!["None"] } else { ips };
        let mut object = service(
            name,
            json!({
                "type": kind, "clusterIP": ips[0], "clusterIPs": ips, "ports": ports,
                "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
                "externalIPs": external_ips, "loadBalancerSourceRanges": sources,
            }),
        );
        let modes = ["VIP", "VIP", "Proxy"].into_iter();
        let ingress: Vec<_> = ingress.iter().zip(modes).map(|(ip, mode)| json!({"ip": ip, "ipMode": mode})).collect();
        object["status"] = json!({"loadBalancer": {"ingress": ingress}});
        object["metadata"]["labels"] = labels;
        if let Some(seconds) = sticky {
            object["spec"]["sessionAffinity"] = json!("ClientIP");
            object["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
        }
        object
    })
}

fn an_endpoint() -> impl Strategy<Value = Value> {
    let condition = || option::of(any::<bool>());
    let named = |names: &'static [&str]| {
        let hint = |names: Vec<&str>| names.into_iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        prop_oneof![1 => Just(Vec::new()), 2 => vec(select(names), 1..3)].prop_map(hint)
    };
    let fields = (
        select(&ENDPOINTS[..]),
        (condition(), condition(), condition()),
        option::of(select(&["node1", "node2"][..])),
        (named(&["a", "b"]), named(&["node1", "node2"])),
    );
    fields.prop_map(|(address, (ready, serving, terminating), node, (zones, nodes))| {
        json!({
            "addresses": [address], "nodeName": node,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "hints": {"forZones": zones, "forNodes": nodes},
        })
    })
}

fn a_slice(name: &'static str) -> impl Strategy<Value = Value> {
    let port = (select(&["", "http"][..]), select(&["TCP", "UDP"][..]), select(&[0, 80, 81, 8080, 30080][..]))
        .prop_map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}));
    let shape = (
        select(&SERVICES[..]),
        prop_oneof![4 => Just("IPv4"), 2 => Just("IPv6"), 1 => Just("FQDN")],
        vec(port, 0..3),
        vec(an_endpoint(), 0..4),
        prop_oneof![8 => Just(false), 1 => Just(true)],
    );
    shape.prop_map(move |(service, family, ports, endpoints, is_headless)| {
        let mut object = slice(name, service, family, json!(ports), json!(endpoints));
        if is_headless {
            object["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
        }
        object
    })
}

fn a_write() -> impl Strategy<Value = Write> {
    let service = select(&SERVICES[..]).prop_flat_map(|name| {
        option::weighted(0.8, a_service(name)).prop_map(move |object| Write::Service(name, object))
    });
    let slice = select(&SLICES[..])
        .prop_flat_map(|name| option::weighted(0.8, a_slice(name)).prop_map(move |object| Write::Slice(name, object)));
    let addresses = || {
        let some = proptest::sample::subsequence(NODE_ADDRESSES.to_vec(), 0..=3);
        some.prop_map(|addresses| addresses.into_iter().map(ip).collect::<Vec<_>>())
    };
    prop_oneof![
        12 => service,
        12 => slice,
        1 => addresses().prop_map(Write::NodeAddresses),
        1 => addresses().prop_map(Write::OwnAddresses),
        1 => option::of(select(&["a", "b"][..])).prop_map(Write::Zone),
    ]
}

impl World {
    /// Does the write here and in the snapshot.
    fn write(&mut self, write: &Write, snapshot: &mut ServiceSnapshot, touched: &mut Touched) {
        let (objects, name, object) = match write {
            Write::Service(name, object) => (&mut self.services, name, object),
            Write::Slice(name, object) => (&mut self.slices, name, object),
            Write::NodeAddresses(_) | Write::OwnAddresses(_) | Write::Zone(_) => return,
        };
        let old = match object {
            Some(object) => objects.insert((*name).to_owned(), object.clone()),
            None => objects.remove(*name),
        };
        let is_service = matches!(write, Write::Service(..));
        match (object, old) {
            (Some(object), _) if is_service => {
                snapshot.apply(ServiceChange::Service(Change::Apply(view(object))), touched);
            }
            (Some(object), _) => snapshot.apply(ServiceChange::Slice(Change::Apply(view(object))), touched),
            (None, Some(old)) if is_service => {
                snapshot.apply(ServiceChange::Service(Change::Delete(view(&old))), touched);
            }
            (None, Some(old)) => snapshot.apply(ServiceChange::Slice(Change::Delete(view(&old))), touched),
            (None, None) => {}
        }
    }
}

/// The changed keys are those whose part differs, and the new problems those that were not there.
fn check_outcome(
    outcome: &Outcome,
    before: (&Plan, &BTreeSet<Problem>),
    planner: &Planner,
) -> Result<(), TestCaseError> {
    let (old, new) = (&before.0.services, &planner.plan().services);
    let differs = |key: &&ObjectKey| old.get(*key) != new.get(*key);
    let changed: BTreeSet<_> = old.keys().chain(new.keys()).filter(differs).cloned().collect();
    let told: BTreeSet<_> = outcome.changed.iter().map(|key| (**key).clone()).collect();
    prop_assert_eq!((told.len(), told), (outcome.changed.len(), changed));
    let fresh: Vec<_> = planner.problems().filter(|problem| !before.1.contains(problem)).cloned().collect();
    prop_assert_eq!(outcome.problems.iter().collect::<BTreeSet<_>>(), fresh.iter().collect::<BTreeSet<_>>());
    Ok(())
}

fn check_oracle(planner: &Planner, world: &World) -> Result<(), TestCaseError> {
    let on_link = Arrival::OnLink("eth0");
    let sources = [
        ("10.244.1.2", on_link),
        ("10.244.2.9", on_link),
        ("192.168.56.50", on_link),
        ("192.168.56.101", Arrival::FromNode),
        ("192.0.2.9", Arrival::FromNode),
        ("fd56:244:1::2", on_link),
        ("fd56::50", on_link),
        ("fd56::101", Arrival::FromNode),
    ];
    let sources = sources.map(|(address, arrival)| (ip(address), arrival));
    let destinations: BTreeSet<_> = VIPS[..6]
        .iter()
        .chain(&NODE_ADDRESSES)
        .chain(&EXTERNALS)
        .chain(&["10.96.0.77"])
        .map(|address| ip(address))
        .collect();
    let destinations: Vec<_> = destinations.into_iter().collect();
    for packet in packets(&sources, &destinations, &[80, 81, 30080, 30081]) {
        let same_family = packet.source.is_ipv4() == packet.destination.address.is_ipv4();
        let verdict = match decide(planner.plan(), &packet) {
            _ if !same_family => continue,
            Verdict::Pass => Expected::Pass,
            Verdict::Refuse => Expected::Refuse,
            Verdict::Drop => Expected::Drop,
            Verdict::To { backends, masquerade, affinity, .. } => Expected::To {
                backends: backends.iter().map(|backend| backend.address).collect(),
                masqueraded: backends
                    .iter()
                    .filter(|backend| masquerade.applies(packet.source, backend))
                    .map(|backend| backend.address)
                    .collect(),
                affinity: affinity.map(|time| time.as_secs()),
            },
        };
        prop_assert_eq!(verdict, expect(world, &planner.context, &packet), "{:?}", packet);
    }
    Ok(())
}

/// What the types promise about order and repetition.
fn check_order(plan: &Plan) -> Result<(), TestCaseError> {
    let mut frontends = BTreeSet::new();
    for service in plan.services.values() {
        prop_assert!(!service.ports.is_empty());
        prop_assert!(service.ports.is_sorted_by_key(|port| (port.name.clone(), port.protocol)));
        for port in &service.ports {
            prop_assert!(port.frontends.is_sorted() && !port.frontends.is_empty());
            prop_assert!(port.backends.is_sorted_by(|a, b| a.address < b.address));
            for rule in &port.frontends {
                prop_assert!(frontends.insert(rule.frontend), "{} stands twice", rule.frontend);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_plan_is_what_one_from_nothing_would_be(batches in vec(vec(a_write(), 1..4), 1..12)) {
        let (mut world, mut snapshot, mut planner) = (World::default(), ServiceSnapshot::default(), Planner::new(context()));
        for batch in &batches {
            let mut touched = Touched::default();
            for write in batch {
                world.write(write, &mut snapshot, &mut touched);
            }
            let before = (planner.plan().clone(), planner.problems().cloned().collect());
            let outcome = planner.update(&snapshot, &touched.services);
            check_outcome(&outcome, (&before.0, &before.1), &planner)?;
            for write in batch {
                let before = (planner.plan().clone(), planner.problems().cloned().collect());
                let outcome = match write {
                    Write::NodeAddresses(addresses) => planner.set_node_addresses(&snapshot, addresses.clone()),
                    Write::OwnAddresses(addresses) => planner.set_own_addresses(&snapshot, addresses.clone()),
                    Write::Zone(zone) => planner.set_zone(&snapshot, *zone),
                    _ => continue,
                };
                check_outcome(&outcome, (&before.0, &before.1), &planner)?;
            }
            let (plan, problems) = plan_all(&snapshot, &planner.context);
            prop_assert_eq!(planner.plan(), &plan);
            prop_assert_eq!(planner.problems().collect::<BTreeSet<_>>(), problems.iter().collect::<BTreeSet<_>>());
            prop_assert_eq!(planner.update_all(&snapshot), Outcome::default());
        }
        check_order(planner.plan())?;
        check_oracle(&planner, &world)?;
    }
}
