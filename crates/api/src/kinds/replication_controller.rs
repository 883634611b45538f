//! ReplicationController (`v1`): keeps a number of equal pods, as ReplicaSets do. It is the older kind: its selector is a map of
//! labels, which may change, and is the template's labels when it is absent.

use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    errors::Errors,
    pod_set::{COLUMNS, PodSet, Selecting},
    value::{at, child, map, pairs, set},
    workload,
};
use crate::{
    field::FieldError,
    resource::{Resource, Subresource},
};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Status, Subresource::Scale],
    definition: "io.k8s.api.core.v1.ReplicationController",
    registry: "controllers",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: COLUMNS,
    strategy: &PodSet(Labels),
};

#[derive(Debug)]
struct Labels;

impl Selecting for Labels {
    fn default(&self, object: &mut Value) {
        let labels = map(object, "/spec/template/metadata/labels").filter(|labels| !labels.is_empty());
        let Some(labels) = labels.cloned() else { return };
        if pairs(object, "/spec/selector").is_empty() {
            set(child(object, "spec"), "selector", labels.clone());
        }
        if pairs(object, "/metadata/labels").is_empty() {
            set(child(object, "metadata"), "labels", labels);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate(object)
    }

    /// Whatever fits the template may follow whatever did.
    fn validate_change(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn cell(&self, object: &Value) -> String {
        cell::labels(object, "/spec/selector")
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.non_negative(object, "/spec/minReadySeconds", "spec.minReadySeconds");
    let selector = pairs(object, "/spec/selector");
    if selector.is_empty() {
        errors.required("spec.selector");
    }
    errors.non_negative(object, "/spec/replicas", "spec.replicas");
    let template = at(object, "/spec/template");
    if template.is_null() {
        errors.required("spec.template");
        return errors.into_vec();
    }
    let labels = pairs(template, "/metadata/labels");
    if !selector.iter().all(|pair| labels.contains(pair)) {
        let problem = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", at(template, "/metadata/labels"), problem);
    }
    workload::validate_template(template, "ReplicationController", &mut errors);
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{kinds::scale, resource::Strategy as _};

    const RULES: PodSet<Labels> = PodSet(Labels);

    fn controller(change: impl Fn(&mut Value)) -> Value {
        let mut controller = json!({
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            }},
        });
        change(&mut controller);
        RULES.default(&mut controller);
        RULES.prepare_create(&mut controller);
        controller
    }

    fn check(change: impl Fn(&mut Value), expect: &[&str]) {
        let errors = RULES.validate_create(&controller(change));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn labels_and_selector_come_from_the_template() {
        let made = controller(|_| {});
        assert_eq!(made["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(made["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!((&made["spec"]["replicas"], &made["metadata"]["generation"]), (&1.into(), &1.into()));
        assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "Always");
        let own = controller(|object| {
            object["metadata"]["labels"] = json!({"own": "label"});
            object["spec"]["replicas"] = 0.into();
        });
        assert_eq!((&own["metadata"]["labels"], &own["spec"]["replicas"]), (&json!({"own": "label"}), &0.into()));
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        check(|_| {}, &[]);
        check(|object| object["spec"] = json!({"selector": {"app": "web"}}), &["spec.template: Required value"]);
        check(|object| object["spec"]["template"]["metadata"] = json!({}), &["spec.selector: Required value"]);
        check(
            |object| object["spec"]["selector"] = json!({"app": "db"}),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        );
        check(
            |object| object["spec"]["replicas"] = (-1).into(),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            |object| object["spec"]["template"]["spec"]["restartPolicy"] = "Never".into(),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        );
        check(
            |object| object["spec"]["template"]["spec"]["activeDeadlineSeconds"] = 5.into(),
            &[
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
            ],
        );
    }

    #[test]
    fn the_selector_may_change() {
        let old = controller(|_| {});
        let new = controller(|object| {
            object["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "v": "2"});
            object["spec"]["selector"] = json!({"app": "web", "v": "2"});
        });
        assert_eq!(RULES.validate_update(&new, &old), []);
    }

    #[test]
    fn the_numbers_of_a_status_fit_together() {
        let check = |status: Value, expect: &[&str]| {
            let old = controller(|_| {});
            let new = json!({"metadata": old["metadata"], "spec": old["spec"], "status": status});
            let errors = RULES.validate_update(&new, &old);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        };
        let good = json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 2});
        check(good, &[]);
        check(
            json!({"replicas": 1, "readyReplicas": 5}),
            &["status.readyReplicas: Invalid value: 5: cannot be greater than status.replicas"],
        );
        check(
            json!({"availableReplicas": -1}),
            &["status.availableReplicas: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            json!({"replicas": -1, "readyReplicas": -1, "availableReplicas": 5, "fullyLabeledReplicas": 2, "observedGeneration": -3}),
            &[
                "status.replicas: Invalid value: -1: must be greater than or equal to 0",
                "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.observedGeneration: Invalid value: -3: must be greater than or equal to 0",
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 5: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 5: cannot be greater than readyReplicas",
            ],
        );
    }

    #[test]
    fn a_scale_has_the_selector_as_text() {
        let scale = scale::of(&controller(|object| object["spec"]["replicas"] = 3.into()));
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web"}));
    }

    #[test]
    fn cells_are_those_of_upstreams_table() {
        let cells = RULES.cells(&controller(|_| {}), "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            cells,
            [
                "web".into(),
                1.into(),
                0.into(),
                0.into(),
                json!("<unknown>"),
                "web".into(),
                "web:1".into(),
                json!("app=web")
            ]
        );
        let columns = RESOURCE.columns.iter().map(|column| column.name).collect::<Vec<_>>();
        assert_eq!(columns, ["Name", "Desired", "Current", "Ready", "Age", "Containers", "Images", "Selector"]);
    }
}
