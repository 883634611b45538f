//! The types of the older versions, read from the table beside this file into the definitions that the
//! [`schema`](crate::schema) is built of. The table is part of the program; that every line of it is read is tested.

use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("types.txt");
/// Of all definitions of older versions.
const PREFIX: &str = "io.k8s.api.core.";
const REFERENCE: &str = "#/components/schemas/";

/// Whether a definition is of an older version. In its objects, empty and absent are not the same.
pub(crate) fn keeps_empty(definition: &str) -> bool {
    definition.starts_with("io.k8s.api.core.v1beta")
}

/// All definitions, by name.
pub(crate) fn definitions() -> Vec<(String, Value)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let mut types: Vec<(&str, Map<String, Value>)> = Vec::new();
    let mut metadata: Map<String, Value> = Map::new();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if !line.starts_with(' ') {
            if first.ends_with(".Meta") {
                metadata.clear();
            }
            let start = if words.next() == Some("whole") { metadata.clone() } else { Map::new() };
            types.push((first, start));
        } else if let (Some((name, fields)), Some(ty)) = (types.last_mut(), words.next()) {
            let version = name.split('.').next().unwrap_or_default();
            fields.insert(first.to_owned(), property(ty, version));
            if name.ends_with(".Meta") {
                metadata.insert(first.to_owned(), property(ty, version));
            }
        }
    }
    let named = types.into_iter().filter(|(name, _)| !name.ends_with(".Meta"));
    named.map(|(name, fields)| (format!("{PREFIX}{name}"), json!({"type": "object", "properties": fields}))).collect()
}

fn property(ty: &str, version: &str) -> Value {
    let reference = |name: &str| json!({"$ref": format!("{REFERENCE}{name}")});
    if let Some(item) = ty.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({"type": "array", "items": property(item, version)});
    }
    if let Some(item) = ty.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return json!({"type": "object", "additionalProperties": property(item, version)});
    }
    match ty {
        "text" => json!({"type": "string"}),
        "int" => json!({"type": "integer", "format": "int32"}),
        "long" => json!({"type": "integer", "format": "int64"}),
        "bool" => json!({"type": "boolean"}),
        "any" => json!({}),
        "metadata" => reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
        "time" => reference("io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
        "port" => reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
        "quantity" => reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        // Types of today are named whole.
        name if name.contains('.') => reference(&format!("io.k8s.api.{name}")),
        name => reference(&format!("{PREFIX}{version}.{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_type_is_in_the_schema_and_refers_to_types_that_are() {
        let schema = Schema::get();
        for (name, definition) in definitions() {
            assert!(schema.object(&name).is_some(), "{name}");
            let text = definition.to_string();
            for reference in text.split(REFERENCE).skip(1) {
                let target = reference.split('"').next().unwrap();
                assert!(schema.definitions().contains_key(target), "{name} refers to {target}");
            }
        }
    }

    #[test]
    fn whole_objects_have_flat_metadata() {
        let service = Schema::get().object("io.k8s.api.core.v1beta1.Service").unwrap();
        for field in ["id", "kind", "apiVersion", "resourceVersion", "port", "PublicIPs"] {
            assert!(service.field(field).is_some(), "{field}");
        }
        assert!(Schema::get().object("io.k8s.api.core.v1beta1.Volume").unwrap().field("id").is_none());
    }
}
