//! Label selectors of workloads, and the claims they lead to: which objects a workload owns, adopts or lets go.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use serde_json::json;
use stead_api::{item::object_key, snapshot::Kind};

use crate::{
    outcome::{Verb, Write, json as to_json},
    pods,
};

type Labels = Option<BTreeMap<String, String>>;

/// Whether a selector that is not empty chooses these labels. An empty one chooses nothing here: no workload may have it.
pub(crate) fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let (pairs, requirements) = (&selector.match_labels, &selector.match_expressions);
    if pairs.iter().flatten().next().is_none() && requirements.iter().flatten().next().is_none() {
        return false;
    }
    pairs.as_ref().is_none_or(|pairs| pods::has_pairs(labels, pairs))
        && requirements.iter().flatten().all(|requirement| meets(requirement, labels))
}

fn meets(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.as_ref().and_then(|labels| labels.get(&requirement.key));
    let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|each| each == value));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// What a workload does about one object that it might own.
pub(crate) enum Claim {
    /// It is the workload's and chosen by its selector.
    Owned,
    /// It becomes the workload's, or no longer is; the write says so to the server.
    Changed(Box<Write>),
    /// It is none of its business.
    Foreign,
}

/// Settles one object. `owner` is the workload as an owner reference; `may_adopt` holds unless the workload is being deleted.
pub(crate) fn claim(
    kind: Kind,
    metadata: &ObjectMeta,
    selector: &LabelSelector,
    owner: &OwnerReference,
    adoption: Adoption,
) -> Claim {
    let chosen = matches(selector, &metadata.labels);
    match pods::controller(metadata) {
        Some(current) if current.uid == owner.uid => {
            if chosen {
                return Claim::Owned;
            }
            match adoption {
                Adoption::Allowed => {
                    let rest = metadata.owner_references.iter().flatten().filter(|each| each.uid != owner.uid);
                    Claim::Changed(Box::new(set_owners(kind, metadata, rest)))
                }
                Adoption::Ended => Claim::Foreign,
            }
        }
        Some(_) => Claim::Foreign,
        None if chosen && adoption == Adoption::Allowed && metadata.deletion_timestamp.is_none() => {
            let all = metadata.owner_references.iter().flatten().chain([owner]);
            Claim::Changed(Box::new(set_owners(kind, metadata, all)))
        }
        None => Claim::Foreign,
    }
}

/// Whether a workload still takes in and lets go: not while it is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adoption {
    Allowed,
    Ended,
}

impl Adoption {
    pub(crate) fn of(workload: &ObjectMeta) -> Self {
        if workload.deletion_timestamp.is_none() { Self::Allowed } else { Self::Ended }
    }
}

/// Replaces an object's owner references, at the revision seen.
pub(crate) fn set_owners<'a>(
    kind: Kind,
    metadata: &ObjectMeta,
    owners: impl Iterator<Item = &'a OwnerReference>,
) -> Write {
    let owners = owners.map(to_json).collect::<Vec<_>>();
    let patch = json!({ "metadata": {
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "ownerReferences": if owners.is_empty() { serde_json::Value::Null } else { owners.into() },
    }});
    Write::new(kind, object_key(metadata), Verb::Patch(patch))
}

/// A workload as the controlling owner of what it makes.
pub(crate) fn owner_reference(kind: Kind, metadata: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version().to_owned(),
        kind: kind.name().to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
