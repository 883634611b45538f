//! One object of the cache, and one change of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use stead_api::{meta, resource::Resource};
use stead_model::Revision;
use stead_store::KeyValue;

/// An object at one revision, encoded once for all who read it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `NAMESPACE/NAME`, or `NAME` of a cluster-scoped kind: the key behind the kind's prefix, so that the order of
    /// objects is the store's.
    pub(crate) path: Box<str>,
    pub(crate) revision: Revision,
    /// With `metadata.resourceVersion`.
    pub(crate) json: Bytes,
    pub(crate) labels: Labels,
    /// The values of the kind's selectable fields, in the order the kind names them.
    pub(crate) fields: Box<[Box<str>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) revision: Revision,
    /// Of a deletion: the last state, with the deletion's revision.
    pub(crate) entry: Arc<Entry>,
    /// Before the change; set unless the object was added.
    pub(crate) previous: Option<Arc<Entry>>,
    /// `previous` with this change's revision, for watchers whose selector the object has left.
    left: OnceLock<Bytes>,
}

#[derive(Debug, thiserror::Error)]
#[error("object stored at {key} cannot be read")]
pub(crate) struct InvalidEntry {
    pub(crate) key: String,
    #[source]
    pub(crate) source: serde_json::Error,
}

impl Entry {
    /// Reads what is stored. `prefix` is the kind's, such as `/registry/pods/`.
    pub(crate) fn read(resource: &'static Resource, prefix: &str, stored: &KeyValue) -> Result<Self, InvalidEntry> {
        let (path, revision) = (path(prefix, &stored.key), stored.mod_revision);
        let failed = |source| InvalidEntry { key: String::from_utf8_lossy(&stored.key).into_owned(), source };
        let object = || serde_json::from_slice(&stored.value).map_err(failed);
        let Some((json, labels)) = revise(&stored.value, revision) else {
            return Ok(Self::new(resource, path, object()?, revision));
        };
        let fields = match resource.strategy.selectable_fields() {
            [] => Box::default(),
            _ => fields(resource, &object()?),
        };
        Ok(Self { path, revision, json, labels, fields })
    }

    pub(crate) fn new(resource: &'static Resource, path: Box<str>, mut object: Value, revision: Revision) -> Self {
        let labels = meta::labels(&object).into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()));
        let (labels, fields) = (labels.collect(), fields(resource, &object));
        with_revision(&mut object, revision);
        Self { path, revision, json: encode(&object), labels, fields }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.path.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.path.split_once('/').map_or(&self.path, |(_, name)| name)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| **label == *key).map(|(_, value)| &**value)
    }

    /// The object as a value again.
    pub(crate) fn object(&self) -> Value {
        serde_json::from_slice(&self.json).expect("encoded by this module")
    }

    /// The same object as it was last, at the revision of its deletion.
    fn deleted_at(&self, revision: Revision) -> Self {
        let mut object = self.object();
        with_revision(&mut object, revision);
        Self {
            path: self.path.clone(),
            revision,
            json: encode(&object),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }
}

fn fields(resource: &Resource, object: &Value) -> Box<[Box<str>]> {
    let paths = resource.strategy.selectable_fields().iter();
    paths.map(|path| resource.strategy.selectable_field(object, path).unwrap_or_default().into()).collect()
}

/// What is read of an object that is not looked into.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Labelled {
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    resource_version: Option<IgnoredAny>,
}

type Labels = Box<[(Box<str>, Box<str>)]>;

/// A stored object with its revision written into its metadata, and its labels. `None`: that cannot be done without a look
/// at all of it.
fn revise(stored: &[u8], revision: Revision) -> Option<(Bytes, Labels)> {
    let text = str::from_utf8(stored).ok()?;
    let Envelope { metadata } = serde_json::from_str(text).ok()?;
    let Labelled { labels, resource_version: None } = serde_json::from_str(metadata.get()).ok()? else { return None };
    let members = metadata.get().strip_prefix('{')?;
    let at = members.as_ptr() as usize - text.as_ptr() as usize;
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    let revision = format!(r#""resourceVersion":"{revision}"{comma}"#);
    let json = [&text[..at], &revision, &text[at..]].concat();
    Some((json.into(), labels.into_iter().flatten().collect()))
}

impl Change {
    pub(crate) fn put(entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> Self {
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        Self { kind, revision: entry.revision, entry, previous, left: OnceLock::new() }
    }

    pub(crate) fn delete(previous: Arc<Entry>, revision: Revision) -> Self {
        let entry = Arc::new(previous.deleted_at(revision));
        Self { kind: ChangeKind::Deleted, revision, entry, previous: Some(previous), left: OnceLock::new() }
    }

    /// What a watcher is told whose selector held before the change and holds no more.
    pub(crate) fn left(&self) -> &Bytes {
        self.left.get_or_init(|| match &self.previous {
            Some(previous) => previous.deleted_at(self.revision).json,
            None => self.entry.json.clone(),
        })
    }
}

/// Sets `metadata.resourceVersion`.
pub(crate) fn with_revision(object: &mut Value, revision: Revision) {
    meta::set(object, "resourceVersion", revision.to_string());
}

fn encode(object: &Value) -> Bytes {
    serde_json::to_vec(object).expect("a JSON value can be written").into()
}

/// The part of a store key behind `prefix`; keys are ASCII by validation, others are kept lossily.
pub(super) fn path(prefix: &str, key: &[u8]) -> Box<str> {
    String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_written_into_metadata() {
        let check = |stored: &str, expected: Option<&str>| {
            let revised = revise(stored.as_bytes(), Revision(7));
            let json = revised.as_ref().map(|(json, _)| str::from_utf8(json).unwrap());
            assert_eq!(json, expected, "{stored}");
        };
        check(
            r#"{"kind":"X","metadata":{"labels":{"a":"\""},"name":"n"},"spec":{"metadata":{}}}"#,
            Some(
                r#"{"kind":"X","metadata":{"resourceVersion":"7","labels":{"a":"\""},"name":"n"},"spec":{"metadata":{}}}"#,
            ),
        );
        check(r#"{"metadata":{}}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#));
        check(r#"{"metadata":{"resourceVersion":"3"}}"#, None);
        check(r#"{"metadata":{"labels":{"a":1}}}"#, None);
        check(r#"{"metadata":null}"#, None);
        check(r#"{"spec":{}}"#, None);
        check("{", None);
        let (_, labels) = revise(br#"{"metadata":{"labels":{"b":"2","a":"1"}}}"#, Revision(7)).unwrap();
        assert_eq!(&*labels, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    }
}
