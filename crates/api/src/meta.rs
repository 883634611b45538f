//! Reading `metadata` of an object that is a `Value`, and the rules that hold for the metadata of every kind.
//!
//! The accessors never fail: what is unset or of a wrong type reads as unset, because decoding has refused wrong types
//! before. What a single name or label may look like is in [`names`](crate::names); rules of one kind are that kind's.

use jiff::Timestamp;
use serde_json::{Map, Value};

mod validate;

pub use validate::{
    NameRule, Scope, validate_annotations, validate_finalizers, validate_labels, validate_meta, validate_meta_update,
};

/// The alphabet of generated names: no vowels, nothing that looks like another letter.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// `generateName` is cut to this many bytes, so that the whole name is a label.
const MAX_PREFIX: usize = 63 - SUFFIX_LENGTH;

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// This owner is the managing controller; at most one is.
    pub controller: bool,
    /// A foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

/// `metadata.name`, empty when unset.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.generateName`, empty when unset.
pub fn generate_name_prefix(object: &Value) -> &str {
    text(object, "generateName")
}

/// `metadata.namespace`, empty when unset and for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, empty when unset.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, empty when unset.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, 0 when unset.
pub fn generation(object: &Value) -> i64 {
    field(object, "generation").and_then(Value::as_i64).unwrap_or(0)
}

/// `metadata.labels`; an object without has none.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    field(object, "labels").and_then(Value::as_object)
}

/// The value of one label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`; an object without has none.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    field(object, "annotations").and_then(Value::as_object)
}

/// The value of one annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    time(object, "creationTimestamp")
}

/// `metadata.deletionTimestamp`: set as soon as the object is being deleted.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    time(object, "deletionTimestamp")
}

/// `metadata.deletionTimestamp` is set, whatever its text.
pub fn is_being_deleted(object: &Value) -> bool {
    field(object, "deletionTimestamp").is_some_and(|v| !v.is_null())
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    field(object, "deletionGracePeriodSeconds").and_then(Value::as_i64)
}

/// `metadata.finalizers`, in their order.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "finalizers").iter().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`, in their order.
pub fn owner_references(object: &Value) -> impl Iterator<Item = OwnerReference<'_>> {
    list(object, "ownerReferences").iter().map(owner_reference)
}

/// `metadata` to write into; made when the object has none.
///
/// An object that is no map becomes one: callers hold decoded objects, where that cannot be.
fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(map_mut(object).entry("metadata").or_insert(Value::Null))
}

/// Sets `metadata.KEY`.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    metadata_mut(object).insert(key.to_owned(), value.into());
}

/// Removes `metadata.KEY`.
pub fn unset(object: &mut Value, key: &str) {
    metadata_mut(object).remove(key);
}

/// As metadata states times: RFC 3339, seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `prefix`, cut to 58 bytes, and five letters that `random_bits` choose.
pub fn generate_name(prefix: &str, random_bits: u64) -> String {
    let mut end = prefix.len().min(MAX_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    name.push_str(&random_suffix(random_bits));
    name
}

/// Five letters that `random_bits` choose, as in the names of Pods.
fn random_suffix(random_bits: u64) -> String {
    let radix = SUFFIX_ALPHABET.len() as u64;
    let mut rest = random_bits;
    (0..SUFFIX_LENGTH)
        .map(|_| {
            let letter = SUFFIX_ALPHABET[(rest % radix) as usize];
            rest /= radix;
            char::from(letter)
        })
        .collect()
}

fn field<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(key)
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    field(object, key).and_then(Value::as_str).unwrap_or_default()
}

fn time(object: &Value, key: &str) -> Option<Timestamp> {
    field(object, key)?.as_str()?.parse().ok()
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    field(object, key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn owner_reference(value: &Value) -> OwnerReference<'_> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
    OwnerReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        controller: flag("controller"),
        block_owner_deletion: flag("blockOwnerDeletion"),
    }
}

fn map_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

#[cfg(test)]
mod tests;
