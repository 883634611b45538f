//! What is wrong with a pod's spec, in upstream's words. The same rules hold for the template of a Deployment or ReplicaSet.
//!
//! What nothing acts on is `unhonoured`'s to refuse, and not looked into here; what is stored with a warning is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        address,
        errors::Errors,
        value::{at, count, is_set, is_true, list, map, number, text},
    },
    annotations,
    container::{self, Surroundings},
    dns, placement, resources, volumes,
};
use crate::{
    field::{FieldError, Reason},
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
    let names = |pointer| list(spec, pointer).iter().map(|item| text(item, "/name")).collect();
    let surroundings = Surroundings {
        volumes: names("/volumes"),
        claims: names("/resourceClaims"),
        grace_seconds: count(spec, "/terminationGracePeriodSeconds"),
        restart_policy: text(spec, "/restartPolicy"),
    };
    let containers = list(spec, "/containers");
    if containers.is_empty() {
        errors.required(format!("{root}.containers"));
    }
    let mut names = BTreeSet::new();
    for (index, entry) in containers.iter().enumerate() {
        let field = format!("{root}.containers[{index}]");
        errors.extend(container::validate(entry, &surroundings, &field));
        if !names.insert(text(entry, "/name")) {
            errors.duplicate(format!("{field}.name"), at(entry, "/name"));
        }
    }
    if is_set(spec, "/resources") {
        resources::validate_of_pod(spec, &surroundings.claims, root, &mut errors);
    }
    let policies = &["Always", "OnFailure", "Never"];
    errors.one_of(format!("{root}.restartPolicy"), text(spec, "/restartPolicy"), policies);
    let policies = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.one_of(format!("{root}.dnsPolicy"), text(spec, "/dnsPolicy"), policies);
    errors.extend(meta::validate_labels(map(spec, "/nodeSelector"), &format!("{root}.nodeSelector")));
    placement::validate_affinity(spec, root, &mut errors);
    dns::validate(spec, root, &mut errors);
    placement::validate_spread(spec, root, &mut errors);
    validate_host_name(spec, root, &mut errors);
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
    placement::validate_tolerations(spec, root, &mut errors);
    validate_host_aliases(spec, root, &mut errors);
    resources::validate_overhead(at(spec, "/overhead"), &format!("{root}.overhead"), &mut errors);
    errors.into_vec()
}

/// The template at `root`, such as `spec.template`.
pub(crate) fn validate_template(template: &Value, root: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let annotations = format!("{root}.annotations");
    errors.extend(meta::validate_labels(map(template, "/metadata/labels"), &format!("{root}.labels")));
    errors.extend(meta::validate_annotations(map(template, "/metadata/annotations"), &annotations));
    errors.extend(annotations::validate(template, &annotations));
    errors.extend(validate_spec(at(template, "/spec"), &format!("{root}.spec")));
    errors.into_vec()
}

/// The name that the containers see of their machine, where it is not the pod's.
fn validate_host_name(spec: &Value, root: &str, errors: &mut Errors) {
    let Some(name) = at(spec, "/hostnameOverride").as_str() else { return };
    let field = format!("{root}.hostnameOverride");
    for other in ["setHostnameAsFQDN", "hostNetwork"] {
        if is_true(spec, &format!("/{other}")) {
            errors.forbidden(&field, format!("may not be specified when {other} is true"));
        }
    }
    if name.len() > 64 {
        let message = "Too long: may not be more than 64 bytes".to_owned();
        errors.push(FieldError::new(Reason::FieldValueTooLong, &field, message));
    }
    errors.invalid_text(&field, name, dns1123_subdomain(name));
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
