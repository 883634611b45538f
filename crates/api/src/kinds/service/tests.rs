use jiff::Timestamp;
use serde_json::{Value, json};

use super::RESOURCE;

mod allocation;
mod combinations;
mod families;
mod fields;
mod validate;

/// A Service as it comes out of defaults and `prepare_create`.
fn create(spec: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": spec,
    });
    RESOURCE.strategy.default(&mut service);
    RESOURCE.strategy.prepare_create(&mut service);
    service
}

/// `old` with another spec, as it comes out of defaults and `prepare_update`.
fn update(old: &Value, spec: Value) -> Value {
    let mut service = old.clone();
    service["spec"] = spec;
    RESOURCE.strategy.default(&mut service);
    RESOURCE.strategy.prepare_update(&mut service, old);
    service
}

fn cells(mut service: Value) -> Vec<String> {
    RESOURCE.strategy.default(&mut service);
    let cells = RESOURCE.strategy.cells(&service, Timestamp::UNIX_EPOCH);
    cells.iter().map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn cells_read_as_kubectl_prints_them() {
    for (spec, status, expect) in [
        (
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}], "selector": {"a": "b"}}),
            json!({}),
            ["ClusterIP", "10.96.0.9", "<none>", "80/TCP", "a=b"],
        ),
        (json!({"clusterIP": "None"}), json!({}), ["ClusterIP", "None", "<none>", "<none>", "<none>"]),
        (
            json!({"type": "NodePort", "clusterIP": "10.96.0.9",
                "ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}),
            json!({}),
            ["NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "<none>"],
        ),
        (
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}]}),
            json!({}),
            ["LoadBalancer", "10.96.0.9", "<pending>", "80:30080/TCP", "<none>"],
        ),
        (
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalIPs": ["192.0.2.9"]}),
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}}),
            ["LoadBalancer", "10.96.0.9", "192.0.2.1,lb.example,192.0.2.9", "<none>", "<none>"],
        ),
        (
            json!({"type": "ExternalName", "externalName": "db.example"}),
            json!({}),
            ["ExternalName", "<none>", "db.example", "<none>", "<none>"],
        ),
    ] {
        let cells = cells(json!({"metadata": {"name": "web"}, "spec": spec, "status": status}));
        let [name, kind, cluster, external, ports, age, selector] = cells.as_slice() else { panic!("{cells:?}") };
        assert_eq!((name.as_str(), age.as_str()), ("web", "<unknown>"));
        assert_eq!([kind, cluster, external, ports, selector], expect);
    }
}

#[test]
fn defaults_follow_type_and_affinity() {
    let check = |spec: Value, expect: Value| {
        let mut service = json!({"spec": spec});
        RESOURCE.strategy.default(&mut service);
        assert_eq!(service["spec"], expect);
    };
    check(
        json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "http", "protocol": "UDP"}]}),
        json!({
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 81, "protocol": "UDP", "targetPort": "http"},
            ],
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        }),
    );
    check(
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}),
        json!({
            "type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}},
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
        }),
    );
    check(
        json!({"type": "ExternalName", "externalName": "a.b"}),
        json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}),
    );
}
