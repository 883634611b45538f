//! `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`: by themselves, together, and over an update.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{
    super::{
        address,
        errors::Errors,
        value::{at, is_set, list, text, texts},
    },
    spec::{HEADLESS, is_headless, kind},
};
use crate::field::FieldError;

const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` by themselves and together.
pub(in super::super) fn validate_addressing(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if kind(service) == "ExternalName" {
        return Vec::new();
    }
    let (cluster_ip, all) = (text(service, "/spec/clusterIP"), texts(service, "/spec/clusterIPs"));
    let shown = at(service, "/spec/clusterIPs");
    match (cluster_ip, all.first()) {
        ("", Some(_)) => errors.invalid("spec.clusterIPs", shown, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required("spec.clusterIPs"),
        (_, Some(first)) if *first != cluster_ip => {
            errors.invalid("spec.clusterIPs", shown, "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (index, family) in texts(service, "/spec/ipFamilies").into_iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !["IPv4", "IPv6"].contains(&family) {
            errors.push(FieldError::not_supported(&field, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.duplicate(field, &family.into());
        }
    }
    if is_set(service, "/spec/ipFamilyPolicy") {
        errors.supported("spec.ipFamilyPolicy", text(service, "/spec/ipFamilyPolicy"), POLICIES);
    }
    if validate_cluster_ips(&all, shown, &mut errors) {
        if all.len() > 1 && !address::are_dual_stack(&all) {
            errors.invalid("spec.clusterIPs", shown, "may specify no more than one IP for each IP family");
        }
        if !is_headless(service) {
            match_families(service, &all, &mut errors);
        }
    }
    errors.into_vec()
}

/// The first of `clusterIPs` or `ipFamilies` stays; a second one may come, and go with SingleStack.
pub(super) fn validate_first(new: &Value, old: &Value, field: &str, one: &str, errors: &mut Errors) {
    let pointer = format!("/spec/{field}");
    let (is, was) = (list(new, &pointer), list(old, &pointer));
    let first = format!("spec.{field}[0]");
    let shown = at(new, &pointer);
    if was.is_empty() {
        return;
    }
    if is.is_empty() {
        return errors.invalid(first, shown, format!("primary {one} can not be unset"));
    }
    for index in 0..was.len().min(is.len()) {
        if was[index] != is[index] {
            errors.invalid(format!("spec.{field}[{index}]"), shown, "may not change once set");
        }
    }
    if is.len() < was.len() && text(new, "/spec/ipFamilyPolicy") != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid("spec.ipFamilyPolicy", at(new, "/spec/ipFamilyPolicy"), detail);
    }
}

/// Whether the addresses can be looked at any further.
fn validate_cluster_ips(all: &[&str], shown: &Value, errors: &mut Errors) -> bool {
    let mut is_valid = true;
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && *ip == HEADLESS {
            if all.len() > 1 {
                is_valid = false;
                errors.invalid("spec.clusterIPs", shown, "'None' must be the first and only value");
            }
            continue;
        }
        let problems = address::ip(ip);
        is_valid &= problems.is_empty();
        errors.invalid_text(&format!("spec.clusterIPs[{index}]"), ip, problems);
    }
    if all.len() > 2 {
        errors.invalid("spec.clusterIPs", shown, "may only hold up to 2 values");
    }
    is_valid
}

fn match_families(service: &Value, all: &[&str], errors: &mut Errors) {
    for (index, (ip, family)) in all.iter().zip(texts(service, "/spec/ipFamilies")).enumerate() {
        let is = address::family(ip).map(|family| family.to_string());
        if ["IPv4", "IPv6"].contains(&family) && is.as_deref() != Some(family) {
            errors.invalid(
                format!("spec.clusterIPs[{index}]"),
                &(*ip).into(),
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`"),
            );
        }
    }
}
