//! What only a load balancer acts on, and its status.

use super::*;

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
    // A file that names none gives up those that were there.
    let given_up = json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]);
    updated(json!({"type": "LoadBalancer"}), none, "ports", given_up);
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

#[test]
fn node_ports_that_nobody_allocates_can_be_given_up() {
    let balancer = |allocates: bool, ports: Value| json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": allocates, "ports": ports});
    let kept = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 80}]);
    let given_up = json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]);
    let (with, without) = (json!([{"port": 80, "nodePort": 30080}]), json!([{"port": 80}]));
    updated(balancer(false, with.clone()), balancer(false, without.clone()), "ports", given_up.clone());
    updated(balancer(true, with.clone()), balancer(true, without.clone()), "ports", kept.clone());
    // What is there when allocation ends stays until it is left out.
    updated(balancer(true, with.clone()), balancer(false, with), "ports", kept);
    updated(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
        balancer(false, without),
        "ports",
        given_up,
    );
}
