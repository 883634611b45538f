//! Conditions that the API server itself gives a pod; all others are its agent's.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{kinds::value::list, meta};

/// A node has been chosen for it.
pub fn become_scheduled(pod: &mut Value, now: Timestamp) {
    put(
        pod,
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::seconds(now)}),
    );
}

/// It goes because somebody asked for that by the eviction subresource.
pub fn become_evicted(pod: &mut Value, now: Timestamp) {
    put(
        pod,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": meta::seconds(now),
        }),
    );
}

/// In the place of one of the same type. One that says the same already stays, with its time.
fn put(pod: &mut Value, condition: Value) {
    let mut conditions = list(pod, "/status/conditions").to_vec();
    match conditions.iter_mut().find(|other| other["type"] == condition["type"]) {
        Some(same) if same["status"] == condition["status"] && same["reason"] == condition["reason"] => return,
        Some(other) => *other = condition,
        None => conditions.push(condition),
    }
    pod["status"]["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_told_once_beside_other_conditions() {
        let mut pod = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let first = Timestamp::UNIX_EPOCH;
        become_evicted(&mut pod, first);
        let once = pod.clone();
        become_evicted(&mut pod, first + std::time::Duration::from_secs(5));
        assert_eq!(pod, once);
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        let types = conditions.iter().map(|condition| condition["type"].as_str().unwrap());
        assert_eq!(types.collect::<Vec<_>>(), ["Ready", "DisruptionTarget"]);
        assert_eq!(conditions[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
