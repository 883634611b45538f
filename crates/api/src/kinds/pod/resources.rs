//! What is wrong with the resources that a container, a pod as a whole or its overhead asks for, in upstream's words.
//!
//! Which of the valid ones nothing acts on is `unhonoured`'s to say. Decoding has made sure that amounts are quantities.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{
    errors::Errors,
    value::{at, is_set, list, pairs, text},
};
use crate::{
    field::{FieldError, Reason},
    names::qualified_name,
    quantity::Quantity,
};

/// Names without a prefix that are counted in whole objects.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// The others that mean something anywhere; `hugepages-…` apart.
const MEASURED: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What a pod as a whole can ask for, huge pages apart, and what can be resized.
const OF_PODS: [&str; 2] = ["cpu", "memory"];
const HUGE_PAGES: &str = "hugepages-";

/// Who asks, which decides about names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Container,
    Pod,
}

type Amounts<'a> = BTreeMap<&'a str, Quantity>;

/// `resources` of a container at `root`; `claims` are the names of the pod's.
pub(super) fn validate(resources: &Value, claims: &BTreeSet<&str>, root: &str, errors: &mut Errors) {
    validate_requirements(resources, Asker::Container, root, errors);
    validate_claims(resources, claims, root, errors);
}

/// `resources` of the pod whose spec stands at `root`, and whether its containers fit in.
pub(super) fn validate_of_pod(spec: &Value, claims: &BTreeSet<&str>, root: &str, errors: &mut Errors) {
    let (resources, root) = (at(spec, "/resources"), format!("{root}.resources"));
    if is_set(resources, "/claims") {
        errors.forbidden(format!("{root}.claims"), "claims may not be set for Resources at pod-level");
    }
    validate_requirements(resources, Asker::Pod, &root, errors);
    validate_claims(resources, claims, &root, errors);
    let containers = list(spec, "/containers");
    for (name, requested) in amounts(resources, "requests") {
        let of_containers: i128 = containers
            .iter()
            .filter_map(|container| amounts(at(container, "/resources"), "requests").get(name).copied())
            .fold(0, |sum, amount| sum.saturating_add(amount.nanos()));
        if of_containers > requested.nanos() {
            let sum = Quantity::of_nanos(of_containers, requested);
            let problem = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(invalid(format!("{root}.requests[{name}]"), requested, problem));
        }
    }
    let of_pod = amounts(resources, "limits");
    for (index, container) in containers.iter().enumerate() {
        for (name, limit) in amounts(at(container, "/resources"), "limits") {
            if let Some(most) = of_pod.get(name).filter(|most| limit > **most) {
                let problem = format!("must be less than or equal to pod limits of {most}");
                errors.push(invalid(format!("{root}.containers[{index}][{name}].limits"), limit, problem));
            }
        }
    }
}

/// `overhead` of a pod, which counts as limits do.
pub(super) fn validate_overhead(overhead: &Value, root: &str, errors: &mut Errors) {
    let limits = serde_json::json!({"limits": overhead});
    validate_requirements(&limits, Asker::Container, root, errors);
}

/// What a container says about being resized; `restart_policy` is its pod's.
pub(super) fn validate_resize_policy(container: &Value, restart_policy: &str, root: &str, errors: &mut Errors) {
    let root = format!("{root}.resizePolicy");
    let mut seen = BTreeSet::new();
    for (index, entry) in list(container, "/resizePolicy").iter().enumerate() {
        let (resource, policy) = (text(entry, "/resourceName"), text(entry, "/restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(format!("{root}[{index}]"), &resource.into());
        }
        errors.one_of(&root, resource, &OF_PODS);
        errors.one_of(&root, policy, &["NotRequired", "RestartContainer"]);
        if restart_policy == "Never" && policy != "NotRequired" {
            let problem = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid(&root, &policy.into(), problem);
        }
    }
}

/// Whether upstream's count of thousandths, rounded up, is one of whole units.
pub(super) fn is_whole(amount: Quantity) -> bool {
    let nanos = amount.nanos();
    let thousandths = nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) > 0);
    thousandths % 1000 == 0
}

/// The amounts under `kind`, which is `requests` or `limits`.
pub(super) fn amounts<'a>(resources: &'a Value, kind: &str) -> Amounts<'a> {
    let stated = pairs(resources, &format!("/{kind}"));
    stated.into_iter().filter_map(|(name, amount)| Some((name, amount.parse().ok()?))).collect()
}

