//! What `kubectl get` prints of each kind: the columns of Kubernetes 1.36.2, and the cells it makes of one object, five minutes
//! old.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::*;

/// `columns`: names, with a star where `-o wide` shows them, the type unless it is `string`, the format in brackets.
fn check(kind: &Resource, columns: &str, mut object: Value, cells: Value) {
    let found = kind.columns.iter().map(|column| {
        let star = if column.priority == 0 { "" } else { "*" };
        let kind = if column.kind == "string" { String::new() } else { format!(":{}", column.kind) };
        let format = if column.format.is_empty() { String::new() } else { format!("({})", column.format) };
        assert!(!column.description.is_empty(), "{} says what it is", column.name);
        format!("{}{star}{kind}{format}", column.name)
    });
    assert_eq!(found.collect::<Vec<_>>().join("; "), columns);
    kind.strategy.become_stored(&mut object);
    let found = kind.strategy.cells(&object, Timestamp::from_second(300).unwrap());
    assert_eq!(Value::from(found), cells);
}

#[test]
fn printing_columns_of_service() {
    check(
        &service::RESOURCE,
        "Name(name); Type; Cluster-IP; External-IP; Port(s); Age; Selector*",
        json!({"metadata": {"name": "svc", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"type": "NodePort", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"], "externalIPs": ["192.0.2.3"], "selector": {"b": "c", "a": "d"}, "ports": [{"name": "x", "port": 80, "nodePort": 31000, "protocol": "TCP"}, {"name": "y", "port": 81, "protocol": "UDP", "nodePort": 31001}]}}),
        json!(["svc", "NodePort", "10.96.7.7", "192.0.2.3", "80:31000/TCP,81:31001/UDP", "5m", "a=d,b=c"]),
    );
}

#[test]
fn printing_columns_of_endpoints() {
    check(
        &endpoints::RESOURCE,
        "Name(name); Endpoints; Age",
        json!({"metadata": {"name": "epx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, {"ip": "192.0.2.3"}, {"ip": "192.0.2.4"}, {"ip": "192.0.2.5"}], "ports": [{"port": 80, "name": "x"}]}]}),
        json!(["epx", "192.0.2.1:80,192.0.2.2:80,192.0.2.3:80 + 2 more...", "5m"]),
    );
}

#[test]
fn printing_columns_of_endpoint_slice() {
    check(
        &endpoint_slice::RESOURCE,
        "Name(name); AddressType; Ports; Endpoints; Age",
        json!({"metadata": {"name": "slx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1", "192.0.2.2"], "conditions": {"ready": false}}, {"addresses": ["192.0.2.3", "192.0.2.4"]}], "ports": [{"name": "x", "port": 80, "protocol": "TCP"}, {"name": "named", "protocol": "TCP"}, {"name": "", "protocol": "TCP"}]}),
        json!(["slx", "IPv4", "80,named,", "192.0.2.1,192.0.2.2,192.0.2.3 + 1 more...", "5m"]),
    );
}

#[test]
fn printing_columns_of_pod() {
    check(
        &pod::RESOURCE,
        "Name(name); Ready; Status; Restarts; Age; IP*; Node*; Nominated Node*; Readiness Gates*",
        json!({"metadata": {"name": "podx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"nodeName": "nx", "containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running", "podIP": "192.0.2.4", "podIPs": [{"ip": "192.0.2.4"}], "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": {"running": {"startedAt": "1970-01-01T00:00:00Z"}}, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:00:00Z"}}}], "conditions": [{"type": "Ready", "status": "True"}]}}),
        json!(["podx", "1/1", "Running", "2 (5m ago)", "5m", "192.0.2.4", "nx", "<none>", "<none>"]),
    );
}

#[test]
fn printing_columns_of_node() {
    check(
        &node::RESOURCE,
        "Name(name); Status; Roles; Age; Version; Internal-IP*; External-IP*; OS-Image*; Kernel-Version*; Container-Runtime*",
        json!({"metadata": {"name": "nodex", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "x"}, "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"unschedulable": true}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "InternalIP", "address": "192.0.2.8"}, {"type": "ExternalIP", "address": "192.0.2.9"}], "conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1", "osImage": "o", "kernelVersion": "k", "containerRuntimeVersion": "r", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"}}}),
        json!([
            "nodex",
            "Ready,SchedulingDisabled",
            "worker,x",
            "5m",
            "v1",
            "192.0.2.7",
            "192.0.2.9",
            "o",
            "k (amd64)",
            "r"
        ]),
    );
}

