//! ConfigMap: texts and bytes by key.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    data,
    errors::Errors,
    value::map,
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{config_map_key, dns1123_subdomain},
    resource::{Resource, Strategy},
};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.core.v1.ConfigMap",
    registry: "configmaps",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("Data", "string", "How many keys the map holds, texts and bytes together."), AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate_change(new, old));
        errors.extend(validate(new));
        errors
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let keys = |pointer: &str| map(object, pointer).map_or(0, |keys| keys.len());
        vec![cell::name(object), (keys("/data") + keys("/binaryData")).into(), cell::age(object, now)]
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let mut size = 0;
    let bytes = map(object, "/binaryData");
    for name in ["data", "binaryData"] {
        for (key, value) in map(object, &format!("/{name}")).into_iter().flatten() {
            let field = format!("{name}[{key}]");
            errors.invalid_text(&field, key, config_map_key(key));
            if name == "data" && bytes.is_some_and(|bytes| bytes.contains_key(key)) {
                errors.invalid(field, &key.as_str().into(), "duplicate of key present in binaryData");
            }
            let text = value.as_str().unwrap_or_default();
            size += if name == "data" { text.len() } else { data::decoded_length(text) };
        }
    }
    data::validate_size(size, "[]", &mut errors);
    errors.into_vec()
}

fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    data::validate_immutable(new, old, &["data", "binaryData"], &mut errors);
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(fields: Value) -> Value {
        let mut object = json!({"metadata": {"name": "c", "namespace": "default"}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object
    }

    fn check(fields: Value, expect: &[&str]) {
        let errors = RESOURCE.strategy.validate_create(&config_map(fields));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn keys_are_file_names() {
        check(json!({"data": {"ca.crt": "x"}, "binaryData": {"b": "AAA="}}), &[]);
        check(json!({"data": {"..": "x"}}), &["data[..]: Invalid value: \"..\": must not be '..'"]);
        check(
            json!({"data": {"a": "x"}, "binaryData": {"a": "AAA="}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        );
        check(json!({"data": {"a": "x".repeat((1 << 20) + 1)}}), &["[]: Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn immutable_maps_stay() {
        let old = config_map(json!({"data": {"a": "x"}, "immutable": true}));
        let new = config_map(json!({"data": {"a": "y"}}));
        let errors = RESOURCE.strategy.validate_update(&new, &old);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["immutable", "data"]);
    }
}
