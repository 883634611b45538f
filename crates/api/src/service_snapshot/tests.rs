use std::time::Duration;

use serde_json::{Value, json};
use stead_model::{Family, Protocol, Revision};

use super::*;
use crate::item::{FromItem, ItemError};

fn read<T: FromItem>(object: Value) -> T {
    T::from_item(object.to_string().as_bytes()).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn service(name: &str) -> ServiceChange {
    ServiceChange::Service(Change::Apply(read(json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
    }))))
}

fn slice(name: &str, service: &str) -> ServiceChange {
    ServiceChange::Slice(Change::Apply(read(json!({
        "metadata": {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node1"}],
    }))))
}

fn node(name: &str) -> ServiceChange {
    ServiceChange::Node(Change::Apply(read(json!({"metadata": {"name": name}}))))
}

fn gone(name: &str, service: &str) -> ServiceChange {
    let ServiceChange::Slice(Change::Apply(view)) = slice(name, service) else { panic!("an applied slice") };
    ServiceChange::Slice(Change::Delete(view))
}

fn apply(snapshot: &mut ServiceSnapshot, change: ServiceChange) -> Touched {
    let mut touched = Touched::default();
    snapshot.apply(change, &mut touched);
    touched
}

fn services(names: &[&str]) -> Touched {
    Touched { services: names.iter().map(|name| Arc::new(key(name))).collect(), ..Touched::default() }
}

/// The view of an object, and the texts of what it left out.
fn check_problems(problems: &[ViewProblem], expect: &[&str]) {
    let problems: Vec<_> = problems.iter().map(ViewProblem::to_string).collect();
    assert_eq!(problems, expect);
}

#[test]
fn a_service_keeps_what_traffic_needs() {
    let view: ServiceView = read(json!({
        "metadata": {
            "namespace": "default", "name": "web", "uid": "u-1", "resourceVersion": "42",
            "labels": {"app": "web", "service.kubernetes.io/service-proxy-name": "other"},
            "annotations": {"note": null, "stead.local/algorithm": "maglev", "stead.local/weights": "10.244.1.0/24=3"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "type": "NodePort", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd56:96::a"],
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30080},
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353},
            ],
            "selector": {"app": "web"}, "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Local",
            "externalIPs": ["192.0.2.7", "192.0.2.7"], "healthCheckNodePort": 32000,
            "loadBalancerSourceRanges": [" 198.51.100.7/24 ", "fd56::/64"],
        },
        "status": {"loadBalancer": {"ingress": [
            {"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}, {"hostname": "lb.example.org"},
            {"ip": "fd56:1b::1"}, {"ip": ""},
        ]}},
    }));
    let port = |name: &str, protocol, port, node_port: u16| ServicePortView {
        name: name.into(),
        protocol,
        port,
        node_port: node_port.try_into().ok(),
    };
    let expect = ServiceView {
        key: Arc::new(key("web")),
        uid: "u-1".into(),
        revision: Revision(42),
        service_type: ServiceType::NodePort,
        cluster_ips: ["10.96.0.10".parse().unwrap(), "fd56:96::a".parse().unwrap()].into(),
        is_headless: false,
        ports: [port("http", Protocol::Tcp, 80, 30080), port("dns", Protocol::Udp, 53, 0)].into(),
        affinity: Some(Duration::from_secs(60)),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        external_ips: ["192.0.2.7".parse().unwrap()].into(),
        load_balancer_ips: ["192.0.2.1".parse().unwrap(), "fd56:1b::1".parse().unwrap()].into(),
        source_ranges: Some(["198.51.100.0/24".parse().unwrap(), "fd56::/64".parse().unwrap()].into()),
        health_check_node_port: 32000.try_into().ok(),
        algorithm: Algorithm::Maglev,
        weights: [("10.244.1.0/24".parse().unwrap(), 3)].into_iter().collect(),
        has_other_proxy: true,
        problems: [].into(),
    };
    assert_eq!(view, expect);
}

