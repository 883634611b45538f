//! ReplicationControllers: `desiredState` with `replicas`, `replicaSelector` and `podTemplate`, and the number of pods that there
//! are in `currentState`.

use serde_json::{Value, json};

use super::{carry::put, meta, pod};
use crate::{
    field::FieldError,
    kinds::value::{at, count, is_set, set},
};

const TEMPLATE: &str = "desiredState.podTemplate.desiredState";

pub(super) fn to_v1(old: &Value, errors: &mut Vec<FieldError>) -> Value {
    let mut new = meta::to_v1(old);
    let wanted = at(old, "/desiredState");
    let mut spec = json!({});
    if is_set(wanted, "/replicas") {
        set(&mut spec, "replicas", wanted["replicas"].clone());
    }
    put(&mut spec, "selector", at(wanted, "/replicaSelector").clone());
    let template = at(wanted, "/podTemplate");
    if template.is_object() {
        let mut metadata = json!({});
        put(&mut metadata, "labels", at(template, "/labels").clone());
        put(&mut metadata, "annotations", at(template, "/annotations").clone());
        let pods = pod::spec_to_v1(template, errors, TEMPLATE);
        set(&mut spec, "template", json!({"metadata": metadata, "spec": pods}));
    }
    set(&mut new, "spec", spec);
    if is_set(old, "/currentState/replicas") {
        set(&mut new, "status", json!({"replicas": count(old, "/currentState/replicas")}));
    }
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    let spec = at(new, "/spec");
    let mut wanted = json!({"replicas": count(spec, "/replicas")});
    put(&mut wanted, "replicaSelector", at(spec, "/selector").clone());
    let mut template = pod::spec_from_v1(at(spec, "/template/spec"));
    put(&mut template, "labels", at(spec, "/template/metadata/labels").clone());
    put(&mut template, "annotations", at(spec, "/template/metadata/annotations").clone());
    set(&mut wanted, "podTemplate", template);
    set(&mut old, "desiredState", wanted);
    set(&mut old, "currentState", json!({"replicas": count(new, "/status/replicas")}));
    old
}
