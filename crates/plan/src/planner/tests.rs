//! What a plan is, in lines. What follows endpoints that are Services, and what any history leads to, are modules of their own.

mod balance;
mod histories;
mod hops;
mod policies;

use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    service_snapshot::{ServiceChange, Touched},
    snapshot::Change,
};
use stead_model::{Frontend, Protocol};

use super::*;
use crate::{
    Arrival, Backend, DetectLocal, FrontendKind, Lists, MAX_BACKENDS, Masquerade, MasqueradeAll, OpenRange, Packet,
    Settings, Verdict, decide,
};

fn view<T: FromItem>(object: &Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pods() -> DetectLocal {
    DetectLocal::Ranges(vec!["10.244.0.0/16".parse().unwrap(), "fd56:244::/32".parse().unwrap()])
}

fn context() -> NodeContext {
    let node = vec![ip("192.168.56.101"), ip("fd56::101")];
    NodeContext {
        node: "node1".into(),
        settings: Settings {
            service_ranges: vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()],
            detect_local: pods(),
            masquerade_all: MasqueradeAll::No,
            own_addresses: node.clone(),
            node_addresses: node,
        },
        zone: Some("a".into()),
        open_to_external: vec![OpenRange { range: "10.0.2.0/24".parse().unwrap(), namespace: None }],
        reserved: vec![ip("192.0.2.1")],
        without_hashes: None,
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
                let kind = match rule.kind {
                    FrontendKind::ClusterIp => String::new(),
                    kind => format!(" ({kind})"),
                };
                let to = backends.join(" ");
                lines.push(format!("{key}:{} {}{kind}{affinity} -> {to}", port.name, rule.frontend).trim_end().into());
            }
        }
    }
    lines
}

fn render_backend(backend: &Backend) -> String {
    let lists = match backend.lists {
        Lists::Cluster => "",
        Lists::Local => " [local]",
        Lists::Both => " [both]",
    };
    format!("{}{}{lists}", backend.address, if backend.local { "*" } else { "" })
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
    let draining = plan
        .ports
        .iter()
        .map(|port| port.draining.iter().map(|backend| backend.address.to_string()).collect::<Vec<_>>());
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
fn what_a_service_cannot_hold_on_all_its_ports_is_cut_off_and_said() {
    const PORTS: usize = 60;
    const ENDPOINTS: usize = 10_000;
    let numbers = 1..=PORTS;
    let named = |number| json!({"name": format!("p{number:02}"), "port": number});
    let ports: Vec<_> = numbers.map(named).collect();
    let endpoints: Vec<_> =
        (0..ENDPOINTS).map(|number| json!({"addresses": [format!("fd56:244::{number:x}")]})).collect();
    let web = service("web", json!({"clusterIPs": ["fd56:96::1"], "ports": ports}));
    let objects = snapshot(&[web], &[slice("s", "web", "IPv6", json!(ports), json!(endpoints))]);
    let mut planner = Planner::new(context());
    let problems = planner.update_all(&objects).problems;
    let sizes: Vec<_> = planner.plan().services[&key("web")].ports.iter().map(|port| port.backends.len()).collect();
    assert_eq!(sizes, [[ENDPOINTS; 50].as_slice(), &[0; 10]].concat());
    let text = "Service default/web: port \"p51\" has 10000 endpoints; the first 0 get traffic";
    assert_eq!((problems.len(), problems[0].to_string()), (10, text.to_owned()));
}

/// Each of a Service's thousands of problems is told once, however often it is looked at.
#[test]
fn a_service_with_many_problems_is_looked_at_again_in_no_time() {
    const ENDPOINTS: usize = 50_000;
    let web = service("web", json!({"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}));
    let address = |number: usize| json!({"addresses": [format!("127.0.{}.{}", number / 250, number % 250)]});
    let endpoints: Vec<_> = (0..ENDPOINTS).map(address).collect();
    let objects = snapshot(&[web], &[slice("s", "web", "IPv4", json!([{"port": 80}]), json!(endpoints))]);
    let mut planner = Planner::new(context());
    assert_eq!(planner.update_all(&objects).problems.len(), ENDPOINTS);
    // Compared each with each this would take minutes.
    for _ in 0..5 {
        assert_eq!(planner.update_all(&objects), Outcome::default());
    }
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
        arrival: Arrival::OnLink("eth0"),
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
