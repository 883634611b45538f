//! What a controller wants done, as a value: writes, events, and when to look again. It can be printed, compared and simulated;
//! only the shell carries it out.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::{Metadata, api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Serialize;
use serde_json::Value;
use stead_api::{item::object_key, snapshot::Kind};
use stead_client::{EventKind, write::Propagation};
use stead_model::ObjectKey;

/// The result of one look at one key. Empty when nothing is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Independent of each other, except that writes to one object happen in this order.
    pub writes: Vec<Write>,
    pub events: Vec<Note>,
    /// When to look again although nothing will have changed.
    pub requeue_at: Option<Timestamp>,
}

/// One request, and what to record about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub kind: Kind,
    /// The object written. For a creation by `generateName` the name is empty.
    pub key: ObjectKey,
    pub verb: Verb,
    /// What must hold, or be done, before; all of it.
    pub first: Vec<First>,
    /// `{name}` in the message is the name the object got.
    pub on_success: Option<Note>,
    /// `{error}` in the message is the server's own.
    pub on_failure: Option<Note>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    Create(Value),
    /// Replaces the object, which must still be at the revision in the value.
    Update(Value),
    /// Merge patch of the object.
    Patch(Value),
    /// Merge patch of what is below `status` and, where given, at this revision only.
    PatchStatus {
        status: Value,
        revision: Option<String>,
    },
    Delete {
        uid: String,
        grace_seconds: Option<u32>,
        propagation: Option<Propagation>,
    },
    /// `pods/binding` to a node.
    Bind {
        uid: String,
        node: String,
    },
    /// `namespaces/finalize`: the object without its finalizers.
    Finalize(Value),
}

/// What the snapshot alone cannot vouch for.
#[derive(Clone, Debug, PartialEq)]
pub enum First {
    /// Ask the server whether this object with this uid (any, where empty) is really gone; if not, leave the write out.
    EnsureGone { kind: Kind, key: ObjectKey, uid: String },
    /// Delete a collection that no snapshot holds, such as a namespace's Events.
    DeleteCollection { path: String },
}

/// An Event to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub source: Source,
    pub object: ObjectReference,
    pub kind: EventKind,
    pub reason: &'static str,
    pub message: String,
}

/// Who says it: the component's name in the Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Deployment,
    ReplicaSet,
    ReplicationController,
    Endpoints,
    EndpointSlices,
    EndpointMirror,
    Scheduler,
    Nodes,
}

impl Source {
    pub const ALL: [Self; 8] = [
        Self::Deployment,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Endpoints,
        Self::EndpointSlices,
        Self::EndpointMirror,
        Self::Scheduler,
        Self::Nodes,
    ];

    pub const fn component(self) -> &'static str {
        match self {
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replication-controller",
            Self::Endpoints => "endpoint-controller",
            Self::EndpointSlices => "endpoint-slice-controller",
            Self::EndpointMirror => "endpoint-slice-mirroring-controller",
            Self::Scheduler => "default-scheduler",
            Self::Nodes => "node-controller",
        }
    }
}

impl Note {
    pub(crate) fn new<K: Metadata<Ty = ObjectMeta>>(
        source: Source,
        object: &K,
        kind: EventKind,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { source, object: stead_client::reference(object), kind, reason, message: message.into() }
    }
}

impl Outcome {
    /// Look again at the earlier of `at` and what was wanted before.
    pub(crate) fn look_again(&mut self, at: Timestamp) {
        self.requeue_at = Some(self.requeue_at.map_or(at, |before| before.min(at)));
    }
}

impl Write {
    pub(crate) fn new(kind: Kind, key: ObjectKey, verb: Verb) -> Self {
        Self { kind, key, verb, first: Vec::new(), on_success: None, on_failure: None }
    }

    /// Creates `object`; its metadata hold the namespace and a name or a `generateName`.
    pub(crate) fn create<K: Metadata<Ty = ObjectMeta> + Serialize>(kind: Kind, object: &K) -> Self {
        Self::new(kind, object_key(object.metadata()), Verb::Create(json(object)))
    }

    pub(crate) fn update<K: Metadata<Ty = ObjectMeta> + Serialize>(kind: Kind, object: &K) -> Self {
        Self::new(kind, object_key(object.metadata()), Verb::Update(json(object)))
    }

    /// Deletes exactly this object, in the background and with its own grace.
    pub(crate) fn delete(kind: Kind, metadata: &ObjectMeta) -> Self {
        let uid = metadata.uid.clone().unwrap_or_default();
        Self::new(kind, object_key(metadata), Verb::Delete { uid, grace_seconds: None, propagation: None })
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("API objects have text keys only")
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, key) = (self.kind.name(), &self.key);
        match &self.verb {
            Verb::Create(object) => write!(f, "create {kind} {key} {object}"),
            Verb::Update(object) => write!(f, "update {kind} {key} {object}"),
            Verb::Patch(patch) => write!(f, "patch {kind} {key} {patch}"),
            Verb::PatchStatus { status, .. } => write!(f, "status {kind} {key} {status}"),
            Verb::Delete { grace_seconds, propagation, .. } => {
                write!(f, "delete {kind} {key}")?;
                grace_seconds.iter().try_for_each(|seconds| write!(f, " grace={seconds}"))?;
                propagation.iter().try_for_each(|propagation| write!(f, " {propagation:?}"))
            }
            Verb::Bind { node, .. } => write!(f, "bind {kind} {key} {node}"),
            Verb::Finalize(_) => write!(f, "finalize {kind} {key}"),
        }?;
        self.first.iter().try_for_each(|first| match first {
            First::EnsureGone { kind, key, .. } => write!(f, " once {} {key} is gone", kind.name()),
            First::DeleteCollection { path } => write!(f, " after {path}"),
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, kind, reason, message, .. } = self;
        let (object, name) = (object.kind.as_deref(), object.name.as_deref());
        write!(f, "event {kind:?} {} {} {reason}: {message}", object.unwrap_or_default(), name.unwrap_or_default())
    }
}
