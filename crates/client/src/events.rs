//! Records core/v1 Events: what happened to an object, for `kubectl describe` and `kubectl get events`.
//!
//! [`Recorder::record`] never waits. A task of its own writes: the same thing said again raises the count of the Event that
//! is there, and the rate is bounded; what does not fit is dropped and counted in the log. Events are for people: nothing in
//! Stead reads them.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use jiff::{Timestamp, Unit};
use k8s_openapi::{
    Metadata,
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Client;
use serde_json::{Value, json};
use stead_model::ObjectKey;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{Backoff, CallError, Class, error::error_text, path, write};

/// Notes that wait to be written; more are dropped.
const QUEUE: usize = 1024;
/// Writes at once, and then one for each `REFILL`.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(50);
/// Events whose count is known. Beyond it all are forgotten, and repeats become Events of their own.
const KNOWN: usize = 4096;
const TRIES: u32 = 6;
/// What upstream's API takes of a message.
const MESSAGE_LIMIT: usize = 1024;
/// The longest name that an object may have.
const NAME_LIMIT: usize = 253;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

/// A handle to the writing task, which ends with the last handle.
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
}

#[derive(Debug)]
struct Note {
    what: What,
    at: Timestamp,
}

/// Two notes that are equal in this are one Event with a count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct What {
    kind: EventKind,
    reason: String,
    message: String,
    object: Object,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    api_version: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
}

/// How an Event names `object`.
pub fn reference<K: Metadata<Ty = ObjectMeta>>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

impl Recorder {
    /// Starts the writing task in the current runtime. `component` and `host` become the Events' source; an empty host is none.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        let (notes, queue) = mpsc::channel(QUEUE);
        let source =
            EventSource { component: Some(component.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()) };
        tokio::spawn(Writer { client, source, known: HashMap::new(), bucket: Bucket::full() }.run(queue));
        Self { notes }
    }

    /// Says that `reason` (one CamelCase word) happened to `object`. Never waits; dropped when the queue is full.
    pub fn record(&self, object: &ObjectReference, kind: EventKind, reason: &str, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MESSAGE_LIMIT {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
        }
        let what = What { kind, reason: reason.to_owned(), message, object: Object::from(object) };
        if let Err(error) = self.notes.try_send(Note { what, at: Timestamp::now() }) {
            tracing::debug!(reason, %error, "event dropped");
        }
    }
}

struct Writer {
    client: Client,
    source: EventSource,
    known: HashMap<What, Known>,
    bucket: Bucket,
}

struct Known {
    path: String,
    count: i32,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Note>) {
        while let Some(note) = queue.recv().await {
            self.bucket.take().await;
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            while let Err(error) = self.write(&note).await {
                if error.class() != Class::Transient || backoff.failures() >= TRIES {
                    tracing::debug!(reason = note.what.reason, error = error_text(&error), "event not recorded");
                    break;
                }
                sleep(backoff.next_wait()).await;
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), CallError> {
        if let Some(known) = self.known.get_mut(&note.what) {
            let patch = json!({ "count": known.count + 1, "lastTimestamp": seconds(note.at) });
            match write::patch_merge::<Value>(&self.client, &known.path, &patch).await {
                Ok(_) => {
                    known.count += 1;
                    return Ok(());
                }
                // Its time was over.
                Err(error) if error.is_not_found() => self.known.remove(&note.what),
                Err(error) => return Err(error),
            };
        }
        let event = self.event(note);
        let key = stead_api::item::object_key(&event.metadata);
        let collection = path::collection::<Event>(&key.namespace);
        match write::create::<_, Value>(&self.client, &collection, &event).await {
            // An earlier try came through, though its answer was lost.
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(note.what.clone(), Known { path: path::object::<Event>(&key), count: 1 });
        Ok(())
    }

    fn event(&self, note: &Note) -> Event {
        let What { kind, reason, message, object } = &note.what;
        let key = object.event_key(note.at);
        Event {
            metadata: ObjectMeta {
                namespace: Some(key.namespace.into()),
                name: Some(key.name.into()),
                ..ObjectMeta::default()
            },
            involved_object: object.reference(),
            reason: Some(reason.clone()),
            message: Some(message.clone()),
            type_: Some(format!("{kind:?}")),
            count: Some(1),
            first_timestamp: Some(Time(seconds(note.at))),
            last_timestamp: Some(Time(seconds(note.at))),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            source: Some(self.source.clone()),
            ..Event::default()
        }
    }
}

impl Object {
    /// Events of cluster-scoped objects live in `default`. The name holds the instant, so that it is the Event's alone. An object whose own
    /// name is none that an Event may have (an API that is not Kubernetes' may say anything) has Events that are named by its kind.
    fn event_key(&self, at: Timestamp) -> ObjectKey {
        let namespace = self.namespace.as_deref().unwrap_or("default");
        let instant = format!("{:x}", at.as_nanosecond());
        let name = self.name.as_deref().filter(|name| name.len() + 1 + instant.len() <= NAME_LIMIT && is_name(name));
        let kind = || self.kind.as_deref().unwrap_or("object").to_lowercase();
        ObjectKey::new(namespace, format!("{}.{instant}", name.map_or_else(kind, ToOwned::to_owned)))
    }

    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            field_path: self.field_path.clone(),
            resource_version: None,
        }
    }
}

impl From<&ObjectReference> for Object {
    fn from(reference: &ObjectReference) -> Self {
        let ObjectReference { api_version, kind, namespace, name, uid, field_path, .. } = reference.clone();
        Self { api_version, kind, namespace, name, uid, field_path }
    }
}

/// Whether it is a DNS subdomain, as names of Events are.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &[u8]| {
        let ends = [label.first(), label.last()];
        ends.iter().all(|end| end.is_some_and(|byte| is_inner(*byte)))
            && label.iter().all(|byte| is_inner(*byte) || *byte == b'-')
    };
    text.as_bytes().split(|byte| *byte == b'.').all(is_label)
}

/// Event times are whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Second).unwrap_or(at)
}

/// A token bucket.
struct Bucket {
    tokens: u32,
    refilled: Instant,
}

impl Bucket {
    fn full() -> Self {
        Self { tokens: BURST, refilled: Instant::now() }
    }

    async fn take(&mut self) {
        let earned = u32::try_from(self.refilled.elapsed().as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.refilled = Instant::now();
        }
        match self.tokens.checked_sub(1) {
            Some(tokens) => self.tokens = tokens,
            None => {
                sleep(REFILL).await;
                self.refilled = Instant::now();
            }
        }
    }
}
