use std::net::IpAddr;

use serde_json::{Value, json};
use stead_model::Family::{V4, V6};

use super::{create, update};
use crate::kinds::service::{
    RESOURCE,
    allocation::{AllocationPlan, Complaint, Refusal, plan, plan_removal},
    families::resolve,
};

/// The plan in one line: `addr 0 IPv4 any`, `port [0, 1] 30080`, `free 10.96.0.9`, …
fn render(plan: &AllocationPlan) -> Vec<String> {
    let mut lines = Vec::new();
    for claim in &plan.addresses {
        let wanted = claim.wanted.map_or("any".to_owned(), |address| address.to_string());
        lines.push(format!("address {} {} {wanted}", claim.index, claim.family));
    }
    for claim in &plan.node_ports {
        let wanted = claim.wanted.map_or("any".to_owned(), |port| port.to_string());
        lines.push(format!("port {:?} {wanted}", claim.target));
    }
    lines.extend(plan.released_addresses.iter().map(|address| format!("release {address}")));
    lines.extend(plan.released_node_ports.iter().map(|port| format!("release {port}")));
    lines
}

/// Takes a Service through a whole write; numbers are handed out from 10.96.0.100, fd00::100 and 30100 on.
fn write(mut service: Value, old: Option<&Value>) -> (Value, Vec<String>) {
    assert_eq!(resolve(&mut service, old, &[V4, V6]), []);
    let plan = plan(&service, old);
    for claim in &plan.addresses {
        let free: IpAddr = if claim.family == V4 { "10.96.0.100" } else { "fd00::100" }.parse().unwrap();
        claim.grant(&mut service, claim.wanted.unwrap_or(free));
    }
    for (offset, claim) in (0..).zip(&plan.node_ports) {
        claim.grant(&mut service, claim.wanted.unwrap_or(30_100 + offset));
    }
    let errors = match old {
        None => RESOURCE.strategy.validate_create(&service),
        Some(old) => RESOURCE.strategy.validate_update(&service, old),
    };
    assert_eq!(errors, []);
    (service, render(&plan))
}

fn check(old: Option<Value>, spec: Value, expect: &[&str]) -> Value {
    let old = old.map(|spec| write(create(spec), None).0);
    let new = match &old {
        None => create(spec.clone()),
        Some(old) => update(old, spec.clone()),
    };
    let (service, plan) = write(new, old.as_ref());
    assert_eq!(plan, expect, "{spec}");
    let again = update(&service, service["spec"].clone());
    assert_eq!(write(again, Some(&service)).1, [] as [&str; 0], "a second write of {spec}");
    service
}

fn ports() -> Value {
    json!([{"port": 80}])
}

#[test]
fn creating_claims_what_the_type_needs() {
    let spec = |kind: &str| json!({"type": kind, "ports": ports()});
    check(None, spec("ClusterIP"), &["address 0 IPv4 any"]);
    check(None, spec("NodePort"), &["address 0 IPv4 any", "port Ports([0]) any"]);
    check(None, spec("LoadBalancer"), &["address 0 IPv4 any", "port Ports([0]) any"]);
    check(
        None,
        json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports()}),
        &["address 0 IPv4 any"],
    );
    check(None, json!({"clusterIP": "None"}), &[]);
    check(None, json!({"clusterIP": "10.96.0.9", "ports": ports()}), &["address 0 IPv4 10.96.0.9"]);
    let both = check(
        None,
        json!({"ipFamilyPolicy": "RequireDualStack", "ports": ports()}),
        &["address 0 IPv4 any", "address 1 IPv6 any"],
    );
    assert_eq!(both["spec"]["clusterIPs"], json!(["10.96.0.100", "fd00::100"]));
    assert_eq!(both["spec"]["clusterIP"], "10.96.0.100");
}

