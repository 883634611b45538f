use serde_json::{Value, json};
use stead_model::Family::{self, V4, V6};

use super::{create, update};
use crate::kinds::service::families::resolve;

const ONLY_4: &[Family] = &[V4];
const ONLY_6: &[Family] = &[V6];
const FIRST_4: &[Family] = &[V4, V6];
const FIRST_6: &[Family] = &[V6, V4];

/// `policy families` or the first error.
fn outcome(service: &Value, errors: &[crate::field::FieldError]) -> String {
    match errors {
        [] => {
            let families: Vec<&str> =
                service["spec"]["ipFamilies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{} {}", service["spec"]["ipFamilyPolicy"].as_str().unwrap_or("-"), families.join(","))
        }
        [first, ..] => first.to_string(),
    }
}

fn check_create(spec: Value, cluster: &[Family], expect: &str) {
    let mut service = create(spec.clone());
    let errors = resolve(&mut service, None, cluster);
    let outcome = outcome(&service, &errors);
    assert!(outcome.starts_with(expect), "{spec} on {cluster:?}: {outcome}");
}

fn check_update(old: Value, spec: Value, cluster: &[Family], expect: &str) {
    let mut old = create(old);
    assert_eq!(resolve(&mut old, None, cluster), []);
    let mut new = update(&old, spec.clone());
    let errors = resolve(&mut new, Some(&old), cluster);
    let outcome = outcome(&new, &errors);
    assert!(outcome.starts_with(expect), "{spec} on {cluster:?}: {outcome}");
}

#[test]
fn what_is_left_open_follows_from_the_cluster() {
    for (cluster, single, prefer, require) in [
        (
            ONLY_4,
            "SingleStack IPv4",
            "PreferDualStack IPv4",
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not",
        ),
        (
            ONLY_6,
            "SingleStack IPv6",
            "PreferDualStack IPv6",
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not",
        ),
        (FIRST_4, "SingleStack IPv4", "PreferDualStack IPv4,IPv6", "RequireDualStack IPv4,IPv6"),
        (FIRST_6, "SingleStack IPv6", "PreferDualStack IPv6,IPv4", "RequireDualStack IPv6,IPv4"),
    ] {
        check_create(json!({}), cluster, single);
        check_create(json!({"ipFamilyPolicy": "SingleStack"}), cluster, single);
        check_create(json!({"ipFamilyPolicy": "PreferDualStack"}), cluster, prefer);
        check_create(json!({"ipFamilyPolicy": "RequireDualStack"}), cluster, require);
    }
}

#[test]
fn named_families_must_be_the_clusters() {
    check_create(json!({"ipFamilies": ["IPv6"]}), FIRST_4, "SingleStack IPv6");
    check_create(
        json!({"ipFamilies": ["IPv6"]}),
        ONLY_4,
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    check_create(
        json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
        FIRST_4,
        "PreferDualStack IPv6,IPv4",
    );
    check_create(
        json!({"ipFamilies": ["IPv4"], "ipFamilyPolicy": "RequireDualStack"}),
        FIRST_6,
        "RequireDualStack IPv4,IPv6",
    );
    check_create(
        json!({"ipFamilies": ["IPv4", "IPv6"]}),
        FIRST_4,
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families",
    );
    check_create(
        json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
        ONLY_4,
        "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured",
    );
    check_create(
        json!({"ipFamilies": ["IPv5"]}),
        ONLY_4,
        "spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
    );
    check_create(json!({"ipFamilies": ["IPv4", "IPv4"]}), ONLY_4, "spec.ipFamilies[1]: Duplicate value: \"IPv4\"");
}

#[test]
fn named_addresses_tell_their_families() {
    check_create(json!({"clusterIP": "10.96.0.9"}), FIRST_6, "SingleStack IPv4");
    check_create(
        json!({"clusterIP": "fd00::9"}),
        ONLY_4,
        "spec.clusterIPs[0]: Invalid value: [\"fd00::9\"]: IPv6 is not configured on this cluster",
    );
    check_create(
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"]}),
        FIRST_4,
        "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs",
    );
    check_create(
        json!({"clusterIP": "fd00::9", "clusterIPs": ["fd00::9", "10.96.0.9"], "ipFamilyPolicy": "RequireDualStack"}),
        FIRST_4,
        "RequireDualStack IPv6,IPv4",
    );
    check_create(
        json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv6"]}),
        FIRST_4,
        "spec.clusterIPs[0]: Invalid value: \"10.96.0.9\": expected an IPv6 value as indicated by `ipFamilies[0]`",
    );
    check_create(
        json!({"clusterIPs": ["10.96.0.9"]}),
        ONLY_4,
        "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: must be empty when `clusterIP` is not specified",
    );
    check_create(
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"]}),
        ONLY_4,
        "spec.clusterIPs: Invalid value: [\"10.96.0.8\"]: first value must match `clusterIP`",
    );
    check_create(
        json!({"clusterIP": "web"}),
        ONLY_4,
        "spec.clusterIPs[0]: Invalid value: \"web\": must be a valid IP address",
    );
}

#[test]
fn headless_services_without_selector_may_have_what_the_cluster_lacks() {
    let headless = |extra: Value| {
        let mut spec = json!({"clusterIP": "None"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        spec
    };
    check_create(headless(json!({})), ONLY_4, "RequireDualStack IPv4,IPv6");
    check_create(headless(json!({"ipFamilyPolicy": "SingleStack"})), ONLY_6, "SingleStack IPv6");
    check_create(headless(json!({"ipFamilies": ["IPv6"]})), ONLY_4, "RequireDualStack IPv6,IPv4");
    check_create(headless(json!({"selector": {"a": "b"}})), ONLY_4, "SingleStack IPv4");
    check_create(
        headless(json!({"selector": {"a": "b"}, "ipFamilyPolicy": "RequireDualStack"})),
        ONLY_4,
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
}

#[test]
fn external_names_have_no_family() {
    check_create(json!({"type": "ExternalName", "externalName": "a.b"}), FIRST_4, "- ");
}

#[test]
fn updates_change_families_only_when_asked() {
    let single = json!({});
    let double = json!({"ipFamilyPolicy": "RequireDualStack"});
    check_update(single.clone(), json!({}), FIRST_4, "SingleStack IPv4");
    check_update(double.clone(), json!({}), FIRST_4, "RequireDualStack IPv4,IPv6");
    check_update(single.clone(), json!({"ipFamilyPolicy": "PreferDualStack"}), FIRST_4, "PreferDualStack IPv4,IPv6");
    check_update(
        single,
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        ONLY_4,
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster",
    );
    check_update(
        double.clone(),
        json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
        FIRST_4,
        "SingleStack IPv4",
    );
    check_update(
        double.clone(),
        json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4"]}),
        FIRST_4,
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary IP family",
    );
    check_update(
        json!({"type": "ExternalName", "externalName": "a.b"}),
        json!({"type": "ClusterIP"}),
        FIRST_6,
        "SingleStack IPv6",
    );
}

#[test]
fn a_preference_is_not_caught_up_with_by_itself() {
    let mut old = create(json!({"ipFamilyPolicy": "PreferDualStack"}));
    resolve(&mut old, None, ONLY_4);
    let mut new =
        update(&old, json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"], "selector": {"a": "b"}}));
    let errors = resolve(&mut new, Some(&old), FIRST_4);
    assert_eq!(outcome(&new, &errors), "PreferDualStack IPv4");
}
