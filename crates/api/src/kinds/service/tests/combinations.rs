//! Every combination of a few values of each field, held against what must always be so.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use stead_model::Family::{self, V4, V6};

use super::{create, update};
use crate::kinds::service::{
    allocation::{addresses, node_ports, plan},
    families::{families, resolve},
    has_selector, is_headless,
};

const CLUSTERS: &[&[Family]] = &[&[V4], &[V6], &[V4, V6], &[V6, V4]];

/// Specs that differ in type, addresses, families, policy, selector and ports.
fn specs() -> Vec<Value> {
    let mut specs = vec![json!({})];
    for (field, values) in [
        ("type", vec![json!("ClusterIP"), json!("NodePort"), json!("LoadBalancer"), json!("ExternalName")]),
        ("clusterIPs", vec![json!(null), json!(["None"]), json!(["10.96.0.9"]), json!(["fd00::9", "10.96.0.9"])]),
        ("ipFamilies", vec![json!(null), json!(["IPv4"]), json!(["IPv6"]), json!(["IPv6", "IPv4"])]),
        (
            "ipFamilyPolicy",
            vec![json!(null), json!("SingleStack"), json!("PreferDualStack"), json!("RequireDualStack")],
        ),
        ("selector", vec![json!(null), json!({"app": "web"})]),
        (
            "ports",
            vec![
                json!([{"port": 80}]),
                json!([{"name": "a", "port": 53, "nodePort": 30053}, {"name": "b", "port": 53, "protocol": "UDP"}]),
            ],
        ),
    ] {
        specs = specs
            .iter()
            .flat_map(|spec| {
                values.iter().map(move |value| {
                    let mut spec = spec.clone();
                    if !value.is_null() {
                        spec[field] = value.clone();
                    }
                    spec
                })
            })
            .collect();
    }
    for spec in &mut specs {
        if let Some(first) = spec.pointer("/clusterIPs/0").cloned() {
            spec["clusterIP"] = first;
        }
    }
    specs
}

fn texts(service: &Value, field: &str) -> Vec<String> {
    let list = service["spec"][field].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn families_agree_with_the_wish_and_the_cluster() {
    let mut settled = 0;
    for spec in specs() {
        for cluster in CLUSTERS {
            let wish = create(spec.clone());
            let mut service = wish.clone();
            if !resolve(&mut service, None, cluster).is_empty() || service["spec"]["type"] == "ExternalName" {
                continue;
            }
            settled += 1;
            let got = families(&service);
            let is_free = is_headless(&service) && !has_selector(&service);
            let policy = service["spec"]["ipFamilyPolicy"].as_str().unwrap();
            assert!(!got.is_empty() && got.first() != got.get(1), "{spec} {cluster:?}");
            assert!(is_free || got.iter().all(|family| cluster.contains(family)), "{spec} {cluster:?}");
            assert!(policy != "SingleStack" || got.len() == 1, "{spec} {cluster:?}");
            assert!(policy != "RequireDualStack" || got.len() == 2, "{spec} {cluster:?}");
            assert!(texts(&service, "ipFamilies").starts_with(&texts(&wish, "ipFamilies")), "{spec} {cluster:?}");
            assert_eq!(texts(&service, "clusterIPs"), texts(&wish, "clusterIPs"));
            for (address, family) in addresses(&service).into_iter().zip(&got) {
                assert_eq!(Family::of(address), *family, "{spec} {cluster:?}");
            }
            let once = service.clone();
            assert_eq!(resolve(&mut service, None, cluster), []);
            assert_eq!(service, once, "settled twice is settled once");
        }
    }
    assert!(settled > 500, "only {settled} combinations are valid");
}

/// Grants what is asked for, numbers beginning with `start`. Returns what was claimed.
fn grant(service: &mut Value, old: Option<&Value>, start: u16) -> (BTreeSet<IpAddr>, BTreeSet<u16>) {
    let plan = plan(service, old);
    let mut claimed = (BTreeSet::new(), BTreeSet::new());
    for claim in &plan.addresses {
        let free: IpAddr = match claim.family {
            V4 => [10, 96, 1, start.to_le_bytes()[0]].into(),
            V6 => format!("fd00::{start:x}").parse().unwrap(),
        };
        let address = claim.wanted.unwrap_or(free);
        assert!(claimed.0.insert(address), "{address} is claimed twice");
        claim.grant(service, address);
    }
    for (offset, claim) in (0..).zip(&plan.node_ports) {
        let port = claim.wanted.unwrap_or(start + offset);
        assert!(claimed.1.insert(port), "{port} is claimed twice");
        claim.grant(service, port);
    }
    claimed
}

#[test]
fn what_is_held_is_what_was_held_and_claimed_but_not_released() {
    let specs: Vec<Value> = specs().into_iter().filter(|spec| spec["ipFamilies"].is_null()).collect();
    let mut written = 0;
    for (index, old_spec) in specs.iter().enumerate() {
        let mut old = create(old_spec.clone());
        if !resolve(&mut old, None, &[V4, V6]).is_empty() {
            continue;
        }
        let claimed = grant(&mut old, None, 30_100);
        assert_eq!(claimed, (addresses(&old).into_iter().collect(), node_ports(&old)), "{old_spec}");
        for new_spec in specs.iter().skip(index % 31).step_by(31) {
            let mut new = update(&old, new_spec.clone());
            let mut errors = resolve(&mut new, Some(&old), &[V4, V6]);
            errors.extend(super::super::validate::validate_change(&new, &old));
            errors.extend(super::super::validate::validate(&new));
            if !errors.is_empty() {
                continue;
            }
            written += 1;
            let releases = plan(&new, Some(&old));
            let claimed = grant(&mut new, Some(&old), 30_200);
            let mut held: BTreeSet<IpAddr> = addresses(&old).into_iter().collect();
            assert!(held.is_disjoint(&claimed.0), "{old_spec} → {new_spec}: claims what it holds");
            held.retain(|address| !releases.released_addresses.contains(address));
            held.extend(claimed.0);
            assert_eq!(held, addresses(&new).into_iter().collect(), "{old_spec} → {new_spec}");
            let mut ports = node_ports(&old);
            assert!(ports.is_disjoint(&claimed.1), "{old_spec} → {new_spec}: claims what it holds");
            ports.retain(|port| !releases.released_node_ports.contains(port));
            ports.extend(claimed.1);
            assert_eq!(ports, node_ports(&new), "{old_spec} → {new_spec}");
            let again = update(&new, new["spec"].clone());
            assert_eq!(plan(&again, Some(&new)), Default::default(), "{new_spec} written again");
        }
    }
    assert!(written > 500, "only {written} updates are valid");
}