#[test]
fn printing_columns_of_namespace() {
    check(
        &namespace::RESOURCE,
        "Name(name); Status; Age",
        json!({"metadata": {"name": "nsx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "status": {"phase": "Active"}}),
        json!(["nsx", "Active", "5m"]),
    );
}

#[test]
fn printing_columns_of_replication_controller() {
    check(
        &replication_controller::RESOURCE,
        "Name(name); Desired:integer; Current:integer; Ready:integer; Age; Containers*; Images*; Selector*",
        json!({"metadata": {"name": "rcx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"replicas": 3, "selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}}, "status": {"replicas": 2, "readyReplicas": 1, "observedGeneration": 1}}),
        json!(["rcx", 3, 2, 1, "5m", "c,d", "i:1,j", "a=b"]),
    );
}

#[test]
fn printing_columns_of_replica_set() {
    check(
        &replica_set::RESOURCE,
        "Name(name); Desired:integer; Current:integer; Ready:integer; Age; Containers*; Images*; Selector*",
        json!({"metadata": {"name": "rsx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}}, "status": {"replicas": 2, "readyReplicas": 1}}),
        json!(["rsx", 3, 2, 1, "5m", "c,d", "i:1,j", "a=b,a in (b,c)"]),
    );
}

#[test]
fn printing_columns_of_deployment() {
    check(
        &deployment::RESOURCE,
        "Name(name); Ready; Up-to-date; Available; Age; Containers*; Images*; Selector*",
        json!({"metadata": {"name": "dx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}}, "status": {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}}),
        json!(["dx", "1/3", 2, 1, "5m", "c,d", "i:1,j", "a=b"]),
    );
}

#[test]
fn printing_columns_of_event() {
    check(
        &event::RESOURCE,
        "Last Seen; Type; Reason; Object; Subobject*; Source*; Message; First Seen*; Count*; Name*(name)",
        json!({"metadata": {"name": "evx", "namespace": "default", "creationTimestamp": "1970-01-01T00:00:00Z"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default", "fieldPath": "spec.containers{c}"}, "reason": "R", "message": " m", "type": "Warning", "source": {"component": "k", "host": "h"}, "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:04:00Z", "count": 5}),
        json!(["60s", "Warning", "R", "pod/p", "spec.containers{c}", "k, h", "m", "5m", 5, "evx"]),
    );
}

#[test]
fn printing_columns_of_event_of_events_v1() {
    check(
        &event::RESOURCE_EVENTS_V1,
        "Last Seen; Type; Reason; Object; Subobject*; Source*; Message; First Seen*; Count*; Name*(name)",
        json!({"metadata": {"name": "evy", "namespace": "default", "creationTimestamp": "1970-01-01T00:00:00Z"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "note": "m", "type": "Normal", "eventTime": "1970-01-01T00:00:00.000000Z", "reportingController": "rc", "reportingInstance": "ri", "action": "A"}),
        json!(["5m", "Normal", "R", "pod/p", "", "rc, ri", "m", "5m", 1, "evy"]),
    );
}

#[test]
fn printing_columns_of_service_cidr() {
    check(
        &service_cidr::RESOURCE,
        "Name(name); CIDRs; Age",
        json!({"metadata": {"name": "cidrx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"cidrs": ["10.200.0.0/24", "fd77::/112"]}}),
        json!(["cidrx", "10.200.0.0/24,fd77::/112", "5m"]),
    );
}

#[test]
fn printing_columns_of_ip_address() {
    check(
        &ip_address::RESOURCE,
        "Name(name); ParentRef",
        json!({"metadata": {"name": "10.201.1.2", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"parentRef": {"group": "g.k8s.io", "resource": "things", "name": "q"}}}),
        json!(["10.201.1.2", "things.g.k8s.io/q"]),
    );
}

#[test]
fn printing_columns_of_config_map() {
    check(
        &config_map::RESOURCE,
        "Name(name); Data; Age",
        json!({"metadata": {"name": "cmx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "data": {"a": "b"}, "binaryData": {"c": "YQ=="}}),
        json!(["cmx", 2, "5m"]),
    );
}

#[test]
fn printing_columns_of_secret() {
    check(
        &secret::RESOURCE,
        "Name(name); Type; Data; Age",
        json!({"metadata": {"name": "secx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "type": "kubernetes.io/basic-auth", "data": {"username": "YQ=="}}),
        json!(["secx", "kubernetes.io/basic-auth", 1, "5m"]),
    );
}

#[test]
fn printing_columns_of_service_account() {
    check(
        &service_account::RESOURCE,
        "Name(name); Age",
        json!({"metadata": {"name": "sax", "creationTimestamp": "1970-01-01T00:00:00Z"}}),
        json!(["sax", "5m"]),
    );
}

#[test]
fn printing_columns_of_lease() {
    check(
        &lease::RESOURCE,
        "Name(name); Holder; Age",
        json!({"metadata": {"name": "lx", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"holderIdentity": "x"}}),
        json!(["lx", "x", "5m"]),
    );
}

#[test]
fn printing_columns_of_scale() {
    check(
        &scale::RESOURCE,
        "Name(name); Desired:integer; Available:integer; Age",
        json!({"metadata": {"name": "web", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"replicas": 3}, "status": {"replicas": 2}}),
        json!(["web", 3, 2, "5m"]),
    );
}
