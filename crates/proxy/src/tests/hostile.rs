//! Objects that nobody should have written, as a foreign API may give them, on their way through the watch, the planner and the kernel.
//!
//! What is wrong is left out or bounded and named in an Event; everybody else is served, and a change is as quick as ever.

use std::fmt::Write as _;

use axum::{body::Body, http::Uri, response::Response};
use futures::StreamExt as _;
use stead_client::Interest;
use stead_model::Revision;

use super::*;

/// A collection: every object as an event of a streamed list, its end, and then what a test adds.
fn stream(items: &[Value]) -> Response {
    let mut text = String::new();
    for item in items {
        writeln!(text, "{}", json!({"type": "ADDED", "object": item})).unwrap();
    }
    let end = json!({"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}});
    writeln!(text, "{}", json!({"type": "BOOKMARK", "object": {"metadata": end}})).unwrap();
    let text = futures::stream::iter([Ok::<_, std::io::Error>(text)]);
    Response::new(Body::from_stream(text.chain(futures::stream::pending())))
}

/// Loops over real tables and over an API with these Services and slices.
async fn rig(services: Vec<Value>, slices: Vec<Value>) -> Rig<Namespace> {
    let answer = move |uri: Uri| {
        let items: &[Value] = match uri.path().rsplit('/').next() {
            Some("services") => &services,
            Some("endpointslices") => &slices,
            _ => &[],
        };
        std::future::ready(stream(items))
    };
    let cache = ServiceCache::start(&in_process(Router::new().fallback(answer)), Interest::Forwarding);
    let namespace = Namespace::create().unwrap();
    let plane = Box::new(NfTables::open_in(&namespace).unwrap());
    let rig = Rig::over(cache, namespace, plane, Duration::from_millis(500));
    rig.until(|rig| rig.metrics().contains("sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1")).await;
    rig
}

impl Rig<Namespace> {
    /// The plan that the loop must have by now.
    fn plan(&self) -> Plan {
        let mut addresses = self.addresses.0.lock().unwrap().clone();
        addresses.sort_unstable();
        let snapshot = self.cache.read();
        plan_all(&snapshot, &config().context(&snapshot, addresses)).0
    }

    /// Whether the kernel is as planned.
    fn is_as_planned(&self) -> bool {
        NfTables::open_in(&self.plane).unwrap().preview(&self.plan()).unwrap().is_empty()
    }

    /// Reasons of the Events about a Service, and their messages.
    fn told(&self, service: &str) -> Vec<(String, String)> {
        let events = self.events.lock().unwrap();
        let about = events.iter().filter(|event| event["involvedObject"]["name"] == service);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        about.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }
}

impl Rig<Namespace> {
    /// Waits for Events about a Service, each with a reason and a part of its message.
    async fn until_told(&self, service: &str, expect: &[(&str, &str)]) {
        let is_told = |(reason, part): &&(&str, &str)| {
            self.told(service).iter().any(|(told, message)| told == reason && message.contains(part))
        };
        let start = std::time::Instant::now();
        while let Some(missing) = expect.iter().find(|part| !is_told(part)) {
            assert!(start.elapsed() < DEADLINE, "{service}: no {missing:?} among {:#?}", self.told(service));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn object(namespace: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "resourceVersion": "3"});
    json!({"metadata": metadata, "spec": spec})
}

fn slice_of(namespace: &str, service: &str, endpoints: &Value, ports: &Value) -> Value {
    json!({
        "metadata": {
            "namespace": namespace, "name": format!("{service}-1"), "resourceVersion": "4",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn endpoints(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    addresses.into_iter().map(|address| json!({"addresses": [address.as_ref()]})).collect()
}

/// Two Services as they should be.
fn good() -> (Vec<Value>, Vec<Value>) {
    let services = [("web", "10.96.0.10", 30080), ("api", "10.96.0.11", 30081)].map(|(name, address, node_port)| {
        let ports = json!([{"port": 80, "nodePort": node_port}]);
        object("default", name, json!({"clusterIP": address, "type": "NodePort", "ports": ports}))
    });
    let ports = json!([{"port": 8080}]);
    let slices = ["web", "api"].map(|name| slice_of("default", name, &endpoints(["10.244.1.2", "10.244.1.3"]), &ports));
    (services.into(), slices.into())
}

const GOOD: [&str; 4] = [
    "api 10.96.0.11:80/TCP -> 10.244.1.2:8080 10.244.1.3:8080",
    "api 192.168.56.101:30081/TCP (node port) -> 10.244.1.2:8080 10.244.1.3:8080",
    "web 10.96.0.10:80/TCP -> 10.244.1.2:8080 10.244.1.3:8080",
    "web 192.168.56.101:30080/TCP (node port) -> 10.244.1.2:8080 10.244.1.3:8080",
];

/// Lines of the two good Services, and all others.
fn sort_out(plan: &Plan) -> (Vec<String>, Vec<String>) {
    lines(plan).into_iter().partition(|line| GOOD.contains(&line.as_str()))
}

/// A value of a hostile object, and what its Event must say.
type Case = (&'static str, Value, &'static [(&'static str, &'static str)]);

fn cases() -> Vec<Case> {
    let port = || json!([{"port": 80}]);
    vec![
        (
            "external",
            json!({"clusterIP": "10.96.1.1", "ports": port(), "externalIPs": [
                "192.168.56.101", "10.96.0.10", "127.0.0.1", "192.168.56.100", "169.254.169.254",
            ]}),
            &[
                ("InvalidAddress", "192.168.56.101 is this node's own"),
                ("InvalidAddress", "10.96.0.10 is in a range of virtual IPs"),
                ("InvalidAddress", "127.0.0.1 is loopback"),
                ("InvalidAddress", "192.168.56.100 is the API server's"),
                ("InvalidAddress", "169.254.169.254 is loopback, link-local, metadata"),
            ],
        ),
        (
            "balanced",
            json!({"clusterIP": "10.96.1.2", "type": "LoadBalancer", "ports": port()}),
            &[
                ("InvalidAddress", "192.168.56.101 is this node's own"),
                ("InvalidAddress", "10.96.0.11 is in a range of virtual IPs"),
                ("InvalidAddress", "127.0.0.7 is loopback"),
                ("InvalidAddress", "192.168.56.100 is the API server's"),
            ],
        ),
        (
            "loop-back",
            json!({"clusterIP": "127.0.0.1", "ports": port()}),
            &[("InvalidAddress", "127.0.0.1 is loopback")],
        ),
        ("nodes", json!({"clusterIP": "192.168.56.101", "ports": port()}), &[("InvalidAddress", "this node's own")]),
        ("servers", json!({"clusterIP": "192.168.56.100", "ports": port()}), &[("InvalidAddress", "the API server's")]),
        ("nowhere", json!({"clusterIP": "0.0.0.0", "ports": port()}), &[("InvalidAddress", "unspecified")]),
        (
            "twin",
            json!({"clusterIP": "10.96.0.10", "ports": port()}),
            &[("FrontendTaken", "belongs to Service default/web")],
        ),
        (
            "overlap",
            json!({"clusterIP": "10.96.1.3", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
            &[("FrontendTaken", "192.168.56.101:30080/TCP belongs to Service default/web")],
        ),
        (
            "garbled",
            json!({"clusterIP": "10.96.1.4", "clusterIPs": ["10.96.1.4", "ten", ""], "ports": port(), "externalIPs": ["1.2.3", "1.2.3.4.5"]}),
            &[("InvalidService", "ten"), ("InvalidService", "1.2.3"), ("InvalidService", "1.2.3.4.5")],
        ),
        (
            "ports",
            json!({"clusterIP": "10.96.1.5", "type": "NodePort", "ports": [
                {"name": "none", "port": 0}, {"name": "less", "port": -1}, {"name": "more", "port": 65536},
                {"name": "telnet", "port": 23, "protocol": "TELNET"}, {"name": "good", "port": 80, "nodePort": 99_999},
            ]}),
            &[("InvalidService", "TELNET"), ("InvalidService", "65536"), ("InvalidService", "-1")],
        ),
        (
            "affine",
            json!({"clusterIP": "10.96.1.7", "sessionAffinity": "Always", "ports": port()}),
            &[("InvalidService", "Always")],
        ),
    ]
}

#[tokio::test]
async fn each_is_left_out_by_name_and_everyone_else_is_served() {
    let (mut services, mut slices) = good();
    let cases = cases();
    services.extend(cases.iter().map(|(name, spec, _)| object("evil", name, spec.clone())));
    let balanced = services.iter_mut().find(|service| service["metadata"]["name"] == "balanced").unwrap();
    let addresses = ["192.168.56.101", "10.96.0.11", "127.0.0.7", "192.168.56.100"].map(|ip| json!({"ip": ip}));
    balanced["status"] = json!({"loadBalancer": {"ingress": addresses}});
    // What cannot be read at all is nobody's.
    services.push(json!({"metadata": {"namespace": "evil", "name": "numbers"}, "spec": {"clusterIP": 7, "ports": {}}}));
    services.push(json!({"metadata": "none", "spec": []}));
    services.push(Value::Null);
    // Endpoints that nothing may be sent to, and one that may.
    services.push(object("evil", "astray", json!({"clusterIP": "10.96.1.6", "ports": port_list()})));
    let astray = ["127.0.0.1", "169.254.169.254", "169.254.1.1", "10.96.9.9", "10.96.1.6", "10.244.9.9"];
    slices.push(slice_of("evil", "astray", &endpoints(astray), &port_list()));
    services.push(object("evil", "mangled", json!({"clusterIP": "10.96.1.8", "ports": port_list()})));
    let mangled = endpoints(["ten", "fd00::1", "10.244.9.8"]);
    slices.push(slice_of("evil", "mangled", &mangled, &json!([{"port": 80}, {"port": 70_000}])));
    // Of a Service in another namespace: the label is about its own.
    slices.push(slice_of("evil", "web", &endpoints(["10.244.6.6"]), &json!([{"port": 8080}])));
    slices.push(json!({"metadata": {"namespace": "default", "name": "web-2"}, "endpoints": "all"}));

    let rig = rig(services, slices).await;
    let (good, others) = sort_out(&rig.plan());
    assert_eq!(good, GOOD);
    let expect = [
        "affine 10.96.1.7:80/TCP ->",
        "astray 10.96.1.6:80/TCP -> 10.244.9.9:80",
        "balanced 10.96.1.2:80/TCP ->",
        "external 10.96.1.1:80/TCP ->",
        "garbled 10.96.1.4:80/TCP ->",
        "mangled 10.96.1.8:80/TCP -> 10.244.9.8:80",
        "overlap 10.96.1.3:80/TCP ->",
        "ports 10.96.1.5:80/TCP ->",
    ];
    assert_eq!(others, expect);
    rig.until(|rig| rig.is_as_planned()).await;
    let astray: &[_] = &[
        ("InvalidEndpoint", "127.0.0.1"),
        ("InvalidEndpoint", "169.254.169.254"),
        ("InvalidEndpoint", "169.254.1.1"),
        ("InvalidEndpoint", "10.96.9.9:80/TCP is in a range of virtual IPs"),
        ("EndpointLoop", "10.96.1.6:80/TCP is this Service itself"),
    ];
    let mangled: &[_] = &[("InvalidEndpoint", "ten"), ("InvalidEndpoint", "fd00::1"), ("InvalidEndpoint", "70000")];
    let all = cases.iter().map(|(name, _, expect)| (*name, *expect));
    let all = all.chain([("astray", astray), ("mangled", mangled)]);
    for (name, expect) in all {
        rig.until_told(name, expect).await;
    }
}

fn port_list() -> Value {
    json!([{"port": 80}])
}

/// Sizes that no honest object has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_bounded_and_delays_nobody() {
    const PORTS: usize = 20_000;
    const ENDPOINTS: usize = 100_000;
    let (mut services, mut slices) = good();
    let ports: Vec<_> = (1..=PORTS).map(|number| json!({"name": format!("p{number}"), "port": number})).collect();
    services.push(object("evil", "ports", json!({"clusterIP": "10.96.2.1", "ports": ports})));
    slices.push(slice_of("evil", "ports", &endpoints(["10.244.7.1"]), &json!(ports)));
    let address = |number: usize| format!("10.{}.{}.{}", 100 + number / 62_500, number / 250 % 250, number % 250 + 1);
    services.push(object("evil", "crowd", json!({"clusterIP": "10.96.2.2", "ports": port_list()})));
    slices.push(slice_of("evil", "crowd", &endpoints((0..ENDPOINTS).map(address)), &port_list()));
    // None of these may get traffic, for two reasons.
    services.push(object("evil", "stray", json!({"clusterIP": "10.96.2.3", "ports": port_list()})));
    let stray =
        (0..ENDPOINTS).map(|number| format!("127.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250 + 1));
    slices.push(slice_of("evil", "stray", &endpoints(stray), &port_list()));
    services.push(object("evil", "virtual", json!({"clusterIP": "10.96.2.4", "ports": port_list()})));
    let nobodys = (0..20_000).map(|number| format!("10.96.{}.{}", 100 + number / 250, number % 250 + 1));
    slices.push(slice_of("evil", "virtual", &endpoints(nobodys), &port_list()));
    let long = "x".repeat(10_000);
    let long_ports = json!([{"name": long, "port": 80, "protocol": long}, {"name": "good", "port": 81}]);
    services.push(object(&long, &long, json!({"clusterIP": "10.96.2.5", "ports": long_ports, "externalIPs": [long]})));
    let many: Vec<_> = (0..20_000).map(|number| format!("10.97.{}.{}", number / 250, number % 250 + 1)).collect();
    services.push(object(
        "evil",
        "everywhere",
        json!({"clusterIP": "10.96.2.6", "ports": port_list(), "externalIPs": many}),
    ));

    let rig = rig(services, slices).await;
    let plan = rig.plan();
    assert_eq!(sort_out(&plan).0, GOOD);
    let count = |name: &str| {
        let ports = plan.services.get(&ObjectKey::new("evil", name)).map(|service| &*service.ports).unwrap_or_default();
        (ports.len(), ports.iter().map(|port| port.backends.len()).max().unwrap_or_default())
    };
    let counts = ["ports", "crowd", "stray", "virtual"].map(count);
    assert_eq!(counts, [(PORTS, 1), (1, stead_plan::MAX_BACKENDS), (1, 0), (1, 0)]);
    rig.until(|rig| rig.is_as_planned()).await;
    rig.until_told("crowd", &[("InvalidEndpoint", "has 100000 endpoints")]).await;
    rig.until_told("stray", &[("InvalidEndpoint", "127.0.0.1 in"), ("MoreProblems", "99995 more")]).await;
    rig.until_told("virtual", &[("InvalidEndpoint", "is in a range of virtual IPs")]).await;
    rig.until_told(&long, &[("InvalidService", "protocol")]).await;
    for event in &*rig.events.lock().unwrap() {
        let name = event["metadata"]["name"].as_str().unwrap();
        let is_name = |text: &str| {
            text.len() <= 253 && text.bytes().all(|byte| b"abcdefghijklmnopqrstuvwxyz0123456789-.".contains(&byte))
        };
        assert!(is_name(name), "the API takes no Event of this name: {name}");
    }

    // Each of them again, and then one who is as he should be: he does not wait for the others' sake.
    let keys: Vec<_> = rig.cache.read().services().map(|service| Arc::clone(&service.key)).collect();
    let slices: Vec<_> = {
        let snapshot = rig.cache.read();
        keys.iter().flat_map(|key| snapshot.slices_of(key)).map(|slice| (**slice).clone()).collect()
    };
    let partial = |rig: &Rig<Namespace>| {
        let name = "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} ";
        rig.metrics().lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0_u64)
    };
    let again = slices.into_iter().map(|mut slice| {
        slice.revision = Revision(9);
        slice.last_change = Some(Timestamp::now());
        ServiceChange::Slice(Change::Apply(slice))
    });
    let before = partial(&rig);
    rig.cache.apply(again.chain([slice("web", &["10.244.1.8"])]));
    rig.until(|rig| partial(rig) > before).await;
    let before = partial(&rig);
    let start = std::time::Instant::now();
    rig.cache.apply([slice("web", &["10.244.1.9"])]);
    rig.until(|rig| partial(rig) > before).await;
    let took = start.elapsed();
    println!("a change among them took {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(lines(&rig.plan()).contains(&"web 10.96.0.10:80/TCP -> 10.244.1.9:8080".to_owned()));
    assert!(rig.is_as_planned());
}