#[test]
fn one_number_serves_the_same_port_of_several_protocols_on_create() {
    let dns = |node_port: Value| {
        json!({"type": "NodePort", "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "nodePort": node_port},
            {"name": "metrics", "port": 9153}]})
    };
    let service =
        check(None, dns(json!(30053)), &["address 0 IPv4 any", "port Ports([1, 0]) 30053", "port Ports([2]) any"]);
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30053);
    let service = check(None, dns(json!(0)), &["address 0 IPv4 any", "port Ports([0, 1]) any", "port Ports([2]) any"]);
    assert_eq!(service["spec"]["ports"][0]["nodePort"], service["spec"]["ports"][1]["nodePort"]);
    check(
        Some(json!({"ports": [{"name": "metrics", "port": 9153}]})),
        dns(json!(0)),
        &["port Ports([0]) any", "port Ports([1]) any", "port Ports([2]) any"],
    );
}

#[test]
fn what_an_update_leaves_out_is_inherited() {
    let old = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]});
    let service = check(
        Some(old.clone()),
        json!({"type": "NodePort", "ports": [{"name": "b", "port": 8081}, {"name": "a", "port": 8080}]}),
        &[],
    );
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30081);
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.100");
    assert_eq!(service["spec"]["clusterIPs"], json!(["10.96.0.100"]));
    check(
        Some(old),
        json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "c", "port": 81, "nodePort": 30080}]}),
        &["port Ports([0]) any", "release 30081"],
    );
}

/// A replace from a file leaves out all that was allocated: what both types have is inherited, nothing else.
#[test]
fn what_is_inherited_follows_the_types() {
    let of = |kind: &str| match kind {
        "Local" => json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports()}),
        "ExternalName" => json!({"type": "ExternalName", "externalName": "a.example", "ports": ports()}),
        "None" => json!({"clusterIP": "None", "ports": ports()}),
        kind => json!({"type": kind, "ports": ports()}),
    };
    let kinds = ["ClusterIP", "NodePort", "LoadBalancer", "Local", "ExternalName"];
    let has_ip = |kind: &str| kind != "ExternalName";
    let has_port = |kind: &str| ["NodePort", "LoadBalancer", "Local"].contains(&kind);
    for old in kinds {
        let stored = write(create(of(old)), None).0;
        for new in kinds {
            let found = update(&stored, of(new));
            let same = |pointer: &str| {
                let inherited = found.pointer(pointer).is_some_and(|value| !value.is_null() && *value != json!(0));
                assert!(!inherited || found.pointer(pointer) == stored.pointer(pointer), "{old} → {new}: {pointer}");
                inherited
            };
            assert_eq!(same("/spec/clusterIP"), has_ip(old) && has_ip(new), "{old} → {new}");
            assert_eq!(same("/spec/clusterIPs"), has_ip(old) && has_ip(new), "{old} → {new}");
            assert_eq!(same("/spec/ports/0/nodePort"), has_port(old) && has_port(new), "{old} → {new}");
            assert_eq!(same("/spec/healthCheckNodePort"), old == "Local" && new == "Local", "{old} → {new}");
        }
    }
    let headless = write(create(of("None")), None).0;
    assert_eq!(update(&headless, of("ClusterIP"))["spec"]["clusterIP"], "None", "headless stays headless");
}

#[test]
fn types_change_into_each_other() {
    let spec = |kind: &str| json!({"type": kind, "ports": ports()});
    let with = |kind: &str, node_port: u16| json!({"type": kind, "ports": [{"port": 80, "nodePort": node_port}]});
    check(Some(spec("ClusterIP")), spec("NodePort"), &["port Ports([0]) any"]);
    check(Some(spec("ClusterIP")), with("NodePort", 30090), &["port Ports([0]) 30090"]);
    check(Some(with("NodePort", 30080)), spec("LoadBalancer"), &[]);
    check(Some(with("LoadBalancer", 30080)), with("NodePort", 30080), &[]);
    let plain = check(Some(with("NodePort", 30080)), with("ClusterIP", 30080), &["release 30080"]);
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    check(Some(with("NodePort", 30080)), with("NodePort", 30090), &["port Ports([0]) 30090", "release 30080"]);
}

#[test]
fn removal_releases_all_that_is_held() {
    let service = check(
        None,
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
        &["address 0 IPv4 any", "port Ports([0]) 30080"],
    );
    assert_eq!(render(&plan_removal(&service)), ["release 10.96.0.100", "release 30080"]);
    assert_eq!(render(&plan_removal(&json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}))), [] as [&str; 0]);
}

