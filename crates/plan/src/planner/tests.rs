use std::collections::BTreeSet;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    service_snapshot::{ServiceChange, Touched},
    snapshot::Change,
};
use stead_model::Protocol;

use super::{
    oracle::{Expected, World, expect, packets},
    *,
};
use crate::{Backend, FrontendKind, MAX_BACKENDS, Masquerade, Packet, Settings, Verdict, decide};

fn view<T: FromItem>(object: &Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn context() -> NodeContext {
    NodeContext {
        node: "node1".into(),
        settings: Settings {
            service_ranges: vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()],
            pod_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd56:244::/32".parse().unwrap()],
            node_addresses: vec![ip("192.168.56.101"), ip("fd56::101")],
        },
    }
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "default", "name": name}, "spec": spec})
}

fn slice(name: &str, service: &str, family: &str, ports: Value, endpoints: Value) -> Value {
    let labels = json!({"kubernetes.io/service-name": service});
    json!({
        "metadata": {"namespace": "default", "name": name, "labels": labels},
        "addressType": family, "ports": ports, "endpoints": endpoints,
    })
}

fn snapshot(services: &[Value], slices: &[Value]) -> ServiceSnapshot {
    let mut snapshot = ServiceSnapshot::default();
    for object in services {
        snapshot.apply(ServiceChange::Service(Change::Apply(view(object))), &mut Touched::default());
    }
    for object in slices {
        snapshot.apply(ServiceChange::Slice(Change::Apply(view(object))), &mut Touched::default());
    }
    snapshot
}

/// The plan in lines, and its problems.
fn check(services: &[Value], slices: &[Value], expect_plan: &[&str], expect_problems: &[&str]) {
    let (plan, problems) = plan_all(&snapshot(services, slices), &context());
    assert_eq!(render(&plan), expect_plan);
    assert_eq!(problems.iter().map(Problem::to_string).collect::<Vec<_>>(), expect_problems);
}

fn render(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, service) in &plan.services {
        for port in &service.ports {
            let backends: Vec<_> = port.backends.iter().map(render_backend).collect();
            let affinity = port.affinity.map(|time| format!(" sticky {}s", time.as_secs())).unwrap_or_default();
            for rule in &port.frontends {
                let kind = if rule.kind == FrontendKind::NodePort { " (node port)" } else { "" };
                let to = backends.join(" ");
                lines.push(format!("{key}:{} {}{kind}{affinity} -> {to}", port.name, rule.frontend).trim_end().into());
            }
        }
    }
    lines
}

fn render_backend(backend: &Backend) -> String {
    format!("{}{}", backend.address, if backend.local { "*" } else { "" })
}

#[test]
fn a_service_spreads_over_its_ready_endpoints() {
    let web = json!({
        "type": "NodePort", "clusterIPs": ["10.96.0.1", "fd56:96::1"], "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "protocol": "UDP", "port": 53}],
    });
    let ports = json!([{"name": "http", "port": 8080}, {"name": "dns", "protocol": "UDP", "port": 5353}]);
    let v4 = json!([
        {"addresses": ["10.244.2.2"], "nodeName": "node2"}, {"addresses": ["10.244.1.2"], "nodeName": "node1"},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": false}},
    ]);
    let v6 = json!([{"addresses": ["fd56:244:1::2"], "nodeName": "node1"}]);
    check(
        &[service("web", web)],
        &[slice("web-4", "web", "IPv4", ports.clone(), v4), slice("web-6", "web", "IPv6", ports, v6)],
        &[
            "default/web:dns 10.96.0.1:53/UDP sticky 10800s -> 10.244.1.2:5353* 10.244.2.2:5353",
            "default/web:dns [fd56:96::1]:53/UDP sticky 10800s -> [fd56:244:1::2]:5353*",
            "default/web:http 10.96.0.1:80/TCP sticky 10800s -> 10.244.1.2:8080* 10.244.2.2:8080",
            "default/web:http 192.168.56.101:30080/TCP (node port) sticky 10800s -> 10.244.1.2:8080* 10.244.2.2:8080",
            "default/web:http [fd56::101]:30080/TCP (node port) sticky 10800s -> [fd56:244:1::2]:8080*",
            "default/web:http [fd56:96::1]:80/TCP sticky 10800s -> [fd56:244:1::2]:8080*",
        ],
        &[],
    );
}

