use serde_json::{Value, json};
use stead_model::Family::V4;

use super::{create, update};
use crate::kinds::service::{RESOURCE, families::resolve};

fn check(spec: Value, expect: &[&str]) {
    let mut service = create(spec.clone());
    let mut errors = resolve(&mut service, None, &[V4]);
    errors.extend(RESOURCE.strategy.validate_create(&service));
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expect, "{spec}");
}

fn check_update(old: Value, new: Value, expect: &[&str]) {
    let mut old = create(old);
    resolve(&mut old, None, &[V4]);
    let mut new = update(&old, new);
    resolve(&mut new, Some(&old), &[V4]);
    let errors: Vec<String> = RESOURCE.strategy.validate_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(errors, expect, "{new}");
}

#[test]
fn ports() {
    let spec = |ports: Value| json!({"ports": ports});
    check(spec(json!([{"port": 80}])), &[]);
    check(spec(json!([])), &["spec.ports: Required value"]);
    check(
        spec(json!([{"port": 70000}])),
        &[
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        spec(json!([{"port": 80}, {"port": 81}])),
        &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    );
    check(
        spec(json!([{"name": "a", "port": 80}, {"name": "a", "port": 80}])),
        &[
            "spec.ports[1].name: Duplicate value: \"a\"",
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ],
    );
    check(
        spec(json!([{"port": 80, "protocol": "ICMP"}])),
        &["spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
    );
    check(
        spec(json!([{"port": 80, "targetPort": "web--1"}])),
        &["spec.ports[0].targetPort: Invalid value: \"web--1\": must not contain consecutive hyphens"],
    );
    check(
        spec(json!([{"port": 80, "nodePort": 30080}])),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check(
        json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30080}]}),
        &["spec.ports[1].nodePort: Duplicate value: 30080"],
    );
}

