//! EndpointSlices: for each Service with a selector, its pods in slices of bounded size, per family and per set of ports.
//!
//! Which endpoints there are is [`wanted`]'s, how they are laid into slices so that few slices change is [`pack`]'s, which zones
//! and nodes are to use them [`hints`]'. Slices that carry another manager's label are left alone, and so is the endpoint of a pod
//! that exists and cannot be read.

mod hints;
pub(crate) mod pack;
mod wanted;
pub(crate) mod zones;

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServiceSpec},
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use stead_api::{
    kinds::endpoint_slice::SERVICE_NAME_LABEL,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::EventKind;
use stead_model::{Family, ObjectKey};

use self::pack::{Change, Packed, held, pack};
use crate::{
    namespaces,
    outcome::{Note, Outcome, Source, Verb, Write},
    selector, service_pods,
    trigger::{self, Written},
};

pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// `capacity`: the most endpoints in one slice.
pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, capacity: usize) -> Outcome {
    let mut outcome = Outcome::default();
    // Slices of a Service that is gone go with their owner reference.
    let Some(service) = snapshot.services.get(key) else { return outcome };
    let Some(spec) = service_pods::managed_spec(service) else { return outcome };
    let families = service_pods::families(spec);
    let mut existing = BTreeMap::<Family, Vec<&EndpointSlice>>::new();
    for slice in slices_managed_by(snapshot, key, MANAGER) {
        let family = families.iter().find(|family| family.to_string() == slice.address_type);
        match family {
            Some(family) if is_owned(slice, service) => existing.entry(*family).or_default().push(slice),
            _ => outcome.writes.push(Write::delete(Kind::EndpointSlice, &slice.metadata)),
        }
    }
    let mut before = hints::before(existing.values().flatten().flat_map(|slice| held(slice)));
    let owner = selector::owner_reference(Kind::Service, &service.metadata);
    let draft = Draft { service, key, labels: labels(service, spec, key), owner, existing: &existing };
    let chosen = service_pods::selected(snapshot, &key.namespace, spec);
    for family in families {
        let wish = wanted::wish(snapshot, &chosen, key, spec, family);
        if let Some(pod) = wish.homeless.first() {
            outcome.events.push(draft.skipped(pod, wish.homeless.len()));
        }
        let own = existing.get(&family).map(Vec::as_slice).unwrap_or_default();
        let (doubtful, own) = in_doubt(snapshot, &key.namespace, own);
        let mut packing = pack(&own, wish.groups, &draft.labels, capacity);
        let nodes = snapshot.nodes.values().map(|node| &**node);
        if let Some(remark) = hints::assign(hints::mode(service), &mut packing.slices, nodes, before) {
            let message = format!("{}, addressType: {family}", remark.message);
            outcome.events.push(Note::new(Source::EndpointSlices, &**service, remark.kind, remark.reason, message));
            before = hints::before(packing.slices.iter().flat_map(|slice| slice.endpoints.iter()));
        }
        let due: Vec<_> = packing.slices.into_iter().filter(Packed::is_due).collect();
        outcome.writes.extend(draft.writes(&chosen, family, due));
        outcome.writes.extend(packing.surplus.iter().map(|slice| Write::delete(Kind::EndpointSlice, &slice.metadata)));
        // Last, so that what they had besides is in other slices by then.
        outcome.writes.extend(doubtful.iter().filter_map(|slice| draft.only_unknown(snapshot, slice)));
    }
    // The garbage collector is about to delete slices of a Service that goes; new ones would only be in its way.
    if service.metadata.deletion_timestamp.is_some() || namespaces::is_ending(snapshot, &key.namespace) {
        outcome.writes.retain(|write| !matches!(write.verb, Verb::Create(_)));
    }
    outcome
}

/// Slices that have endpoints of pods of which nothing is known, and the others.
fn in_doubt<'a>(
    snapshot: &Snapshot,
    namespace: &str,
    slices: &[&'a EndpointSlice],
) -> (Vec<&'a EndpointSlice>, Vec<&'a EndpointSlice>) {
    if snapshot.pods.unknown().next().is_none() {
        return (Vec::new(), slices.to_vec());
    }
    slices.iter().partition(|slice| held(slice).iter().any(|endpoint| is_unknown(snapshot, namespace, endpoint)))
}

/// Whether the endpoint's pod exists and cannot be read: it stays as it was written.
fn is_unknown(snapshot: &Snapshot, namespace: &str, endpoint: &Endpoint) -> bool {
    let name = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
    name.is_some_and(|name| snapshot.pods.is_unknown(&ObjectKey::new(namespace, name)))
}

/// A Service's slices with this manager's label, by name, without those that are being deleted.
pub(crate) fn slices_managed_by<'a>(
    snapshot: &'a Snapshot,
    key: &ObjectKey,
    manager: &'static str,
) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
    let slices = snapshot.endpoint_slices.with_term(&term::service(&key.namespace, &key.name));
    slices
        .map(|(_, slice)| &**slice)
        .filter(move |slice| manager_of(slice) == Some(manager) && slice.metadata.deletion_timestamp.is_none())
}

