//! Where a proxy's start spends its time: reading the objects, planning them, and, for root, programming the kernel of a network
//! namespace of its own. Prints one line for each part.
//!
//! `cargo run --release -p stead-proxy --example cold_start -- SERVICES ENDPOINTS`

use std::{
    fs,
    time::{Duration, Instant},
};

use stead_api::{
    item::FromItem,
    service_snapshot::{NodeView, ServiceChange, ServiceSnapshot, ServiceView, SliceView, Touched},
    snapshot::Change,
};
use stead_dataplane::{DataPlane, NfTables, Scope};
use stead_plan::{DetectLocal, NodeContext, Planner, Settings};
use stead_sys::namespace::Namespace;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (services, endpoints) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(5));
    let service_items: Vec<_> = (0..services).map(service).collect();
    let slice_items: Vec<_> = (0..services).map(|number| slice(number, endpoints)).collect();
    let bytes: usize = service_items.iter().chain(&slice_items).map(String::len).sum();
    println!("{services} Services x {endpoints}: {} KiB of JSON", bytes / 1024);

    let resident = resident_kib();
    let (service_views, took) = timed(|| parse::<ServiceView>(&service_items));
    report("read Services", took);
    let (slice_views, took) = timed(|| parse::<SliceView>(&slice_items));
    report("read EndpointSlices", took);

    let mut snapshot = ServiceSnapshot::default();
    let mut touched = Touched::default();
    let ((), took) = timed(|| {
        let services = list(service_views, ServiceChange::Service);
        let slices = list(slice_views, ServiceChange::Slice);
        let nodes = list(Vec::<NodeView>::new(), ServiceChange::Node);
        for change in services.chain(slices).chain(nodes) {
            snapshot.apply(change, &mut touched);
        }
    });
    report("index", took);
    println!("{:22} {:6} KiB", "snapshot holds", resident_kib().saturating_sub(resident));

    let resident = resident_kib();
    let mut planner = Planner::new(context());
    let (outcome, took) = timed(|| planner.update_all(&snapshot));
    report("plan all", took);
    println!("{:22} {:6} KiB", "planner holds", resident_kib().saturating_sub(resident));
    assert_eq!((outcome.changed.len(), outcome.problems.len()), (services, 0));
    let backends = planner.plan().services.values().flat_map(|service| &service.ports).map(|port| port.backends.len());
    assert_eq!(backends.sum::<usize>(), services * endpoints);

    let mut plane = open_plane();
    if let Some((namespace, plane)) = &mut plane {
        let (applied, took) = timed(|| plane.apply(planner.plan(), Scope::All).expect("the kernel takes the plan"));
        report("program all", took);
        assert!(applied.operations > services * endpoints);
        let mut successor = NfTables::open_in(namespace).expect("a second plane");
        let (applied, took) = timed(|| successor.apply(planner.plan(), Scope::All).expect("the kernel is adopted"));
        report("adopt all", took);
        assert_eq!(applied.operations, 0);
        *plane = successor;
    }

    let items: Vec<_> = (0..services.min(1000)).map(|number| slice(number, endpoints + 1)).collect();
    let ((), took) = timed(|| {
        for item in &items {
            let mut touched = Touched::default();
            let view = SliceView::from_item(item.as_bytes()).expect("a slice");
            snapshot.apply(ServiceChange::Slice(Change::Apply(view)), &mut touched);
            let changed = planner.update(&snapshot, &touched.services).changed;
            assert_eq!(changed.len(), 1);
            if let Some((_, plane)) = &mut plane {
                let keys = changed.iter().map(|key| (**key).clone()).collect();
                plane.apply(planner.plan(), Scope::Services(&keys)).expect("the kernel takes the change");
            }
        }
    });
    report("one slice, mean", took / u32::try_from(items.len().max(1)).expect("at most a thousand"));
}

