//! Who owns which field of an object, and server-side apply, which is made of that.
//!
//! `metadata.managedFields` has an entry for each manager and way of writing: [`record_update`] notes what an update, a
//! patch or a creation has changed, [`apply`] lays a configuration over an object, takes away what the same manager no longer
//! states, and refuses to change what others own. Which lists and maps are owned item by item the schema's marks say.
//! Everything is pure: the time comes in, and storing is the API server's. Entries of other versions of an API than the
//! writer's are kept as they are.

use jiff::Timestamp;
use serde_json::Value;

use crate::meta;

mod apply;
mod compare;
mod fields_of;
mod managers;
mod merge;
mod path;
mod remove;
mod set;
mod shape;

pub use apply::{ApplyError, Conflict, Force, apply};
use compare::Comparison;
pub use fields_of::ConfigError;
use managers::Managers;
use path::PathElement;
use set::FieldSet;
use shape::Shape;

/// Who writes, and what of the object the way of writing leaves alone.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// `fieldManager`, or what stands for it.
    pub manager: &'a str,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// Of the object as it is stored.
    pub api_version: &'a str,
    /// Such as `io.k8s.api.core.v1.Service`.
    pub definition: &'a str,
    /// Fields of the object that this way of writing does not change, whatever it states: `status`, or `spec`.
    pub ignored: &'a [&'a str],
    pub now: Timestamp,
}

/// Notes in `new` what `writer` has changed of `live`, which is `None` for an object to be created. Both are canonical.
///
/// What `new` says of `managedFields` itself counts, where it can be read and `live` is not written through a subresource;
/// without a word of it, that of `live` goes on. An empty list, or one empty entry, forgets all. An object that nobody was
/// noted for stays so until something is applied to it.
pub fn record_update(live: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let Some(shape) = Shape::of(writer.definition) else { return };
    let stated = take_entries(new);
    let before = live.and_then(|live| live.pointer("/metadata/managedFields"));
    let mut managers = match &stated {
        Some(stated) if writer.subresource.is_empty() && is_reset(stated) => Managers::default(),
        Some(stated) if writer.subresource.is_empty() => {
            Managers::parse(stated).filter(|managers| !managers.is_empty()).unwrap_or_else(|| Managers::read(before))
        }
        _ => Managers::read(before),
    };
    if managers.is_empty() && live.is_some() {
        return;
    }
    let empty = Value::Object(serde_json::Map::new());
    let comparison = compare(live.unwrap_or(&empty), new, shape, writer);
    let is_same = comparison.is_same();
    managers.update(&comparison, writer, writer.manager);
    match (before, stated) {
        // Nothing has moved: not even the order of entries does.
        (Some(before), None) if is_same => meta::set(new, "managedFields", before.clone()),
        _ => managers.write(new),
    }
}

/// Puts the times of `live`'s entries back where `new` differs from it in nothing else: who applies again what holds already
/// writes nothing.
pub fn settle_times(live: &Value, new: &mut Value) {
    let entries = |object: &Value| object.pointer("/metadata/managedFields").and_then(Value::as_array).cloned();
    let (Some(old), Some(stated)) = (entries(live), entries(new)) else { return };
    let timeless = |entries: &[Value]| {
        let mut entries = entries.to_vec();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries
    };
    if old == stated || timeless(&old) != timeless(&stated) {
        return;
    }
    meta::set(new, "managedFields", old);
    if new != live {
        meta::set(new, "managedFields", stated);
    }
}

/// What an entry may not own, or what the way of writing does not change, is no difference.
fn compare(old: &Value, new: &Value, shape: Shape<'_>, writer: &Writer<'_>) -> Comparison {
    let mut ignored = FieldSet::default();
    for field in writer.ignored {
        ignored.insert(&[PathElement::field(field)]);
    }
    ignored.insert(&[PathElement::field("metadata"), PathElement::field("managedFields")]);
    Comparison::of(old, new, shape).without(&ignored)
}

/// Takes `metadata.managedFields` out of the object.
fn take_entries(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn is_reset(entries: &Value) -> bool {
    let is_empty = |entry: &Value| entry.as_object().is_some_and(serde_json::Map::is_empty);
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([entry]) => is_empty(entry),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
