//! A test for every row of the table of fields: what a field is when it is left out, what it may be, what an update may change.

use serde_json::{Value, json};
use stead_model::Family::{V4, V6};

use super::{create, update};
use crate::{
    field::FieldError,
    kinds::service::{RESOURCE, allocation, families::resolve},
};

fn lines(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The spec with one port, where it names none.
fn with_port(mut spec: Value) -> Value {
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80}]);
    }
    spec
}

/// What a whole write makes of a Service, and what is wrong with it. Addresses and numbers are given out of thin air.
fn write(mut service: Value, old: Option<&Value>) -> (Value, Vec<String>) {
    let errors = resolve(&mut service, old, &[V4, V6]);
    if !errors.is_empty() {
        return (service, lines(errors));
    }
    let errors = match old {
        None => RESOURCE.strategy.validate_create(&service),
        Some(old) => RESOURCE.strategy.validate_update(&service, old),
    };
    let plan = allocation::plan(&service, old);
    for claim in &plan.addresses {
        let free = if claim.family == V4 { "10.96.0.100" } else { "fd00::100" }.parse().unwrap();
        claim.grant(&mut service, claim.wanted.unwrap_or(free));
    }
    for (offset, claim) in (0..).zip(&plan.node_ports) {
        claim.grant(&mut service, claim.wanted.unwrap_or(30_100 + offset));
    }
    (service, lines(errors))
}

#[track_caller]
fn made(spec: Value) -> Value {
    let (service, errors) = write(create(with_port(spec)), None);
    assert_eq!(errors, [] as [&str; 0]);
    service["spec"].clone()
}

/// `field` of a Service that is made with `spec`.
#[track_caller]
fn becomes(spec: Value, field: &str, expect: Value) {
    let made = made(spec.clone());
    assert_eq!(made.get(field).cloned().unwrap_or_default(), expect, "{spec}");
}

#[track_caller]
fn refused(spec: Value, expect: &[&str]) {
    let (_, errors) = write(create(with_port(spec.clone())), None);
    assert_eq!(errors, expect, "{spec}");
}

/// `field` after an update from one spec to another; both merge patches of nothing.
#[track_caller]
fn updated(old: Value, new: Value, field: &str, expect: Value) {
    let (old, errors) = write(create(with_port(old)), None);
    assert_eq!(errors, [] as [&str; 0]);
    let (service, errors) = write(update(&old, with_port(new.clone())), Some(&old));
    assert_eq!(errors, [] as [&str; 0], "{new}");
    assert_eq!(service["spec"].get(field).cloned().unwrap_or_default(), expect, "{new}");
}

#[track_caller]
fn update_refused(old: Value, new: Value, expect: &[&str]) {
    let (old, errors) = write(create(with_port(old)), None);
    assert_eq!(errors, [] as [&str; 0]);
    let (_, errors) = write(update(&old, with_port(new.clone())), Some(&old));
    assert_eq!(errors, expect, "{new}");
}

fn port(fields: Value) -> Value {
    let mut port = json!({"port": 80});
    port.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"ports": [port]})
}

/// One field of the only port.
#[track_caller]
fn port_becomes(fields: Value, field: &str, expect: Value) {
    assert_eq!(made(port(fields.clone()))["ports"][0].get(field).cloned().unwrap_or_default(), expect, "{fields}");
}

#[test]
fn field_type() {
    becomes(json!({}), "type", json!("ClusterIP"));
    let all = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    for old in all {
        for new in all {
            let spec = |kind: &str| json!({"type": kind, "externalName": if kind == "ExternalName" { "a.example" } else { "" }});
            updated(spec(old), spec(new), "type", json!(new));
        }
    }
    let (_, errors) = write(create(with_port(json!({"type": "Magic"}))), None);
    let supported = "supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"";
    assert_eq!(errors[0], format!("spec.type: Unsupported value: \"Magic\": {supported}"));
}

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

#[test]
fn field_selector() {
    becomes(json!({}), "selector", Value::Null);
    becomes(json!({"selector": {}}), "selector", Value::Null);
    let (_, errors) = write(create(with_port(json!({"selector": {"a": "b c"}}))), None);
    assert!(errors[0].starts_with("spec.selector: Invalid value: \"b c\": a valid label must"), "{errors:?}");
    updated(json!({"selector": {"a": "b"}}), json!({"selector": {"c": "d"}}), "selector", json!({"c": "d"}));
}