pub(crate) fn manager_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(MANAGED_BY).map(String::as_str)
}

/// The prefix of the names of what stands for an object of this name.
pub(crate) fn name_prefix(name: &str) -> String {
    const LONGEST_NAME: usize = 253;
    if name.len() < LONGEST_NAME { format!("{name}-") } else { name.to_owned() }
}

/// A slice of an earlier Service of this name is not ours to fill.
fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    let mut owners = slice.metadata.owner_references.iter().flatten();
    owners.any(|owner| {
        Some(&owner.uid) == service.metadata.uid.as_ref() && owner.kind == "Service" && owner.api_version == "v1"
    })
}

fn labels(service: &Service, spec: &ServiceSpec, key: &ObjectKey) -> BTreeMap<String, String> {
    let mut labels = service_pods::inherited_labels(service, spec);
    labels.insert(SERVICE_NAME_LABEL.to_owned(), key.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// The pod behind an endpoint and whether it was written as ready.
fn said_of_pod(endpoint: &Endpoint) -> Option<(&str, bool)> {
    let name = endpoint.target_ref.as_ref()?.name.as_deref()?;
    Some((name, endpoint.conditions.as_ref()?.serving?))
}

/// What all slices of one Service have in common while they are written.
struct Draft<'a> {
    service: &'a Service,
    key: &'a ObjectKey,
    labels: BTreeMap<String, String>,
    owner: OwnerReference,
    existing: &'a BTreeMap<Family, Vec<&'a EndpointSlice>>,
}

impl Draft<'_> {
    fn writes<'p>(&self, chosen: &[&'p Pod], family: Family, due: Vec<Packed<'p>>) -> Vec<Write> {
        if due.is_empty() {
            return Vec::new();
        }
        let endpoints = self.existing.values().flatten().flat_map(|slice| held(slice));
        let written: Written<'_> = (!self.existing.is_empty()).then(|| endpoints.filter_map(said_of_pod).collect());
        let names: HashSet<&str> = due
            .iter()
            .flat_map(|packed| packed.endpoints.iter())
            .filter_map(said_of_pod)
            .map(|(name, _)| name)
            .collect();
        let pods =
            chosen.iter().copied().filter(|pod| names.contains(pod.metadata.name.as_deref().unwrap_or_default()));
        let trigger = trigger::oldest_unwritten(self.service, &written, pods);
        due.into_iter()
            .map(|packed| {
                let mut slice = self.slice(family, packed);
                trigger::annotate(&mut slice.metadata.annotations, trigger);
                self.write(&slice)
            })
            .collect()
    }

    fn slice(&self, family: Family, packed: Packed<'_>) -> EndpointSlice {
        let mut metadata = match packed.over {
            Some(slice) => slice.metadata.clone(),
            None => ObjectMeta {
                namespace: Some(self.key.namespace.to_string()),
                generate_name: Some(name_prefix(&self.key.name)),
                ..ObjectMeta::default()
            },
        };
        if packed.change == Change::Replaced {
            metadata.annotations = None;
        }
        metadata.labels = Some(self.labels.clone());
        metadata.owner_references = Some(vec![self.owner.clone()]);
        EndpointSlice {
            metadata,
            address_type: family.to_string(),
            ports: Some(packed.ports.into_owned()),
            endpoints: Some(packed.endpoints.into_owned()),
        }
    }

    /// Leaves a slice the endpoints of which nothing is known; `None` where it has no others.
    fn only_unknown(&self, snapshot: &Snapshot, slice: &EndpointSlice) -> Option<Write> {
        let kept = held(slice).iter().filter(|endpoint| is_unknown(snapshot, &self.key.namespace, endpoint));
        let kept: Vec<Endpoint> = kept.cloned().collect();
        (kept.len() < held(slice).len()).then(|| self.write(&EndpointSlice { endpoints: Some(kept), ..slice.clone() }))
    }

    fn write(&self, slice: &EndpointSlice) -> Write {
        let write = match slice.metadata.name {
            Some(_) => Write::update(Kind::EndpointSlice, slice),
            None => Write::create(Kind::EndpointSlice, slice),
        };
        Write { on_failure: Some(self.failed("{error}")), ..write }
    }

    fn failed(&self, why: &str) -> Note {
        let message = format!("Error updating Endpoint Slices for Service {}: {why}", self.key);
        Note::new(Source::EndpointSlices, self.service, EventKind::Warning, "FailedToUpdateEndpointSlices", message)
    }

    /// One pod stands for all: an Event's text is short.
    fn skipped(&self, pod: &Pod, count: usize) -> Note {
        let (name, node) = (pod.metadata.name.as_deref(), crate::pods::node(pod));
        let (name, node) = (name.unwrap_or_default(), node.unwrap_or_default());
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        self.failed(&format!("skipping Pod {name} for Service {}: Node {node} Not Found{more}", self.key))
    }
}
