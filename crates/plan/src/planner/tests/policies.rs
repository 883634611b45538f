//! Which list a packet meets, by policy, kind of frontend, who sends, and hints.

use super::*;
use crate::{Origin, Plan};

/// One Service of type LoadBalancer with every kind of frontend.
fn balanced(policies: Value) -> Value {
    let mut spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80, "nodePort": 30080}],
        "externalIPs": ["192.0.2.7"],
    });
    spec.as_object_mut().unwrap().extend(policies.as_object().unwrap().clone());
    let mut object = service("web", spec);
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}});
    object
}

fn endpoint(address: &str, node: &str) -> Value {
    json!({"addresses": [address], "nodeName": node})
}

fn leaving(address: &str, node: &str) -> Value {
    let conditions = json!({"ready": false, "serving": true, "terminating": true});
    json!({"addresses": [address], "nodeName": node, "conditions": conditions})
}

fn plan_of(policies: Value, endpoints: &[Value], change: impl FnOnce(&mut Settings)) -> Plan {
    let slices = [slice("s", "web", "IPv4", json!([{"port": 8080}]), json!(endpoints))];
    let mut context = context();
    change(&mut context.settings);
    plan_all(&snapshot(&[balanced(policies)], &slices), &context).0
}

const POD: (&str, Arrival<'_>) = ("10.244.1.9", Arrival::OnLink("veth9"));
const NODE: (&str, Arrival<'_>) = ("192.168.56.101", Arrival::FromNode);
const OUTSIDE: (&str, Arrival<'_>) = ("198.51.100.7", Arrival::OnLink("eth0"));
const EXTERNAL: [(&str, u16); 3] = [("192.168.56.101", 30080), ("192.0.2.9", 80), ("192.0.2.7", 80)];

/// What happens, in a word or two: the last octets of the backends, and `m` where all is masqueraded.
fn verdict(plan: &Plan, (source, arrival): (&str, Arrival<'_>), (address, port): (&str, u16)) -> String {
    let destination = Frontend { address: ip(address), protocol: Protocol::Tcp, port };
    match decide(plan, &Packet { source: ip(source), arrival, destination }) {
        Verdict::Pass => "pass".into(),
        Verdict::Refuse => "refuse".into(),
        Verdict::Drop => "drop".into(),
        Verdict::To { backends, masquerade, .. } => {
            let ends = backends.iter().map(|backend| backend.address.ip().to_string()[7..].to_owned());
            let masquerade = if masquerade == Masquerade::Always { " m" } else { "" };
            ends.collect::<Vec<_>>().join(" ") + masquerade
        }
    }
}

/// Verdicts for a pod, the node and outside on the cluster IP; then the same three on each external frontend, which must agree.
fn check_policies(policies: Value, endpoints: &[Value], inside: [&str; 3], outside: [&str; 3]) {
    let plan = plan_of(policies, endpoints, |_| {});
    let senders = [POD, NODE, OUTSIDE];
    assert_eq!(senders.map(|sender| verdict(&plan, sender, ("10.96.0.1", 80))), inside, "{plan:#?}");
    for to in EXTERNAL {
        assert_eq!(senders.map(|sender| verdict(&plan, sender, to)), outside, "{to:?} of {plan:#?}");
    }
}

#[test]
fn a_policy_chooses_the_list() {
    let (here, there) = (endpoint("10.244.1.2", "node1"), endpoint("10.244.2.2", "node2"));
    let both = [here.clone(), there.clone()];
    let local = json!({"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"});
    check_policies(json!({}), &both, ["1.2 2.2", "1.2 2.2 m", "1.2 2.2 m"], ["1.2 2.2 m"; 3]);
    check_policies(local.clone(), &both, ["1.2", "1.2 m", "1.2 m"], ["1.2 2.2", "1.2 2.2 m", "1.2"]);
    check_policies(local.clone(), &[there], ["drop"; 3], ["2.2", "2.2 m", "drop"]);
    check_policies(local.clone(), &[], ["refuse"; 3], ["refuse"; 3]);
    check_policies(
        json!({"externalTrafficPolicy": "Local"}),
        &[here],
        ["1.2", "1.2 m", "1.2 m"],
        ["1.2", "1.2 m", "1.2"],
    );
    let (here, there) = (leaving("10.244.1.2", "node1"), endpoint("10.244.2.2", "node2"));
    check_policies(local.clone(), &[here.clone(), there], ["1.2", "1.2 m", "1.2 m"], ["2.2", "2.2 m", "1.2"]);
    check_policies(local, &[here], ["1.2", "1.2 m", "1.2 m"], ["1.2", "1.2 m", "1.2"]);
}

#[test]
fn source_ranges_hold_on_every_way_from_outside() {
    let both = [endpoint("10.244.1.2", "node1"), endpoint("10.244.2.2", "node2")];
    let check = |ranges: &[&str], senders: [&str; 3], balancer: &str| {
        let plan =
            plan_of(json!({"loadBalancerSourceRanges": ranges, "externalTrafficPolicy": "Local"}), &both, |_| {});
        for to in EXTERNAL {
            assert_eq!([POD, NODE, OUTSIDE].map(|sender| verdict(&plan, sender, to)), senders, "{ranges:?} {to:?}");
        }
        let itself = ("192.0.2.9", Arrival::FromNode);
        assert_eq!(verdict(&plan, itself, ("192.0.2.9", 80)), balancer, "{ranges:?}");
        assert_eq!(verdict(&plan, POD, ("10.96.0.1", 80)), "1.2 2.2");
    };
    check(&["198.51.100.0/24", "198.51.0.0/16"], ["drop", "drop", "1.2"], "drop");
    check(&["10.244.0.0/16"], ["1.2 2.2", "drop", "drop"], "drop");
    check(&["192.168.56.0/24"], ["drop", "1.2 2.2 m", "drop"], "1.2 2.2 m");
    check(&["fd56::/64"], ["drop"; 3], "1.2 2.2 m");
    check(&["no range"], ["drop"; 3], "drop");
    check(&["0.0.0.0/0"], ["1.2 2.2", "1.2 2.2 m", "1.2"], "1.2 2.2 m");
}

#[test]
fn who_is_a_pod_is_told_by_the_mode() {
    let both = [endpoint("10.244.1.2", "node1"), endpoint("10.244.2.2", "node2")];
    let check = |mode: DetectLocal, all: MasqueradeAll, cluster_ip: [&str; 3], external: [&str; 3]| {
        let change = |settings: &mut Settings| (settings.detect_local, settings.masquerade_all) = (mode.clone(), all);
        let plan = plan_of(json!({"externalTrafficPolicy": "Local"}), &both, change);
        let verdicts = |to| [POD, NODE, OUTSIDE].map(|sender| verdict(&plan, sender, to));
        assert_eq!(verdicts(("10.96.0.1", 80)), cluster_ip, "{mode:?}");
        assert_eq!(verdicts(("192.0.2.9", 80)), external, "{mode:?}");
    };
    let (kept, masqueraded) = ("1.2 2.2", "1.2 2.2 m");
    let known = [kept, masqueraded, masqueraded];
    check(pods(), MasqueradeAll::No, known, [kept, masqueraded, "1.2"]);
    check(pods(), MasqueradeAll::Yes, [masqueraded; 3], [kept, masqueraded, "1.2"]);
    check(DetectLocal::Bridge("veth9".into()), MasqueradeAll::No, known, [kept, masqueraded, "1.2"]);
    check(DetectLocal::Prefix("veth".into()), MasqueradeAll::No, known, [kept, masqueraded, "1.2"]);
    let unknown = [DetectLocal::Unknown, DetectLocal::Ranges(vec!["fd56:244::/48".parse().unwrap()])];
    for mode in unknown {
        check(mode, MasqueradeAll::No, [kept; 3], ["1.2", masqueraded, "1.2"]);
    }
    let elsewhere = [DetectLocal::Bridge("veth".into()), DetectLocal::Prefix("cni".into())];
    for mode in elsewhere {
        check(mode, MasqueradeAll::No, [masqueraded; 3], ["1.2", masqueraded, "1.2"]);
    }
    let plan = plan_of(json!({}), &[], |_| {});
    let destination = Frontend { address: ip("10.96.0.1"), protocol: Protocol::Tcp, port: 80 };
    let origins = [POD, NODE, OUTSIDE]
        .map(|(source, arrival)| plan.settings.origin(&Packet { source: ip(source), arrival, destination }));
    assert_eq!(origins, [Origin::Pod, Origin::Node, Origin::Outside]);
}

#[test]
fn hints_give_endpoints_to_nodes_and_zones() {
    let hinted = |address: &str, zones: &[&str], nodes: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        json!({"addresses": [address], "hints": {"forZones": names(zones), "forNodes": names(nodes)}})
    };
    let check = |endpoints: &[Value], expect: &str, draining: &[&str]| {
        let plan = plan_of(json!({}), endpoints, |_| {});
        assert_eq!(verdict(&plan, POD, ("10.96.0.1", 80)), expect);
        let idle = &plan.services[&key("web")].ports[0].draining;
        assert_eq!(idle.iter().map(|backend| backend.address.to_string()).collect::<Vec<_>>(), draining);
    };
    let (ours, theirs) = (hinted("10.244.1.2", &["a"], &[]), hinted("10.244.2.2", &["b", "c"], &[]));
    check(&[ours.clone(), theirs.clone()], "1.2", &["10.244.2.2:8080"]);
    check(&[ours.clone(), endpoint("10.244.2.2", "node2")], "1.2 2.2", &[]);
    check(std::slice::from_ref(&theirs), "2.2", &[]);
    let (here, there) = (hinted("10.244.1.2", &["b"], &["node1"]), hinted("10.244.1.3", &["a"], &["node2"]));
    check(&[here.clone(), there.clone()], "1.2", &["10.244.1.3:8080"]);
    check(&[here, there.clone(), hinted("10.244.1.4", &["a"], &[])], "1.3 1.4", &["10.244.1.2:8080"]);
    check(&[there.clone(), theirs.clone()], "1.3", &["10.244.2.2:8080"]);
    // Who is not ready has no say.
    let mut gone = endpoint("10.244.2.3", "node2");
    gone["conditions"] = json!({"ready": false});
    check(&[ours, theirs, gone], "1.2", &["10.244.2.2:8080", "10.244.2.3:8080"]);
    check(&[leaving("10.244.2.2", "node2")], "2.2", &[]);
}

#[test]
fn a_virtual_ip_is_never_lost_to_an_external_one() {
    let claim = |name, ip: &str, external: &[&str]| {
        service(name, json!({"clusterIPs": [ip], "ports": [{"port": 80}], "externalIPs": external}))
    };
    check(
        &[
            claim("a", "10.96.0.2", &["203.0.113.7", "192.0.2.7", "10.96.0.3"]),
            claim("b", "10.96.0.3", &["192.0.2.7"]),
            claim("z", "203.0.113.7", &["203.0.113.7"]),
        ],
        &[],
        &[
            "default/a: 10.96.0.2:80/TCP ->",
            "default/a: 192.0.2.7:80/TCP (external IP) ->",
            "default/b: 10.96.0.3:80/TCP ->",
            "default/z: 203.0.113.7:80/TCP ->",
        ],
        &[
            "Service default/a: external IP 10.96.0.3 is in a range of virtual IPs, which are not given out so; give the Service another one",
            "Service default/a: 203.0.113.7:80/TCP belongs to Service default/z; change one of the two",
            "Service default/b: 192.0.2.7:80/TCP belongs to Service default/a; change one of the two",
        ],
    );
}

#[test]
fn what_is_somebody_elses_is_taken_by_nobody() {
    let mut web = service(
        "web",
        json!({
            "type": "LoadBalancer", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}],
            "externalIPs": ["192.168.56.101", "127.0.0.1", "169.254.169.254", "10.0.2.15", "192.0.2.7"],
        }),
    );
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}]}});
    check(
        &[web],
        &[],
        &[
            "default/web: 10.0.2.15:80/TCP (external IP) ->",
            "default/web: 10.96.0.1:80/TCP ->",
            "default/web: 192.0.2.7:80/TCP (external IP) ->",
        ],
        &[
            "Service default/web: external IP 127.0.0.1 is loopback, link-local, metadata, multicast or unspecified; give the Service another one",
            "Service default/web: external IP 169.254.169.254 is loopback, link-local, metadata, multicast or unspecified; give the Service another one",
            "Service default/web: external IP 192.168.56.101 is this node's own and stays so; open it to Services or give the Service another one",
            "Service default/web: load-balancer address 192.0.2.1 is the API server's and stays so; give the Service another one",
        ],
    );
}
