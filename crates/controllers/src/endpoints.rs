//! Endpoints: for each Service with a selector, one object of the Service's name with the addresses of its pods in the
//! Service's first family, ready ones apart from others.
//!
//! Which ports go together with which addresses is [`subsets`]'. It writes only what differs. Endpoints made by hand, for Services
//! without a selector, are nobody's here; `endpoint_mirror` reads them.

mod subsets;

use std::collections::HashMap;

use k8s_openapi::{
    api::core::v1::{EndpointSubset, Endpoints, Service, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use stead_api::snapshot::{Kind, Snapshot};
use stead_client::EventKind;
use stead_model::ObjectKey;

use crate::{
    namespaces,
    outcome::{Note, Outcome, Source, Verb, Write},
    service_pods, trigger,
};

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Whoever holds a leader election here is not done with the object.
pub(crate) const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey) -> Outcome {
    let current = snapshot.endpoints.get(key).map(|endpoints| &**endpoints);
    let mut outcome = Outcome::default();
    let Some(service) = snapshot.services.get(key) else {
        outcome.writes.extend(current.and_then(delete));
        return outcome;
    };
    let Some(spec) = service_pods::managed_spec(service) else { return outcome };
    // Of a pod that exists and cannot be read nobody knows how it is: they stay as they were written.
    let is_unknown = |name: &&str| snapshot.pods.is_unknown(&ObjectKey::new(&*key.namespace, *name));
    if snapshot.pods.unknown().next().is_some() && current.is_some_and(|now| said_of_pods(now).keys().any(is_unknown)) {
        return outcome;
    }
    let chosen = service_pods::selected(snapshot, &key.namespace, spec);
    let subsets = subsets::subsets(&chosen, key, spec);
    let mut wanted = object(key, service, spec, subsets, current);
    if current == Some(&wanted) {
        return outcome;
    }
    let trigger = trigger::oldest_unwritten(service, &current.map(said_of_pods), chosen);
    trigger::annotate(&mut wanted.metadata.annotations, trigger);
    let failed = |reason, message| Some(Note::new(Source::Endpoints, &wanted, EventKind::Warning, reason, message));
    outcome.writes.push(match current {
        None => Write {
            on_failure: failed(
                "FailedToCreateEndpoint",
                format!("Failed to create endpoint for service {key}: {{error}}"),
            ),
            ..Write::create(Kind::Endpoints, &wanted)
        },
        Some(_) => Write {
            on_failure: failed("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {{error}}")),
            ..Write::update(Kind::Endpoints, &wanted)
        },
    });
    if service.metadata.deletion_timestamp.is_some() || namespaces::is_ending(snapshot, &key.namespace) {
        outcome.writes.retain(|write| !matches!(write.verb, Verb::Create(_)));
    }
    outcome
}

fn delete(endpoints: &Endpoints) -> Option<Write> {
    let is_held = endpoints.metadata.annotations.iter().flatten().any(|(name, _)| name == LEADER);
    let is_going = endpoints.metadata.deletion_timestamp.is_some();
    (!is_held && !is_going).then(|| Write::delete(Kind::Endpoints, &endpoints.metadata))
}

/// The whole object as it is to be, on top of what is there. The trigger time stays as it is.
fn object(
    key: &ObjectKey,
    service: &Service,
    spec: &ServiceSpec,
    (subsets, fit): (Vec<EndpointSubset>, subsets::Fit),
    current: Option<&Endpoints>,
) -> Endpoints {
    let mut metadata = current.map(|endpoints| endpoints.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        ..ObjectMeta::default()
    });
    let mut labels = service_pods::inherited_labels(service, spec);
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    match fit {
        subsets::Fit::Truncated => annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned()),
        subsets::Fit::Whole => annotations.remove(OVER_CAPACITY),
    };
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

/// The pods behind the addresses, and whether they stand among the ready ones.
fn said_of_pods(endpoints: &Endpoints) -> HashMap<&str, bool> {
    let subsets = || endpoints.subsets.iter().flatten();
    let ready = subsets().flat_map(|subset| subset.addresses.iter().flatten()).map(|address| (address, true));
    let others = subsets().flat_map(|subset| subset.not_ready_addresses.iter().flatten());
    let all = ready.chain(others.map(|address| (address, false)));
    all.filter_map(|(address, is_ready)| Some((address.target_ref.as_ref()?.name.as_deref()?, is_ready))).collect()
}
