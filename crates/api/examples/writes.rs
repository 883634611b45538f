//! What the steps of a write cost that are pure: `cargo run --release -p stead-api --example writes`. Each is the fastest of many
//! batches, so that other programs on the machine count little.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{hint::black_box, time::Instant};

use serde_json::{Value, json};
use stead_api::{
    decode::{decode, prune},
    kinds::{pod, service, service::families},
    managed_fields::{Writer, record_update},
    meta,
    patch::PatchType,
    resource::Resource,
};
use stead_model::Family;

const BATCHES: usize = 50;
const ROUNDS: u32 = 200;

fn main() {
    println!("status patch of a Pod");
    status_patch();
    println!("create of a Service");
    service_create();
}

fn status_patch() {
    let resource = &pod::RESOURCE;
    let old = stored_pod(resource);
    let text = old.to_string();
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    let apply = || PatchType::StrategicMerge.apply(&old, &status, resource.definition).expect("it fits");
    let patched = apply();
    let pruned = prune(patched.clone(), resource.definition).expect("it fits").value;
    let mut new = pruned.clone();
    resource.strategy.default(&mut new);
    record_update(Some(&old), &mut new, &writer(resource, "status", &["spec"]));
    resource.strategy.prepare_status_update(&mut new, &old);
    let copy = time("(clone)", 0.0, || old.clone());
    time("read what is stored", 0.0, || serde_json::from_str::<Value>(&text).expect("JSON"));
    time("patch", 0.0, apply);
    time("prune", copy, || prune(patched.clone(), resource.definition));
    time("default", copy, || {
        let mut new = pruned.clone();
        resource.strategy.default(&mut new);
        new
    });
    time("note the manager", copy, || {
        let mut new = pruned.clone();
        record_update(Some(&old), &mut new, &writer(resource, "status", &["spec"]));
        new
    });
    time("prepare", copy, || {
        let mut new = new.clone();
        resource.strategy.prepare_status_update(&mut new, &old);
        new
    });
    time("validate", 0.0, || resource.strategy.validate_update(&new, &old));
    time("warnings", 0.0, || resource.strategy.warnings(&new, Some(&old)));
    time("selectable fields", 0.0, || {
        let fields = resource.strategy.selectable_fields();
        fields.iter().map(|field| resource.strategy.selectable_field(&new, field)).collect::<Vec<_>>()
    });
    time("write", 0.0, || serde_json::to_vec(&new).expect("JSON"));
}

fn service_create() {
    let resource = &service::RESOURCE;
    let text = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
    .to_string();
    let decoded = decode(text.as_bytes(), resource.definition).expect("it fits").value;
    let families = [Family::V4];
    let mut new = decoded.clone();
    meta::set(&mut new, "uid", "u");
    resource.strategy.default(&mut new);
    let defaulted = new.clone();
    record_update(None, &mut new, &writer(resource, "", &["status"]));
    resource.strategy.prepare_create(&mut new);
    let prepared = new.clone();
    families::resolve(&mut new, None, &families);
    let copy = time("(clone)", 0.0, || new.clone());
    time("decode", 0.0, || decode(text.as_bytes(), resource.definition));
    time("default", copy, || {
        let mut new = decoded.clone();
        resource.strategy.default(&mut new);
        new
    });
    time("note the manager", copy, || {
        let mut new = defaulted.clone();
        record_update(None, &mut new, &writer(resource, "", &["status"]));
        new
    });
    time("families", copy, || {
        let mut new = prepared.clone();
        families::resolve(&mut new, None, &families);
        new
    });
    time("validate", 0.0, || resource.strategy.validate_create(&new));
    time("allocations", 0.0, || service::allocation::plan(&new, None));
    time("warnings", 0.0, || resource.strategy.warnings(&new, None));
    time("write", 0.0, || serde_json::to_vec(&new).expect("JSON"));
    let stored = serde_json::to_vec(&new).expect("JSON");
    time("read what is stored", 0.0, || serde_json::from_slice::<Value>(&stored).expect("JSON"));
}

/// As it is created, with its manager noted.
fn stored_pod(resource: &Resource) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "pod-000001", "namespace": "default", "uid": "u", "labels": {"app": "app-000001"}},
        "spec": {"nodeName": "bench", "containers": [{
            "name": "c", "image": "stead/hello", "ports": [{"containerPort": 8080}]}]},
    });
    resource.strategy.default(&mut pod);
    record_update(None, &mut pod, &writer(resource, "", &["status"]));
    resource.strategy.prepare_create(&mut pod);
    pod
}

fn writer<'a>(resource: &Resource, subresource: &'a str, ignored: &'a [&'a str]) -> Writer<'a> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    Writer { manager: "kubelet", subresource, api_version: "v1", definition: resource.definition, ignored, now }
}

/// Prints and returns microseconds, `less` left out.
fn time<T>(what: &str, less: f64, work: impl Fn() -> T) -> f64 {
    let batch = || {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(work());
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
    };
    let fastest = (0..BATCHES).map(|_| batch()).fold(f64::MAX, f64::min);
    println!("  {what}: {:.1} µs", fastest - less);
    fastest
}