#[test]
fn endpoints_that_terminate_serve_only_while_none_is_ready() {
    let web = json!({"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]});
    let leaving =
        json!({"addresses": ["10.244.1.3"], "conditions": {"ready": false, "serving": true, "terminating": true}});
    let dead =
        json!({"addresses": ["10.244.1.4"], "conditions": {"ready": false, "serving": false, "terminating": true}});
    let ready = json!({"addresses": ["10.244.1.2"]});
    let of = |endpoints| slice("s", "web", "IPv4", json!([{"port": 8080}]), endpoints);
    let web = [service("web", web)];
    check(&web, &[of(json!([leaving, dead, ready]))], &["default/web: 10.96.0.1:80/TCP -> 10.244.1.2:8080"], &[]);
    check(&web, &[of(json!([leaving, dead]))], &["default/web: 10.96.0.1:80/TCP -> 10.244.1.3:8080"], &[]);
    check(&web, &[of(json!([dead]))], &["default/web: 10.96.0.1:80/TCP ->"], &[]);
    check(&web, &[], &["default/web: 10.96.0.1:80/TCP ->"], &[]);
}

#[test]
fn endpoints_that_get_nothing_new_keep_their_connections() {
    let spec = json!({"clusterIPs": ["10.96.0.1"], "ports": [
        {"port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
    ]});
    let endpoint = |address: &str, ready: bool, serving: bool| json!({"addresses": [address], "conditions": {"ready": ready, "serving": serving, "terminating": serving != ready}});
    let endpoints = [("10.244.1.4", false, false), ("10.244.1.3", false, true), ("10.244.1.2", true, true)];
    let endpoints = endpoints.map(|(address, ready, serving)| endpoint(address, ready, serving));
    let ports = json!([{"port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}]);
    let slices = [slice("s", "web", "IPv4", ports, json!(endpoints))];
    let (plan, _) = plan_service(&snapshot(&[service("web", spec)], &slices), &context(), &key("web"));
    let draining = plan.ports.iter().map(|port| port.draining.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(draining.eq([vec!["10.244.1.3:8080", "10.244.1.4:8080"], vec!["10.244.1.3:5353"]]), "{plan:?}");
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_is_local_if_either_says_so() {
    let web = json!({"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]});
    let of = |name, endpoint: Value| slice(name, "web", "IPv4", json!([{"port": 8080}]), json!([endpoint]));
    let here = json!({"addresses": ["10.244.1.2"], "nodeName": "node1"});
    let leaving = json!({"addresses": ["10.244.1.2"], "conditions": {"ready": false, "terminating": true}});
    let elsewhere = json!({"addresses": ["10.244.1.2"], "nodeName": "node2"});
    for other in [leaving, elsewhere] {
        for names in [["s", "t"], ["t", "s"]] {
            let slices = [of(names[0], here.clone()), of(names[1], other.clone())];
            check(&[service("web", web.clone())], &slices, &["default/web: 10.96.0.1:80/TCP -> 10.244.1.2:8080*"], &[]);
        }
    }
}

#[test]
fn the_lower_key_has_a_frontend_that_two_claim() {
    let spec =
        |address| json!({"clusterIPs": [address], "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let twice = json!({"clusterIPs": ["10.96.0.9"], "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]});
    check(
        &[service("b", spec("10.96.0.2")), service("a", spec("10.96.0.1")), service("c", twice)],
        &[],
        &[
            "default/a: 10.96.0.1:80/TCP ->",
            "default/a: 192.168.56.101:30080/TCP (node port) ->",
            "default/b: 10.96.0.2:80/TCP ->",
            "default/c:a 10.96.0.9:80/TCP ->",
        ],
        &[
            "Service default/b: 192.168.56.101:30080/TCP belongs to Service default/a; change one of the two",
            "Service default/c: 10.96.0.9:80/TCP stands twice in this Service; the first port has it",
        ],
    );
}

#[test]
fn one_bad_value_stops_nothing_else() {
    let bad = json!({"clusterIPs": ["169.254.169.254", "10.96.0.1"], "ports": [{"name": "x", "port": 0}, {"name": "http", "port": 80}]});
    let endpoints = json!([
        {"addresses": ["127.0.0.1"]}, {"addresses": ["10.244.1.400"]}, {"addresses": ["10.244.1.2"]},
    ]);
    check(
        &[service("bad", bad), service("good", json!({"clusterIPs": ["10.96.0.2"], "ports": [{"port": 80}]}))],
        &[slice("bad-1", "bad", "IPv4", json!([{"name": "http", "port": 8080}]), endpoints)],
        &["default/bad:http 10.96.0.1:80/TCP -> 10.244.1.2:8080", "default/good: 10.96.0.2:80/TCP ->"],
        &[
            "Service default/bad: spec.ports[0].port: 0 is no port (1-65535)",
            "Service default/bad: EndpointSlice default/bad-1: endpoints[1].addresses[0]: \"10.244.1.400\" is no address",
            "Service default/bad: cluster IP 169.254.169.254 is loopback, link-local, metadata, multicast or unspecified; give the Service another one",
            "Service default/bad: endpoint 127.0.0.1 in EndpointSlice default/bad-1 is loopback, link-local, metadata, multicast or unspecified; it gets no traffic",
        ],
    );
}

/// A Service of one port 80, and its endpoints behind port `target`.
fn chain(name: &str, vip: &str, target: u16, endpoints: &[&str]) -> (Value, Value) {
    let endpoints: Vec<_> =
        endpoints.iter().map(|address| json!({"addresses": [address], "nodeName": "node1"})).collect();
    let service = service(name, json!({"clusterIPs": [vip], "ports": [{"port": 80}]}));
    (service, slice(&format!("{name}-s"), name, "IPv4", json!([{"port": target}]), json!(endpoints)))
}

fn check_chains(chains: &[(Value, Value)], expect_plan: &[&str], expect_problems: &[&str]) {
    let (services, slices): (Vec<_>, Vec<_>) = chains.iter().cloned().unzip();
    check(&services, &slices, expect_plan, expect_problems);
}

#[test]
fn an_endpoint_that_is_another_services_virtual_ip_is_that_services_endpoints() {
    check_chains(
        &[
            chain("a", "10.96.0.1", 80, &["10.96.0.2", "192.0.2.7"]),
            chain("b", "10.96.0.2", 8080, &["10.244.1.2", "10.244.1.3"]),
        ],
        &[
            "default/a: 10.96.0.1:80/TCP -> 10.244.1.2:8080* 10.244.1.3:8080* 192.0.2.7:80*",
            "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:8080* 10.244.1.3:8080*",
        ],
        &[],
    );
}

#[test]
fn loops_and_second_hops_are_refused_by_name() {
    check_chains(
        &[chain("a", "10.96.0.1", 80, &["10.96.0.1", "10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP -> 10.244.1.2:80*"],
        &["Service default/a: endpoint 10.96.0.1:80/TCP is this Service itself; it gets no traffic"],
    );
    check_chains(
        &[chain("a", "10.96.0.1", 80, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.96.0.1", "10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP -> 10.244.1.2:80*", "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:80*"],
        &[
            "Service default/a: endpoint 10.96.0.2:80/TCP is Service default/b, which leads back to this one; it gets no traffic",
            "Service default/b: endpoint 10.96.0.1:80/TCP is Service default/a, which leads back to this one; it gets no traffic",
        ],
    );
    check_chains(
        &[
            chain("a", "10.96.0.1", 80, &["10.96.0.2"]),
            chain("b", "10.96.0.2", 80, &["10.96.0.3"]),
            chain("c", "10.96.0.3", 8080, &["10.244.1.2"]),
        ],
        &[
            "default/a: 10.96.0.1:80/TCP ->",
            "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:8080*",
            "default/c: 10.96.0.3:80/TCP -> 10.244.1.2:8080*",
        ],
        &[
            "Service default/a: endpoint 10.96.0.2:80/TCP is Service default/b, whose endpoint 10.96.0.3:80/TCP is Service default/c: no traffic goes over two Services; name the endpoints of default/c instead",
        ],
    );
}

#[test]
fn a_virtual_ip_that_no_service_has_gets_nothing() {
    check_chains(
        &[chain("a", "10.96.0.1", 8443, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.244.1.2"])],
        &["default/a: 10.96.0.1:80/TCP ->", "default/b: 10.96.0.2:80/TCP -> 10.244.1.2:80*"],
        &[
            "Service default/a: endpoint 10.96.0.2:8443/TCP is in a range of virtual IPs, and no Service has that address and port; it gets no traffic",
        ],
    );
}

#[test]
fn a_service_follows_the_one_it_stands_for() {
    let (a, b) = (chain("a", "10.96.0.1", 80, &["10.96.0.2"]), chain("b", "10.96.0.2", 80, &["10.244.1.2"]));
    let mut snapshot = snapshot(&[a.0, b.0.clone()], &[a.1, b.1]);
    let mut planner = Planner::new(context());
    planner.update_all(&snapshot);
    let changed = |planner: &mut Planner, snapshot: &mut ServiceSnapshot, change: ServiceChange| {
        let mut touched = Touched::default();
        snapshot.apply(change, &mut touched);
        let mut changed = planner.update(snapshot, &touched.services).changed;
        changed.sort();
        changed.iter().map(|key| key.name.to_string()).collect::<Vec<_>>()
    };
    let (_, other) = chain("b", "10.96.0.2", 80, &["10.244.1.3"]);
    let change = ServiceChange::Slice(Change::Apply(view(&other)));
    assert_eq!(changed(&mut planner, &mut snapshot, change), ["a", "b"]);
    assert_eq!(render(planner.plan())[0], "default/a: 10.96.0.1:80/TCP -> 10.244.1.3:80*");
    let change = ServiceChange::Service(Change::Delete(view(&b.0)));
    assert_eq!(changed(&mut planner, &mut snapshot, change), ["a", "b"]);
    assert_eq!(render(planner.plan()), ["default/a: 10.96.0.1:80/TCP ->"]);
}

#[test]
fn what_is_not_honoured_stays_closed_and_is_said() {
    let ports = json!([{"port": 80, "nodePort": 30080}]);
    check(
        &[
            service(
                "a",
                json!({"clusterIPs": ["10.96.0.1"], "type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"}),
            ),
            service(
                "b",
                json!({"clusterIPs": ["10.96.0.2"], "ports": [{"port": 80}], "internalTrafficPolicy": "Local"}),
            ),
            service(
                "c",
                json!({"clusterIPs": ["10.96.0.3"], "type": "LoadBalancer", "ports": ports,
                "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalIPs": ["192.0.2.1"]}),
            ),
        ],
        &[],
        &["default/a: 10.96.0.1:80/TCP ->", "default/c: 10.96.0.3:80/TCP ->"],
        &[
            "Service default/a: externalTrafficPolicy Local is not supported yet; node ports stay closed",
            "Service default/b: internalTrafficPolicy Local is not supported yet; cluster IPs refuse connections",
            "Service default/c: loadBalancerSourceRanges are not supported yet; node ports stay closed",
            "Service default/c: externalIPs are not supported yet; they are not served",
        ],
    );
}

#[test]
fn what_a_port_cannot_hold_is_cut_off_and_said() {
    let web = json!({"clusterIPs": ["fd56:96::1"], "ports": [{"port": 80}]});
    let endpoints: Vec<_> =
        (0..=MAX_BACKENDS).map(|number| json!({"addresses": [format!("fd56:244::{number:x}:1")]})).collect();
    let objects =
        snapshot(&[service("web", web)], &[slice("s", "web", "IPv6", json!([{"port": 8080}]), json!(endpoints))]);
    let (plan, problems) = plan_all(&objects, &context());
    assert_eq!(plan.services[&key("web")].ports[0].backends.len(), MAX_BACKENDS);
    let text = "Service default/web: port \"\" has 65001 endpoints; the first 65000 get traffic";
    assert_eq!(problems.iter().map(Problem::to_string).collect::<Vec<_>>(), [text]);
}

#[test]
fn other_node_addresses_move_node_ports_alone() {
    let spec = json!({"clusterIPs": ["10.96.0.1"], "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let plain = json!({"clusterIPs": ["10.96.0.2"], "ports": [{"port": 80}]});
    let snapshot = snapshot(&[service("web", spec), service("plain", plain)], &[]);
    let mut planner = Planner::new(context());
    planner.update_all(&snapshot);
    let outcome = planner.set_node_addresses(&snapshot, vec![ip("192.168.56.7"), ip("192.168.56.7")]);
    assert_eq!(outcome.changed, [Arc::new(key("web"))]);
    let expect = [
        "default/plain: 10.96.0.2:80/TCP ->",
        "default/web: 10.96.0.1:80/TCP ->",
        "default/web: 192.168.56.7:30080/TCP (node port) ->",
    ];
    assert_eq!(render(planner.plan()), expect);
    assert_eq!(planner.set_node_addresses(&snapshot, vec![ip("192.168.56.7")]), Outcome::default());
}

#[test]
fn a_pod_is_masqueraded_only_towards_itself() {
    let web = json!({"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]});
    let endpoints =
        json!([{"addresses": ["10.244.1.2"], "nodeName": "node1"}, {"addresses": ["10.244.1.3"], "nodeName": "node1"}]);
    let objects = snapshot(&[service("web", web)], &[slice("s", "web", "IPv4", json!([{"port": 8080}]), endpoints)]);
    let (plan, _) = plan_all(&objects, &context());
    let packet = |source| Packet {
        source: ip(source),
        destination: Frontend { address: ip("10.96.0.1"), protocol: Protocol::Tcp, port: 80 },
    };
    let masquerades = |source| {
        let Verdict::To { backends, masquerade, .. } = decide(&plan, &packet(source)) else { panic!("forwarded") };
        backends.iter().map(|backend| masquerade.applies(ip(source), backend)).collect::<Vec<_>>()
    };
    assert_eq!(masquerades("10.244.1.2"), [true, false]);
    assert_eq!(masquerades("10.244.2.9"), [false, false]);
    assert_eq!(masquerades("192.168.56.101"), [true, true]);
    assert!(matches!(decide(&plan, &packet("192.168.56.50")), Verdict::To { masquerade: Masquerade::Always, .. }));
}

/// One write to a cluster.
#[derive(Clone, Debug)]
enum Write {
    Service(&'static str, Option<Value>),
    Slice(&'static str, Option<Value>),
    NodeAddresses(Vec<IpAddr>),
}

const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
const SLICES: [&str; 5] = ["e", "f", "g", "h", "i"];
const VIPS: [&str; 6] = ["10.96.0.1", "10.96.0.2", "fd56:96::1", "198.51.100.1", "127.0.0.1", "not an address"];
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
    let policy = || prop_oneof![6 => Just("Cluster"), 1 => Just("Local")];
    let shape = (
        prop_oneof![3 => Just("ClusterIP"), 5 => Just("NodePort"), 1 => Just("LoadBalancer"), 1 => Just("ExternalName")],
        vec(select(&VIPS[..]), 1..3),
        vec(service_port(), 1..3),
        option::weighted(0.3, select(&[1, 600][..])),
        (policy(), policy()),
        prop_oneof![8 => Just(json!({})), 1 => Just(json!({"service.kubernetes.io/service-proxy-name": "other"}))],
        prop_oneof![8 => Just(false), 1 => Just(true)],
    );
    shape.prop_map(move |(kind, ips, ports, sticky, (internal, external), labels, is_headless)| {
        let ips = if is_headless { vec!["None"] } else { ips };
        let mut object = service(
            name,
            json!({
                "type": kind, "clusterIP": ips[0], "clusterIPs": ips, "ports": ports,
                "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
            }),
        );
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
    let fields =
        (select(&ENDPOINTS[..]), (condition(), condition(), condition()), option::of(select(&["node1", "node2"][..])));
    fields.prop_map(|(address, (ready, serving, terminating), node)| {
        json!({
            "addresses": [address], "nodeName": node,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
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
    let addresses = proptest::sample::subsequence(NODE_ADDRESSES.to_vec(), 0..=3)
        .prop_map(|addresses| Write::NodeAddresses(addresses.into_iter().map(ip).collect()));
    prop_oneof![6 => service, 6 => slice, 1 => addresses]
}

impl World {
    /// Does the write here and in the snapshot.
    fn write(&mut self, write: &Write, snapshot: &mut ServiceSnapshot, touched: &mut Touched) {
        let (objects, name, object) = match write {
            Write::Service(name, object) => (&mut self.services, name, object),
            Write::Slice(name, object) => (&mut self.slices, name, object),
            Write::NodeAddresses(_) => return,
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

fn check_oracle(plan: &Plan, world: &World) -> Result<(), TestCaseError> {
    let sources = ["10.244.1.2", "10.244.2.9", "192.168.56.50", "fd56:244:1::2", "fd56::50"].map(ip);
    let destinations: Vec<_> = VIPS[..5]
        .iter()
        .chain(&NODE_ADDRESSES)
        .chain(&["10.96.0.77", "192.0.2.1"])
        .map(|address| ip(address))
        .collect();
    for packet in packets(&sources, &destinations, &[80, 81, 30080, 30081]) {
        let verdict = match decide(plan, &packet) {
            Verdict::Pass => Expected::Pass,
            Verdict::Refuse => Expected::Refuse,
            Verdict::To { backends, masquerade, affinity } => Expected::To {
                backends: backends.iter().map(|backend| backend.address).collect(),
                masqueraded: backends
                    .iter()
                    .filter(|backend| masquerade.applies(packet.source, backend))
                    .map(|backend| backend.address)
                    .collect(),
                affinity: affinity.map(|time| time.as_secs()),
            },
        };
        prop_assert_eq!(verdict, expect(world, "node1", &plan.settings, &packet), "{:?}", packet);
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
                if let Write::NodeAddresses(addresses) = write {
                    let before = (planner.plan().clone(), planner.problems().cloned().collect());
                    let outcome = planner.set_node_addresses(&snapshot, addresses.clone());
                    check_outcome(&outcome, (&before.0, &before.1), &planner)?;
                }
            }
            let (plan, problems) = plan_all(&snapshot, &planner.context);
            prop_assert_eq!(planner.plan(), &plan);
            prop_assert_eq!(planner.problems().collect::<BTreeSet<_>>(), problems.iter().collect::<BTreeSet<_>>());
            prop_assert_eq!(planner.update_all(&snapshot), Outcome::default());
        }
        check_order(planner.plan())?;
        check_oracle(planner.plan(), &world)?;
    }
}
