//! The Node object and its lease: that this node is here, what it is, and that it lives.

use std::{fs, sync::Arc, thread, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, ObjectReference},
};
use serde_json::{Value, json};
use stead_client::{CallError, EventKind, collection, object, write};
use stead_model::ObjectKey;
use tokio::time;

use super::{
    Shared,
    pressure::{self, Pressures, Words},
    readiness::Problems,
};
use stead_client::error_text;

use crate::config::Config;

/// How often the machine is measured; what others are to know of it is told at once.
const MEASURE: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const REFRESH: Duration = Duration::from_secs(300);
const SETTLE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The Kubernetes version whose API and behaviour this agent has.
const KUBELET_VERSION: &str = "v1.36.2";
const MAX_PODS: u32 = 110;

/// Registers the Node and keeps its status fresh.
pub(super) async fn keep_registered(shared: Arc<Shared>) {
    let mut pressures = Pressures::default();
    let mut news = shared.problems.subscribe();
    loop {
        pressures.observe(&measured(&shared.config), Timestamp::now());
        let problems = news.borrow_and_update().clone();
        match register(&shared, &pressures, &problems).await {
            Ok(()) => tokio::select! {
                () = unregistered(&shared, &problems) => {}
                () = change(&shared.config, &mut pressures) => {}
                _ = news.changed() => {}
                () = time::sleep(REFRESH) => {}
            },
            Err(error) => {
                tracing::warn!(node = shared.config.node_name, error = error_text(&error), "node is not registered");
                time::sleep(RETRY).await;
            }
        }
    }
}

/// Measures until the Node's conditions of pressure are others.
async fn change(config: &Config, pressures: &mut Pressures) {
    let told = pressures.words(Timestamp::now());
    loop {
        time::sleep(MEASURE).await;
        let now = Timestamp::now();
        pressures.observe(&measured(config), now);
        if pressures.words(now) != told {
            return;
        }
    }
}

fn measured(config: &Config) -> pressure::Measured {
    pressure::read(&config.state_dir, &config.image_dir)
}

/// Waits until others see no node of this name, or none that is ready though it said so: as after a deletion by hand, or a pause
/// that looked like death.
async fn unregistered(shared: &Shared, problems: &Problems) {
    let mut news = shared.cache.subscribe();
    // What was just written takes its time to come back.
    time::sleep(SETTLE).await;
    loop {
        let is_seen = {
            let snapshot = shared.cache.read();
            let node = snapshot.node(&shared.config.node_name);
            !snapshot.is_synced() || node.is_some_and(|node| node.is_ready || !problems.is_empty())
        };
        if !is_seen {
            return;
        }
        news.next().await;
    }
}

pub(super) async fn keep_lease(shared: Arc<Shared>) {
    loop {
        match renew(&shared).await {
            Ok(()) => time::sleep(RENEW).await,
            Err(error) => {
                tracing::debug!(node = shared.config.node_name, error = error_text(&error), "lease is not renewed");
                time::sleep(RETRY).await;
            }
        }
    }
}

async fn register(shared: &Shared, pressures: &Pressures, problems: &Problems) -> Result<(), CallError> {
    let path = object::<Node>(&ObjectKey::cluster(shared.config.node_name.as_str()));
    let found: Result<Node, CallError> = write::get(&shared.client, &path).await;
    let now = Timestamp::now();
    let before = match found {
        Ok(node) => {
            let patch = json!({"metadata": {"labels": labels(&shared.config)}});
            let _: Node = write::patch_merge(&shared.client, &path, &patch).await?;
            serde_json::to_value(node.status).unwrap_or_default()
        }
        Err(error) if error.is_not_found() => {
            let mut node = object_for(&shared.config);
            node["status"] = status(&shared.config, conditions(&Value::Null, pressures, problems, now));
            let created: Result<Node, CallError> = write::create(&shared.client, &collection::<Node>(""), &node).await;
            match created {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => Value::Null,
            }
        }
        Err(error) => return Err(error),
    };
    let conditions = conditions(&before, pressures, problems, now);
    let changed = changed(&before, &conditions);
    let _: Node = write::patch_status(&shared.client, &path, &status(&shared.config, conditions)).await?;
    for reason in changed {
        let message = format!("Node {} status is now: {reason}", shared.config.node_name);
        shared.recorder.record(&about(&shared.config), EventKind::Normal, &reason, message);
    }
    Ok(())
}

async fn renew(shared: &Shared) -> Result<(), CallError> {
    let name = shared.config.node_name.as_str();
    let path = object::<Lease>(&ObjectKey::new(LEASE_NAMESPACE, name));
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    });
    let renewed: Result<Lease, CallError> = write::patch_merge(&shared.client, &path, &json!({ "spec": spec })).await;
    match renewed {
        Err(error) if error.is_not_found() => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": LEASE_NAMESPACE}, "spec": spec,
            });
            let _: Lease = write::create(&shared.client, &collection::<Lease>(LEASE_NAMESPACE), &lease).await?;
            Ok(())
        }
        other => other.map(drop),
    }
}

fn labels(config: &Config) -> Value {
    let architecture = architecture();
    json!({
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture,
    })
}

