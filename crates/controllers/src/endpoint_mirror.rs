//! The mirror of Endpoints made by hand: for a Service without a selector the addresses of its Endpoints stand in EndpointSlices
//! too, which is all that proxies and DNS read.
//!
//! One slice for each set of ports and family. Endpoints that say so (`skip-mirror`), that hold a leader election, or whose Service has
//! a selector or is gone have none; slices with another manager's label are left alone.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::{
        core::v1::{self, EndpointAddress, Endpoints},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use stead_api::{
    kinds::endpoint_slice::SERVICE_NAME_LABEL,
    snapshot::{Kind, Snapshot},
};
use stead_client::EventKind;
use stead_model::{Family, ObjectKey};

use crate::{
    endpoint_slices::{MANAGED_BY, manager_of, name_prefix, pack::have_same_ports, slices_managed_by},
    endpoints::LEADER,
    namespaces,
    outcome::{Note, Outcome, Source, Verb, Write},
    selector,
    trigger::is_trigger,
};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses of one subset that are mirrored, and endpoints in one slice.
const CAPACITY: usize = 1000;

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey) -> Outcome {
    let mut outcome = Outcome::default();
    let existing: Vec<&EndpointSlice> = slices_managed_by(snapshot, key, MANAGER).collect();
    let Some(endpoints) = mirrored(snapshot, key) else {
        outcome.writes.extend(existing.iter().map(|slice| Write::delete(Kind::EndpointSlice, &slice.metadata)));
        return outcome;
    };
    let (groups, left_out) = groups(endpoints);
    outcome.events.extend(left_out.notes(endpoints));
    let (mut spare, mut created) = (existing, Vec::new());
    let draft = Draft::of(endpoints, key);
    for group in groups {
        let is_its = |slice: &&EndpointSlice| {
            slice.address_type == group.family.to_string()
                && have_same_ports(slice.ports.as_deref().unwrap_or_default(), &group.ports)
        };
        match spare.iter().position(is_its) {
            Some(place) => outcome.writes.extend(draft.maybe_update(spare.remove(place), group)),
            None => created.push(group),
        }
    }
    for group in created {
        let reusable = spare.iter().position(|slice| slice.address_type == group.family.to_string());
        match reusable {
            Some(place) => outcome.writes.extend(draft.maybe_update(spare.remove(place), group)),
            None => outcome.writes.push(draft.create(group)),
        }
    }
    outcome.writes.extend(spare.iter().map(|slice| Write::delete(Kind::EndpointSlice, &slice.metadata)));
    if endpoints.metadata.deletion_timestamp.is_some() || namespaces::is_ending(snapshot, &key.namespace) {
        outcome.writes.retain(|write| !matches!(write.verb, Verb::Create(_)));
    }
    outcome
}

/// Whether a slice says that it is this controller's.
pub(crate) fn is_managed(slice: &EndpointSlice) -> bool {
    manager_of(slice) == Some(MANAGER)
}

fn mirrored<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<&'a Endpoints> {
    let endpoints = snapshot.endpoints.get(key)?;
    let service = snapshot.services.get(key)?;
    let has = |map: &Option<BTreeMap<String, String>>, name: &str, value: Option<&str>| {
        let found = map.as_ref().and_then(|map| map.get(name));
        found.is_some_and(|found| value.is_none_or(|value| value == found))
    };
    let is_left_alone = has(&endpoints.metadata.labels, SKIP, Some("true"))
        || has(&endpoints.metadata.annotations, LEADER, None)
        || service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    (!is_left_alone).then_some(endpoints)
}