fn validate_requirements(resources: &Value, asker: Asker, root: &str, errors: &mut Errors) {
    let (limits, requests) = (amounts(resources, "limits"), amounts(resources, "requests"));
    for (name, limit) in &limits {
        validate_amount(name, *limit, asker, &format!("{root}.limits[{name}]"), errors);
    }
    for (name, request) in &requests {
        let field = format!("{root}.requests[{name}]");
        validate_name(name, asker, &field, errors);
        validate_value(name, *request, &field, errors);
        validate_against_limit(name, *request, limits.get(name).copied(), root, errors);
        validate_huge_pages(name, *request, &field, errors);
    }
    let mut names = limits.keys().chain(requests.keys());
    if names.clone().any(|name| is_huge_pages(name))
        && !names.any(|name| OF_PODS.contains(name))
        && asker == Asker::Container
    {
        errors.forbidden(root, "HugePages require cpu or memory");
    }
}

fn validate_amount(name: &str, amount: Quantity, asker: Asker, field: &str, errors: &mut Errors) {
    validate_name(name, asker, field, errors);
    validate_value(name, amount, field, errors);
    validate_huge_pages(name, amount, field, errors);
}

fn validate_name(name: &str, asker: Asker, field: &str, errors: &mut Errors) {
    let mut problems = qualified_name(name);
    let is_short = !name.contains('/');
    let is_known = MEASURED.contains(&name) || COUNTED.contains(&name);
    let is_standard = is_known || is_huge_pages(name.strip_prefix("requests.").unwrap_or(name));
    if problems.is_empty() && is_short && !is_standard {
        problems.push("must be a standard resource type or fully qualified".to_owned());
    }
    match asker {
        Asker::Container if is_short && !OF_CONTAINERS.contains(&name) && !is_huge_pages(name) => {
            problems.push("must be a standard resource for containers".to_owned());
        }
        Asker::Container if !is_native(name) && !is_extended(name) => {
            problems.push("doesn't follow extended resource name standard".to_owned());
        }
        Asker::Pod if problems.is_empty() && !OF_PODS.contains(&name) && !is_huge_pages(name) => {
            errors.push(FieldError::not_supported(field, name, &["cpu", HUGE_PAGES, "memory"]));
        }
        Asker::Container | Asker::Pod => {}
    }
    errors.invalid_text(field, name, problems);
}

fn validate_value(name: &str, amount: Quantity, field: &str, errors: &mut Errors) {
    if amount.nanos() < 0 {
        errors.push(invalid(field, amount, "must be greater than or equal to 0"));
    }
    if (COUNTED.contains(&name) || is_extended(name)) && !is_whole(amount) {
        errors.push(invalid(field, amount, "must be an integer"));
    }
}

fn validate_against_limit(name: &str, request: Quantity, limit: Option<Quantity>, root: &str, errors: &mut Errors) {
    let may_differ = is_native(name) && !is_huge_pages(name);
    let field = format!("{root}.requests");
    match limit {
        None if !may_differ => errors
            .push(FieldError::required(format!("{root}.limits"), "Limit must be set for non overcommitable resources")),
        Some(limit) if !may_differ && request != limit => {
            errors.push(invalid(field, request, format!("must be equal to {name} limit of {limit}")));
        }
        Some(limit) if request > limit => {
            errors.push(invalid(field, request, format!("must be less than or equal to {name} limit of {limit}")));
        }
        None | Some(_) => {}
    }
}

fn validate_huge_pages(name: &str, amount: Quantity, field: &str, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(HUGE_PAGES) else { return };
    let size = size.parse::<Quantity>().ok().filter(|size| size.nanos() > 0 && is_whole(*size));
    if size.is_none_or(|size| amount.nanos() % size.nanos() != 0) {
        errors.push(invalid(field, amount, format!("{amount} is not positive integer multiple of {name}")));
    }
}

fn validate_claims(resources: &Value, claims: &BTreeSet<&str>, root: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, claim) in list(resources, "/claims").iter().enumerate() {
        let (name, field) = (text(claim, "/name"), format!("{root}.claims[{index}]"));
        if name.is_empty() {
            errors.required(field);
            continue;
        }
        if !seen.insert(name) {
            errors.duplicate(&field, &name.into());
        }
        if !claims.contains(name) {
            let known = claims.iter().copied().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { " which is empty".to_owned() } else { format!(": {known}") };
            let message = format!("Not found: {name:?}: must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(FieldError::new(Reason::FieldValueNotFound, field, message));
        }
    }
}

fn invalid(field: impl Into<String>, amount: Quantity, problem: impl std::fmt::Display) -> FieldError {
    FieldError::invalid(field, format_args!("\"{amount}\""), problem)
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Kubernetes' own, whether or not it knows the name.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Somebody's own, such as `example.com/gpu`; a quota has to be able to name it too.
fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && qualified_name(&format!("requests.{name}")).is_empty()
}

#[cfg(test)]
mod tests;