#[test]
fn field_cluster_ip() {
    becomes(json!({}), "clusterIP", json!("10.96.0.100"));
    becomes(json!({"clusterIP": "10.96.0.9"}), "clusterIPs", json!(["10.96.0.9"]));
    becomes(json!({"clusterIP": "None"}), "clusterIPs", json!(["None"]));
    refused(
        json!({"clusterIP": "web"}),
        &["spec.clusterIPs[0]: Invalid value: \"web\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
    );
    for kind in ["NodePort", "LoadBalancer"] {
        refused(
            json!({"type": kind, "clusterIP": "None"}),
            &[&format!("spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for {kind} services")],
        );
    }
    updated(json!({"clusterIP": "10.96.0.9"}), json!({}), "clusterIP", json!("10.96.0.9"));
    update_refused(
        json!({"clusterIP": "10.96.0.9"}),
        json!({"clusterIP": "10.96.0.8"}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"],
    );
    update_refused(
        json!({"clusterIP": "10.96.0.9"}),
        json!({"clusterIP": "None"}),
        &["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"],
    );
}

#[test]
fn field_cluster_ips() {
    let both =
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilyPolicy": "RequireDualStack"});
    becomes(both.clone(), "ipFamilies", json!(["IPv4", "IPv6"]));
    for (cluster_ips, problem) in [
        (json!(["10.96.0.9", "10.96.0.8"]), "may specify no more than one IP for each IP family"),
        (json!(["10.96.0.9", "None"]), ""),
        (json!(["10.96.0.9", ""]), ""),
    ] {
        let spec = json!({"clusterIP": "10.96.0.9", "clusterIPs": cluster_ips, "ipFamilyPolicy": "RequireDualStack"});
        let (_, errors) = write(create(with_port(spec.clone())), None);
        assert!(errors[0].starts_with("spec.clusterIPs") && errors[0].ends_with(problem), "{spec}: {errors:?}");
    }
    refused(
        json!({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"], "ipFamilyPolicy": "RequireDualStack"}),
        &["spec.clusterIPs: Invalid value: [\"None\",\"10.96.0.9\"]: 'None' must be the first and only value"],
    );
    updated(json!({"clusterIP": "10.96.0.9"}), both.clone(), "clusterIPs", json!(["10.96.0.9", "fd00::9"]));
    updated(both.clone(), json!({"ipFamilyPolicy": "SingleStack"}), "clusterIPs", json!(["10.96.0.9"]));
    update_refused(
        both,
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilyPolicy": "PreferDualStack"}),
        &[
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP",
        ],
    );
}

#[test]
fn field_ip_families() {
    becomes(json!({}), "ipFamilies", json!(["IPv4"]));
    becomes(json!({"ipFamilies": ["IPv6"]}), "clusterIP", json!("fd00::100"));
    becomes(json!({"clusterIP": "None", "selector": {"a": "b"}}), "ipFamilies", json!(["IPv4"]));
    becomes(json!({"clusterIP": "None"}), "ipFamilies", json!(["IPv4", "IPv6"]));
    refused(json!({"ipFamilies": ["IPv4", "IPv4"]}), &["spec.ipFamilies[1]: Duplicate value: \"IPv4\""]);
    update_refused(
        json!({}),
        json!({"clusterIP": "", "ipFamilies": ["IPv6"]}),
        &["spec.clusterIPs[0]: Invalid value: \"10.96.0.100\": expected an IPv6 value as indicated by `ipFamilies[0]`"],
    );
    updated(
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "None", "ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}),
        "ipFamilies",
        json!(["IPv6"]),
    );
}

#[test]
fn field_ip_family_policy() {
    becomes(json!({}), "ipFamilyPolicy", json!("SingleStack"));
    becomes(json!({"clusterIP": "None"}), "ipFamilyPolicy", json!("RequireDualStack"));
    becomes(json!({"type": "ExternalName", "externalName": "a.example"}), "ipFamilyPolicy", Value::Null);
    becomes(json!({"ipFamilyPolicy": "PreferDualStack"}), "clusterIPs", json!(["10.96.0.100", "fd00::100"]));
    refused(
        json!({"ipFamilyPolicy": "Both"}),
        &[
            "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
        ],
    );
    refused(
        json!({"type": "ExternalName", "externalName": "a.example", "ipFamilyPolicy": "SingleStack"}),
        &["spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"],
    );
    updated(
        json!({}),
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        "clusterIPs",
        json!(["10.96.0.100", "fd00::100"]),
    );
    updated(json!({"ipFamilyPolicy": "RequireDualStack"}), json!({}), "ipFamilyPolicy", json!("RequireDualStack"));
}

#[test]
fn field_external_ips() {
    becomes(json!({}), "externalIPs", Value::Null);
    becomes(json!({"externalIPs": ["192.0.2.1"]}), "externalTrafficPolicy", json!("Cluster"));
    for (address, problem) in [
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("web", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    ] {
        let expect = format!("spec.externalIPs[0]: Invalid value: {address:?}: {problem}");
        refused(json!({"externalIPs": [address]}), &[&expect]);
    }
    updated(json!({"externalIPs": ["192.0.2.1"]}), json!({}), "externalTrafficPolicy", Value::Null);
}

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
fn field_external_name() {
    let named = |name: &str| json!({"type": "ExternalName", "externalName": name});
    for good in ["db.example.org", "db.example.org.", "192.0.2.1", "db"] {
        becomes(named(good), "externalName", json!(good));
    }
    refused(named(""), &["spec.externalName: Required value"]);
    for bad in ["DB.example", "a..b", "a b", "db.example.."] {
        let (_, errors) = write(create(with_port(named(bad))), None);
        assert!(errors[0].starts_with("spec.externalName: Invalid value"), "{bad}: {errors:?}");
    }
    becomes(json!({"externalName": "Not A Name"}), "externalName", json!("Not A Name"));
    let service = create(with_port(json!({"externalName": "db.example"})));
    let warnings = RESOURCE.strategy.warnings(&service, None);
    assert!(
        warnings.iter().any(|warning| warning == "spec.externalName is ignored when spec.type is not \"ExternalName\"")
    );
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
fn field_health_check_node_port() {
    let local =
        |port: i64| json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port});
    becomes(local(0), "healthCheckNodePort", json!(30_101));
    becomes(local(30_500), "healthCheckNodePort", json!(30_500));
    refused(
        json!({"type": "LoadBalancer", "healthCheckNodePort": 30_500}),
        &[
            "spec.healthCheckNodePort: Invalid value: 30500: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ],
    );
    updated(local(30_500), local(0), "healthCheckNodePort", json!(30_500));
    update_refused(local(30_500), local(30_501), &["spec.healthCheckNodePort: Forbidden: field is immutable"]);
    let mut cluster = local(30_500);
    cluster["externalTrafficPolicy"] = "Cluster".into();
    updated(local(30_500), cluster, "healthCheckNodePort", Value::Null);
}

#[test]
fn field_allocate_load_balancer_node_ports() {
    becomes(json!({"type": "LoadBalancer"}), "allocateLoadBalancerNodePorts", json!(true));
    let none = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false});
    assert_eq!(made(none.clone())["ports"][0].get("nodePort"), None);
    refused(
        json!({"allocateLoadBalancerNodePorts": true}),
        &["spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    );
    let kept = json!([{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30_100}]);
    updated(json!({"type": "LoadBalancer"}), none, "ports", kept);
    let left = json!({"type": "NodePort", "allocateLoadBalancerNodePorts": true});
    updated(json!({"type": "LoadBalancer"}), left, "allocateLoadBalancerNodePorts", Value::Null);
}

#[test]
fn field_load_balancer_class() {
    let class = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
    becomes(json!({"type": "LoadBalancer"}), "loadBalancerClass", Value::Null);
    becomes(class("example.com/lb"), "loadBalancerClass", json!("example.com/lb"));
    refused(
        json!({"loadBalancerClass": "example.com/lb"}),
        &["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    );
    let fixed = |value: &str| format!("spec.loadBalancerClass: Invalid value: {value}: may not change once set");
    update_refused(class("example.com/lb"), class("example.com/other"), &[&fixed("\"example.com/other\"")]);
    update_refused(json!({"type": "LoadBalancer"}), class("example.com/lb"), &[&fixed("\"example.com/lb\"")]);
    update_refused(class("example.com/lb"), json!({"type": "LoadBalancer"}), &[&fixed("null")]);
    updated(json!({}), class("example.com/lb"), "loadBalancerClass", json!("example.com/lb"));
    updated(
        class("a.example/lb"),
        json!({"type": "NodePort", "loadBalancerClass": "a.example/lb"}),
        "loadBalancerClass",
        Value::Null,
    );
}

#[test]
fn field_load_balancer_ip() {
    becomes(json!({}), "loadBalancerIP", Value::Null);
    becomes(json!({"loadBalancerIP": "anything"}), "loadBalancerIP", json!("anything"));
    updated(json!({}), json!({"loadBalancerIP": "192.0.2.1"}), "loadBalancerIP", json!("192.0.2.1"));
}

#[test]
fn field_load_balancer_source_ranges() {
    let ranges = |ranges: Value| json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges});
    becomes(
        ranges(json!(["10.0.0.0/8", " 192.0.2.0/24 "])),
        "loadBalancerSourceRanges",
        json!(["10.0.0.0/8", " 192.0.2.0/24 "]),
    );
    refused(
        json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        &["spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    );
    refused(
        ranges(json!(["10.0.0.0"])),
        &[
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    );
    let mut service = create(with_port(json!({"type": "LoadBalancer"})));
    service["metadata"]["annotations"] =
        json!({"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8, x"});
    let (_, errors) = write(service, None);
    assert_eq!(
        errors,
        [
            "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"x\": must be a valid CIDR \
          value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        ]
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

/// A name may begin with a digit; only a new one is looked at.
#[test]
fn a_name_is_a_label_and_may_begin_with_a_digit() {
    let named = |name: &str| {
        let mut service = create(with_port(json!({})));
        service["metadata"]["name"] = name.into();
        write(service, None).1
    };
    assert_eq!(named("1a"), [] as [&str; 0]);
    for bad in ["a.b", "A", "-a", &"a".repeat(64)] {
        assert!(named(bad)[0].starts_with("metadata.name: Invalid value"), "{bad}");
    }
}

#[test]
fn status_load_balancer_ingress() {
    let status = |kind: &str, point: Value| {
        let (old, errors) = write(create(with_port(json!({"type": kind}))), None);
        assert_eq!(errors, [] as [&str; 0]);
        let mut new = old.clone();
        new["status"] = json!({"loadBalancer": {"ingress": [point]}});
        RESOURCE.strategy.default(&mut new);
        RESOURCE.strategy.prepare_status_update(&mut new, &old);
        (lines(RESOURCE.strategy.validate_update(&new, &old)), new["status"]["loadBalancer"]["ingress"][0].clone())
    };
    let balancer = |point: Value, expect: &[&str]| assert_eq!(status("LoadBalancer", point).0, expect);
    assert_eq!(
        status("LoadBalancer", json!({"ip": "192.0.2.1"})),
        (vec![], json!({"ip": "192.0.2.1", "ipMode": "VIP"}))
    );
    balancer(json!({"ip": "192.0.2.1", "ipMode": "Proxy"}), &[]);
    balancer(json!({"hostname": "lb.example"}), &[]);
    balancer(
        json!({"ip": "192.0.2.1", "ipMode": "Direct"}),
        &["status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Direct\": supported values: \"Proxy\", \"VIP\""],
    );
    balancer(
        json!({"hostname": "lb.example", "ipMode": "VIP"}),
        &["status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"],
    );
    balancer(
        json!({"hostname": "192.0.2.1"}),
        &[
            "status.loadBalancer.ingress[0].hostname: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address",
        ],
    );
    balancer(
        json!({"ip": "192.0.2.01"}),
        &["status.loadBalancer.ingress[0].ip: Invalid value: \"192.0.2.01\": must not have leading 0s"],
    );
    assert_eq!(
        status("NodePort", json!({"ip": "192.0.2.1"})).0,
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    );
}

#[test]
fn leaving_a_load_balancer_forgets_its_ingress() {
    let (mut old, _) = write(create(with_port(json!({"type": "LoadBalancer"}))), None);
    old["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}});
    let (new, errors) = write(update(&old, with_port(json!({"type": "NodePort"}))), Some(&old));
    assert_eq!((errors, &new["status"]), (vec![], &json!({"loadBalancer": {}})));
}
