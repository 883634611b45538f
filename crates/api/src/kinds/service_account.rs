//! ServiceAccount: the name a pod acts under. One called `default` is in every namespace.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME},
    unhonoured,
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy, Subresource, Warnings},
};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Token],
    definition: "io.k8s.api.core.v1.ServiceAccount",
    registry: "serviceaccounts",
    create_on_update: false,
    delete_returns_object: true,
    time_to_live: None,
    columns: &[NAME, AGE],
    strategy: &Rules,
};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        meta::validate_meta_update(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let mut warnings = unhonoured::warnings(unhonoured::SERVICE_ACCOUNT, new, old, "");
        let enforces = |object: &Value| meta::annotation(object, ENFORCE).is_some();
        if enforces(new) && !old.is_some_and(enforces) {
            let instead = "prefer separate namespaces to isolate access to mounted secrets";
            warnings.push(format!("metadata.annotations[{ENFORCE}]: deprecated in v1.32+; {instead}"));
        }
        warnings
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), cell::age(object, now)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_deprecated_is_said_once() {
        let account = json!({"metadata": {"name": "a", "annotations": {ENFORCE: "true"}}});
        let warnings = RESOURCE.strategy.warnings(&account, None);
        assert_eq!(
            warnings,
            [
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ]
        );
        assert_eq!(RESOURCE.strategy.warnings(&account, Some(&account)), Warnings::new());
    }
}
