//! Events of the server's own: what it found wrong with an object while it looked after its allocations.
//!
//! The same thing said again raises the count of the Event that is there. Who reads them are people; nothing waits for them.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stead_api::meta;

use crate::{own::call, server::Inner};

/// A warning about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// `apiVersion`, `kind`, `namespace`, `name` and `uid`.
    pub(crate) object: Value,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    /// About `object`, of which the metadata are read.
    pub(crate) fn new(
        (api_version, kind): (&str, &str),
        object: &Value,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let mut reference = json!({"apiVersion": api_version, "kind": kind, "name": meta::name(object)});
        for (key, value) in [("namespace", meta::namespace(object)), ("uid", meta::uid(object))] {
            if !value.is_empty() {
                reference[key] = value.into();
            }
        }
        Self { object: reference, reason, message: message.into() }
    }

    /// Different notes have different names, and each note always the same.
    fn name(&self, component: &str) -> String {
        let text = format!("{component} {} {} {}", self.object, self.reason, self.message);
        let hash = Sha256::digest(text.as_bytes());
        let digits = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let object = self.object["name"].as_str().unwrap_or_default().replace(':', "-");
        format!("{}.{digits}", object.trim_matches('-'))
    }

    fn event(&self, name: &str, namespace: &str, component: &str, now: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": self.object, "reason": self.reason, "message": self.message, "type": "Warning",
            "source": {"component": component}, "reportingComponent": component,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        })
    }
}

/// Writes the Event, or counts it. `component` is who says it.
pub(crate) async fn record(server: &Arc<Inner>, component: &str, note: &Note) {
    tracing::warn!(reason = note.reason, object = %note.object, "{}", note.message);
    if let Err(error) = write(server, component, note).await {
        tracing::warn!(%error, "event lost");
    }
}

async fn write(server: &Arc<Inner>, component: &str, note: &Note) -> Result<(), String> {
    let namespace = note.object["namespace"].as_str().unwrap_or("default");
    let collection = format!("/api/v1/namespaces/{namespace}/events");
    let name = note.name(component);
    let path = format!("{collection}/{name}");
    let now = meta::seconds(Timestamp::now());
    let (code, found) = call(server, Method::GET, &path, None).await?;
    let (code, answer) = if code == StatusCode::OK {
        let count = found["count"].as_i64().unwrap_or_default() + 1;
        call(server, Method::PATCH, &path, Some(&json!({"count": count, "lastTimestamp": now}))).await?
    } else {
        call(server, Method::POST, &collection, Some(&note.event(&name, namespace, component, &now))).await?
    };
    if code.is_success() { Ok(()) } else { Err(format!("{path}: {}", answer["message"])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_one_name() {
        let note = |name: &str, message: &str| {
            let object = json!({"metadata": {"name": name, "namespace": "shop", "uid": "u"}});
            Note::new(("v1", "Service"), &object, "ClusterIPOutOfRange", message)
        };
        assert_eq!(note("web", "a").name("c"), note("web", "a").name("c"));
        assert_ne!(note("web", "a").name("c"), note("web", "b").name("c"));
        assert!(note("fd56::9", "a").name("c").starts_with("fd56--9."));
        assert_eq!(note("web", "a").object["namespace"], "shop");
    }
}
