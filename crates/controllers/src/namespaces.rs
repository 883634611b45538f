//! Namespaces: each has a ServiceAccount `default` and the cluster's CA as ConfigMap `kube-root-ca.crt`; one that is being
//! deleted loses all it holds, and then itself.
//!
//! Pods end with the grace they ask for; the namespace waits for them. Refusing new objects meanwhile is the API server's.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use stead_api::{
    item::object_key,
    snapshot::{Kind, Snapshot},
};
use stead_model::ObjectKey;

use crate::outcome::{First, Outcome, Verb, Write, json};

pub(crate) const SERVICE_ACCOUNT: &str = "default";
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_FIELD: &str = "ca.crt";

/// `ca`: the cluster's CA certificates in PEM; where it is empty no ConfigMap is made.
pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, ca: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(namespace) = snapshot.namespaces.get(key) else { return outcome };
    if namespace.metadata.deletion_timestamp.is_some() {
        outcome.writes = empty(snapshot, namespace);
        return outcome;
    }
    let account = ObjectKey::new(&*key.name, SERVICE_ACCOUNT);
    if snapshot.service_accounts.get(&account).is_none() {
        let account = ServiceAccount { metadata: named(&account), ..ServiceAccount::default() };
        outcome.writes.push(Write::create(Kind::ServiceAccount, &account));
    }
    if !ca.is_empty() {
        outcome.writes.extend(root_ca(snapshot, &ObjectKey::new(&*key.name, ROOT_CA), ca));
    }
    outcome
}

/// Whether a namespace is being deleted: creating in it only fails.
pub(crate) fn is_ending(snapshot: &Snapshot, name: &str) -> bool {
    let namespace = snapshot.namespaces.get(&ObjectKey::cluster(name));
    namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
}

fn root_ca(snapshot: &Snapshot, key: &ObjectKey, ca: &str) -> Option<Write> {
    let data = Some(BTreeMap::from([(ROOT_CA_FIELD.to_owned(), ca.to_owned())]));
    match snapshot.config_maps.get(key) {
        None => {
            let annotations = BTreeMap::from([(
                "kubernetes.io/description".to_owned(),
                "The certificates to trust when talking to this cluster's API server.".to_owned(),
            )]);
            let metadata = ObjectMeta { annotations: Some(annotations), ..named(key) };
            Some(Write::create(Kind::ConfigMap, &ConfigMap { metadata, data, ..ConfigMap::default() }))
        }
        Some(current) if current.data == data => None,
        Some(current) => Some(Write::update(Kind::ConfigMap, &ConfigMap { data, ..(**current).clone() })),
    }
}

fn named(key: &ObjectKey) -> ObjectMeta {
    ObjectMeta { namespace: Some(key.namespace.to_string()), name: Some(key.name.to_string()), ..ObjectMeta::default() }
}

/// Deletes what is left, or, when nothing is, lets the namespace go.
fn empty(snapshot: &Snapshot, namespace: &Namespace) -> Vec<Write> {
    let key = object_key(&namespace.metadata);
    let (mut is_empty, mut writes) = (true, Vec::new());
    for kind in Kind::ALL.iter().filter(|kind| kind.namespaced()) {
        for (_, metadata) in snapshot.metadata_in_namespace(*kind, &key.name) {
            is_empty = false;
            if metadata.deletion_timestamp.is_none() {
                writes.push(Write::delete(*kind, metadata));
            }
        }
    }
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    if is_empty && finalizers.count() > 0 {
        let mut namespace = namespace.clone();
        namespace.spec.get_or_insert_default().finalizers = None;
        // What controllers do not watch: too many, or not theirs to see.
        let path = |plural: &str| First::DeleteCollection { path: format!("/api/v1/namespaces/{}/{plural}", key.name) };
        writes.push(Write {
            first: vec![path("events"), path("secrets")],
            ..Write::new(Kind::Namespace, key, Verb::Finalize(json(&namespace)))
        });
    }
    writes
}
