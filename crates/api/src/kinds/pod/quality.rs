//! The class of service that a pod's requests and limits put it in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::value::{at, is_set, list, pairs};
use crate::quantity::Quantity;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// Amounts in units of 10⁻⁹, by resource.
type Sums = BTreeMap<&'static str, i128>;

/// `Guaranteed`: every container limits CPU and memory, and they request together what they limit. `BestEffort`: none asks for
/// anything. `Burstable`: all others. Resources of the pod as a whole count instead of its containers', and nothing is no amount.
pub(super) fn class(pod: &Value) -> &'static str {
    let askers = match at(pod, "/spec/resources") {
        whole if is_set(pod, "/spec/resources") => vec![whole],
        _ => {
            let containers = ["/spec/containers", "/spec/initContainers"].iter().flat_map(|pointer| list(pod, pointer));
            containers.map(|container| at(container, "/resources")).collect()
        }
    };
    let (mut requests, mut limits, mut all_limited) = (Sums::new(), Sums::new(), true);
    for resources in askers {
        add(resources, "/requests", &mut requests);
        all_limited &= add(resources, "/limits", &mut limits) == COUNTED.len();
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds what counts of `resources`; how many amounts that were.
fn add(resources: &Value, pointer: &str, sums: &mut Sums) -> usize {
    let stated = pairs(resources, pointer);
    let counted = COUNTED.into_iter().filter_map(|name| {
        let (_, text) = stated.iter().find(|(stated, _)| *stated == name)?;
        let nanos = text.parse::<Quantity>().ok()?.nanos();
        (nanos > 0).then_some((name, nanos))
    });
    let counted = Vec::from_iter(counted);
    for (name, nanos) in &counted {
        let sum = sums.entry(name).or_default();
        *sum = sum.saturating_add(*nanos);
    }
    counted.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_follow_amounts_not_texts() {
        let check = |containers: &[Value], expected: &str| {
            let containers = Vec::from_iter(containers.iter().map(|resources| json!({"resources": resources})));
            assert_eq!(class(&json!({"spec": {"containers": containers}})), expected, "{containers:?}");
        };
        let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        let alike = json!({"limits": both("1", "1Gi"), "requests": both("1000m", "1024Mi")});
        check(&[json!({})], "BestEffort");
        check(&[json!({"limits": both("0", "0"), "requests": {"ephemeral-storage": "1Gi"}})], "BestEffort");
        check(std::slice::from_ref(&alike), "Guaranteed");
        check(&[json!({"limits": both("1e3", "1k"), "requests": both("1k", "1000")})], "Guaranteed");
        check(&[json!({"limits": both("1", "1G"), "requests": both("1", "1Gi")})], "Burstable");
        check(&[json!({"limits": both("1", "1Gi")})], "Burstable");
        check(&[json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})], "Burstable");
        check(&[json!({"limits": both("1", "0"), "requests": {"cpu": "1"}})], "Burstable");
        check(&[alike.clone(), json!({})], "Burstable");
        check(&[alike.clone(), alike.clone()], "Guaranteed");
        let whole = json!({"spec": {"resources": alike, "containers": [{"resources": {"limits": {"cpu": "1"}}}]}});
        assert_eq!(class(&whole), "Guaranteed", "the pod's own count");
    }
}