#[test]
fn a_service_with_wrong_values_keeps_the_right_ones() {
    let view: ServiceView = read(json!({
        "metadata": {"namespace": "default", "name": "odd", "labels": null, "annotations": {
            "stead.local/algorithm": "fastest", "stead.local/weights": "10.244.1.2=0,10.244.1.3=2",
        }},
        "spec": {
            "type": "Portal", "clusterIPs": ["10.96.0.010", "::ffff:10.96.0.1", "10.96.0.9"],
            "ports": [{"port": 70000}, {"port": 80, "protocol": "ICMP"}, {"name": "no number"}, {"port": 81, "nodePort": -1}],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}},
            "externalTrafficPolicy": "Nearby", "externalIPs": ["192.0.2.256", "192.0.2.7"],
            "loadBalancerSourceRanges": ["10.0.0.0", "010.0.0.0/8"], "healthCheckNodePort": 65536,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "here"}, {}]}},
    }));
    check_problems(
        &view.problems,
        &[
            "spec.type: \"Portal\" is not known",
            "spec.clusterIPs[0]: \"10.96.0.010\" is no address",
            "spec.clusterIPs[1]: \"::ffff:10.96.0.1\" is no address",
            "spec.ports[0].port: 70000 is no port (1-65535)",
            "spec.ports[1].protocol: \"ICMP\" is not known",
            "spec.ports[2].port: missing",
            "spec.ports[3].nodePort: -1 is no port (1-65535)",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 90000 is not in the range 1-86400",
            "spec.externalTrafficPolicy: \"Nearby\" is not known",
            "spec.externalIPs[0]: \"192.0.2.256\" is no address",
            "status.loadBalancer.ingress[0].ip: \"here\" is no address",
            "spec.loadBalancerSourceRanges[0]: \"10.0.0.0\" is no address",
            "spec.loadBalancerSourceRanges[1]: \"010.0.0.0/8\" is no address",
            "spec.healthCheckNodePort: 65536 is no port (1-65535)",
            "metadata.annotations[stead.local/algorithm]: \"fastest\" is none of random, round-robin, weighted, source-hash, maglev; connections are spread at random",
            "metadata.annotations[stead.local/weights]: \"10.244.1.2=0\" is no ADDRESS=1-100 or CIDR=1-100; it is passed over",
        ],
    );
    assert_eq!((view.source_ranges.as_deref(), view.health_check_node_port), (Some(&[][..]), None));
    assert_eq!(*view.cluster_ips, ["10.96.0.9".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(view.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [81]);
    assert_eq!(view.affinity, Some(Duration::from_secs(10_800)));
}

#[test]
fn headless_and_single_address_services_are_told_apart() {
    let read_ip = |spec| read::<ServiceView>(json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}));
    let headless = read_ip(json!({"clusterIP": "None", "clusterIPs": ["None"]}));
    assert!(headless.is_headless && headless.cluster_ips.is_empty() && headless.problems.is_empty());
    let single = read_ip(json!({"clusterIP": "10.96.0.7"}));
    assert!(!single.is_headless && single.cluster_ips.len() == 1);
    let none = read_ip(json!({"type": "ExternalName", "externalName": "example.org", "clusterIP": ""}));
    assert!(!none.is_headless && none.cluster_ips.is_empty() && none.problems.is_empty());
}

#[test]
fn a_slice_keeps_conditions_with_their_defaults() {
    let view: SliceView = read(json!({
        "metadata": {"namespace": "default", "name": "web-1", "resourceVersion": "7",
            "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "all"}, {"name": "zero", "port": 0}],
        "endpoints": [
            {"addresses": ["10.244.1.2", "10.244.9.9"], "nodeName": "node1", "zone": "a"},
            {"addresses": ["10.244.1.3"], "conditions": {}, "nodeName": "node1"},
            {"addresses": ["10.244.1.4"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["10.244.1.5"], "conditions": {"ready": false, "serving": null}},
        ],
    }));
    let seen: Vec<_> = view
        .endpoints
        .iter()
        .map(|each| {
            let conditions = (each.is_ready(), each.is_serving(), each.is_terminating());
            (each.address.to_string(), conditions, view.node_of(each), view.zone_of(each))
        })
        .collect();
    let expect = [
        ("10.244.1.2".to_owned(), (true, true, false), Some("node1"), Some("a")),
        ("10.244.1.3".to_owned(), (true, true, false), Some("node1"), None),
        ("10.244.1.4".to_owned(), (false, true, true), None, None),
        ("10.244.1.5".to_owned(), (false, false, false), None, None),
    ];
    assert_eq!(seen, expect);
    assert_eq!(view.service.as_deref(), Some(&key("web")));
    assert_eq!((view.family, view.is_headless, view.revision), (Some(Family::V4), true, Revision(7)));
    assert_eq!(*view.ports, [SlicePortView { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }]);
    assert!(size_of::<EndpointView>() <= 24);
}

#[test]
fn a_slice_keeps_whom_its_endpoints_should_serve() {
    let zones = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let view: SliceView = read(json!({
        "metadata": {"namespace": "default", "name": "web-1"}, "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.1.2"], "hints": {"forZones": zones(&["a", "b"]), "forNodes": zones(&["node1"])}},
            {"addresses": ["10.244.1.3"], "hints": {"forZones": zones(&["a", "b"]), "forNodes": zones(&["node1"])}},
            {"addresses": ["10.244.1.4"], "hints": {"forZones": zones(&["", "b"])}},
            {"addresses": ["10.244.1.5"], "hints": {"forZones": null, "forNodes": []}},
            {"addresses": ["10.244.1.6"]},
        ],
    }));
    let hints = view.endpoints.iter().map(|endpoint| {
        (view.zone_hints_of(endpoint).collect::<Vec<_>>(), view.node_hints_of(endpoint).collect::<Vec<_>>())
    });
    let expect = [
        (vec!["a", "b"], vec!["node1"]),
        (vec!["a", "b"], vec!["node1"]),
        (vec!["b"], vec![]),
        (vec![], vec![]),
        (vec![], vec![]),
    ];
    assert!(hints.eq(expect), "{view:?}");
}

