//! What `managedFields` costs a write: `cargo run --release -p stead-api --example managed_fields`.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{hint::black_box, time::Instant};

use serde_json::{Value, json};
use stead_api::managed_fields::{Force, Writer, apply, record_update};

const ROUNDS: u32 = 20_000;

fn main() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web", "tier": "front"}},
        "spec": {
            "type": "ClusterIP", "selector": {"app": "web"}, "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    });
    let writer = |manager, definition, ignored| Writer {
        manager,
        subresource: "",
        api_version: "v1",
        definition,
        ignored,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let maker = writer("kubectl-create", "io.k8s.api.core.v1.Service", &["status"]);
    time("create a Service", || {
        let mut new = service.clone();
        record_update(None, &mut new, &maker);
        new
    });
    let mut live = service.clone();
    record_update(None, &mut live, &maker);
    let mut changed = live.clone();
    changed["spec"]["type"] = "NodePort".into();
    time("change a Service", || {
        let mut new = changed.clone();
        record_update(Some(&live), &mut new, &writer("kubectl-edit", maker.definition, &["status"]));
        new
    });
    time("apply what is there", || {
        apply(&live, &service, &writer("x", maker.definition, &["status"]), Force::Take).expect("it fits")
    });
    let pod = pod();
    let agent = writer("kubelet", "io.k8s.api.core.v1.Pod", &["spec"]);
    let mut live = pod.clone();
    record_update(None, &mut live, &Writer { ignored: &["status"], ..agent });
    let mut ready = live.clone();
    ready["status"] = json!({"phase": "Running", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}], "conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "ContainersReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]});
    time("status of a Pod", || {
        let mut new = ready.clone();
        record_update(Some(&live), &mut new, &Writer { subresource: "status", ..agent });
        new
    });
    time("(clone of a Pod)", || ready.clone());
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]},
        "spec": {"containers": [{
            "name": "web", "image": "stead.local/hello-app:1.0", "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "env": [{"name": "A", "value": "1"}], "resources": {}, "imagePullPolicy": "IfNotPresent",
        }], "restartPolicy": "Always", "nodeName": "node1"},
    })
}

fn time<T>(what: &str, work: impl Fn() -> T) {
    black_box(work());
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(work());
    }
    println!("{what}: {:.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}
