//! Which IP families a Service has, given those of the cluster.
//!
//! The user may name a policy, families, addresses, any of them or none; what is left open follows from the rest. Nothing is
//! ever added to or taken from a stored Service unless an update asks for it.

use serde_json::Value;
use stead_model::Family;

use super::{
    super::{
        address,
        errors::Errors,
        value::{at, child, is_set, list, set, text, texts},
    },
    spec::{HEADLESS, has_selector, kind},
    validate::validate_addressing,
};
use crate::field::FieldError;

const POLICY: &str = "spec.ipFamilyPolicy";

/// Fills `ipFamilyPolicy` and `ipFamilies` and trims what an update releases. To be called after defaults and `prepare_*`, and
/// before [`plan`](super::allocation::plan). `cluster` are the families of the service ranges, the default first; one or two.
///
/// Returns what is wrong; the Service is then not to be stored.
pub fn resolve(service: &mut Value, old: Option<&Value>, cluster: &[Family]) -> Vec<FieldError> {
    if kind(service) == "ExternalName" || old.is_some_and(|old| keeps_prefer_dual_stack(service, old)) {
        return Vec::new();
    }
    if !is_set(service, "/spec/ipFamilyPolicy") {
        let policy = implied_policy(service, old);
        set(child(service, "spec"), "ipFamilyPolicy", policy);
    }
    let errors = validate_addressing(service);
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = Errors::default();
    if let Some(old) = old {
        release(service, old, &mut errors);
    }
    require_policy_for_two(service, &mut errors);
    infer_families(service, cluster, &mut errors);
    if errors.is_empty() {
        complete_families(service, cluster, &mut errors);
    }
    errors.into_vec()
}

/// An update that leaves a PreferDualStack Service as it is changes nothing, even when the cluster has got a second family or
/// has lost it since.
fn keeps_prefer_dual_stack(new: &Value, old: &Value) -> bool {
    let policies = [text(new, "/spec/ipFamilyPolicy"), text(old, "/spec/ipFamilyPolicy")];
    kind(new) == kind(old)
        && matches!(policies, ["PreferDualStack", "PreferDualStack" | ""])
        && ["/spec/clusterIPs", "/spec/ipFamilies"].iter().all(|pointer| list(new, pointer) == list(old, pointer))
}

fn implied_policy(service: &Value, old: Option<&Value>) -> String {
    match old.map(|old| text(old, "/spec/ipFamilyPolicy")) {
        Some(policy) if !policy.is_empty() => policy.to_owned(),
        _ if is_headless_without_selector(service) => "RequireDualStack".to_owned(),
        _ => "SingleStack".to_owned(),
    }
}

/// SingleStack on an update is a clear wish to give up the second address and family; with any other policy it is an error to
/// leave them out.
fn release(service: &mut Value, old: &Value, errors: &mut Errors) {
    let is_single = text(service, "/spec/ipFamilyPolicy") == "SingleStack";
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let pointer = format!("/spec/{field}");
        let (now, before) = (list(service, &pointer), list(old, &pointer));
        if is_single && now == before && now.len() > 1 {
            let first = now[..1].to_vec();
            set(child(service, "spec"), field, first);
        } else if !is_single && !now.is_empty() && now.len() < before.len() {
            errors.invalid(
                POLICY,
                at(service, "/spec/ipFamilyPolicy"),
                format!("must be 'SingleStack' to release the secondary {what}"),
            );
        }
    }
}

fn require_policy_for_two(service: &Value, errors: &mut Errors) {
    if text(service, "/spec/ipFamilyPolicy") != "SingleStack" {
        return;
    }
    for (pointer, what) in [("/spec/clusterIPs", "cluster IPs"), ("/spec/ipFamilies", "IP families")] {
        if list(service, pointer).len() == 2 {
            errors.invalid(
                POLICY,
                at(service, "/spec/ipFamilyPolicy"),
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"),
            );
        }
    }
}

/// An address that the user names tells its family.
fn infer_families(service: &mut Value, cluster: &[Family], errors: &mut Errors) {
    let mut families = families(service);
    for (index, ip) in texts(service, "/spec/clusterIPs").into_iter().enumerate().skip(families.len()) {
        let Some(family) = address::family(ip) else { break };
        if cluster.contains(&family) {
            families.push(family);
        } else {
            errors.invalid(
                format!("spec.clusterIPs[{index}]"),
                at(service, "/spec/clusterIPs"),
                format!("{family} is not configured on this cluster"),
            );
        }
    }
    set_families(service, &families);
}

fn complete_families(service: &mut Value, cluster: &[Family], errors: &mut Errors) {
    let mut families = families(service);
    let policy = text(service, "/spec/ipFamilyPolicy").to_owned();
    let has_both = cluster.len() > 1 || is_headless_without_selector(service);
    if !is_headless_without_selector(service) {
        if policy == "RequireDualStack" && cluster.len() < 2 {
            errors.invalid(
                POLICY,
                at(service, "/spec/ipFamilyPolicy"),
                "this cluster is not configured for dual-stack services",
            );
        }
        for (index, family) in families.iter().enumerate().filter(|(_, family)| !cluster.contains(family)) {
            errors.invalid(
                format!("spec.ipFamilies[{index}]"),
                &family.to_string().into(),
                "not configured on this cluster",
            );
        }
        if !errors.is_empty() {
            return;
        }
    }
    if families.is_empty() {
        families.extend(cluster.first());
    }
    if let ([only], true) = (families.as_slice(), policy != "SingleStack" && has_both) {
        families.push(other(*only));
    }
    set_families(service, &families);
}

/// Nobody routes to such a Service, and whoever fills in its endpoints may use both families, whatever the cluster has.
fn is_headless_without_selector(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == HEADLESS && !has_selector(service)
}

/// The families in `ipFamilies`; validation has refused other words before.
pub(super) fn families(service: &Value) -> Vec<Family> {
    let family = |text| Family::ALL.into_iter().find(|family| family.to_string() == text);
    texts(service, "/spec/ipFamilies").into_iter().filter_map(family).collect()
}

fn set_families(service: &mut Value, families: &[Family]) {
    if !families.is_empty() {
        let families: Vec<String> = families.iter().map(Family::to_string).collect();
        set(child(service, "spec"), "ipFamilies", families);
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}