#[test]
fn dual_stack_comes_and_goes() {
    let both = json!({"ipFamilyPolicy": "RequireDualStack", "ports": ports()});
    let one = json!({"ipFamilyPolicy": "SingleStack", "ports": ports()});
    check(Some(one.clone()), both.clone(), &["address 1 IPv6 any"]);
    check(Some(both), one, &["release fd00::100"]);
}

#[test]
fn external_names_hold_nothing_and_inherit_nothing() {
    let external = json!({"type": "ExternalName", "externalName": "db.example", "ports": ports()});
    let mut old =
        create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}], "selector": {"a": "b"}}));
    old = write(old, None).0;
    let mut spec = old["spec"].clone();
    spec["type"] = "ExternalName".into();
    spec["externalName"] = "db.example".into();
    let new = update(&old, spec);
    let kept: Vec<&String> = new["spec"].as_object().unwrap().keys().collect();
    assert_eq!(kept, ["externalName", "ports", "selector", "sessionAffinity", "type"]);
    assert_eq!(render(&plan(&new, Some(&old))), ["release 10.96.0.100", "release 30080"]);
    let old = create(external);
    assert_eq!(render(&plan(&old, None)), [] as [&str; 0]);
    let (new, claims) = write(update(&old, json!({"type": "ClusterIP", "ports": ports()})), Some(&old));
    assert_eq!(claims, ["address 0 IPv4 any"]);
    assert_eq!(new["spec"]["ipFamilies"], json!(["IPv4"]));
}

#[test]
fn refusals_are_in_upstreams_words() {
    let service = create(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30090, "ports": [{"port": 80, "nodePort": 30080}]}));
    let mut service = service;
    resolve(&mut service, None, &[V4]);
    let plan = plan(&service, None);
    let said = |complaint: Complaint| match complaint {
        Complaint::Field(error) => error.to_string(),
        Complaint::Internal(text) => format!("internal: {text}"),
    };
    let address = &plan.addresses[0];
    let [port, health] = plan.node_ports.as_slice() else { panic!("{plan:?}") };
    for (complaint, expect) in [
        (
            address.refuse(&service, Refusal::Taken),
            "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP 10.96.0.9: provided IP is already allocated",
        ),
        (
            address.refuse(&service, Refusal::NoRange),
            "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP 10.96.0.9: the provided network does not \
             match the current range",
        ),
        (
            port.refuse(Refusal::Taken),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            port.refuse(Refusal::Own),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is used by the API server or by the agents of nodes",
        ),
        (
            port.refuse(Refusal::OutOfRange { range: "30000-32767" }),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is not in the valid range. The range of valid ports is \
             30000-32767",
        ),
        (
            health.refuse(Refusal::Taken),
            "internal: failed to allocate requested HealthCheck NodePort 30090: provided port is already allocated",
        ),
    ] {
        assert_eq!(said(complaint), expect);
    }
}

#[test]
fn a_node_port_is_no_health_check_port_of_the_same_service() {
    let spec = |health: u16| {
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": health,
            "ports": [{"port": 80, "nodePort": 30080}]})
    };
    let claims = |service: &Value, old: Option<&Value>| {
        let plan = plan(service, old);
        plan.node_ports.iter().map(|claim| format!("{:?} {:?}", claim.target, claim.wanted)).collect::<Vec<_>>()
    };
    assert_eq!(claims(&create(spec(30080)), None), ["Ports([0]) Some(30080)", "HealthCheck Some(30080)"]);
    let old = create(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    assert_eq!(claims(&update(&old, spec(30080)), Some(&old)), ["HealthCheck Some(30080)"]);
    let old = create(spec(30090));
    assert_eq!(claims(&update(&old, spec(30090)), Some(&old)), [] as [&str; 0]);
    let mut swapped = spec(30090);
    swapped["ports"][0]["nodePort"] = 30090.into();
    assert_eq!(claims(&update(&old, swapped), Some(&old)), ["Ports([0]) Some(30090)"]);
}