fn object_for(config: &Config) -> Value {
    let ranges: Vec<String> = config.pod_ranges.iter().map(|range| range.trunc().to_string()).collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": config.node_name, "labels": labels(config)},
        "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
    })
}

fn status(config: &Config, conditions: Vec<Value>) -> Value {
    let own = &config.node_addresses;
    let addresses: Vec<Value> = own
        .iter()
        .enumerate()
        // The server takes none twice.
        .filter(|(index, address)| !own[..*index].contains(address))
        .map(|(_, address)| json!({"type": "InternalIP", "address": address}))
        .chain([json!({"type": "Hostname", "address": config.node_name})])
        .collect();
    let capacity = capacity(config);
    json!({
        "addresses": addresses,
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.server.as_ref().map_or(0, |server| server.port)}},
        "nodeInfo": node_info(),
    })
}

/// Heard now; a condition that has the status it had `before` keeps the time since when.
fn conditions(before: &Value, pressures: &Pressures, problems: &Problems, now: Timestamp) -> Vec<Value> {
    let words = pressures.words(now).into_iter().chain([problems.words()]);
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    words
        .map(|Words { kind, status, reason, message }| {
            let same = condition(before, kind).filter(|old| old["status"] == status);
            let since = same.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(&now);
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since,
            })
        })
        .collect()
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status.get("conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// What the kubelet's events call the conditions that have another status than before.
fn changed(before: &Value, conditions: &[Value]) -> Vec<String> {
    let differs = |new: &&Value| {
        let kind = new["type"].as_str().unwrap_or_default();
        condition(before, kind).is_some_and(|old| old["status"] != new["status"])
    };
    let reasons = conditions.iter().filter(differs).filter_map(|new| new["reason"].as_str());
    reasons.map(|reason| reason.replacen("Kubelet", "Node", 1)).collect()
}

/// As the kubelet does, whose events of its node have the name for a uid.
fn about(config: &Config) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(config.node_name.clone()),
        uid: Some(config.node_name.clone()),
        ..ObjectReference::default()
    }
}

fn capacity(config: &Config) -> Value {
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = read("/proc/meminfo");
    let kibibytes = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_ascii_whitespace().next());
    let disk = nix::sys::statvfs::statvfs(&config.state_dir);
    let disk = disk.map(|disk| disk.blocks() * disk.fragment_size() / 1024).unwrap_or(0);
    json!({
        "cpu": cpus.to_string(),
        "memory": format!("{}Ki", kibibytes.unwrap_or("0")),
        "ephemeral-storage": format!("{disk}Ki"),
        "pods": MAX_PODS.to_string(),
    })
}

fn node_info() -> Value {
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    json!({
        "machineID": read("/etc/machine-id").trim(),
        "systemUUID": read("/sys/class/dmi/id/product_uuid").trim(),
        "bootID": read("/proc/sys/kernel/random/boot_id").trim(),
        "kernelVersion": read("/proc/sys/kernel/osrelease").trim(),
        "osImage": pretty.trim_matches('"'),
        "containerRuntimeVersion": concat!("stead://", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    })
}

/// In the names of the Go world.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Empty where there is no such file: a machine without one is still a node.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::readiness::Need;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    #[test]
    fn conditions_keep_since_when_they_are_so_and_changes_have_their_events() {
        let (mut pressures, well) = (Pressures::default(), Problems::default());
        let first = json!({"conditions": conditions(&Value::Null, &pressures, &well, at(0))});
        assert!(changed(&Value::Null, first["conditions"].as_array().unwrap()).is_empty());

        let short = pressure::Measured { memory_bytes: Some(0), ..pressure::Measured::default() };
        pressures.observe(&short, at(60));
        let second = conditions(&first, &pressures, &well, at(60));
        let shown: Vec<String> = second
            .iter()
            .map(|condition| {
                let text = |field: &str| condition[field].as_str().unwrap().to_owned();
                format!(
                    "{}={} {} {} {}",
                    text("type"),
                    text("status"),
                    text("reason"),
                    text("lastHeartbeatTime"),
                    text("lastTransitionTime")
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "MemoryPressure=True KubeletHasInsufficientMemory 2026-01-01T00:01:00Z 2026-01-01T00:01:00Z",
                "DiskPressure=False KubeletHasNoDiskPressure 2026-01-01T00:01:00Z 2026-01-01T00:00:00Z",
                "PIDPressure=False KubeletHasSufficientPID 2026-01-01T00:01:00Z 2026-01-01T00:00:00Z",
                "Ready=True KubeletReady 2026-01-01T00:01:00Z 2026-01-01T00:00:00Z",
            ]
        );
        assert_eq!(changed(&first, &second), ["NodeHasInsufficientMemory"]);

        let mut problems = Problems::default();
        problems.note(Need::Containers, Some("read-only".to_owned()));
        let third = conditions(&first, &Pressures::default(), &problems, at(61));
        assert_eq!(changed(&first, &third), ["NodeNotReady"]);

        let mut unheard = first.clone();
        unheard["conditions"][3]["status"] = "Unknown".into();
        assert_eq!(changed(&unheard, first["conditions"].as_array().unwrap()), ["NodeReady"]);
    }
}
