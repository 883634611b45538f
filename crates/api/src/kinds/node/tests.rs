use serde_json::json;

use super::*;

fn node(spec: Value, status: Value) -> Value {
    let mut node = json!({"metadata": {"name": "node1"}, "spec": spec, "status": status});
    RESOURCE.strategy.default(&mut node);
    node
}

#[test]
fn cells_read_as_kubectl_prints_them() {
    let mut ready = node(
        json!({}),
        json!({
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.56.101"}],
            "nodeInfo": {
                "kubeletVersion": "v1.36.2", "osImage": "Debian", "kernelVersion": "6.1", "architecture": "amd64",
                "containerRuntimeVersion": "stead://0.1.0",
            },
        }),
    );
    ready["metadata"]["labels"] = json!({"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""});
    let cells = RESOURCE.strategy.cells(&ready, Timestamp::UNIX_EPOCH);
    assert_eq!(
        cells,
        [
            "node1",
            "Ready",
            "edge,worker",
            "<unknown>",
            "v1.36.2",
            "192.168.56.101",
            "<none>",
            "Debian",
            "6.1 (amd64)",
            "stead://0.1.0",
        ]
    );
    for (spec, conditions, expect) in [
        (json!({}), json!([]), "Unknown"),
        (json!({}), json!([{"type": "Ready", "status": "Unknown"}]), "NotReady"),
        (json!({"unschedulable": true}), json!([{"type": "Ready", "status": "True"}]), "Ready,SchedulingDisabled"),
    ] {
        let node = node(spec, json!({"conditions": conditions}));
        assert_eq!(RESOURCE.strategy.cells(&node, Timestamp::UNIX_EPOCH)[1], expect);
    }
}

#[test]
fn pod_ranges_are_given_once() {
    let old = node(json!({"podCIDR": "10.244.1.0/24"}), json!({}));
    assert_eq!(old["spec"]["podCIDRs"], json!(["10.244.1.0/24"]));
    assert_eq!(RESOURCE.strategy.validate_update(&old, &node(json!({}), json!({}))), []);
    let new = node(json!({"podCIDR": "10.244.2.0/24"}), json!({}));
    assert_eq!(
        RESOURCE.strategy.validate_update(&new, &old)[0].to_string(),
        "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
    );
}

#[test]
fn ranges_and_taints_are_checked() {
    let check = |spec: Value, expect: &[&str]| {
        let errors = RESOURCE.strategy.validate_create(&node(spec, json!({})));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    };
    check(json!({"podCIDRs": ["10.244.1.0/24", "fd00::/64"]}), &[]);
    check(
        json!({"podCIDRs": ["10.244.1.0/24", "10.245.1.0/24"]}),
        &[
            "spec.podCIDRs: Invalid value: [\"10.244.1.0/24\",\"10.245.1.0/24\"]: may specify no more than one CIDR for each IP family",
        ],
    );
    check(
        json!({"taints": [{"key": "a", "effect": "Never"}]}),
        &[
            "spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ],
    );
}
