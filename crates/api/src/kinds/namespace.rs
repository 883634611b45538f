//! Namespace: the scope of names. It is deleted in two steps: DELETE marks it terminating, and the controller that has emptied it
//! takes away the finalizer `kubernetes`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cell,
    cell::or,
    column::{AGE, NAME, shown},
    errors::Errors,
    value::{child, fill, keep, list, set, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{dns1123_label, qualified_name},
    resource::{Resource, Strategy, Subresource},
};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource::Status, Subresource::Finalize],
    definition: "io.k8s.api.core.v1.Namespace",
    registry: "namespaces",
    create_on_update: false,
    delete_returns_object: true,
    time_to_live: None,
    columns: &[NAME, shown("Status", "string", "Active, or Terminating while it is being emptied."), AGE],
    strategy: &Rules,
};

/// The finalizer in `spec.finalizers` that holds a namespace until all in it is gone.
pub const FINALIZER: &str = "kubernetes";

/// The label that holds the namespace's name, so that selectors can name it.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What DELETE does first: the deletion time and phase Terminating. The namespace goes only when `spec.finalizers` and
/// `metadata.finalizers` are empty, see [`is_finalized`].
pub fn become_terminating(namespace: &mut Value, now: Timestamp) {
    if text(namespace, "/metadata/deletionTimestamp").is_empty() {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        set(child(namespace, "metadata"), "deletionTimestamp", now);
    }
    set(child(namespace, "status"), "phase", "Terminating");
}

/// Whether nothing holds a terminating namespace any more.
pub fn is_finalized(namespace: &Value) -> bool {
    !text(namespace, "/metadata/deletionTimestamp").is_empty()
        && list(namespace, "/spec/finalizers").is_empty()
        && list(namespace, "/metadata/finalizers").is_empty()
}

/// PUT on `/finalize`: of `new` only `spec.finalizers` and metadata count.
pub fn prepare_finalize(new: &mut Value, old: &Value) {
    keep(new, old, "status");
}

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        let name = text(object, "/metadata/name").to_owned();
        if !name.is_empty() {
            set(child(child(object, "metadata"), "labels"), NAME_LABEL, name);
        }
        fill(child(object, "status"), "phase", "Active");
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"phase": "Active"}));
        let spec = child(object, "spec");
        if !list(spec, "/finalizers").iter().any(|finalizer| finalizer == FINALIZER) {
            let mut finalizers = list(spec, "/finalizers").to_vec();
            finalizers.push(FINALIZER.into());
            set(spec, "finalizers", finalizers);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Cluster, dns1123_label);
        errors.extend(validate_finalizers(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate_finalizers(new));
        errors.extend(validate_phase(new));
        errors
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        (path == "status.phase").then(|| text(object, "/status/phase").to_owned())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), text(object, "/status/phase").into(), cell::age(object, now)]
    }
}

fn validate_finalizers(namespace: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for (index, finalizer) in list(namespace, "/spec/finalizers").iter().enumerate() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        let field = format!("spec.finalizers[{index}]");
        errors.invalid_text(&field, finalizer, qualified_name(finalizer));
        if finalizer != FINALIZER && !finalizer.contains('/') {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(field, &finalizer.into(), detail);
        }
    }
    errors.into_vec()
}

/// A namespace is on its way out when it is being deleted, and only then.
fn validate_phase(namespace: &Value) -> Option<FieldError> {
    let phase = or(text(namespace, "/status/phase"), "Active");
    let (expected, when) = match text(namespace, "/metadata/deletionTimestamp") {
        "" => ("Active", ""),
        _ => ("Terminating", "not "),
    };
    let detail = format!("may only be '{expected}' if `deletionTimestamp` is {when}empty");
    (phase != expected).then(|| FieldError::invalid("status.Phase", format!("{phase:?}"), detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> Value {
        let mut namespace = json!({"metadata": {"name": "a"}});
        RESOURCE.strategy.default(&mut namespace);
        RESOURCE.strategy.prepare_create(&mut namespace);
        namespace
    }

    #[test]
    fn a_namespace_is_labelled_active_and_held() {
        let namespace = created();
        assert_eq!(
            namespace,
            json!({
                "metadata": {"name": "a", "labels": {NAME_LABEL: "a"}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            })
        );
        assert_eq!(RESOURCE.strategy.validate_create(&namespace), []);
    }

    #[test]
    fn it_goes_when_its_finalizer_has_gone() {
        let mut namespace = created();
        become_terminating(&mut namespace, Timestamp::UNIX_EPOCH);
        assert_eq!(namespace["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(namespace["status"]["phase"], "Terminating");
        assert!(!is_finalized(&namespace));
        let mut update = namespace.clone();
        update["spec"] = json!({});
        RESOURCE.strategy.prepare_update(&mut update, &namespace);
        assert!(!is_finalized(&update), "only /finalize takes finalizers away");
        update["spec"] = json!({});
        prepare_finalize(&mut update, &namespace);
        assert!(is_finalized(&update));
    }

    #[test]
    fn its_phase_says_whether_it_is_being_deleted() {
        let check = |deleted: bool, phase: &str, expect: &[&str]| {
            let mut old = created();
            if deleted {
                become_terminating(&mut old, Timestamp::UNIX_EPOCH);
            }
            let mut new = old.clone();
            new["status"] = json!({"phase": phase});
            RESOURCE.strategy.default(&mut new);
            let errors = RESOURCE.strategy.validate_update(&new, &old);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        };
        check(false, "Active", &[]);
        check(true, "Terminating", &[]);
        let active = "may only be 'Active' if `deletionTimestamp` is empty";
        check(false, "Foo", &[&format!("status.Phase: Invalid value: \"Foo\": {active}")]);
        check(false, "Terminating", &[&format!("status.Phase: Invalid value: \"Terminating\": {active}")]);
        let terminating = "may only be 'Terminating' if `deletionTimestamp` is not empty";
        check(true, "Active", &[&format!("status.Phase: Invalid value: \"Active\": {terminating}")]);
        let mut emptied = created();
        emptied.as_object_mut().unwrap().remove("status");
        RESOURCE.strategy.default(&mut emptied);
        assert_eq!(emptied["status"], json!({"phase": "Active"}));
    }

    #[test]
    fn names_and_finalizers_are_checked() {
        let mut namespace = created();
        namespace["metadata"]["name"] = "a.b".into();
        namespace["spec"]["finalizers"] = json!(["web"]);
        let errors = RESOURCE.strategy.validate_create(&namespace);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "metadata.name: Invalid value: \"a.b\": must not contain dots",
                "spec.finalizers[0]: Invalid value: \"web\": name is neither a standard finalizer name nor is it fully qualified",
            ]
        );
    }
}
