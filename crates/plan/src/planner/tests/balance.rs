//! How connections are spread, by the annotations of a Service.

use std::collections::BTreeMap;

use super::*;
use crate::{Algorithm, Balance};

const VIP: &str = "10.96.0.1";

/// One Service over `count` pods, with these annotations.
fn web(annotations: Value, spec: Value, count: u8) -> (Value, Value) {
    let mut all = json!({"clusterIPs": [VIP], "ports": [{"port": 80}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut object = service("web", all);
    object["metadata"]["annotations"] = annotations;
    let endpoints: Vec<_> = (2..2 + count).map(|pod| json!({"addresses": [format!("10.244.1.{pod}")]})).collect();
    (object, slice("s", "web", "IPv4", json!([{"port": 8080}]), json!(endpoints)))
}

fn packet(source: &str) -> Packet<'static> {
    let destination = Frontend { address: ip(VIP), protocol: Protocol::Tcp, port: 80 };
    Packet { source: ip(source), arrival: Arrival::OnLink("eth0"), destination }
}

fn check_balance(annotations: Value, spec: Value, algorithm: Algorithm, weights: &[u8], problems: &[&str]) {
    let (object, slice) = web(annotations, spec, 3);
    let (plan, found) = plan_all(&snapshot(&[object], &[slice]), &context());
    let Verdict::To { balance, .. } = decide(&plan, &packet("10.244.2.9")) else { panic!("forwarded") };
    assert_eq!(balance, Balance { algorithm, weights: weights.into() });
    let found: Vec<_> = found.iter().map(Problem::to_string).collect();
    let expect: Vec<_> = problems.iter().map(|text| format!("Service default/web: {text}")).collect();
    assert_eq!(found, expect);
}

#[test]
fn annotations_say_how_connections_are_spread() {
    use Algorithm::{Maglev, Random, RoundRobin, SourceHash};
    let check = |algorithm: Option<&str>, weights: Option<&str>, expect, shares: &[u8], problems: &[&str]| {
        let annotations = json!({"stead.local/algorithm": algorithm, "stead.local/weights": weights});
        check_balance(annotations, json!({}), expect, shares, problems);
    };
    check(None, None, Random, &[1, 1, 1], &[]);
    check(Some("random"), None, Random, &[1, 1, 1], &[]);
    check(Some("weighted"), Some("10.244.1.3=9"), Random, &[1, 9, 1], &[]);
    check(None, Some("10.244.0.0/16=5,10.244.1.4=7"), Random, &[5, 5, 7], &[]);
    check(Some("round-robin"), Some("10.244.1.2=2"), RoundRobin, &[2, 1, 1], &[]);
    check(Some("source-hash"), None, SourceHash, &[1, 1, 1], &[]);
    check(Some("maglev"), Some("10.244.1.2=100"), Maglev, &[100, 1, 1], &[]);
    let unknown = "metadata.annotations[stead.local/algorithm]: \"least-load\" is none of random, round-robin, weighted, source-hash, maglev; connections are spread at random";
    check(Some("least-load"), Some("10.244.1.2=2"), Random, &[2, 1, 1], &[unknown]);
    let wrong = "metadata.annotations[stead.local/weights]: \"10.244.1.2=101\" is no ADDRESS=1-100 or CIDR=1-100; it is passed over";
    check(Some("maglev"), Some("10.244.1.2=101"), Maglev, &[1, 1, 1], &[wrong]);
}

#[test]
fn affinity_decides_before_an_algorithm() {
    let sticky = || json!({"sessionAffinity": "ClientIP"});
    let first = "sessionAffinity ClientIP decides before metadata.annotations[stead.local/algorithm]; clients that are new are spread at random";
    for algorithm in ["round-robin", "source-hash", "maglev"] {
        let annotations = json!({"stead.local/algorithm": algorithm, "stead.local/weights": "10.244.1.2=2"});
        check_balance(annotations, sticky(), Algorithm::Random, &[2, 1, 1], &[first]);
    }
    check_balance(json!({"stead.local/weights": "10.244.1.2=2"}), sticky(), Algorithm::Random, &[2, 1, 1], &[]);
}

#[test]
fn a_node_that_cannot_hash_says_so_to_who_asks_for_it() {
    let check = |algorithm: &str, expect: Algorithm, problems: &[&str]| {
        let (object, slice) =
            web(json!({"stead.local/algorithm": algorithm, "stead.local/weights": "10.244.1.2=2"}), json!({}), 3);
        let context = NodeContext { without_hashes: Some("no nft_hash".into()), ..context() };
        let (plan, found) = plan_all(&snapshot(&[object], &[slice]), &context);
        let Verdict::To { balance, .. } = decide(&plan, &packet("10.244.2.9")) else { panic!("forwarded") };
        assert_eq!(balance, Balance { algorithm: expect, weights: vec![2, 1, 1] });
        let found: Vec<_> = found.iter().map(|problem| (problem.reason(), problem.cause.to_string())).collect();
        assert_eq!(found, problems.iter().map(|text| ("NotSupported", (*text).to_owned())).collect::<Vec<_>>());
    };
    let why = "metadata.annotations[stead.local/algorithm] is not possible on node node1: no nft_hash; its connections are spread at random there";
    check("maglev", Algorithm::Random, &[why]);
    check("source-hash", Algorithm::Random, &[why]);
    check("round-robin", Algorithm::RoundRobin, &[]);
    check("random", Algorithm::Random, &[]);
}

/// Where each of these connections goes; the node is in the context.
fn led(algorithm: &str, node: &str, count: u8, weights: &str) -> BTreeMap<(u8, u16), String> {
    let (object, slice) =
        web(json!({"stead.local/algorithm": algorithm, "stead.local/weights": weights}), json!({}), count);
    let context = NodeContext { node: node.into(), ..context() };
    let (plan, _) = plan_all(&snapshot(&[object], &[slice]), &context);
    let connections = (0..20u8).flat_map(|client| (40_000..40_020u16).map(move |port| (client, port)));
    let led = connections.map(|(client, port)| {
        let packet = packet(&format!("10.244.2.{client}"));
        let verdict = decide(&plan, &packet);
        ((client, port), verdict.certain(&packet, port).unwrap().address.to_string())
    });
    led.collect()
}

#[test]
fn hashes_lead_alike_on_all_nodes() {
    for algorithm in ["maglev", "source-hash"] {
        assert_eq!(led(algorithm, "node1", 5, ""), led(algorithm, "node2", 5, ""));
    }
    let by_source = led("source-hash", "node1", 5, "");
    assert!(by_source.iter().all(|((client, _), to)| by_source[&(*client, 40_000)] == *to));
    let by_flow = led("maglev", "node1", 5, "");
    assert!(
        (0..20).all(|client| by_flow.iter().any(|((of, _), to)| *of == client && by_flow[&(client, 40_000)] != *to))
    );
}

#[test]
fn weights_hold_for_hashes_too() {
    let by_flow = led("maglev", "node1", 4, "10.244.1.2=97");
    let heavy = by_flow.values().filter(|to| **to == "10.244.1.2:8080").count();
    assert!((370..=400).contains(&heavy), "{heavy} of 400");
}