/// A plane in a network namespace that ends with this process; `None` without the rights for it.
fn open_plane() -> Option<(Namespace, NfTables)> {
    let opened = Namespace::create().map_err(|error| error.to_string()).and_then(|namespace| {
        let plane = NfTables::open_in(&namespace).map_err(|error| error.to_string())?;
        Ok((namespace, plane))
    });
    opened.inspect_err(|error| println!("{:22} skipped: {error}", "program all")).ok()
}

fn context() -> NodeContext {
    let ranges = |text: &str| vec![text.parse().expect("a range")];
    let settings = Settings {
        service_ranges: ranges("10.96.0.0/12"),
        detect_local: DetectLocal::Ranges(ranges("10.0.0.0/8")),
        node_addresses: vec!["192.168.56.101".parse().expect("an address")],
        ..Settings::default()
    };
    NodeContext { node: "node1".into(), settings, ..NodeContext::default() }
}

fn parse<T: FromItem>(items: &[String]) -> Vec<T> {
    items.iter().map(|item| T::from_item(item.as_bytes()).expect("an object")).collect()
}

fn list<T>(items: Vec<T>, wrap: fn(Change<T>) -> ServiceChange) -> impl Iterator<Item = ServiceChange> {
    let items = items.into_iter().map(Change::InitApply);
    std::iter::once(Change::Init).chain(items).chain([Change::InitDone]).map(wrap)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn report(part: &str, took: Duration) {
    println!("{part:22} {:9.3} ms", took.as_secs_f64() * 1e3);
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// A Service as the API server gives it, defaults and all.
fn service(number: usize) -> String {
    let (high, low) = (number / 250, number % 250 + 1);
    let ip = format!("10.{}.{}.{low}", 96 + high / 250, high % 250);
    format!(
        r#"{{"metadata":{{"name":"svc-{number:06}","namespace":"bench","uid":"6f1c3a52-7f0a-4d4e-9b1e-{number:012}","resourceVersion":"{}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"svc-{number:06}"}},"annotations":{{"kubectl.kubernetes.io/last-applied-configuration":"{{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{{\"name\":\"svc-{number:06}\"}}}}"}}}},"spec":{{"ports":[{{"name":"http","protocol":"TCP","port":80,"targetPort":8080}}],"selector":{{"app":"svc-{number:06}"}},"clusterIP":"{ip}","clusterIPs":["{ip}"],"type":"ClusterIP","sessionAffinity":"None","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"}},"status":{{"loadBalancer":{{}}}}}}"#,
        number * 2 + 1
    )
}

/// An EndpointSlice as the controller writes it.
fn slice(number: usize, endpoints: usize) -> String {
    let endpoint = |index: usize| {
        let pod = number * endpoints + index;
        format!(
            r#"{{"addresses":["10.{}.{}.{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"targetRef":{{"kind":"Pod","namespace":"bench","name":"svc-{number:06}-55594b4d48-{index:05}","uid":"0b7a52c6-9c6c-4cf4-8f4a-{pod:012}"}},"nodeName":"node{}"}}"#,
            pod / 62_500 % 256,
            pod / 250 % 250,
            pod % 250 + 1,
            pod % 3 + 1,
        )
    };
    let endpoints = (0..endpoints).map(endpoint).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"metadata":{{"name":"svc-{number:06}-x7x2k","generateName":"svc-{number:06}-","namespace":"bench","uid":"d9a5b2f0-25f6-4f3b-bb38-{number:012}","resourceVersion":"{}","generation":1,"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"svc-{number:06}","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"svc-{number:06}"}},"annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"}},"ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"svc-{number:06}","uid":"6f1c3a52-7f0a-4d4e-9b1e-{number:012}","controller":true,"blockOwnerDeletion":true}}]}},"addressType":"IPv4","endpoints":[{endpoints}],"ports":[{{"name":"http","protocol":"TCP","port":8080}}]}}"#,
        number * 2 + 2 + endpoints.len()
    )
}
