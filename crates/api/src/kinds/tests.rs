use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod columns;

#[test]
fn an_empty_object_has_a_cell_for_each_column_and_harms_nobody() {
    for kind in ALL {
        let mut object = json!({"metadata": {"name": "x"}});
        kind.strategy.default(&mut object);
        kind.strategy.prepare_create(&mut object);
        let old = object.clone();
        kind.strategy.prepare_update(&mut object, &old);
        assert_eq!(object, old, "{}: an update that changes nothing", kind.kind);
        let cells = kind.strategy.cells(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
        kind.strategy.validate_create(&object);
        kind.strategy.validate_update(&object, &old);
        kind.strategy.warnings(&object, Some(&old));
    }
}

#[test]
fn defaults_taken_twice_are_defaults_taken_once() {
    for kind in ALL {
        let mut object = json!({"metadata": {"name": "x"}});
        kind.strategy.default(&mut object);
        let once = object.clone();
        kind.strategy.default(&mut object);
        assert_eq!(object, once, "{}", kind.kind);
    }
}

#[test]
fn kinds_answer_to_the_fields_they_name() {
    for kind in ALL {
        for path in kind.strategy.selectable_fields() {
            assert!(kind.strategy.selectable_field(&json!({}), path).is_some(), "{} {path}", kind.kind);
        }
        assert_eq!(kind.strategy.selectable_field(&json!({}), "spec.other"), None, "{}", kind.kind);
    }
}

#[test]
fn paths_and_keys_are_unique() {
    let paths: BTreeSet<_> = ALL.iter().map(|kind| (kind.group, kind.version, kind.plural)).collect();
    assert_eq!(paths.len(), ALL.len());
    let keys: BTreeSet<_> = ALL.iter().map(|kind| kind.registry).collect();
    assert_eq!(keys.len(), ALL.len() - 3, "Events, IPAddresses and ServiceCIDRs are served at two versions");
    assert_eq!(find("", "v1", "services").map(|kind| kind.kind), Some("Service"));
    assert_eq!(find("apps", "v1", "services").map(|kind| kind.kind), None);
}

/// Names of fields, so that garbage gets deep into the rules.
const NAMES: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "generation",
    "spec",
    "status",
    "type",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
    "port",
    "targetPort",
    "nodePort",
    "protocol",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancer",
    "ingress",
    "ip",
    "ipMode",
    "containers",
    "initContainers",
    "env",
    "valueFrom",
    "fieldRef",
    "readinessProbe",
    "httpGet",
    "resources",
    "limits",
    "requests",
    "template",
    "strategy",
    "rollingUpdate",
    "maxSurge",
    "maxUnavailable",
    "matchLabels",
    "matchExpressions",
    "subsets",
    "addresses",
    "endpoints",
    "hints",
    "forZones",
    "data",
    "binaryData",
    "immutable",
    "finalizers",
    "taints",
    "podCIDR",
    "podCIDRs",
    "involvedObject",
    "series",
    "eventTime",
    "conditions",
    "containerStatuses",
    "state",
    "terminated",
    "tolerations",
    "hostAliases",
    "replicas",
];

fn garbage() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "None",
            "10.96.0.9",
            "fd00::9",
            "IPv4",
            "LoadBalancer",
            "ExternalName",
            "Local",
            "x%"
        ])
        .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES), inner), 0..8).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn garbage_harms_nobody(old in garbage(), new in garbage()) {
        for kind in ALL {
            let (mut old, mut new) = (old.clone(), new.clone());
            for object in [&mut old, &mut new] {
                become_stored(kind, object);
                kind.strategy.default(object);
                kind.strategy.cells(object, Timestamp::UNIX_EPOCH);
            }
            kind.strategy.prepare_create(&mut old);
            kind.strategy.validate_create(&old);
            let mut status = new.clone();
            kind.strategy.prepare_status_update(&mut status, &old);
            kind.strategy.prepare_update(&mut new, &old);
            kind.strategy.validate_update(&new, &old);
            kind.strategy.warnings(&new, Some(&old));
            service::families::resolve(&mut new, Some(&old), &[stead_model::Family::V4]);
            let plan = service::allocation::plan(&new, Some(&old));
            for claim in plan.node_ports {
                claim.grant(&mut new, 30_000);
            }
            for claim in plan.addresses {
                claim.grant(&mut new, [10, 0, 0, 1].into());
            }
            become_served(kind, &mut new);
        }
    }
}

/// A whole manifest as `kubectl` sends it, from text to what is stored.
#[test]
fn decoded_manifests_are_valid() {
    for (definition, manifest) in [
        (
            "io.k8s.api.core.v1.Pod",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "creationTimestamp": null},
                "spec": {"containers": [{"name": "a", "image": "a:1", "resources": {},
                    "ports": [{"containerPort": 80, "hostPort": 0, "protocol": "TCP"}]}]}, "status": {}}),
        ),
        (
            "io.k8s.api.core.v1.Service",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "default"},
                "spec": {"externalIPs": [], "ports": [{"port": 80, "targetPort": "http", "nodePort": 0}], "selector": {}},
                "status": {"loadBalancer": {}}}),
        ),
        (
            "io.k8s.api.apps.v1.Deployment",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": "a"}}, "strategy": {}, "template": {
                    "metadata": {"creationTimestamp": null, "labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "a", "image": "a:1"}]}}}, "status": {}}),
        ),
        (
            "io.k8s.api.apps.v1.ReplicaSet",
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a", "namespace": "default"},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": {
                    "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}}}),
        ),
        (
            "io.k8s.api.core.v1.Namespace",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": {}, "status": {}}),
        ),
        (
            "io.k8s.api.core.v1.Node",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.1.0/24"},
                "status": {"capacity": {"cpu": "2"}}}),
        ),
        (
            "io.k8s.api.core.v1.Endpoints",
            json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a", "namespace": "default",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
                "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        ),
        (
            "io.k8s.api.discovery.v1.EndpointSlice",
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a", "namespace": "default"},
                "addressType": "IPv4", "ports": [{"name": "", "port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        ),
    ] {
        let kind = ALL.iter().find(|kind| kind.definition == definition).unwrap();
        let decoded = crate::decode::prune(manifest, definition).unwrap();
        assert_eq!(decoded.strict_error(), None);
        let mut object = decoded.value;
        kind.strategy.default(&mut object);
        kind.strategy.prepare_create(&mut object);
        assert_eq!(kind.strategy.validate_create(&object), [], "{object}");
        assert_eq!(kind.strategy.warnings(&object, None), [] as [&str; 0]);
        let stored = crate::decode::prune(object.clone(), definition).unwrap();
        assert_eq!(stored.value, object, "what is stored is canonical");
    }
}
