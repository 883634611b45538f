//! The rules for `metadata` that hold whatever the kind, in upstream's words.

use serde_json::{Map, Value};

use super::{deletion_timestamp, finalizers, generation, is_being_deleted};
use crate::field::{FieldError, Reason};
use crate::names::{dns1123_label, label_value, qualified_name};
use crate::resource::Resource;

/// Annotations of an object, keys and values together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Kinds whose finalizers need no domain.
const FREE_FINALIZERS: [&str; 2] = ["Event", "Lease"];

/// What a name of some kind must look like; one of the rules of [`names`](crate::names).
pub type NameRule = fn(&str) -> Vec<String>;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

impl Scope {
    pub fn of(resource: &Resource) -> Self {
        if resource.namespaced { Self::Namespaced } else { Self::Cluster }
    }
}

/// What is wrong with the metadata of an object that is about to be created, its name already generated.
pub fn validate_meta(object: &Value, scope: Scope, name_rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let prefix = super::generate_name_prefix(object);
    if !prefix.is_empty() {
        errors.extend(invalid("metadata.generateName", prefix, name_rule(&without_trailing_dash(prefix))));
    }
    match super::name(object) {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => errors.extend(invalid("metadata.name", name, name_rule(name))),
    }
    match (scope, super::namespace(object)) {
        (Scope::Namespaced, "") => errors.push(FieldError::required("metadata.namespace", "")),
        (Scope::Namespaced, namespace) => {
            errors.extend(invalid("metadata.namespace", namespace, dns1123_label(namespace)));
        }
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type")),
    }
    errors.extend(validate_common(object));
    errors
}

/// What is wrong with an update as far as metadata goes. `new` carries the resource version it replaces.
pub fn validate_meta_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_being_deleted(old) {
        let mut added: Vec<&str> = finalizers(new).filter(|f| !finalizers(old).any(|o| o == *f)).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let list = added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ");
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
                ),
            ));
        }
    }
    if generation(new) < generation(old) {
        errors.push(FieldError::invalid("metadata.generation", generation(new), "must not be decremented"));
    }
    for key in ["name", "namespace", "uid"] {
        let (new, old) = (super::text(new, key), super::text(old, key));
        if new != old {
            errors.push(immutable(key, format!("{new:?}")));
        }
    }
    if super::creation_timestamp(new) != super::creation_timestamp(old) {
        errors.push(immutable("creationTimestamp", shown(new, "creationTimestamp")));
    }
    if deletion_timestamp(new) != deletion_timestamp(old) {
        errors.push(immutable("deletionTimestamp", shown(new, "deletionTimestamp")));
    }
    let grace = super::deletion_grace_period_seconds;
    if grace(new) != grace(old) {
        errors.push(immutable("deletionGracePeriodSeconds", shown(new, "deletionGracePeriodSeconds")));
    }
    errors.extend(validate_common(new));
    errors
}

/// Label keys and values under `field`, such as `metadata.labels` or `spec.selector`.
pub fn validate_labels(labels: Option<&Map<String, Value>>, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(invalid(field, key, qualified_name(key)));
        errors.extend(invalid(field, value, label_value(value)));
    }
    errors
}

/// Finalizers are qualified names, and at most one of the two that decide about dependents is set.
pub fn validate_finalizers(object: &Value) -> Vec<FieldError> {
    let field = "metadata.finalizers";
    let mut errors: Vec<FieldError> = finalizers(object).flat_map(|f| invalid(field, f, qualified_name(f))).collect();
    let has = |name: &str| finalizers(object).any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let all: Vec<&str> = finalizers(object).collect();
        errors.push(FieldError::invalid(
            field,
            format!("{all:?}"),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    errors
}

fn validate_common(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if generation(object) < 0 {
        errors.push(FieldError::invalid(
            "metadata.generation",
            generation(object),
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(validate_labels(super::labels(object), "metadata.labels"));
    errors.extend(validate_annotations(super::annotations(object), "metadata.annotations"));
    errors.extend(validate_owners(object));
    errors.extend(validate_finalizers(object));
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !FREE_FINALIZERS.contains(&kind) {
        errors.extend(validate_finalizer_domains(object));
    }
    errors
}

/// Finalizers belong to a domain, but for the few that the system itself sets.
fn validate_finalizer_domains(object: &Value) -> impl Iterator<Item = FieldError> {
    let others = finalizers(object).enumerate();
    let others = others.filter(|(_, name)| !name.contains('/') && !STANDARD_FINALIZERS.contains(name));
    others.map(|(index, name)| {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        FieldError::invalid(format!("metadata.finalizers[{index}]"), format!("{name:?}"), detail)
    })
}

/// Annotations' keys and how much they hold together, under `field`, such as `metadata.annotations`.
pub fn validate_annotations(annotations: Option<&Map<String, Value>>, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        errors.extend(invalid(field, key, qualified_name(&key.to_lowercase())));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::new(
            Reason::FieldValueTooLong,
            field,
            format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"),
        ));
    }
    errors
}

fn validate_owners(object: &Value) -> Vec<FieldError> {
    let field = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for owner in super::owner_references(object) {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        for (key, value, shown, detail) in [
            ("apiVersion", version, owner.api_version, "version must not be empty"),
            ("kind", owner.kind, owner.kind, "must not be empty"),
            ("name", owner.name, owner.name, "must not be empty"),
            ("uid", owner.uid, owner.uid, "must not be empty"),
        ] {
            if value.is_empty() {
                errors.push(FieldError::invalid(format!("{field}.{key}"), format!("{shown:?}"), detail));
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.push(FieldError::invalid(
                field,
                format!("{:?}", owner.name),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.controller {
            let this = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                None => controller = Some(this),
                Some(first) => errors.push(FieldError::invalid(
                    field,
                    shown(object, "ownerReferences"),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                )),
            }
        }
    }
    errors
}

fn invalid(field: &str, value: &str, problems: Vec<String>) -> impl Iterator<Item = FieldError> {
    problems.into_iter().map(move |problem| FieldError::invalid(field, format!("{value:?}"), problem))
}

fn immutable(key: &str, shown: String) -> FieldError {
    FieldError::invalid(format!("metadata.{key}"), shown, "field is immutable")
}

fn shown(object: &Value, key: &str) -> String {
    super::field(object, key).unwrap_or(&Value::Null).to_string()
}

/// A prefix may end with the dash that the generated letters follow.
fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => prefix.to_owned(),
    }
}