#[test]
fn a_wrong_address_in_a_slice_never_stops_the_others() {
    let view: SliceView = read(json!({
        "metadata": {"namespace": "default", "name": "web-1"},
        "addressType": "IPv4",
        "ports": [{"port": 99999}, {"port": 80}],
        "endpoints": [
            {"addresses": ["10.244.1.300"]}, {"addresses": []}, {"addresses": ["fd56::1"]}, {"addresses": null},
            {"addresses": ["10.244.1.2"]},
        ],
    }));
    check_problems(
        &view.problems,
        &[
            "ports[0].port: 99999 is no port (1-65535)",
            "endpoints[0].addresses[0]: \"10.244.1.300\" is no address",
            "endpoints[1].addresses[0]: missing",
            "endpoints[2].addresses[0]: \"fd56::1\" is no IPv4 address",
            "endpoints[3].addresses[0]: missing",
        ],
    );
    assert_eq!((view.ports.len(), view.endpoints.len()), (1, 1));
}

#[test]
fn lists_that_are_null_are_empty() {
    let view: SliceView = read(json!({
        "metadata": {"namespace": "default", "name": "web-1"}, "addressType": "FQDN", "ports": null, "endpoints": null,
    }));
    assert_eq!((view.family, view.endpoints.len(), view.problems.len()), (None, 0, 0));
}

