//! ServiceCIDRs: each is kept by a finalizer and says that it is ready; one that is being deleted goes once no Service's address
//! depends on it alone.
//!
//! Giving out addresses is the API server's, which stops with the deletion. The ServiceCIDR of the server's own ranges is made
//! there too.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde_json::{Value, json};
use stead_api::{
    kinds::{
        ip_address::{ALLOCATOR, MANAGED_BY_LABEL},
        service_cidr::{FINALIZER, READY},
    },
    snapshot::{Kind, Snapshot},
};
use stead_model::ObjectKey;

use crate::outcome::{Outcome, Verb, Write, json as to_json};

/// Until every server has seen the deletion and gives out no more.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
const IN_USE: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(object) = snapshot.service_cidrs.get(key) else { return outcome };
    let Some(deleted) = &object.metadata.deletion_timestamp else {
        // One write at a time: each relies on the object as it is.
        outcome.writes.extend(keep(object, key).or_else(|| judge(object, key, Verdict::Ready, now)));
        return outcome;
    };
    if is_needed(snapshot, object) {
        outcome.writes.extend(judge(object, key, Verdict::Terminating, now));
        return outcome;
    }
    let free_from = deleted.0.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
    if now < free_from {
        outcome.look_again(free_from);
    } else {
        outcome.writes.extend(release(object, key));
    }
    outcome
}

/// The ServiceCIDRs whose deletion may wait for an address, or no more.
pub(crate) fn waiting_for<'a>(snapshot: &'a Snapshot, address: &ObjectKey) -> impl Iterator<Item = &'a ObjectKey> {
    let address = address.name.parse::<IpAddr>().ok();
    let ending = snapshot.service_cidrs.iter().filter(|(_, object)| object.metadata.deletion_timestamp.is_some());
    let holds = move |object: &ServiceCIDR| address.is_some_and(|address| has(object, address));
    ending.filter(move |(_, object)| holds(object)).map(|(key, _)| key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ready,
    Terminating,
}

/// Whether a Service has an address of this object's ranges that no other object has which stays.
fn is_needed(snapshot: &Snapshot, object: &ServiceCIDR) -> bool {
    let others = || {
        let all = snapshot.service_cidrs.iter().map(|(_, other)| &**other);
        all.filter(|other| other.metadata.uid != object.metadata.uid && other.metadata.deletion_timestamp.is_none())
    };
    let is_covered = |range: IpNet| others().flat_map(ranges).any(|other| other.contains(&range));
    if ranges(object).all(is_covered) {
        return false;
    }
    let addresses = snapshot.ip_addresses.iter().filter(|(_, address)| !address.spec.parent_ref.resource.is_empty());
    // Whose an address is that cannot be read nobody knows.
    let keys = addresses.map(|(key, _)| key).chain(snapshot.ip_addresses.unknown());
    let mut addresses = keys.filter_map(|key| key.name.parse::<IpAddr>().ok());
    addresses.any(|address| has(object, address) && !others().any(|other| has(other, address)))
}

/// Whether an address is the allocator's. Those in a snapshot say so by naming a parent: see `shell::lean`.
pub(crate) fn is_allocated(address: &IPAddress) -> bool {
    let label = address.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL));
    label.is_some_and(|label| label == ALLOCATOR)
}

fn ranges(object: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let cidrs = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    cidrs.filter_map(|cidr| cidr.parse().ok())
}

fn has(object: &ServiceCIDR, address: IpAddr) -> bool {
    ranges(object).any(|range| range.contains(&address))
}

fn finalizers(object: &ServiceCIDR) -> impl Iterator<Item = &str> {
    object.metadata.finalizers.iter().flatten().map(String::as_str)
}

fn keep(object: &ServiceCIDR, key: &ObjectKey) -> Option<Write> {
    if finalizers(object).any(|finalizer| finalizer == FINALIZER) {
        return None;
    }
    Some(with_finalizers(object, key, finalizers(object).chain([FINALIZER]).collect()))
}

fn release(object: &ServiceCIDR, key: &ObjectKey) -> Option<Write> {
    if !finalizers(object).any(|finalizer| finalizer == FINALIZER) {
        return None;
    }
    Some(with_finalizers(object, key, finalizers(object).filter(|finalizer| *finalizer != FINALIZER).collect()))
}

fn with_finalizers(object: &ServiceCIDR, key: &ObjectKey, finalizers: Vec<&str>) -> Write {
    let revision = &object.metadata.resource_version;
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": revision}});
    Write::new(Kind::ServiceCIDR, key.clone(), Verb::Patch(patch))
}

/// The condition `Ready`, where it says something else. Others stay.
fn judge(object: &ServiceCIDR, key: &ObjectKey, verdict: Verdict, now: Timestamp) -> Option<Write> {
    let conditions = || object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let (status, reason, message) = match verdict {
        Verdict::Ready => ("True", "", "Kubernetes Service CIDR is ready"),
        Verdict::Terminating => ("False", "Terminating", IN_USE),
    };
    let known = conditions().find(|condition| condition.type_ == READY);
    if known.is_some_and(|known| known.status == status) {
        return None;
    }
    let others = conditions().filter(|condition| condition.type_ != READY).map(to_json);
    let ready = json!({
        "type": READY, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let conditions: Vec<Value> = others.chain([ready]).collect();
    let status = json!({"conditions": conditions});
    let revision = object.metadata.resource_version.clone();
    Some(Write::new(Kind::ServiceCIDR, key.clone(), Verb::PatchStatus { status, revision }))
}
