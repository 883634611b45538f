//! Garbage collection by owner references: an object goes when none of its owners exists any more; an owner that is deleted in
//! the foreground waits for its dependents, one that orphans them lets them go first.
//!
//! That an owner is not in the snapshot proves nothing, since kinds are watched apart: the server is asked before anything is
//! deleted for it. Owners of kinds that are not served here count as existing, and an owner waits as long as objects that may be
//! its dependents cannot be read.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};
use stead_api::{
    item::object_key,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::write::Propagation;
use stead_model::ObjectKey;

use crate::{
    outcome::{First, Outcome, Verb, Write},
    selector::set_owners,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// How often an owner that waits looks whether what could not be read can be: nothing else tells it.
const DOUBT: SignedDuration = SignedDuration::from_secs(10);

/// What is known of one of an object's owners.
enum Owner {
    Lives,
    /// It is being deleted and waits for its dependents.
    Waits,
    /// It is not in the snapshot.
    Missing(First),
}

pub(crate) fn reconcile(snapshot: &Snapshot, kind: Kind, key: &ObjectKey, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(metadata) = snapshot.metadata(kind, key) else { return outcome };
    if metadata.deletion_timestamp.is_some() {
        let finalizer = [ORPHAN, FOREGROUND].into_iter().find(|name| has_finalizer(metadata, name));
        let Some(finalizer) = finalizer else { return outcome };
        if finalizer == ORPHAN {
            outcome.writes = orphan(snapshot, metadata);
        }
        if !outcome.writes.is_empty() || finalizer == FOREGROUND && blocking_dependents(snapshot, metadata) > 0 {
            return outcome;
        }
        match may_have_unknown_dependents(snapshot, &key.namespace) {
            true => outcome.look_again(now + DOUBT),
            false => outcome.writes.push(without_finalizer(kind, metadata, finalizer)),
        }
        return outcome;
    }
    outcome.writes.extend(attend(snapshot, kind, metadata));
    outcome
}

/// What an object that is not being deleted has to do about its owners.
fn attend(snapshot: &Snapshot, kind: Kind, metadata: &ObjectMeta) -> Option<Write> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let (mut living, mut waiting, mut missing) = (Vec::new(), 0, Vec::new());
    for reference in owners {
        match owner(snapshot, metadata, reference) {
            Owner::Lives => living.push(reference),
            Owner::Waits => waiting += 1,
            Owner::Missing(first) => missing.push(first),
        }
    }
    if owners.is_empty() || living.len() == owners.len() {
        return None;
    }
    if !living.is_empty() {
        // It goes on without the others.
        return Some(Write { first: missing, ..set_owners(kind, metadata, living.into_iter()) });
    }
    let blocking = blocking_dependents(snapshot, metadata) > 0;
    let propagation = match waiting > 0 && blocking {
        true => Propagation::Foreground,
        false if has_finalizer(metadata, ORPHAN) => Propagation::Orphan,
        false if has_finalizer(metadata, FOREGROUND) => Propagation::Foreground,
        false => Propagation::Background,
    };
    let verb = Verb::Delete {
        uid: metadata.uid.clone().unwrap_or_default(),
        grace_seconds: None,
        propagation: Some(propagation),
    };
    Some(Write { first: missing, ..Write::new(kind, object_key(metadata), verb) })
}

fn owner(snapshot: &Snapshot, dependent: &ObjectMeta, reference: &OwnerReference) -> Owner {
    let Some(kind) = Kind::from_reference(&reference.api_version, &reference.kind) else { return Owner::Lives };
    let namespace = if kind.namespaced() { dependent.namespace.as_deref().unwrap_or_default() } else { "" };
    let key = ObjectKey::new(namespace, reference.name.as_str());
    match snapshot.metadata(kind, &key) {
        Some(owner) if owner.uid.as_deref() == Some(&reference.uid) => {
            let is_waiting = owner.deletion_timestamp.is_some() && has_finalizer(owner, FOREGROUND);
            if is_waiting { Owner::Waits } else { Owner::Lives }
        }
        _ => Owner::Missing(First::EnsureGone { kind, key, uid: reference.uid.clone() }),
    }
}

/// Lets all dependents go.
fn orphan(snapshot: &Snapshot, metadata: &ObjectMeta) -> Vec<Write> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let freed = dependents(snapshot, uid).map(|(kind, dependent)| {
        let others = dependent.owner_references.iter().flatten().filter(|owner| owner.uid != uid);
        set_owners(kind, dependent, others)
    });
    freed.collect()
}

/// Whether there are objects where dependents can be, of which nobody knows whose they are: those of the owner's namespace, and
/// of all where it has none.
fn may_have_unknown_dependents(snapshot: &Snapshot, namespace: &str) -> bool {
    let mut unknown = Kind::ALL.iter().flat_map(|kind| snapshot.unknown(*kind));
    unknown.any(|key| namespace.is_empty() || &*key.namespace == namespace)
}

fn dependents<'a>(snapshot: &'a Snapshot, uid: &str) -> impl Iterator<Item = (Kind, &'a ObjectMeta)> {
    let term = term::owner(uid);
    Kind::ALL.iter().flat_map(move |kind| {
        let found = snapshot.metadata_with_term(*kind, &term).into_iter();
        found.map(|(_, metadata)| (*kind, metadata))
    })
}

/// Objects that depend on one or wait for it, as keys for this controller.
pub(crate) fn dependent_keys<'a>(
    snapshot: &'a Snapshot,
    uid: &str,
) -> impl Iterator<Item = (Kind, ObjectKey)> + use<'a> {
    let uid = uid.to_owned();
    dependents(snapshot, &uid).map(|(kind, metadata)| (kind, object_key(metadata))).collect::<Vec<_>>().into_iter()
}

fn blocking_dependents(snapshot: &Snapshot, metadata: &ObjectMeta) -> usize {
    let Some(uid) = metadata.uid.as_deref() else { return 0 };
    let blocks = |dependent: &ObjectMeta| {
        let mut owners = dependent.owner_references.iter().flatten();
        owners.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
    };
    dependents(snapshot, uid).filter(|(_, dependent)| blocks(dependent)).count()
}

pub(crate) fn has_finalizer(metadata: &ObjectMeta, name: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == name)
}

fn without_finalizer(kind: Kind, metadata: &ObjectMeta, name: &str) -> Write {
    let others: Vec<_> = metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != name).collect();
    let finalizers = if others.is_empty() { Value::Null } else { json!(others) };
    let patch = json!({ "metadata": {
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "finalizers": finalizers,
    }});
    Write::new(kind, object_key(metadata), Verb::Patch(patch))
}