#[test]
fn what_is_no_object_is_an_error() {
    for text in ["", "{", "[]", r#"{"metadata":{}}"#, r#"{"metadata":{"name":1}}"#, "\u{0}"] {
        assert!(SliceView::from_item(text.as_bytes()).is_err(), "{text:?}");
        assert!(ServiceView::from_item(text.as_bytes()).is_err(), "{text:?}");
        assert!(NodeView::from_item(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(matches!(NodeView::from_item(b"{}"), Err(ItemError::Nameless)));
}

#[test]
fn a_node_keeps_addresses_and_pod_ranges() {
    let view: NodeView = read(json!({
        "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "a"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.7/24", "fd56:244:1::/64", "no range"]},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "node1"},
                {"type": "InternalIP", "address": "192.168.56.101"},
                {"type": "InternalIP", "address": "here"},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
    assert_eq!(*view.internal_addresses, ["192.168.56.101".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(*view.pod_ranges, ["10.244.1.0/24".parse().unwrap(), "fd56:244:1::/64".parse().unwrap()]);
    assert_eq!((view.is_ready, view.zone.as_deref(), view.key.to_string().as_str()), (true, Some("a"), "node1"));
    check_problems(
        &view.problems,
        &["status.addresses[2].address: \"here\" is no address", "spec.podCIDRs[2]: \"no range\" is no address"],
    );
}

#[test]
fn a_slice_touches_its_service_and_when_moved_both() {
    let mut snapshot = ServiceSnapshot::default();
    assert_eq!(apply(&mut snapshot, service("web")), services(&["web"]));
    assert_eq!(apply(&mut snapshot, slice("s1", "web")), services(&["web"]));
    assert_eq!(apply(&mut snapshot, slice("s0", "web")), services(&["web"]));
    let names = |snapshot: &ServiceSnapshot, name| {
        snapshot.slices_of(&key(name)).iter().map(|slice| slice.key.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&snapshot, "web"), ["s0", "s1"]);
    assert_eq!(apply(&mut snapshot, slice("s1", "api")), services(&["api", "web"]));
    assert_eq!((names(&snapshot, "web"), names(&snapshot, "api")), (vec!["s0".into()], vec!["s1".into()]));
    assert_eq!(apply(&mut snapshot, gone("s1", "api")), services(&["api"]));
    assert_eq!(apply(&mut snapshot, gone("s1", "api")), Touched::default());
    assert_eq!(snapshot.slices_by_service.len(), 1);
}

#[test]
fn a_list_drops_what_it_does_not_name() {
    let mut snapshot = ServiceSnapshot::default();
    for change in [service("web"), service("old"), slice("s1", "web"), slice("s2", "old"), node("node1")] {
        apply(&mut snapshot, change);
    }
    apply(&mut snapshot, ServiceChange::Service(Change::Init));
    assert_eq!(apply(&mut snapshot, service("web")), services(&["web"]));
    assert!(snapshot.service(&key("old")).is_some(), "nothing goes before the list is complete");
    let touched = apply(&mut snapshot, ServiceChange::Service(Change::InitDone));
    assert_eq!(touched, Touched { synced: true, ..services(&["old"]) });

    apply(&mut snapshot, ServiceChange::Slice(Change::Init));
    apply(&mut snapshot, slice("s1", "web"));
    let touched = apply(&mut snapshot, ServiceChange::Slice(Change::InitDone));
    assert_eq!(touched, Touched { synced: true, ..services(&["old"]) });
    assert!(!snapshot.is_synced());

    apply(&mut snapshot, ServiceChange::Node(Change::Init));
    apply(&mut snapshot, node("node2"));
    let touched = apply(&mut snapshot, ServiceChange::Node(Change::InitDone));
    let nodes = HashSet::from([Arc::new(ObjectKey::cluster("node1"))]);
    assert_eq!(touched, Touched { nodes, synced: true, ..Touched::default() });
    assert!(snapshot.is_synced());
    assert_eq!(snapshot.nodes().map(|node| node.key.to_string()).collect::<Vec<_>>(), ["node2"]);

    apply(&mut snapshot, ServiceChange::Service(Change::Init));
    assert!(snapshot.is_synced(), "a later list does not unsync");
    let touched = apply(&mut snapshot, ServiceChange::Service(Change::InitDone));
    assert_eq!(touched, services(&["web"]));
}

#[test]
fn names_of_nodes_are_held_once() {
    let mut snapshot = ServiceSnapshot::default();
    apply(&mut snapshot, slice("s1", "web"));
    apply(&mut snapshot, slice("s2", "web"));
    let [first, second] = snapshot.slices_of(&key("web")) else { panic!("two slices") };
    assert_eq!(
        first.node_of(&first.endpoints[0]).unwrap().as_ptr(),
        second.node_of(&second.endpoints[0]).unwrap().as_ptr()
    );
}

#[test]
fn an_object_repeated_at_its_revision_touches_nothing() {
    let at = |revision: &str| {
        ServiceChange::Service(Change::Apply(read(json!({
            "metadata": {"namespace": "default", "name": "web", "resourceVersion": revision},
        }))))
    };
    let mut snapshot = ServiceSnapshot::default();
    assert_eq!(apply(&mut snapshot, at("7")), services(&["web"]));
    apply(&mut snapshot, ServiceChange::Service(Change::Init));
    assert_eq!(apply(&mut snapshot, at("7")), Touched::default());
    let synced = Touched { synced: true, ..Touched::default() };
    assert_eq!(apply(&mut snapshot, ServiceChange::Service(Change::InitDone)), synced);
    assert_eq!(apply(&mut snapshot, at("8")), services(&["web"]));
}

#[test]
fn ranges_are_those_of_all_objects_and_nothing_waits_for_them() {
    let object = |name: &str, cidrs: Value| -> RangeView {
        read(json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": {"cidrs": cidrs}}))
    };
    let mut snapshot = ServiceSnapshot::default();
    let ranges =
        |snapshot: &ServiceSnapshot| snapshot.service_ranges().iter().map(ToString::to_string).collect::<Vec<_>>();
    let is_told = Touched { ranges: true, ..Touched::default() };
    let first = object("a", json!(["10.97.0.0/16", "fd00::/112"]));
    assert_eq!(apply(&mut snapshot, ServiceChange::Range(Change::Apply(first.clone()))), is_told);
    assert_eq!(apply(&mut snapshot, ServiceChange::Range(Change::Apply(first.clone()))), Touched::default());
    let second = object("b", json!(["10.96.0.0/16", "10.97.0.0/16", "no range"]));
    assert_eq!(apply(&mut snapshot, ServiceChange::Range(Change::Apply(second))), is_told);
    assert_eq!(ranges(&snapshot), ["10.96.0.0/16", "10.97.0.0/16", "fd00::/112"]);
    assert_eq!(apply(&mut snapshot, ServiceChange::Range(Change::Delete(first))), is_told);
    assert_eq!(ranges(&snapshot), ["10.96.0.0/16", "10.97.0.0/16"]);
    apply(&mut snapshot, ServiceChange::Range(Change::Init));
    assert!(apply(&mut snapshot, ServiceChange::Range(Change::InitDone)).ranges);
    assert!(ranges(&snapshot).is_empty() && !snapshot.is_synced());
}

proptest::proptest! {
    /// A byte of a good object is replaced: what comes out is a view with problems or an error, never a panic.
    #[test]
    fn damaged_objects_never_panic(place in 0usize..1000, byte: u8, cut in 0usize..1000) {
        let objects = [
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "w"}}, "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": ["10.244.1.2"], "conditions": {"ready": true}, "nodeName": "n", "zone": null,
                    "hints": {"forZones": [{"name": "a"}]}}]}),
            json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"clusterIPs": ["10.96.0.1"], "type": "NodePort",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}], "sessionAffinity": "ClientIP",
                "externalIPs": ["192.0.2.1"], "loadBalancerSourceRanges": ["10.0.0.0/8"]},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"}]}}}),
            json!({"metadata": {"name": "a"}, "spec": {"podCIDRs": ["10.244.0.0/24"]},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
        ];
        for object in objects {
            let mut bytes = object.to_string().into_bytes();
            let (place, cut) = (place % bytes.len(), cut % (2 * bytes.len()));
            bytes[place] = byte;
            bytes.truncate(cut.max(place + 1));
            let _ = (SliceView::from_item(&bytes), ServiceView::from_item(&bytes), NodeView::from_item(&bytes));
        }
    }
}

