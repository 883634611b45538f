//! Telling the API: statuses of pods, and Events.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;
use stead_api::item::object_key;
use stead_client::{Class, EventKind, error_text, object, reference, write};

use super::{Entry, Event, Note, Severity, Shared, Value};
use crate::pod::{StatusContext, status};

impl Shared {
    /// Writes the pod's status if it is not what was told last. One write at a time; the end of one leads here again.
    pub(super) fn maybe_tell(self: &Arc<Self>, uid: &str, entry: &mut Entry, now: Timestamp) {
        if entry.is_telling {
            return;
        }
        let context = StatusContext { host_addresses: &self.config.node_addresses, previous: &entry.told, now };
        let wanted = status(&entry.pod, &entry.observed, context);
        let (before, after) = (pruned(&entry.told), pruned(&wanted));
        if before == after {
            return;
        }
        entry.told = wanted;
        entry.is_telling = true;
        let (shared, uid, path) = (Arc::clone(self), uid.to_owned(), object::<Pod>(&object_key(&entry.pod.metadata)));
        let patch = json!({"metadata": {"uid": uid}, "status": with_removals(&before, after)});
        tokio::spawn(async move {
            let revision = shared.write_status(&format!("{path}/status"), &patch).await;
            shared.send(Event::Told { uid, revision });
        });
    }

    pub(super) fn tell_events(&self, pod: &Pod, notes: Vec<Note>) {
        // Stands for an object that is gone: nobody could look its Events up.
        if pod.metadata.name.is_none() {
            return;
        }
        for note in notes {
            let mut about = reference(pod);
            about.field_path = note.container.map(|name| format!("spec.containers{{{name}}}"));
            let kind = match note.severity {
                Severity::Normal => EventKind::Normal,
                Severity::Warning => EventKind::Warning,
            };
            self.recorder.record(&about, kind, note.reason, note.message);
        }
    }

    /// The revision that the write made; `None` where the object is gone, or is another by now.
    async fn write_status(&self, path: &str, patch: &Value) -> Option<u64> {
        let mut delay = Duration::from_millis(100);
        loop {
            match write::patch_merge::<Pod>(&self.client, path, patch).await {
                Ok(pod) => return pod.metadata.resource_version.and_then(|revision| revision.parse().ok()),
                Err(error) if error.class() == Class::Transient => {
                    tracing::debug!(path, error = error_text(&error), "status could not be written yet");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(10));
                }
                Err(error) if error.is_not_found() || error.is_conflict() => return None,
                Err(error) => {
                    tracing::warn!(path, error = error_text(&error), "status was refused");
                    return None;
                }
            }
        }
    }
}

/// As JSON without what is empty, so that what a server leaves out makes no difference.
fn pruned(status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A merge patch keeps what it does not name: what is no longer so is named as null. Lists are replaced whole.
fn with_removals(before: &Value, mut after: Value) -> Value {
    if let (Value::Object(before), Value::Object(after)) = (before, &mut after) {
        for field in before.keys() {
            after.entry(field.clone()).or_insert(Value::Null);
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_is_gone() {
        let before = json!({"podIP": "10.0.0.1", "phase": "Running", "conditions": [1]});
        let after = with_removals(&before, json!({"phase": "Failed", "conditions": [2]}));
        assert_eq!(after, json!({"podIP": null, "phase": "Failed", "conditions": [2]}));
    }

    #[test]
    fn emptiness_makes_no_difference() {
        let mut value =
            json!({"a": {}, "b": [], "c": "", "d": null, "e": 0, "f": [{"g": {}}], "h": {"i": {"j": null}}});
        prune(&mut value);
        assert_eq!(value, json!({"e": 0, "f": [{}]}));
    }
}
