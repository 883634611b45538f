//! The endpoint controller at 5,000 pods: the first build of 500 slices, then one pod's readiness at a time.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time;

use super::{
    client::{self, Target},
    figure::{Better, Figure},
    storm::{self, Bound, Objects},
    subject::Subject,
};

const PODS: usize = 5_000;
const SERVICES: usize = 500;
const PATCHES: usize = 200;
const SPACING: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
const UNBOUNDED: Duration = Duration::MAX;
const PODS_PATH: &str = "/api/v1/namespaces/default/pods";
const SLICES_PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

pub(crate) fn measure(subject: &mut Subject) -> Vec<Figure> {
    let target = &subject.target;
    client::runtime().block_on(node(target));
    let bound = Bound { count: PODS, time: UNBOUNDED };
    let pods = Objects { collection: PODS_PATH, prefix: "pod-".to_owned(), body: pod };
    assert_eq!(storm::create(target, 16, bound, pods).names.len(), PODS);
    client::runtime().block_on(async {
        let mut connection = target.open().await;
        for number in 0..PODS {
            set_ready(&mut connection, number, Readiness::Ready).await;
        }
    });
    let before = subject.cpu();
    let built = build(target);
    let busy = subject.cpu() - before;
    let before = subject.cpu();
    let delays = client::runtime().block_on(patches(target));
    let cost = (subject.cpu() - before).as_secs_f64() * 1e3 / PATCHES as f64;
    vec![
        Figure {
            what: "first build of 500 slices (≤ 1 s)".to_owned(),
            value: built.as_secs_f64(),
            unit: "s",
            better: Better::Lower,
            note: format!(
                "first Service sent to the last of 5,000 ready endpoints seen; server CPU {:.0} ms; n=1",
                busy.as_secs_f64() * 1e3
            ),
        },
        Figure::of_series(
            "status patch to slice event, p99 (≤ 3 ms)",
            0.99,
            delays,
            &format!("server CPU {cost:.2} ms each"),
        ),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    Unready,
}

/// A node that is heard of for as long as the bench may take.
async fn node(target: &Target) {
    let mut connection = target.open().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bench"}});
    connection.call(Method::POST, "/api/v1/nodes", node.to_string()).await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "bench"},
        "spec": {"holderIdentity": "bench", "leaseDurationSeconds": 40, "renewTime": "2099-01-01T00:00:00.000000Z"},
    });
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    connection.call(Method::POST, path, lease.to_string()).await;
}

fn pod(name: &str, number: usize) -> Bytes {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app(number)}},
        "spec": {"nodeName": "bench", "containers": [{"name": "c", "image": "stead/hello", "ports": [{"containerPort": 8080}]}]},
    });
    object.to_string().into()
}

/// Chooses the pods that are labelled with its name.
fn service(name: &str, _: usize) -> Bytes {
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    object.to_string().into()
}

fn pod_name(number: usize) -> String {
    format!("pod-{number:06}")
}

fn app(number: usize) -> String {
    format!("app-{:06}", number % SERVICES)
}

async fn set_ready(connection: &mut client::Connection, number: usize, readiness: Readiness) {
    let address = format!("10.244.{}.{}", 1 + number / 250, 1 + number % 250);
    let ready = if readiness == Readiness::Ready { "True" } else { "False" };
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready}],
    }});
    let path = format!("{PODS_PATH}/{}/status", pod_name(number));
    connection.call(Method::PATCH, &path, status.to_string()).await;
}

/// From the first Service being sent to every pod having been seen ready in a slice.
fn build(target: &Target) -> Duration {
    let watcher = target.clone();
    let (ready, waiting) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        client::runtime().block_on(async {
            let (_connection, mut slices) = Slices::watch(&watcher).await;
            ready.send(()).expect("somebody waits");
            let mut seen = std::collections::BTreeSet::new();
            while seen.len() < PODS {
                let (_, slice) = slices.next().await;
                seen.extend(endpoints(&slice).filter(|(_, ready)| *ready).map(|(pod, _)| pod.to_owned()));
            }
            Instant::now()
        })
    });
    waiting.recv().expect("the watch is there");
    let start = Instant::now();
    let bound = Bound { count: SERVICES, time: UNBOUNDED };
    let services =
        Objects { collection: "/api/v1/namespaces/default/services", prefix: "app-".to_owned(), body: service };
    storm::create(target, 16, bound, services);
    let built = reader.join().expect("all pods are seen") - start;
    let slices = client::runtime().block_on(async { target.open().await.names(SLICES_PATH, "app-").await });
    assert_eq!(slices.len(), SERVICES);
    built
}

/// One pod after another becomes unready, or ready again; from the patch being sent to the slice that says so.
async fn patches(target: &Target) -> Vec<Duration> {
    let (_connection, mut slices) = Slices::watch(target).await;
    let mut connection = target.open().await;
    let mut delays = Vec::with_capacity(PATCHES);
    for round in 0..PATCHES {
        time::sleep(SPACING).await;
        let number = (round / 2) * 37 % PODS;
        let readiness = if round % 2 == 0 { Readiness::Unready } else { Readiness::Ready };
        let expected = (pod_name(number), readiness == Readiness::Ready);
        let sent = Instant::now();
        let write = set_ready(&mut connection, number, readiness);
        let read = async {
            loop {
                let (at, slice) = slices.next().await;
                if endpoints(&slice).any(|(pod, ready)| (pod, ready) == (&expected.0, expected.1)) {
                    return at;
                }
            }
        };
        let ((), at) = tokio::join!(write, read);
        delays.push(at - sent);
    }
    delays
}

/// A watch of all slices.
struct Slices {
    body: Incoming,
    buffer: BytesMut,
}

impl Slices {
    async fn watch(target: &Target) -> (client::Connection, Self) {
        let mut connection = target.open().await;
        let list = connection.get(&format!("{SLICES_PATH}?limit=1")).await;
        let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
        let body = connection.stream(&format!("{SLICES_PATH}?watch=1&resourceVersion={revision}")).await;
        (connection, Self { body, buffer: BytesMut::new() })
    }

    /// The next slice that an event carries, and when it was read.
    async fn next(&mut self) -> (Instant, Value) {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let now = Instant::now();
                let mut event: Value = serde_json::from_slice(&self.buffer.split_to(end + 1)).expect("an event");
                return (now, event["object"].take());
            }
            let frame = time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time");
            let frame = frame.expect("the watch goes on").expect("a frame");
            self.buffer.extend_from_slice(&frame.into_data().expect("no trailers"));
        }
    }
}

/// Pods of a slice, and whether each is ready.
fn endpoints(slice: &Value) -> impl Iterator<Item = (&str, bool)> {
    let endpoints = slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint["targetRef"]["name"].as_str()?, endpoint["conditions"]["ready"] == true)))
}