/// What becomes one slice.
struct Group {
    family: Family,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

/// How many addresses are not mirrored.
#[derive(Default)]
struct LeftOut {
    invalid: usize,
    all: usize,
}

impl LeftOut {
    fn notes(&self, endpoints: &Endpoints) -> Vec<Note> {
        let note = |reason, message| Note::new(Source::EndpointMirror, endpoints, EventKind::Warning, reason, message);
        let mut notes = Vec::new();
        if self.invalid > 0 {
            let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", self.invalid);
            notes.push(note("InvalidIPAddress", message));
        }
        if self.all > self.invalid {
            let message = format!(
                "A max of {CAPACITY} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                self.all
            );
            notes.push(note("TooManyAddressesToMirror", message));
        }
        notes
    }
}

fn groups(endpoints: &Endpoints) -> (Vec<Group>, LeftOut) {
    let (mut groups, mut left_out) = (Vec::<Group>::new(), LeftOut::default());
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let addresses = ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false)));
        let mut mirrored = 0;
        for (address, is_ready) in addresses {
            if mirrored >= CAPACITY {
                left_out.all += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                left_out.invalid += 1;
                left_out.all += 1;
                continue;
            };
            mirrored += 1;
            let (family, endpoint) = (Family::of(ip), endpoint(address, ip, is_ready));
            let known = groups.iter_mut().find(|group| group.family == family && have_same_ports(&group.ports, &ports));
            match known {
                Some(group) => group.add(endpoint),
                None => groups.push(Group { family, ports: ports.clone(), endpoints: vec![endpoint] }),
            }
        }
    }
    (groups, left_out)
}

impl Group {
    /// Two subsets may have the same ports, and name one address twice.
    fn add(&mut self, endpoint: Endpoint) {
        let is_same = |known: &Endpoint| {
            known.addresses == endpoint.addresses
                && known.hostname == endpoint.hostname
                && known.target_ref == endpoint.target_ref
        };
        match self.endpoints.iter().position(is_same) {
            Some(place) => self.endpoints[place] = endpoint,
            None if self.endpoints.len() < CAPACITY => self.endpoints.push(endpoint),
            None => {}
        }
    }
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(is_ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn port(port: &v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

/// What all slices of one Endpoints object have in common.
struct Draft<'a> {
    endpoints: &'a Endpoints,
    owner: OwnerReference,
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl<'a> Draft<'a> {
    fn of(endpoints: &'a Endpoints, key: &ObjectKey) -> Self {
        let metadata = &endpoints.metadata;
        let mut labels = metadata.labels.clone().unwrap_or_default();
        labels.insert(SERVICE_NAME_LABEL.to_owned(), key.name.to_string());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        let mut annotations = metadata.annotations.clone().unwrap_or_default();
        annotations.retain(|name, _| name != LAST_APPLIED && !is_trigger(name));
        let annotations = (!annotations.is_empty()).then_some(annotations);
        Self { endpoints, owner: selector::owner_reference(Kind::Endpoints, metadata), labels, annotations }
    }

    fn create(&self, group: Group) -> Write {
        let name = self.endpoints.metadata.name.as_deref().unwrap_or_default();
        let metadata = ObjectMeta {
            namespace: self.endpoints.metadata.namespace.clone(),
            generate_name: Some(name_prefix(name)),
            ..ObjectMeta::default()
        };
        Write::create(Kind::EndpointSlice, &self.slice(metadata, group))
    }

    fn maybe_update(&self, slice: &EndpointSlice, group: Group) -> Option<Write> {
        let wanted = self.slice(slice.metadata.clone(), group);
        let is_same = wanted.metadata == slice.metadata
            && wanted.endpoints.as_deref() == Some(slice.endpoints.as_deref().unwrap_or_default())
            && wanted.ports.as_deref() == Some(slice.ports.as_deref().unwrap_or_default());
        (!is_same).then(|| Write::update(Kind::EndpointSlice, &wanted))
    }

    fn slice(&self, metadata: ObjectMeta, group: Group) -> EndpointSlice {
        EndpointSlice {
            metadata: ObjectMeta {
                labels: Some(self.labels.clone()),
                annotations: self.annotations.clone(),
                owner_references: Some(vec![self.owner.clone()]),
                ..metadata
            },
            address_type: group.family.to_string(),
            ports: Some(group.ports),
            endpoints: Some(group.endpoints),
        }
    }
}
