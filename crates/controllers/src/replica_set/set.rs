//! A ReplicaSet or a ReplicationController, seen as the same thing: a selector, a template, a number.
//!
//! The older kind has a map of labels where the newer has a label selector, and says the rest alike; what is decided here is
//! written for the newer.

use std::borrow::Cow;

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::{
            ObjectReference, Pod, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use stead_api::snapshot::{Kind, Snapshot};
use stead_client::{EventKind, reference};
use stead_model::ObjectKey;

use crate::{
    outcome::{Note, Source},
    selector::{matches, owner_reference},
    work::Work,
};

/// One of the two kinds, as stored.
#[derive(Clone, Copy)]
enum Stored<'a> {
    ReplicaSet(&'a ReplicaSet),
    Controller(&'a ReplicationController),
}

/// What keeps a number of equal pods.
pub(super) struct Set<'a> {
    stored: Stored<'a>,
    pub(super) metadata: &'a ObjectMeta,
    pub(super) spec: Cow<'a, ReplicaSetSpec>,
    /// As last written; a controller's without its conditions, which are kept apart.
    pub(super) status: Option<Cow<'a, ReplicaSetStatus>>,
}

impl<'a> Set<'a> {
    /// `None` also for an object without a spec: there is nothing to keep.
    pub(super) fn replica_set(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Self> {
        let set = snapshot.replica_sets.get(key)?;
        Some(Self {
            stored: Stored::ReplicaSet(set),
            metadata: &set.metadata,
            spec: Cow::Borrowed(set.spec.as_ref()?),
            status: set.status.as_ref().map(Cow::Borrowed),
        })
    }

    /// As [`replica_set`](Self::replica_set), for the older kind.
    pub(super) fn controller(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Self> {
        let controller = snapshot.replication_controllers.get(key)?;
        Some(Self {
            stored: Stored::Controller(controller),
            metadata: &controller.metadata,
            spec: Cow::Owned(spec_of(controller.spec.as_ref()?)),
            status: controller.status.as_ref().map(|status| Cow::Owned(status_of(status))),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self.stored {
            Stored::ReplicaSet(_) => Kind::ReplicaSet,
            Stored::Controller(_) => Kind::ReplicationController,
        }
    }

    /// The set as the owner of its pods.
    pub(super) fn owner(&self) -> OwnerReference {
        owner_reference(self.kind(), self.metadata)
    }

    pub(super) fn note(&self, kind: EventKind, reason: &'static str, message: &str) -> Note {
        let (source, object): (Source, ObjectReference) = match self.stored {
            Stored::ReplicaSet(set) => (Source::ReplicaSet, reference(set)),
            Stored::Controller(controller) => (Source::ReplicationController, reference(controller)),
        };
        Note { source, object, kind, reason, message: message.to_owned() }
    }
}

fn spec_of(spec: &ReplicationControllerSpec) -> ReplicaSetSpec {
    ReplicaSetSpec {
        min_ready_seconds: spec.min_ready_seconds,
        replicas: spec.replicas,
        selector: LabelSelector { match_labels: spec.selector.clone(), match_expressions: None },
        template: spec.template.clone(),
    }
}

fn status_of(status: &ReplicationControllerStatus) -> ReplicaSetStatus {
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        conditions: None,
        terminating_replicas: None,
    }
}

/// The looks that are due at what may choose a pod that nobody controls.
pub(crate) fn choosing(snapshot: &Snapshot, pod: &Pod) -> Vec<Work> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = &pod.metadata.labels;
    let sets = snapshot.replica_sets.in_namespace(namespace);
    let sets = sets.filter(|(_, set)| set.spec.as_ref().is_some_and(|spec| matches(&spec.selector, labels)));
    let controllers = snapshot.replication_controllers.in_namespace(namespace).filter(|(_, controller)| {
        let selector = controller.spec.as_ref().map(|spec| spec.selector.clone());
        selector.is_some_and(|pairs| matches(&LabelSelector { match_labels: pairs, match_expressions: None }, labels))
    });
    let sets = sets.map(|(key, _)| Work::ReplicaSet(key.clone()));
    sets.chain(controllers.map(|(key, _)| Work::ReplicationController(key.clone()))).collect()
}
