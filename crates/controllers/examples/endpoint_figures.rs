//! Figures of the endpoint controllers, against a real API server with its embedded store in this process: the first build of slices for
//! many pods, and from the status patch of a pod to the event of its slice.
//!
//! `cargo run --release -p stead-controllers --example endpoint_figures [SERVICES [PODS_EACH]]`, in a directory that it may write to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::{
    Resource,
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
};
use kube::Client;
use serde_json::{Value, json};
use stead_api::snapshot::Change;
use stead_apiserver::{Config, Identity, SealingKeys, Server, TokenKey, pki::Pki, tls};
use stead_client::{Query, collection, in_process, object, watch, write};
use stead_model::ObjectKey;
use stead_store::Embedded;

const PATCHES: usize = 1000;
/// Requests at once while pods are made.
const AT_ONCE: usize = 64;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>().expect("a number"));
    let (services, each) = (numbers.next().unwrap_or(500), numbers.next().unwrap_or(10));
    let directory = std::env::temp_dir().join(format!("stead-endpoint-figures-{}", std::process::id()));
    let store = Embedded::open(&directory).expect("a store");
    let server = Server::new(Arc::new(store), config()).await.expect("a server");
    let client = |user: &str| in_process(server.as_identity(Identity::control_plane(user)));
    let admin = client("admin");
    prepare(&admin, services, each).await;

    let controllers = stead_controllers::run(client("controllers"), stead_controllers::Config::default());
    let start = Instant::now();
    let controllers = tokio::spawn(async { match controllers.await {} });
    let query = Query::all(collection::<EndpointSlice>(""));
    let mut slices = Box::pin(watch::<EndpointSlice>(client("watcher"), query));
    let mut built = 0;
    while built < services * each {
        if let Some(slice) = next_slice(&mut slices).await {
            built += slice.endpoints.as_ref().map_or(0, Vec::len);
        }
    }
    println!("first build, {services} Services of {each} pods: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    // Endpoints objects are written meanwhile; they are no part of the next figure.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut times = Vec::with_capacity(PATCHES);
    for number in 0..PATCHES {
        let (service, pod) = ((number * 7) % services, number % each);
        let is_ready = (number / (services * each)) % 2 == 1;
        let start = Instant::now();
        set_ready(&admin, service, pod, is_ready).await;
        let name = name(service, pod);
        loop {
            let Some(slice) = next_slice(&mut slices).await else { continue };
            let all = slice.endpoints.unwrap_or_default();
            let found =
                all.iter().find(|each| each.target_ref.as_ref().and_then(|pod| pod.name.as_ref()) == Some(&name));
            let conditions = found.and_then(|endpoint| endpoint.conditions.as_ref());
            if conditions.and_then(|conditions| conditions.ready) == Some(is_ready) {
                break;
            }
        }
        times.push(start.elapsed());
    }
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!("status patch to slice event: p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms", at(50), at(99), at(100));
    controllers.abort();
    let _ = std::fs::remove_dir_all(&directory);
}

fn config() -> Config {
    let pki = Pki::create().expect("certificates");
    Config {
        advertise: "192.168.56.100:6443".parse().expect("an address"),
        service_ranges: vec!["10.96.0.0/12".parse().expect("a range")],
        node_ports: 30000..=32767,
        external_ips: Vec::new(),
        pod_ranges: vec!["10.240.0.0/12".parse().expect("a range")],
        cluster_domain: "cluster.local".into(),
        read_only: None,
        agent_tls: tls::agent_client_config(&pki).expect("a configuration"),
        token_key: TokenKey::create().expect("a key").into(),
        sealing_keys: SealingKeys::create().expect("a key").into(),
    }
}

fn name(service: usize, pod: usize) -> String {
    format!("web-{service}-{pod}")
}

/// Nodes, Services, and pods that are ready.
async fn prepare(admin: &Client, services: usize, each: usize) {
    create::<Node>(admin, json!({ "metadata": { "name": "node1" } })).await;
    let all = (0..services).map(|service| async move {
        let app = format!("web-{service}");
        let spec = json!({ "selector": { "app": app }, "ports": [{ "port": 80, "targetPort": 8080 }] });
        create::<Service>(admin, json!({ "metadata": { "namespace": "default", "name": app }, "spec": spec })).await;
        for pod in 0..each {
            let metadata = json!({ "namespace": "default", "name": name(service, pod), "labels": { "app": app } });
            let spec = json!({ "nodeName": "node1", "containers": [{ "name": "web", "image": "web:1" }] });
            create::<Pod>(admin, json!({ "metadata": metadata, "spec": spec })).await;
            let number = service * each + pod;
            let ip = format!("10.{}.{}.{}", 240 + number / 62_500, number / 250 % 250, number % 250 + 1);
            patch(admin, service, pod, &json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] })).await;
            set_ready(admin, service, pod, true).await;
        }
    });
    stream::iter(all).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn create<K: Resource>(client: &Client, mut body: Value) {
    body["apiVersion"] = K::API_VERSION.into();
    body["kind"] = K::KIND.into();
    let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let created = write::create::<_, Value>(client, &collection::<K>(&namespace), &body).await;
    created.expect("an object is created");
}

async fn set_ready(client: &Client, service: usize, pod: usize, is_ready: bool) {
    let status = if is_ready { "True" } else { "False" };
    patch(client, service, pod, &json!({ "conditions": [{ "type": "Ready", "status": status }] })).await;
}

async fn patch(client: &Client, service: usize, pod: usize, status: &Value) {
    let path = object::<Pod>(&ObjectKey::new("default", name(service, pod)));
    write::patch_status::<Value>(client, &path, status).await.expect("a status is written");
}

async fn next_slice(slices: &mut (impl Stream<Item = Change<EndpointSlice>> + Unpin)) -> Option<EndpointSlice> {
    match slices.next().await.expect("a watch never ends") {
        Change::Apply(slice) | Change::InitApply(slice) => Some(slice),
        _ => None,
    }
}