#[test]
fn what_cannot_be_read_any_more_goes_on_as_it_was() {
    let mut snapshot = ServiceSnapshot::default();
    for change in [service("web"), slice("web-1", "web"), node("node1")] {
        apply(&mut snapshot, change);
    }
    let (revision, node1) = (Revision(9), ObjectKey::cluster("node1"));
    let unread = || {
        [
            ServiceChange::Service(Change::Unread(key("web"), revision)),
            ServiceChange::Slice(Change::Unread(key("web-1"), revision)),
            ServiceChange::Node(Change::Unread(node1.clone(), revision)),
        ]
    };
    let starts =
        [ServiceChange::Service(Change::Init), ServiceChange::Slice(Change::Init), ServiceChange::Node(Change::Init)];
    let ends = [
        ServiceChange::Service(Change::InitDone),
        ServiceChange::Slice(Change::InitDone),
        ServiceChange::Node(Change::InitDone),
    ];
    for change in unread().into_iter().chain(starts).chain(unread()).chain(ends) {
        let touched = apply(&mut snapshot, change);
        assert!(touched.services.is_empty() && touched.nodes.is_empty(), "{touched:?}");
    }
    assert!(snapshot.service(&key("web")).is_some() && snapshot.node("node1").is_some());
    assert_eq!(snapshot.slices_of(&key("web")).len(), 1);
    apply(&mut snapshot, ServiceChange::Slice(Change::UnreadGone(key("web-1"), revision)));
    assert_eq!(
        apply(&mut snapshot, ServiceChange::Service(Change::UnreadGone(key("web"), revision))),
        services(&["web"])
    );
    assert!(snapshot.service(&key("web")).is_none() && snapshot.slices_of(&key("web")).is_empty());
}
