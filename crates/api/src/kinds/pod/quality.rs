//! The class of service that a pod's requests and limits put it in.

use serde_json::Value;

use super::super::value::{list, map};

const COUNTED: &[&str] = &["cpu", "memory"];

/// `Guaranteed`: every container limits CPU and memory and requests what it limits. `BestEffort`: none asks for anything.
/// `Burstable`: all others.
pub(super) fn class(pod: &Value) -> &'static str {
    let containers: Vec<&Value> =
        ["/spec/containers", "/spec/initContainers"].iter().flat_map(|pointer| list(pod, pointer)).collect();
    let amount = |container: &Value, kind: &str, resource: &str| {
        map(container, &format!("/resources/{kind}")).and_then(|amounts| amounts.get(resource)).cloned()
    };
    let asks = |container: &&Value| {
        COUNTED
            .iter()
            .any(|resource| ["requests", "limits"].iter().any(|kind| amount(container, kind, resource).is_some()))
    };
    let is_guaranteed = |container: &&Value| {
        COUNTED.iter().all(|resource| {
            let limit = amount(container, "limits", resource);
            limit.is_some() && limit == amount(container, "requests", resource)
        })
    };
    if !containers.iter().any(asks) {
        "BestEffort"
    } else if containers.iter().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
