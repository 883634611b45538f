use serde_json::json;

use super::*;
use crate::decode::prune;

mod pods;
mod round_trips;
mod services;
mod tables;

fn kind(plural: &str) -> &'static Kind {
    find(Version::V1beta1, plural).unwrap()
}

/// The v1 object, through the decoders of both versions.
#[track_caller]
fn to_v1(kind: &Kind, old: Value) -> Value {
    let decoded = prune(old, kind.resource.definition).unwrap();
    assert_eq!(decoded.strict_error(), None);
    let new = kind.to_v1(&decoded.value).unwrap();
    let definition = kind.modern.map_or("io.k8s.api.core.v1.Binding", |modern| modern.definition);
    let decoded = prune(new, definition).unwrap();
    assert_eq!(decoded.strict_error(), None, "{}", decoded.value);
    decoded.value
}

/// What the older version shows, which its own decoder knows whole.
#[track_caller]
fn from_v1(kind: &Kind, new: &Value) -> Value {
    let old = kind.from_v1(new);
    let decoded = prune(old.clone(), kind.resource.definition).unwrap();
    assert_eq!(decoded.strict_error(), None, "{old}");
    old
}

/// An object of 2014 is what is expected in v1, and what is shown of that means the same again.
#[track_caller]
fn check(plural: &str, old: Value, expected: Value) -> Value {
    let kind = kind(plural);
    let mut new = to_v1(kind, old);
    let shown = from_v1(kind, &new);
    assert_eq!(from_v1(kind, &to_v1(kind, shown.clone())), shown);
    for field in ["kind", "apiVersion"] {
        remove(&mut new, field);
    }
    assert_eq!(new, expected);
    shown
}

#[test]
fn events_bindings_and_namespaces() {
    let time = "2015-02-03T04:05:06Z";
    let shown = check(
        "events",
        json!({"id": "e", "namespace": "default", "source": "kubelet", "host": "node1", "reason": "started", "timestamp": time,
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "status": "ignored"}),
        json!({
            "metadata": {"name": "e", "namespace": "default"}, "reason": "started", "count": 1,
            "firstTimestamp": time, "lastTimestamp": time, "source": {"component": "kubelet", "host": "node1"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        }),
    );
    assert_eq!((&shown["timestamp"], &shown["source"]), (&json!(time), &json!("kubelet")));
    let binding = to_v1(kind("bindings"), json!({"podID": "p", "host": "node1", "namespace": "default"}));
    assert_eq!(
        (&binding["metadata"]["name"], &binding["target"]),
        (&json!("p"), &json!({"kind": "Node", "name": "node1"}))
    );
    check(
        "namespaces",
        json!({"id": "n", "labels": {"a": "b"}}),
        json!({"metadata": {"name": "n", "labels": {"a": "b"}}}),
    );
}

#[test]
fn names_may_stand_in_metadata_too() {
    let kind = kind("services");
    let new = to_v1(
        kind,
        json!({
            "metadata": {"namespace": "ns", "name": "other", "annotations": {"applied": "x"}}, "id": "s", "annotations": {"own": "y"},
            "port": 80, "containerPort": 80, "selector": {"a": "b"},
        }),
    );
    let expected = json!({"name": "s", "namespace": "ns", "annotations": {"applied": "x", "own": "y"}});
    assert_eq!(new["metadata"], expected);
}

#[test]
fn unknown_fields_are_named_as_they_were_written() {
    let old = json!({"id": "s", "prt": 80, "ports": [{"port": 80, "targetPort": 1}]});
    let decoded = prune(old, kind("services").resource.definition).unwrap();
    let error = decoded.strict_error().unwrap();
    assert_eq!(error, "strict decoding error: unknown field \"ports[0].targetPort\", unknown field \"prt\"");
    let wrong = prune(json!({"port": "eighty"}), kind("services").resource.definition).unwrap_err();
    assert!(wrong.to_string().contains("Service.port of type int32"), "{wrong}");
}

#[test]
fn lists_and_status() {
    let list = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "n"}}]});
    let shown = kind("minions").list_from_v1(&list);
    assert_eq!(
        (&shown["kind"], &shown["resourceVersion"], &shown["selfLink"]),
        (&json!("MinionList"), &json!(9), &json!("/api/v1beta1/minions"))
    );
    assert_eq!(
        (&shown["items"][0]["id"], &shown["items"], &shown["items"][0]["kind"]),
        (&json!("n"), &shown["minions"], &Value::Null)
    );
    let status = status_from_v1(&json!({"kind": "Status", "details": {"name": "s"}, "code": 404}));
    assert_eq!((&status["details"]["id"], &status["details"]["name"]), (&json!("s"), &json!("s")));
}

#[test]
fn v1beta3_has_todays_shape_and_its_own_names() {
    let of = |plural: &str| find(Version::V1beta3, plural).unwrap();
    let service = of("services");
    let old = json!({"metadata": {"name": "s"}, "spec": {"portalIP": "10.96.0.7", "publicIPs": ["192.168.56.9"], "createExternalLoadBalancer": true,
        "ports": [{"port": 80, "targetPort": 8080}], "selector": {}}});
    let new = to_v1(service, old);
    assert_eq!((&new["spec"]["clusterIP"], &new["spec"]["type"]), (&json!("10.96.0.7"), &json!("LoadBalancer")));
    let shown = from_v1(service, &new);
    assert_eq!((&shown["spec"]["portalIP"], &shown["spec"]["selector"]), (&json!("10.96.0.7"), &json!({})));
    assert_eq!(to_v1(service, shown)["spec"], new["spec"]);
    let pod = of("pods");
    let old = json!({"metadata": {"name": "p"}, "spec": {"host": "node1", "containers": [{"name": "a", "image": "i", "privileged": true}]},
        "status": {"containerStatuses": [{"name": "a", "ready": true, "restartCount": 0, "image": "i", "imageID": "", "state": {"termination": {"exitCode": 3}}}]}});
    let new = to_v1(pod, old);
    assert_eq!(
        (&new["spec"]["nodeName"], &new["spec"]["containers"][0]["securityContext"]),
        (&json!("node1"), &json!({"privileged": true}))
    );
    assert_eq!(new["status"]["containerStatuses"][0]["state"], json!({"terminated": {"exitCode": 3}}));
    assert_eq!(from_v1(pod, &new)["status"]["containerStatuses"][0]["state"], json!({"termination": {"exitCode": 3}}));
    let endpoints = of("endpoints");
    let new = to_v1(
        endpoints,
        json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"IP": "10.0.0.1"}], "ports": [{"port": 1}]}]}),
    );
    assert_eq!(new["subsets"][0]["addresses"], json!([{"ip": "10.0.0.1"}]));
    for plural in ["replicationcontrollers", "nodes", "namespaces", "events", "bindings"] {
        let kind = of(plural);
        let new = to_v1(kind, json!({"metadata": {"name": "x", "labels": {"a": "b"}}}));
        assert_eq!(from_v1(kind, &new)["metadata"]["labels"], json!({"a": "b"}), "{plural}");
    }
}
