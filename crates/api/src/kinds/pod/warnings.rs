//! What the author of a pod or of a template should know though it is valid, in upstream's words and order.
//!
//! Fields that nothing here acts on are `unhonoured`'s to warn about.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::value::{at, count, is_set, list, map, pairs, text},
    annotations::{SECCOMP_OF_CONTAINER, SECCOMP_OF_POD},
    resources::{amounts, is_whole},
};
use crate::{names::dns1123_label, resource::Warnings};

const RENAMED_LABELS: [(&str, &str); 6] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const SPENT_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const APPARMOR_OF_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_IS_A_FIELD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// About a name that is no host name. `use_of_name` says what it is used in.
pub(crate) fn of_name(object: &Value, use_of_name: &str) -> Option<String> {
    let problems = dns1123_label(text(object, "/metadata/name"));
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {use_of_name}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// About a pod at the root `""`, or a template at one such as `spec.template.`.
pub(crate) fn of_pod(pod: &Value, root: &str) -> Warnings {
    let mut warnings = Warnings::new();
    let spec = at(pod, "/spec");
    of_labels(spec, root, &mut warnings);
    of_annotations(pod, root, &mut warnings);
    of_paths(spec, &mut warnings);
    of_doubles(spec, root, &mut warnings);
    fractions(spec, "overhead", &format!("{root}spec"), &mut warnings);
    if !is_set(spec, "/securityContext/seccompProfile") && has_annotation(pod, SECCOMP_OF_POD) {
        warnings.push(format!("{root}metadata.annotations[{SECCOMP_OF_POD}]: {SECCOMP_IS_A_FIELD}"));
    }
    for (index, container) in list(spec, "/containers").iter().enumerate() {
        of_container(container, pod, root, &format!("{root}spec.containers[{index}]"), &mut warnings);
    }
    of_ports(spec, root, &mut warnings);
    if count(spec, "/terminationGracePeriodSeconds") < 0 {
        let problem = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{root}spec.terminationGracePeriodSeconds: {problem}"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(spec, &format!("/affinity/{kind}/{PREFERRED}")).iter().enumerate() {
            if !is_set(term, "/podAffinityTerm/labelSelector") {
                let field = format!("{root}spec.affinity.{kind}.{PREFERRED}[{index}].podAffinityTerm.labelSelector");
                warnings.push(format!("{field}: {NO_SELECTOR}"));
            }
        }
    }
    warnings
}

/// Labels of nodes that have other names now, and selectors that are missing.
fn of_labels(spec: &Value, root: &str, warnings: &mut Warnings) {
    for (key, _) in pairs(spec, "/nodeSelector") {
        if let Some(advice) = renamed(key) {
            warnings.push(format!("{root}spec.nodeSelector[{key}]: {advice}"));
        }
    }
    for (index, term) in list(spec, &format!("/affinity/nodeAffinity/{PREFERRED}")).iter().enumerate() {
        for (place, requirement) in list(term, "/preference/matchExpressions").iter().enumerate() {
            let key = text(requirement, "/key");
            if let Some(advice) = renamed(key) {
                let field = format!("{root}spec.affinity.nodeAffinity.{PREFERRED}[{index}].preference");
                warnings.push(format!("{field}.matchExpressions[{place}].key: {key} is {advice}"));
            }
        }
    }
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let field = format!("{root}spec.topologySpreadConstraints[{index}]");
        let key = text(constraint, "/topologyKey");
        if let Some(advice) = renamed(key) {
            warnings.push(format!("{field}.topologyKey: {key} is {advice}"));
        }
        if !is_set(constraint, "/labelSelector") {
            warnings.push(format!("{field}.labelSelector: {NO_SELECTOR}"));
        }
    }
}

fn of_annotations(pod: &Value, root: &str, warnings: &mut Warnings) {
    for (key, advice) in SPENT_ANNOTATIONS.iter().filter(|(key, _)| has_annotation(pod, key)) {
        warnings.push(format!("{root}metadata.annotations[{key}]: {advice}"));
    }
}

