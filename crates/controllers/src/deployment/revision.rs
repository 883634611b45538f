//! Names, labels and annotations that tie a Deployment's ReplicaSets to its templates and to their history, with upstream's
//! names, so that `kubectl rollout history` and `undo` read them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;
use stead_api::{item::object_key, snapshot::Kind};

use crate::{
    outcome::{Verb, Write, json as to_json},
    selector::owner_reference,
};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not take over.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
];
/// Letters and digits of generated names: no vowels, nothing that looks like another.
const SAFE_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

type Annotations = BTreeMap<String, String>;

/// Whether a ReplicaSet was made from this template.
pub(super) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut own) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    if let Some(labels) = own.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    own == *template
}

/// Short text that differs between templates: FNV-1a over the template and the number of collisions, in safe letters.
fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let text = to_json(template).to_string();
    let bytes = text.bytes().chain(collisions.to_le_bytes().into_iter().filter(|_| collisions != 0));
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let digits = hash.to_string();
    digits.bytes().map(|digit| char::from(SAFE_LETTERS[usize::from(digit) % SAFE_LETTERS.len()])).collect()
}

/// The ReplicaSet of the Deployment's template, for one that does not exist yet.
pub(super) fn new_set(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    old: &[&ReplicaSet],
    replicas: i32,
    most: i32,
) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or_default();
    let hash = hash(&spec.template, collisions);
    let label = |labels: &mut Option<BTreeMap<String, String>>| {
        labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    };
    let (mut template, mut selector) = (spec.template.clone(), spec.selector.clone());
    label(&mut template.metadata.get_or_insert_default().labels);
    label(&mut selector.match_labels);
    let mut annotations = taken_over(deployment);
    annotations.insert(REVISION.to_owned(), next_revision(old).to_string());
    annotations.extend(scale_marks(spec.replicas.unwrap_or(1), most).into_iter().map(|(k, v)| (k.to_owned(), v)));
    ReplicaSet {
        metadata: ObjectMeta {
            namespace: deployment.metadata.namespace.clone(),
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![owner_reference(Kind::Deployment, &deployment.metadata)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Makes the current ReplicaSet carry the Deployment's annotations, the highest revision and `minReadySeconds`.
pub(super) fn refresh_set(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    new: &ReplicaSet,
    old: &[&ReplicaSet],
) -> Option<Write> {
    let mut annotations = taken_over(deployment);
    let (current, next) = (of(&new.metadata), next_revision(old));
    if current < next {
        annotations.insert(REVISION.to_owned(), next.to_string());
        if current > 0 {
            let history = annotation(&new.metadata, HISTORY).map(|history| format!("{history},{current}"));
            annotations.insert(HISTORY.to_owned(), history.unwrap_or_else(|| current.to_string()));
        }
    }
    annotations.retain(|name, value| annotation(&new.metadata, name) != Some(value));
    let min_ready = |seconds: Option<i32>| seconds.unwrap_or_default();
    let wanted = min_ready(spec.min_ready_seconds);
    let has_min_ready = min_ready(new.spec.as_ref().and_then(|spec| spec.min_ready_seconds)) == wanted;
    if annotations.is_empty() && has_min_ready {
        return None;
    }
    let mut patch = json!({
        "metadata": { "resourceVersion": new.metadata.resource_version, "annotations": annotations },
    });
    if !has_min_ready {
        patch["spec"] = json!({ "minReadySeconds": wanted });
    }
    Some(Write::new(Kind::ReplicaSet, object_key(&new.metadata), Verb::Patch(patch)))
}

/// Writes the current ReplicaSet's revision on the Deployment.
pub(super) fn refresh_deployment(deployment: &Deployment, new: &ReplicaSet) -> Option<Write> {
    let revision = annotation(&new.metadata, REVISION)?;
    if annotation(&deployment.metadata, REVISION) == Some(revision) {
        return None;
    }
    let patch = json!({ "metadata": { "annotations": { REVISION: revision } } });
    Some(Write::new(Kind::Deployment, object_key(&deployment.metadata), Verb::Patch(patch)))
}

/// Annotations that say for which total a ReplicaSet was scaled.
pub(super) fn scale_marks(wanted: i32, most: i32) -> BTreeMap<&'static str, String> {
    [(DESIRED, wanted.to_string()), (MOST, most.to_string())].into()
}

pub(super) fn desired_replicas(set: &ReplicaSet) -> Option<i32> {
    annotation(&set.metadata, DESIRED)?.parse().ok()
}

pub(super) fn most_replicas(set: &ReplicaSet) -> Option<i32> {
    annotation(&set.metadata, MOST)?.parse().ok()
}

/// The revision that metadata carry; zero for none.
pub(super) fn of(metadata: &ObjectMeta) -> i64 {
    annotation(metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(name)
}

fn next_revision(old: &[&ReplicaSet]) -> i64 {
    old.iter().map(|set| of(&set.metadata)).max().unwrap_or_default() + 1
}

fn taken_over(deployment: &Deployment) -> Annotations {
    let annotations = deployment.metadata.annotations.iter().flatten();
    let taken = annotations.filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
    taken.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_names_and_differ_with_template_and_collisions() {
        let template = |image: &str| -> PodTemplateSpec {
            serde_json::from_value(json!({ "spec": { "containers": [{ "name": "a", "image": image }] } })).unwrap()
        };
        let all = [hash(&template("a:1"), 0), hash(&template("a:2"), 0), hash(&template("a:1"), 1)];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert!(all.iter().all(|hash| hash.len() <= 10 && hash.bytes().all(|byte| SAFE_LETTERS.contains(&byte))));
        assert_eq!(hash(&template("a:1"), 0), all[0]);
    }
}
