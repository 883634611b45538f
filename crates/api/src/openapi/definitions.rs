//! Definitions with Kubernetes' extensions: which kind a definition is of, and how its lists and maps are merged.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Form;
use crate::resource::Resource;
use crate::schema::{Empty, Field, ListType, Object, PatchStrategy, Schema};

/// How `k8s-openapi` refers to definitions.
const REFERENCE: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// The definition of a patch, whatever its type.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
pub(super) const BINDING: &str = "io.k8s.api.core.v1.Binding";
pub(super) const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
pub(super) const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";

/// The definitions that `paths` refer to, and all that those refer to.
pub(super) fn reachable(resources: &[&Resource], paths: &Value, form: Form) -> Map<String, Value> {
    let kinds = kinds(resources);
    let mut found: Map<String, Value> = Map::new();
    let mut wanted = Vec::new();
    collect_references(paths, form, &mut wanted);
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let Some(mut definition) = definition(&name, resources, form) else { continue };
        if let Some(kinds) = kinds.get(&name) {
            definition["x-kubernetes-group-version-kind"] = json!(kinds);
        }
        collect_references(&definition, form, &mut wanted);
        found.insert(name, definition);
    }
    found
}

/// The definition of the list of objects of this definition.
pub(super) fn list_of(definition: &str) -> String {
    format!("{definition}List")
}

fn collect_references(value: &Value, form: Form, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "$ref").and_then(|text| text.strip_prefix(form.prefix())) {
                    Some(name) => names.push(name.to_owned()),
                    None => collect_references(value, form, names),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect_references(value, form, names)),
        _ => {}
    }
}

/// Group, version and kind of definitions that are whole objects.
fn kinds(resources: &[&Resource]) -> BTreeMap<String, Vec<Value>> {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for resource in resources {
        let Resource { group, version, definition, .. } = resource;
        let list = kind(group, version, &format!("{}List", resource.kind));
        kinds.entry((*definition).to_owned()).or_default().push(kind(group, version, resource.kind));
        kinds.entry(list_of(definition)).or_default().push(list);
        let delete_options = kind(group, version, "DeleteOptions");
        let known = kinds.entry(DELETE_OPTIONS.to_owned()).or_default();
        if !known.contains(&delete_options) {
            known.push(delete_options);
        }
    }
    kinds.insert(STATUS.to_owned(), vec![kind("", "v1", "Status")]);
    kinds.insert(SCALE.to_owned(), vec![kind("autoscaling", "v1", "Scale")]);
    kinds.insert(TOKEN_REQUEST.to_owned(), vec![kind("authentication.k8s.io", "v1", "TokenRequest")]);
    kinds.insert(BINDING.to_owned(), vec![kind("", "v1", "Binding")]);
    kinds.insert(EVICTION.to_owned(), vec![kind("policy", "v1", "Eviction")]);
    kinds
}

fn definition(name: &str, resources: &[&Resource], form: Form) -> Option<Value> {
    if name == PATCH {
        let text = "A change to an object: a JSON patch, a merge patch or a strategic merge patch.";
        return Some(json!({"description": text, "type": "object"}));
    }
    if let Some(resource) = resources.iter().find(|resource| list_of(resource.definition) == name) {
        return Some(list_definition(resource, form));
    }
    let schema = Schema::get();
    let mut definition = schema.definitions().get(name)?.clone();
    if let Some(object) = schema.object(name) {
        add_facts(&mut definition, object);
    }
    if definition["x-kubernetes-int-or-string"] == true {
        write_alternatives(&mut definition, name, form);
    }
    write_references(&mut definition, form);
    Some(definition)
}

fn list_definition(resource: &Resource, form: Form) -> Value {
    let kind = resource.kind;
    json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of the API that the list is of."},
            "kind": {"type": "string", "description": "What the list is of."},
            "metadata": form.reference(&format!("{META}.ListMeta")),
            "items": {"type": "array", "description": "The objects.", "items": form.reference(resource.definition)},
        },
    })
}

fn add_facts(definition: &mut Value, object: &Object) {
    if object.atomic {
        definition["x-kubernetes-map-type"] = "atomic".into();
    }
    for field in &object.fields {
        if let Some(Value::Object(property)) = definition["properties"].get_mut(&field.name) {
            add_field_facts(property, field);
        }
    }
    let whole = object.field("apiVersion").is_some() && object.field("kind").is_some();
    let optional = |name: &str| {
        (whole && name == "metadata") || object.field(name).is_some_and(|field| field.empty == Empty::Dropped)
    };
    if let Some(Value::Array(required)) = definition.get_mut("required") {
        required.retain(|name| !name.as_str().is_some_and(optional));
    }
    if definition["required"].as_array().is_none_or(Vec::is_empty)
        && let Some(definition) = definition.as_object_mut()
    {
        definition.remove("required");
    }
}

fn add_field_facts(property: &mut Map<String, Value>, field: &Field) {
    let mut mark = |key: &str, value: Value| property.insert(format!("x-kubernetes-{key}"), value);
    match &field.list {
        ListType::Unset => {}
        ListType::Atomic => drop(mark("list-type", "atomic".into())),
        ListType::Set => drop(mark("list-type", "set".into())),
        ListType::Map(keys) => {
            mark("list-type", "map".into());
            mark("list-map-keys", json!(keys));
        }
    }
    if field.atomic_map {
        mark("map-type", "atomic".into());
    }
    let strategy = match field.patch {
        PatchStrategy::Default => None,
        PatchStrategy::Merge => Some("merge"),
        PatchStrategy::RetainKeys => Some("retainKeys"),
        PatchStrategy::MergeRetainKeys => Some("merge,retainKeys"),
    };
    if let Some(strategy) = strategy {
        mark("patch-strategy", strategy.into());
    }
    if let Some(key) = &field.merge_key {
        mark("patch-merge-key", key.as_str().into());
    }
}

/// What may be a number or a text is written in another way in each version.
fn write_alternatives(definition: &mut Value, name: &str, form: Form) {
    let Some(map) = definition.as_object_mut() else { return };
    map.remove("x-kubernetes-int-or-string");
    let quantity = name == QUANTITY;
    if !quantity {
        map.insert("format".to_owned(), "int-or-string".into());
    }
    match form {
        Form::V2 => map.insert("type".to_owned(), "string".into()),
        Form::V3 => {
            let number = if quantity { "number" } else { "integer" };
            map.insert("oneOf".to_owned(), json!([{"type": number}, {"type": "string"}]))
        }
    };
}

/// Puts references into the form's own place; v3 allows nothing beside a reference.
fn write_references(value: &mut Value, form: Form) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|value| write_references(value, form));
            let target = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(REFERENCE));
            let Some(reference) = target.map(|name| form.reference(name)) else { return };
            if form == Form::V3 && map.len() > 1 {
                map.remove("$ref");
                map.insert("allOf".to_owned(), json!([reference]));
            } else {
                map.insert("$ref".to_owned(), reference["$ref"].clone());
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| write_references(value, form)),
        _ => {}
    }
}