/// Files of one volume that lie in each other's places.
fn of_paths(spec: &Value, warnings: &mut Warnings) {
    for volume in list(spec, "/volumes") {
        let (name, source) = (text(volume, "/name"), text(volume, "/configMap/name"));
        let mut seen: Vec<&str> = Vec::new();
        for item in list(volume, "/configMap/items") {
            let path = text(item, "/path").trim_end_matches('/');
            let is_below = |inner: &str, outer: &str| {
                inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            for other in seen.iter().filter(|other| is_below(path, other) || is_below(other, path)) {
                let paths = format!("{path:?} with {other:?}");
                let warning = format!("volume {name:?} (ConfigMap {source:?}): overlapping paths: {paths}");
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            if !seen.contains(&path) {
                seen.push(path);
            }
        }
    }
}

fn of_doubles(spec: &Value, root: &str, warnings: &mut Warnings) {
    for (list_name, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = BTreeSet::new();
        for (index, item) in list(spec, &format!("/{list_name}")).iter().enumerate() {
            let value = text(item, &format!("/{key}"));
            if !seen.insert(value) {
                warnings.push(format!("{root}spec.{list_name}[{index}].{key}: duplicate {key} {value:?}"));
            }
        }
    }
    for (index, _) in
        list(spec, "/imagePullSecrets").iter().enumerate().filter(|(_, item)| text(item, "/name").is_empty())
    {
        warnings.push(format!("{root}spec.imagePullSecrets[{index}].name: invalid empty name \"\""));
    }
}

fn of_container(container: &Value, pod: &Value, root: &str, field: &str, warnings: &mut Warnings) {
    let name = text(container, "/name");
    for (prefix, profile, advice) in [
        (SECCOMP_OF_CONTAINER, "seccompProfile", SECCOMP_IS_A_FIELD),
        (APPARMOR_OF_CONTAINER, "appArmorProfile", "deprecated since v1.30; use the \"appArmorProfile\" field instead"),
    ] {
        let key = format!("{prefix}{name}");
        let pointer = format!("/securityContext/{profile}");
        let of_pod = prefix == APPARMOR_OF_CONTAINER && is_set(pod, &format!("/spec{pointer}"));
        if has_annotation(pod, &key) && !is_set(container, &pointer) && !of_pod {
            warnings.push(format!("{root}metadata.annotations[{key}]: {advice}"));
        }
    }
    let resources = at(container, "/resources");
    for amount in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            fraction(resources, kind, amount, &format!("{field}.resources"), warnings);
        }
    }
    of_variables(container, field, warnings);
}

/// A variable that stands twice is meant where the second is made of the first.
fn of_variables(container: &Value, field: &str, warnings: &mut Warnings) {
    let mut seen = BTreeSet::new();
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let (name, value) = (text(variable, "/name"), text(variable, "/value"));
        let reference = format!("$({name})");
        let is_made_of_first = !is_set(variable, "/valueFrom") && value.contains(&reference) && value != reference;
        if !seen.insert(name) && !is_made_of_first {
            let what = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            warnings.push(format!("{field}.env[{index}]: {what}"));
        }
    }
}

/// Ports that stand twice, in one container or several. Those of the node are not served.
fn of_ports(spec: &Value, root: &str, warnings: &mut Warnings) {
    let mut seen: Vec<(String, &Value)> = Vec::new();
    for (index, container) in list(spec, "/containers").iter().enumerate() {
        for (place, port) in list(container, "/ports").iter().enumerate() {
            let field = format!("{root}spec.containers[{index}].ports[{place}]");
            let (number, protocol) = (count(port, "/containerPort"), text(port, "/protocol"));
            let host = text(port, "/hostIP");
            if !host.is_empty() {
                let port = format!(
                    "Name:{} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{host}",
                    text(port, "/name")
                );
                warnings.push(format!("{field}: hostIP set without hostPort: {{{port}}}"));
            }
            let same = |other: &Value| count(other, "/containerPort") == number && text(other, "/protocol") == protocol;
            for (other_field, other) in seen.iter().filter(|(_, other)| same(other)) {
                let how = if text(other, "/hostIP") == host { "duplicate" } else { "overlapping" };
                warnings.push(format!("{field}: {how} port definition with {other_field}"));
            }
            seen.push((field, port));
        }
    }
}

/// Both kinds of bytes under `kind`.
fn fractions(object: &Value, kind: &str, field: &str, warnings: &mut Warnings) {
    for amount in ["memory", "ephemeral-storage"] {
        fraction(object, kind, amount, field, warnings);
    }
}

fn fraction(object: &Value, kind: &str, amount: &str, field: &str, warnings: &mut Warnings) {
    if let Some(bytes) = amounts(object, kind).get(amount).filter(|bytes| !is_whole(**bytes)) {
        let problem = format!("fractional byte value \"{bytes}\" is invalid, must be an integer");
        warnings.push(format!("{field}.{kind}[{amount}]: {problem}"));
    }
}

fn renamed(label: &str) -> Option<&'static str> {
    RENAMED_LABELS.iter().find(|(key, _)| *key == label).map(|(_, advice)| *advice)
}

fn has_annotation(pod: &Value, key: &str) -> bool {
    map(pod, "/metadata/annotations").is_some_and(|annotations| annotations.contains_key(key))
}

#[cfg(test)]
mod tests;
