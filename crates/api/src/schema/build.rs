//! Makes the [`Schema`]: definitions from `k8s-openapi`, facts from the table, references resolved.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, coordination, core, discovery, events, networking, policy,
};
use k8s_openapi::apimachinery::pkg::apis::meta;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::marks::{self, FieldMarks, ObjectMarks};
use crate::legacy;

use super::{Empty, Field, Object, ObjectId, PatchStrategy, Schema, Type};

const REFERENCE: &str = "#/components/schemas/";

pub(super) fn build() -> Schema {
    let definitions = definitions();
    let (mut facts, _) = marks::parse();
    let by_definition: BTreeMap<String, ObjectId> = definitions
        .iter()
        .filter(|(_, definition)| definition.get("properties").is_some())
        .zip(0..)
        .map(|((name, _), index)| (name.clone(), ObjectId(index)))
        .collect();
    let objects = by_definition
        .keys()
        .map(|name| {
            let marks = facts.remove(name.as_str()).unwrap_or_default();
            object(name, &definitions[name], marks, &by_definition)
        })
        .collect();
    let roots = by_definition.iter().map(|(name, id)| (name.clone(), Type::Object(*id))).collect();
    Schema { objects, by_definition, roots, definitions }
}

fn definitions() -> BTreeMap<String, Value> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator: SchemaGenerator = settings.into_generator();
    generator.subschema_for::<core::v1::Namespace>();
    generator.subschema_for::<core::v1::Node>();
    generator.subschema_for::<core::v1::Pod>();
    generator.subschema_for::<core::v1::Service>();
    generator.subschema_for::<core::v1::Endpoints>();
    generator.subschema_for::<core::v1::ConfigMap>();
    generator.subschema_for::<core::v1::ServiceAccount>();
    generator.subschema_for::<core::v1::Event>();
    generator.subschema_for::<core::v1::Binding>();
    generator.subschema_for::<core::v1::ReplicationController>();
    generator.subschema_for::<core::v1::Secret>();
    generator.subschema_for::<apps::v1::ReplicaSet>();
    generator.subschema_for::<apps::v1::Deployment>();
    generator.subschema_for::<discovery::v1::EndpointSlice>();
    generator.subschema_for::<coordination::v1::Lease>();
    generator.subschema_for::<events::v1::Event>();
    generator.subschema_for::<networking::v1::IPAddress>();
    generator.subschema_for::<networking::v1::ServiceCIDR>();
    generator.subschema_for::<networking::v1beta1::IPAddress>();
    generator.subschema_for::<networking::v1beta1::ServiceCIDR>();
    generator.subschema_for::<autoscaling::v1::Scale>();
    generator.subschema_for::<policy::v1::Eviction>();
    generator.subschema_for::<authentication::v1::SelfSubjectReview>();
    generator.subschema_for::<authentication::v1::TokenRequest>();
    generator.subschema_for::<authentication::v1::TokenReview>();
    generator.subschema_for::<authorization::v1::LocalSubjectAccessReview>();
    generator.subschema_for::<authorization::v1::SelfSubjectAccessReview>();
    generator.subschema_for::<authorization::v1::SelfSubjectRulesReview>();
    generator.subschema_for::<authorization::v1::SubjectAccessReview>();
    generator.subschema_for::<meta::v1::DeleteOptions>();
    generator.subschema_for::<meta::v1::ListMeta>();
    generator.subschema_for::<meta::v1::Status>();
    let today = generator.take_definitions(true).into_iter();
    today.chain(legacy::schema::definitions()).collect()
}

fn object(name: &str, definition: &Value, mut marks: ObjectMarks, ids: &BTreeMap<String, ObjectId>) -> Object {
    let empty = Map::new();
    let properties = definition.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(name, property)| {
            let marks = marks.fields.remove(name.as_str()).unwrap_or_default();
            field(name, type_of(property, ids), marks)
        })
        .collect();
    if legacy::schema::keeps_empty(name) {
        fields.iter_mut().for_each(|field| field.empty = Empty::Kept);
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Object { definition: name.to_owned(), fields, atomic: marks.atomic }
}

fn field(name: &str, ty: Type, marks: FieldMarks) -> Field {
    let empty = match ty {
        Type::Map(_) | Type::List(_) if !marks.always && !marks.pointer => Empty::Dropped,
        Type::Text | Type::Bytes | Type::Int32 | Type::Int64 | Type::Number | Type::Boolean
            if !marks.always && !marks.pointer =>
        {
            Empty::Dropped
        }
        _ => Empty::Kept,
    };
    Field {
        name: name.to_owned(),
        ty,
        empty,
        value: marks.value,
        default: marks.default.map(str::to_owned),
        go_type: marks.go_type.map(str::to_owned),
        list: marks.list,
        atomic_map: marks.atomic_map,
        patch: marks.patch,
        merge_key: marks.merge_key.map(str::to_owned),
    }
}

fn type_of(schema: &Value, ids: &BTreeMap<String, ObjectId>) -> Type {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.strip_prefix(REFERENCE).unwrap_or(reference);
        return match (ids.get(name), name.rsplit('.').next()) {
            (Some(id), _) => Type::Object(*id),
            (_, Some("Quantity")) => Type::Quantity,
            (_, Some("IntOrString")) => Type::IntOrString,
            (_, Some("Time")) => Type::Time,
            (_, Some("MicroTime")) => Type::MicroTime,
            _ => Type::Any,
        };
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("type"), text("format")) {
        ("string", "byte") => Type::Bytes,
        ("string", _) => Type::Text,
        ("integer", "int64") => Type::Int64,
        ("integer", _) => Type::Int32,
        ("number", _) => Type::Number,
        ("boolean", _) => Type::Boolean,
        ("array", _) => Type::List(Box::new(type_of(&schema["items"], ids))),
        ("object", _) => match schema.get("additionalProperties") {
            Some(item @ Value::Object(_)) => Type::Map(Box::new(type_of(item, ids))),
            _ => Type::Any,
        },
        _ => Type::Any,
    }
}

impl PatchStrategy {
    /// Lists are merged item by item instead of replaced.
    pub(crate) fn merges(self) -> bool {
        matches!(self, Self::Merge | Self::MergeRetainKeys)
    }
}
