//! The types of our kinds: which fields an object has, of what type, and how lists and empty values of it behave.
//!
//! The shape comes from the OpenAPI schema of `k8s-openapi`, made at run time from the root types; what that does not say
//! (list keys, patch strategies, whether an empty value is written) is a table of facts, `schema/marks.txt`. References are
//! resolved once, into an arena that lives as long as the program. Walking text by it is [`decode`](crate::decode)'s,
//! printing it for clients [`openapi`](crate::openapi)'s.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

mod build;
mod marks;

/// All objects of our kinds and what they consist of.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Ordered by [`Object::definition`]; an [`ObjectId`] is an index into it.
    objects: Vec<Object>,
    by_definition: BTreeMap<String, ObjectId>,
    /// `Type::Object` of each entry of `by_definition`.
    pub(crate) roots: BTreeMap<String, Type>,
    /// OpenAPI definitions as `k8s-openapi` gives them, references as `#/components/schemas/NAME`.
    definitions: BTreeMap<String, Value>,
}

/// An [`Object`] of the [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId(u32);

/// A definition with properties.
#[derive(Debug)]
pub(crate) struct Object {
    /// Such as `io.k8s.api.core.v1.Service`.
    pub definition: String,
    /// Ordered by name; at most 128.
    pub fields: Vec<Field>,
    /// The object is replaced as one by server-side apply.
    pub atomic: bool,
}

/// A property of an [`Object`].
#[derive(Debug)]
pub(crate) struct Field {
    pub name: String,
    pub ty: Type,
    pub empty: Empty,
    /// An object that Go's types always have: unset and empty are the same.
    pub value: bool,
    /// What an unset text counts as where it is the key of a list.
    pub default: Option<String>,
    /// The name of its type where it is a named scalar, such as `v1.Protocol`.
    pub go_type: Option<String>,
    /// `x-kubernetes-list-type`, `x-kubernetes-list-map-keys`.
    pub list: ListType,
    /// `x-kubernetes-map-type` is `atomic`.
    pub atomic_map: bool,
    /// `x-kubernetes-patch-strategy`.
    pub patch: PatchStrategy,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<String>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object(ObjectId),
    Map(Box<Type>),
    List(Box<Type>),
    Text,
    /// Base64.
    Bytes,
    Int32,
    Int64,
    Number,
    Boolean,
    IntOrString,
    Quantity,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Any JSON value; what is in it is not looked at.
    Any,
}

/// What becomes of a field whose value is empty (`""`, `0`, `false`, `[]`, `{}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It means something, and stays.
    Kept,
    /// It means the same as no value, and goes.
    Dropped,
}

/// How server-side apply sees a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Unset,
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// How a strategic merge patch treats a list or an object. The default replaces lists and merges objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PatchStrategy {
    #[default]
    Default,
    Merge,
    /// Keys that the patch's `$retainKeys` does not name are removed.
    RetainKeys,
    MergeRetainKeys,
}

impl Schema {
    /// The one schema of this program, built at first use (a few milliseconds).
    pub(crate) fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(build::build)
    }

    /// The object with this definition, if one of our kinds reaches it.
    pub(crate) fn object(&self, definition: &str) -> Option<&Object> {
        self.by_definition.get(definition).map(|id| self.resolve(*id))
    }

    /// `id` comes from this schema.
    pub(crate) fn resolve(&self, id: ObjectId) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// OpenAPI definitions without Kubernetes' extensions, ordered by name.
    pub(crate) fn definitions(&self) -> &BTreeMap<String, Value> {
        &self.definitions
    }
}

impl Object {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.field_index(name).map(|index| &self.fields[index])
    }

    pub(crate) fn field_index(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok()
    }

    /// The last part of the definition: `ServicePort`.
    pub(crate) fn short_name(&self) -> &str {
        self.definition.rsplit('.').next().unwrap_or_default()
    }
}

impl Field {
    /// The name of its type in Go, as in upstream's messages.
    pub(crate) fn go_type(&self, schema: &Schema) -> String {
        self.go_type.clone().unwrap_or_else(|| self.ty.go_type(schema))
    }
}

impl Type {
    /// The name of this type in Go, as in upstream's messages.
    pub(crate) fn go_type(&self, schema: &Schema) -> String {
        match self {
            Self::Object(id) => {
                let mut parts = schema.resolve(*id).definition.rsplit('.');
                let name = parts.next().unwrap_or_default();
                format!("{}.{name}", parts.next().unwrap_or_default())
            }
            Self::Map(item) => format!("map[string]{}", item.go_type(schema)),
            Self::List(item) => format!("[]{}", item.go_type(schema)),
            Self::Text => "string".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Int32 => "int32".to_owned(),
            Self::Int64 => "int64".to_owned(),
            Self::Number => "float64".to_owned(),
            Self::Boolean => "bool".to_owned(),
            Self::IntOrString => "intstr.IntOrString".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::Time => "v1.Time".to_owned(),
            Self::MicroTime => "v1.MicroTime".to_owned(),
            Self::Any => "interface {}".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
