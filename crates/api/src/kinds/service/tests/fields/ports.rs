//! Ports: numbers, names, targets, node ports.

use super::*;

#[test]
fn field_ports() {
    refused(json!({"ports": []}), &["spec.ports: Required value"]);
    becomes(json!({"ports": [], "clusterIP": "None"}), "ports", json!([]));
    becomes(json!({"ports": [], "type": "ExternalName", "externalName": "a.example"}), "ports", json!([]));
    updated(
        json!({}),
        json!({"ports": [{"port": 81, "protocol": "TCP", "targetPort": 81}]}),
        "ports",
        json!([{"port": 81, "protocol": "TCP", "targetPort": 81}]),
    );
}

#[test]
fn field_ports_name() {
    port_becomes(json!({}), "name", Value::Null);
    refused(
        json!({"ports": [{"port": 80}, {"port": 81}]}),
        &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    );
    refused(
        json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}),
        &["spec.ports[1].name: Duplicate value: \"a\""],
    );
    let (_, errors) = write(create(port(json!({"name": "A_B"}))), None);
    assert!(
        errors[0].starts_with("spec.ports[0].name: Invalid value: \"A_B\": a lowercase RFC 1123 label"),
        "{errors:?}"
    );
}

#[test]
fn field_ports_protocol() {
    port_becomes(json!({}), "protocol", json!("TCP"));
    for protocol in ["TCP", "UDP", "SCTP"] {
        port_becomes(json!({"protocol": protocol}), "protocol", json!(protocol));
    }
    refused(
        port(json!({"protocol": "ICMP"})),
        &["spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
    );
    refused(
        json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}),
        &[
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ],
    );
    made(json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}]}));
}

#[test]
fn field_ports_port() {
    for (number, is_good) in [(0, false), (1, true), (65_535, true), (65_536, false), (-1, false)] {
        let (_, errors) = write(create(json!({"ports": [{"port": number, "targetPort": 8080}]})), None);
        let expect = format!("spec.ports[0].port: Invalid value: {number}: must be between 1 and 65535, inclusive");
        assert_eq!(errors, if is_good { vec![] } else { vec![expect] });
    }
}

#[test]
fn field_ports_target_port() {
    for empty in [json!({}), json!({"targetPort": 0}), json!({"targetPort": ""})] {
        port_becomes(empty, "targetPort", json!(80));
    }
    for good in [json!(8080), json!("http"), json!("a-1")] {
        port_becomes(json!({"targetPort": good.clone()}), "targetPort", good);
    }
    for bad in [json!(65_536), json!("-a"), json!("a--b"), json!("0123"), json!("sixteen-letters-")] {
        let (_, errors) = write(create(port(json!({"targetPort": bad.clone()}))), None);
        assert!(errors[0].starts_with("spec.ports[0].targetPort: Invalid value"), "{bad}: {errors:?}");
    }
    becomes(
        json!({"clusterIP": "None", "ports": [{"port": 80, "targetPort": 81}]}),
        "ports",
        json!([{"port": 80, "protocol": "TCP", "targetPort": 81}]),
    );
}

#[test]
fn field_ports_node_port() {
    let node_port = |kind: &str, number: Value| json!({"type": kind, "ports": [{"port": 80, "nodePort": number}]});
    for kind in ["NodePort", "LoadBalancer"] {
        let made = made(node_port(kind, json!(0)));
        assert_eq!(made["ports"][0]["nodePort"], 30_100);
    }
    refused(
        node_port("ClusterIP", json!(30_080)),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    refused(
        node_port("NodePort", json!(65_536)),
        &["spec.ports[0].nodePort: Invalid value: 65536: must be between 0 and 65535, inclusive"],
    );
    let external =
        json!({"type": "ExternalName", "externalName": "a.example", "ports": [{"port": 80, "nodePort": 30_080}]});
    assert_eq!(made(external)["ports"][0]["nodePort"], 30_080, "nobody looks at it");
    refused(
        json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30_080}, {"name": "b", "port": 81, "nodePort": 30_080}]}),
        &["spec.ports[1].nodePort: Duplicate value: 30080"],
    );
    let kept = json!([{"port": 81, "protocol": "TCP", "targetPort": 81, "nodePort": 30_080}]);
    updated(node_port("NodePort", json!(30_080)), json!({"type": "NodePort", "ports": [{"port": 81}]}), "ports", kept);
    update_refused(
        node_port("NodePort", json!(30_080)),
        node_port("ClusterIP", json!(30_090)),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
}

#[test]
fn field_ports_app_protocol() {
    port_becomes(json!({}), "appProtocol", Value::Null);
    for good in ["http", "kubernetes.io/h2c", "example.com/mine"] {
        port_becomes(json!({"appProtocol": good}), "appProtocol", json!(good));
    }
    let (_, errors) = write(create(port(json!({"appProtocol": "a b"}))), None);
    assert!(
        errors[0].starts_with("spec.ports[0].appProtocol: Invalid value: \"a b\": name part must consist of"),
        "{errors:?}"
    );
}
