//! The Node object and its lease: that this node is here, what it is, and that it lives.

use std::{fs, sync::Arc, thread, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use serde_json::{Value, json};
use stead_client::{CallError, collection, object, write};
use stead_model::ObjectKey;
use tokio::time;

use super::Shared;
use stead_client::error_text;

use crate::config::Config;

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
    loop {
        match register(&shared).await {
            Ok(()) => {
                let _ = time::timeout(REFRESH, unregistered(&shared)).await;
            }
            Err(error) => {
                tracing::warn!(node = shared.config.node_name, error = error_text(&error), "node is not registered");
                time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits until others see no ready node of this name, as after a pause that looked like death, or a deletion by hand.
async fn unregistered(shared: &Shared) {
    let mut news = shared.cache.subscribe();
    // What was just written takes its time to come back.
    time::sleep(SETTLE).await;
    loop {
        let is_seen = {
            let snapshot = shared.cache.read();
            !snapshot.is_synced() || snapshot.node(&shared.config.node_name).is_some_and(|node| node.is_ready)
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

async fn register(shared: &Shared) -> Result<(), CallError> {
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
            node["status"] = status(&shared.config, &Value::Null, now);
            let created: Result<Node, CallError> = write::create(&shared.client, &collection::<Node>(""), &node).await;
            match created {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => Value::Null,
            }
        }
        Err(error) => return Err(error),
    };
    let _: Node = write::patch_status(&shared.client, &path, &status(&shared.config, &before, now)).await?;
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

fn status(config: &Config, before: &Value, now: Timestamp) -> Value {
    let addresses: Vec<Value> = config
        .node_addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .chain([json!({"type": "Hostname", "address": config.node_name})])
        .collect();
    let capacity = capacity(config);
    json!({
        "addresses": addresses,
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": conditions(before, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.server.as_ref().map_or(0, |server| server.port)}},
        "nodeInfo": node_info(),
    })
}

fn conditions(before: &Value, now: Timestamp) -> Value {
    let wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "the node agent is ready"),
    ];
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let old = before.get("conditions").and_then(Value::as_array);
    wanted
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let same = old.into_iter().flatten().find(|old| old["type"] == kind && old["status"] == status);
            let since = same.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(&now);
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since,
            })
        })
        .collect()
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
