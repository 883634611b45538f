//! One object of the cache, and one change of it.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
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
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
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
        let path = path(prefix, &stored.key);
        let object = serde_json::from_slice(&stored.value)
            .map_err(|source| InvalidEntry { key: String::from_utf8_lossy(&stored.key).into_owned(), source })?;
        Ok(Self::new(resource, path, object, stored.mod_revision))
    }

    pub(crate) fn new(resource: &'static Resource, path: Box<str>, mut object: Value, revision: Revision) -> Self {
        let labels = meta::labels(&object).into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()));
        let labels = labels.collect();
        let fields = resource.strategy.selectable_fields().iter();
        let fields = fields.map(|path| resource.strategy.selectable_field(&object, path).unwrap_or_default().into());
        let fields = fields.collect();
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
