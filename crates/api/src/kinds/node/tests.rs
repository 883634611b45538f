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

/// `podCIDR` wins: a patch of it alone is a change, and one of the list alone is none.
#[test]
fn the_two_spellings_of_pod_ranges_agree() {
    let check = |spec: Value, expect: Value| assert_eq!(node(spec, json!({}))["spec"], expect);
    let both = |first: &str, all: Value| json!({"podCIDR": first, "podCIDRs": all});
    check(both("10.2.0.0/24", json!(["10.1.0.0/24"])), both("10.2.0.0/24", json!(["10.2.0.0/24"])));
    check(
        both("10.1.0.0/24", json!(["10.1.0.0/24", "fd00::/64"])),
        both("10.1.0.0/24", json!(["10.1.0.0/24", "fd00::/64"])),
    );
    check(json!({"podCIDRs": ["10.1.0.0/24"]}), both("10.1.0.0/24", json!(["10.1.0.0/24"])));
}

#[test]
fn status_is_checked() {
    let old = node(json!({}), json!({}));
    let check = |status: Value, expect: &[&str]| {
        let errors = RESOURCE.strategy.validate_update(&node(json!({}), status), &old);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    };
    let address = |kind: &str| json!({"type": kind, "address": "192.0.2.1"});
    check(json!({"addresses": [address("InternalIP"), address("ExternalIP")]}), &[]);
    check(
        json!({"addresses": [address("InternalIP"), address("InternalIP")]}),
        &["status.addresses[1]: Duplicate value: {\"Type\":\"InternalIP\",\"Address\":\"192.0.2.1\"}"],
    );
    check(
        json!({"capacity": {"cpu": "-1"}}),
        &[
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    check(
        json!({"capacity": {"cpu": "500m", "pods": "1500m"}, "allocatable": {"pods": "3"}}),
        &["status.capacity.pods: Invalid value: \"1500m\": must be an integer"],
    );
    let named = node(json!({"externalID": "x"}), json!({}));
    let errors = RESOURCE.strategy.validate_update(&named, &old);
    assert_eq!(errors[0].to_string(), "spec.externalID: Forbidden: may not be updated");
    let warning = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
    assert!(RESOURCE.strategy.warnings(&named, None).iter().any(|said| said == warning));
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
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    check(
        json!({"taints": [taint, taint]}),
        &[
            "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair",
        ],
    );
    check(
        json!({"taints": [{"key": "a", "effect": "Never"}]}),
        &[
            "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ],
    );
}
