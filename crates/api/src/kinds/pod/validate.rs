//! What is wrong with a pod's spec, in upstream's words. The same rules hold for the template of a Deployment or ReplicaSet.
//!
//! Fields that nothing acts on are `unhonoured`'s to refuse and are not looked into here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        address,
        errors::Errors,
        value::{at, is_set, list, map, number, text},
    },
    container, volumes,
};
use crate::{
    field::FieldError,
    meta,
    names::{dns1123_label, dns1123_subdomain, in_range},
};

/// What holds for a pod, new or changed; metadata apart.
pub(super) fn validate_pod(pod: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.extend(validate_spec(at(pod, "/spec"), "spec"));
    for (index, container) in list(pod, "/spec/containers").iter().enumerate() {
        let image = text(container, "/image");
        if image.trim().len() != image.len() {
            let field = format!("spec.containers[{index}].image");
            errors.invalid(field, &image.into(), "must not have leading or trailing whitespace");
        }
    }
    errors.into_vec()
}

/// What holds for a pod's spec that stands at `root`, such as `spec` or `spec.template.spec`.
pub(crate) fn validate_spec(spec: &Value, root: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    volumes::validate_volumes(spec, root, &mut errors);
    let volumes = list(spec, "/volumes").iter().map(|volume| text(volume, "/name")).collect();
    let containers = list(spec, "/containers");
    if containers.is_empty() {
        errors.required(format!("{root}.containers"));
    }
    let mut names = BTreeSet::new();
    for (index, entry) in containers.iter().enumerate() {
        let field = format!("{root}.containers[{index}]");
        errors.extend(container::validate(entry, &volumes, &field));
        if !names.insert(text(entry, "/name")) {
            errors.duplicate(format!("{field}.name"), at(entry, "/name"));
        }
    }
    let policies = &["Always", "OnFailure", "Never"];
    errors.one_of(format!("{root}.restartPolicy"), text(spec, "/restartPolicy"), policies);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.one_of(format!("{root}.dnsPolicy"), text(spec, "/dnsPolicy"), policies);
    errors.extend(meta::validate_labels(map(spec, "/nodeSelector"), &format!("{root}.nodeSelector")));
    errors.non_negative(spec, "/terminationGracePeriodSeconds", format!("{root}.terminationGracePeriodSeconds"));
    if let Some(seconds) = number(spec, "/activeDeadlineSeconds") {
        for problem in in_range(seconds, 1, i64::from(i32::MAX)) {
            errors.invalid(format!("{root}.activeDeadlineSeconds"), &seconds.into(), problem);
        }
    }
    for (key, rule) in [
        ("serviceAccountName", dns1123_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", dns1123_subdomain),
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
    ] {
        errors.maybe_named(&format!("{root}.{key}"), text(spec, &format!("/{key}")), rule);
    }
    validate_host_aliases(spec, root, &mut errors);
    validate_tolerations(spec, root, &mut errors);
    errors.into_vec()
}

fn validate_host_aliases(spec: &Value, root: &str, errors: &mut Errors) {
    for (index, alias) in list(spec, "/hostAliases").iter().enumerate() {
        let field = format!("{root}.hostAliases[{index}]");
        let ip = text(alias, "/ip");
        errors.invalid_text(&format!("{field}.ip"), ip, address::ip(ip));
        for (index, hostname) in list(alias, "/hostnames").iter().enumerate() {
            let hostname = hostname.as_str().unwrap_or_default();
            errors.invalid_text(&format!("{field}.hostnames[{index}]"), hostname, dns1123_subdomain(hostname));
        }
    }
}

fn validate_tolerations(spec: &Value, root: &str, errors: &mut Errors) {
    for (index, toleration) in list(spec, "/tolerations").iter().enumerate() {
        let field = |name: &str| format!("{root}.tolerations[{index}].{name}");
        let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
        errors.maybe_named(&field("key"), key, crate::names::qualified_name);
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(field("operator"), &operator.into(), detail);
        }
        if is_set(toleration, "/tolerationSeconds") && text(toleration, "/effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(field("effect"), &text(toleration, "/effect").into(), detail);
        }
        match operator {
            "Equal" | "" => {}
            "Exists" if text(toleration, "/value").is_empty() => {}
            "Exists" => errors.invalid(
                field("operator"),
                at(toleration, "/value"),
                "value must be empty when `operator` is 'Exists'",
            ),
            _ => errors.one_of(field("operator"), operator, &["Equal", "Exists"]),
        }
        let effect = text(toleration, "/effect");
        if !effect.is_empty() {
            errors.one_of(field("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}
