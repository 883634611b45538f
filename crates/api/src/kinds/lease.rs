//! Lease (`coordination.k8s.io/v1`): heartbeats of nodes and locks of controllers.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    errors::Errors,
    value::{at, child, number, remove, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy},
};

pub static RESOURCE: Resource = Resource {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.coordination.v1.Lease",
    registry: "leases",
    create_on_update: true,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("Holder", "string", "Who holds the lease now."), AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    /// What coordinated leader election alone reads, which is off by default, is not kept.
    fn default(&self, object: &mut Value) {
        for field in ["strategy", "preferredHolder"] {
            remove(child(object, "spec"), field);
        }
    }

    /// Whoever does not know whose lease it is must not take it.
    fn may_replace_any_revision(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate(new));
        errors
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), text(object, "/spec/holderIdentity").into(), cell::age(object, now)]
    }
}

fn validate(lease: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let duration = "/spec/leaseDurationSeconds";
    if number(lease, duration).is_some_and(|seconds| seconds <= 0) {
        errors.invalid("spec.leaseDurationSeconds", at(lease, duration), "must be greater than 0");
    }
    errors.non_negative(lease, "/spec/leaseTransitions", "spec.leaseTransitions");
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_lasts() {
        let lease = |spec: Value| json!({"metadata": {"name": "node1", "namespace": "kube-node-lease"}, "spec": spec});
        let check = |spec: Value, expect: &[&str]| {
            let errors = RESOURCE.strategy.validate_create(&lease(spec));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        };
        check(json!({"leaseDurationSeconds": 40, "holderIdentity": "node1"}), &[]);
        check(
            json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}),
            &[
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        let mut elected = lease(json!({"strategy": "OldestEmulationVersion", "preferredHolder": "x"}));
        RESOURCE.strategy.default(&mut elected);
        assert_eq!(elected["spec"], json!({}));
        let cells = RESOURCE.strategy.cells(&lease(json!({"holderIdentity": "node1"})), Timestamp::UNIX_EPOCH);
        assert_eq!(cells, ["node1", "node1", "<unknown>"]);
    }
}