#[test]
fn types_and_what_belongs_to_them() {
    check(
        json!({"type": "Web", "ports": [{"port": 80}]}),
        &[
            "spec.type: Unsupported value: \"Web\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
    check(
        json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
        &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    );
    check(
        json!({"loadBalancerClass": "a/b", "ports": [{"port": 80}]}),
        &["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    );
    check(
        json!({"externalTrafficPolicy": "Cluster", "ports": [{"port": 80}]}),
        &["spec.externalTrafficPolicy: Invalid value: \"Cluster\": may only be set for externally-accessible services"],
    );
    check(
        json!({"healthCheckNodePort": 30000, "ports": [{"port": 80}]}),
        &[
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ],
    );
    check(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}, "ports": [{"port": 80}]}),
        &[
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
        ],
    );
}

#[test]
fn selectors_are_labels() {
    check(
        json!({"selector": {"app": "a b"}, "ports": [{"port": 80}]}),
        &[
            "spec.selector: Invalid value: \"a b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
}

#[test]
fn warnings_name_what_is_not_acted_on_and_what_is_ignored() {
    let mut service = create(json!({"type": "LoadBalancer", "ports": [{"port": 80}]}));
    service["spec"]["externalName"] = "a.b".into();
    let warnings = RESOURCE.strategy.warnings(&service, None);
    assert!(warnings[0].starts_with("spec.type: not acted on"), "{warnings:?}");
    assert_eq!(warnings[1], "spec.externalName is ignored when spec.type is not \"ExternalName\"");
}

/// Each warning of upstream's own, by what brings it about; those of what nothing acts on are `unhonoured`'s.
#[test]
fn upstreams_warnings_each() {
    let check = |change: Value, expect: &[&str]| {
        let mut service = create(json!({"ports": [{"port": 80}]}));
        for (pointer, value) in change.as_object().unwrap() {
            let (head, key) = pointer.rsplit_once('|').unwrap();
            let parent =
                if head == "annotation" { &mut service["metadata"]["annotations"] } else { &mut service["spec"] };
            parent[key] = value.clone();
        }
        let found = RESOURCE.strategy.warnings(&service, None);
        let found = found.iter().filter(|warning| !warning.contains("not acted on")).collect::<Vec<_>>();
        assert_eq!(found, expect, "{change}");
    };
    check(json!({}), &[]);
    check(
        json!({"annotation|service.kubernetes.io/topology-aware-hints": "auto"}),
        &[
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
        ],
    );
    let headless = |key: &str, value: Value| json!({"spec|clusterIP": "None", "spec|clusterIPs": ["None"], key: value});
    check(headless("spec|sessionAffinity", json!("None")), &[]);
    check(
        headless("spec|loadBalancerIP", json!("192.0.2.1")),
        &["spec.loadBalancerIP is ignored for headless services"],
    );
    check(headless("spec|externalIPs", json!(["192.0.2.1"])), &["spec.externalIPs is ignored for headless services"]);
    check(
        headless("spec|sessionAffinity", json!("ClientIP")),
        &["spec.SessionAffinity is ignored for headless services"],
    );
    check(
        json!({"spec|externalIPs": ["192.0.2.1"]}),
        &["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    );
    check(
        json!({"spec|type": "ExternalName", "spec|externalName": "a.example", "spec|externalIPs": ["192.0.2.1"]}),
        &["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
    );
    check(
        json!({"spec|externalName": "a.example"}),
        &["spec.externalName is ignored when spec.type is not \"ExternalName\""],
    );
    check(
        json!({"spec|trafficDistribution": "PreferClose"}),
        &["spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""],
    );
    check(json!({"spec|trafficDistribution": "PreferSameZone"}), &[]);
    for (field, value, at) in [
        ("spec|clusterIPs", json!(["010.96.0.9"]), "spec.clusterIPs[0]"),
        ("spec|externalIPs", json!(["192.000.2.1"]), "spec.externalIPs[0]"),
        ("spec|loadBalancerIP", json!("192.000.2.1"), "spec.loadBalancerIP"),
        ("spec|loadBalancerSourceRanges", json!(["2001:DB8::/32"]), "spec.loadBalancerSourceRanges[0]"),
    ] {
        let mut service = create(json!({"ports": [{"port": 80}]}));
        service["spec"][field.split_once('|').unwrap().1] = value;
        let found = RESOURCE.strategy.warnings(&service, None);
        assert!(found.iter().any(|warning| warning.starts_with(at)), "{field}: {found:?}");
    }
}

#[test]
fn addresses_stay() {
    let old = json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]});
    check_update(old.clone(), json!({"ports": [{"port": 81}]}), &[]);
    check_update(
        old.clone(),
        json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set"],
    );
    check_update(
        old,
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        &["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"],
    );
    check_update(
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}),
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set"],
    );
}

#[test]
fn a_new_node_port_does_not_vanish_with_the_type() {
    check_update(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
        json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30090}]}),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
}

#[test]
fn balancers_keep_their_class_and_lose_it_with_the_type() {
    let balancer = |class: Value| json!({"type": "LoadBalancer", "loadBalancerClass": class, "ports": [{"port": 80}]});
    check_update(
        balancer(json!("a/b")),
        balancer(json!("a/c")),
        &["spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"],
    );
    check_update(
        balancer(json!("a/b")),
        json!({"type": "NodePort", "loadBalancerClass": "a/b", "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80}]}),
        &[],
    );
}

#[test]
fn a_status_tells_addresses_of_balancers_only() {
    let mut old = create(json!({"type": "LoadBalancer", "ports": [{"port": 80}]}));
    resolve(&mut old, None, &[V4]);
    let check = |ingress: Value, expect: &[&str]| {
        let mut new = old.clone();
        new["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
        RESOURCE.strategy.prepare_status_update(&mut new, &old);
        RESOURCE.strategy.default(&mut new);
        let errors = RESOURCE.strategy.validate_update(&new, &old);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    };
    check(json!({"ip": "192.0.2.1"}), &[]);
    check(json!({"hostname": "lb.example"}), &[]);
    check(
        json!({"ip": "192.0.2.1", "ipMode": "Other"}),
        &["status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Other\": supported values: \"Proxy\", \"VIP\""],
    );
    check(
        json!({"hostname": "192.0.2.1"}),
        &[
            "status.loadBalancer.ingress[0].hostname: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address",
        ],
    );
}
