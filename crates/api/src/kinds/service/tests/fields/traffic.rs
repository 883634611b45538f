//! Where traffic may go, and whether it stays there.

use super::*;

#[test]
fn field_session_affinity() {
    becomes(json!({}), "sessionAffinity", json!("None"));
    updated(json!({}), json!({"sessionAffinity": "ClientIP"}), "sessionAffinity", json!("ClientIP"));
    refused(
        json!({"sessionAffinity": "Cookie"}),
        &["spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\""],
    );
}

#[test]
fn field_session_affinity_config_client_ip_timeout_seconds() {
    let seconds = |seconds: i64| json!({"clientIP": {"timeoutSeconds": seconds}});
    becomes(json!({"sessionAffinity": "ClientIP"}), "sessionAffinityConfig", seconds(10_800));
    becomes(json!({"sessionAffinityConfig": seconds(60)}), "sessionAffinityConfig", Value::Null);
    for good in [1, 86_400] {
        becomes(
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": seconds(good)}),
            "sessionAffinityConfig",
            seconds(good),
        );
    }
    for bad in [0, 86_401] {
        let expect = format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: {bad}: must be greater than 0 and less than 86400"
        );
        refused(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": seconds(bad)}), &[&expect]);
    }
}

#[test]
fn field_external_traffic_policy() {
    becomes(json!({}), "externalTrafficPolicy", Value::Null);
    for reachable in
        [json!({"type": "NodePort"}), json!({"type": "LoadBalancer"}), json!({"externalIPs": ["192.0.2.1"]})]
    {
        becomes(reachable, "externalTrafficPolicy", json!("Cluster"));
    }
    refused(
        json!({"externalTrafficPolicy": "Local"}),
        &["spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"],
    );
    refused(
        json!({"type": "NodePort", "externalTrafficPolicy": "Near"}),
        &["spec.externalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\""],
    );
    let local = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    updated(
        local.clone(),
        json!({"type": "ClusterIP", "externalTrafficPolicy": "Local"}),
        "externalTrafficPolicy",
        Value::Null,
    );
    updated(
        local,
        json!({"type": "NodePort", "externalTrafficPolicy": "Cluster"}),
        "externalTrafficPolicy",
        json!("Cluster"),
    );
}

#[test]
fn field_internal_traffic_policy() {
    becomes(json!({}), "internalTrafficPolicy", json!("Cluster"));
    becomes(json!({"type": "ExternalName", "externalName": "a.example"}), "internalTrafficPolicy", Value::Null);
    updated(json!({}), json!({"internalTrafficPolicy": "Local"}), "internalTrafficPolicy", json!("Local"));
    refused(
        json!({"internalTrafficPolicy": "Near"}),
        &["spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\""],
    );
}

#[test]
fn field_publish_not_ready_addresses() {
    becomes(json!({}), "publishNotReadyAddresses", Value::Null);
    updated(json!({}), json!({"publishNotReadyAddresses": true}), "publishNotReadyAddresses", json!(true));
}

#[test]
fn field_traffic_distribution() {
    becomes(json!({}), "trafficDistribution", Value::Null);
    for good in ["PreferClose", "PreferSameZone", "PreferSameNode"] {
        updated(json!({}), json!({"trafficDistribution": good}), "trafficDistribution", json!(good));
    }
    refused(
        json!({"trafficDistribution": "Far"}),
        &[
            "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
        ],
    );
}

#[test]
fn annotations_of_topology_agree() {
    let mut service = create(with_port(json!({})));
    service["metadata"]["annotations"] = json!({
        "service.kubernetes.io/topology-mode": "Auto", "service.kubernetes.io/topology-aware-hints": "Disabled",
    });
    let (_, errors) = write(service, None);
    assert_eq!(
        errors,
        ["metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": must match \
          annotations[service.kubernetes.io/topology-aware-hints] when both are specified"]
    );
}

#[test]
fn an_empty_text_is_one_more_value_that_is_not_supported() {
    for (field, supported) in [
        ("ipFamilyPolicy", r#""PreferDualStack", "RequireDualStack", "SingleStack""#),
        ("internalTrafficPolicy", r#""Cluster", "Local""#),
        ("trafficDistribution", r#""PreferClose", "PreferSameZone", "PreferSameNode""#),
    ] {
        let expect = format!("spec.{field}: Unsupported value: \"\": supported values: {supported}");
        for kind in ["ClusterIP", "LoadBalancer"] {
            refused(json!({"type": kind, field: ""}), &[&expect]);
        }
    }
    let name = json!({"type": "ExternalName", "externalName": "a.example", "internalTrafficPolicy": ""});
    refused(name, &["spec.internalTrafficPolicy: Unsupported value: \"\": supported values: \"Cluster\", \"Local\""]);
    for (field, default) in [("type", "ClusterIP"), ("sessionAffinity", "None")] {
        becomes(json!({field: ""}), field, json!(default));
    }
}

#[test]
fn an_external_name_shows_no_internal_policy_and_its_node_ports_are_its_own_affair() {
    let name =
        |policy: &str| json!({"type": "ExternalName", "externalName": "a.example", "internalTrafficPolicy": policy});
    becomes(name("Local"), "internalTrafficPolicy", Value::Null);
    updated(json!({}), name("Cluster"), "internalTrafficPolicy", Value::Null);
    updated(name("Cluster"), json!({}), "internalTrafficPolicy", json!("Cluster"));
    let unknown = "spec.internalTrafficPolicy: Unsupported value: \"Foo\": supported values: \"Cluster\", \"Local\"";
    refused(name("Foo"), &[unknown]);
    for node_port in [-1, 80, 70_000] {
        let mut spec = port(json!({"nodePort": node_port}));
        spec["type"] = "ExternalName".into();
        spec["externalName"] = "a.example".into();
        assert_eq!(made(spec)["ports"][0]["nodePort"], node_port);
    }
}
