//! What is wrong between Services and what is claimed for them, and what puts it right: a function of both as of one revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stead_api::{
    kinds::{ip_address, service, service::allocation},
    meta,
};
use stead_model::{Family, Revision};

use crate::events::Note;

const ADDRESSES: &str = "ipallocator-repair-controller";
const PORTS: &str = "portallocator-repair-controller";
/// A claim that nobody has is left for this long: it may have been made by hand, before what it is for.
const LEAK_GRACE: SignedDuration = SignedDuration::from_secs(60);
const REFERENCE_GRACE: SignedDuration = SignedDuration::from_secs(5);
/// A node port that no Service has is released when it is found for the third time.
const LOOKS: u8 = 3;

/// How often each node port was found without a Service.
pub(super) type Suspects = BTreeMap<u16, u8>;

/// What there is, all of it at one revision.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) holders: Vec<Holder>,
    /// Keys of Services that cannot be read. Whatever is claimed may be theirs.
    pub(super) unread: Vec<String>,
    pub(super) addresses: Vec<Address>,
    pub(super) ranges: Vec<IpNet>,
    pub(super) ports: Vec<(u16, Revision)>,
    pub(super) node_ports: RangeInclusive<u16>,
}

/// A Service that has addresses or node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// `NAMESPACE/NAME`.
    pub(super) path: String,
    /// Its metadata alone, for notes and claims.
    pub(super) object: Value,
    pub(super) revision: Revision,
    /// As they are written.
    addresses: Vec<String>,
    node_ports: BTreeSet<u16>,
}

/// An IPAddress object.
#[derive(Clone, Debug)]
pub(super) struct Address {
    name: String,
    object: Value,
    revision: Revision,
}

/// One write. `seen` is the revision of the claim's key, zero where there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Claim { address: IpAddr, holder: Holder, seen: Revision },
    Remove { name: String, seen: Revision },
    ClaimPort { port: u16, holder: Holder },
    ReleasePort { port: u16, seen: Revision },
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) repairs: Vec<Repair>,
    /// Each with the component that says it.
    pub(super) notes: Vec<(&'static str, Note)>,
    pub(super) suspects: Suspects,
}

impl Holder {
    /// `None`: the Service has nothing that is claimed.
    pub(super) fn of(object: &Value, revision: Revision) -> Option<Self> {
        let written = object.pointer("/spec/clusterIPs").and_then(Value::as_array);
        let is_aside = service::is_headless(object) || object["spec"]["type"] == "ExternalName";
        let addresses = written.into_iter().flatten().filter_map(Value::as_str).filter(|_| !is_aside);
        let holder = Self {
            path: format!("{}/{}", meta::namespace(object), meta::name(object)),
            object: json!({"metadata": {
                "namespace": meta::namespace(object), "name": meta::name(object), "uid": meta::uid(object),
            }}),
            revision,
            addresses: addresses.map(str::to_owned).collect(),
            node_ports: allocation::node_ports(object),
        };
        (!holder.addresses.is_empty() || !holder.node_ports.is_empty()).then_some(holder)
    }

    fn has(&self, name: &str) -> bool {
        self.addresses.iter().any(|address| address.parse::<IpAddr>().is_ok_and(|address| address.to_string() == name))
    }

    fn note(&self, reason: &'static str, message: String) -> Note {
        Note::new(("v1", "Service"), &self.object, reason, message)
    }
}

impl Address {
    pub(super) fn of(object: Value, revision: Revision) -> Self {
        Self { name: meta::name(&object).to_owned(), object, revision }
    }

    fn age(&self, now: Timestamp) -> SignedDuration {
        let made = meta::creation_timestamp(&self.object).unwrap_or(now);
        now.duration_since(made)
    }

    fn note(&self, reason: &'static str, message: String) -> Note {
        Note::new(("networking.k8s.io/v1", "IPAddress"), &self.object, reason, message)
    }
}

/// Decides on everything at once; see the module above.
pub(super) fn plan(facts: &Facts, suspects: &Suspects, now: Timestamp) -> Found {
    let mut found = Found::default();
    let holders: BTreeMap<&str, &Holder> = facts.holders.iter().map(|holder| (&*holder.path, holder)).collect();
    let claims: BTreeMap<&str, &Address> = facts.addresses.iter().map(|claim| (&*claim.name, claim)).collect();
    let mut repaired = BTreeSet::new();
    for holder in &facts.holders {
        for written in &holder.addresses {
            look_at_address(facts, holder, written, &holders, &claims, &mut repaired, &mut found);
        }
    }
    if facts.unread.is_empty() {
        for claim in facts.addresses.iter().filter(|claim| !repaired.contains(&*claim.name)) {
            look_at_claim(claim, &holders, now, &mut found);
        }
    }
    look_at_ports(facts, suspects, &mut found);
    found
}

/// An address of a Service has a claim that is the Service's.
fn look_at_address(
    facts: &Facts,
    holder: &Holder,
    written: &str,
    holders: &BTreeMap<&str, &Holder>,
    claims: &BTreeMap<&str, &Address>,
    repaired: &mut BTreeSet<String>,
    found: &mut Found,
) {
    let mut note = |reason, message| found.notes.push((ADDRESSES, holder.note(reason, message)));
    let Ok(address) = written.parse::<IpAddr>() else {
        let message = format!("Cluster IP {written} is not a valid IP; please recreate Service");
        return note("ClusterIPNotValid", message);
    };
    let family = Family::of(address);
    if !facts.ranges.iter().any(|range| range.contains(&address)) {
        let message = format!(
            "Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        );
        return note("ClusterIPOutOfRange", message);
    }
    let name = address.to_string();
    let claim = claims.get(&*name);
    let owner = claim.and_then(|claim| ip_address::service(&claim.object));
    let owner = owner.map(|(namespace, name)| format!("{namespace}/{name}"));
    let other = owner.as_ref().filter(|owner| **owner != holder.path).and_then(|owner| holders.get(owner.as_str()));
    match (claim, &owner) {
        (None, _) if repaired.contains(&name) => {
            let message =
                format!("Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service");
            return note("ClusterIPAlreadyAllocated", message);
        }
        (None, _) => {
            let message = format!("Cluster IP [{family}]: {address} is not allocated; repairing");
            note("ClusterIPNotAllocated", message);
        }
        (Some(claim), Some(owner)) if *owner == holder.path => {
            if ip_address::is_allocated(&claim.object) {
                return;
            }
        }
        _ if other.is_some_and(|other| other.has(&name)) => {
            let message =
                format!("Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service");
            return note("ClusterIPAlreadyAllocated", message);
        }
        _ => {
            let message = format!(
                "the ClusterIP [{family}]: {address} for Service {} has a wrong reference; repairing",
                holder.path
            );
            note("ClusterIPNotAllocated", message);
        }
    }
    let seen = claim.map_or(Revision::ZERO, |claim| claim.revision);
    found.repairs.push(Repair::Claim { address, holder: holder.clone(), seen });
    repaired.insert(name);
}

/// A claim that was made for a Service belongs to one that has the address. Claims of others are theirs.
fn look_at_claim(claim: &Address, holders: &BTreeMap<&str, &Holder>, now: Timestamp, found: &mut Found) {
    if !ip_address::is_allocated(&claim.object) {
        return;
    }
    let name = &claim.name;
    let (reason, message) = match ip_address::service(&claim.object) {
        None => {
            let parent = &claim.object["spec"]["parentRef"];
            let what = "appears to have been modified, not referencing a Service";
            ("IPAddressNotAllocated", format!("IPAddress {name} {what} {parent}: cleaning up"))
        }
        Some((namespace, service)) => match holders.get(&*format!("{namespace}/{service}")) {
            Some(holder) if holder.has(name) => return,
            Some(_) if claim.age(now) <= REFERENCE_GRACE => return,
            Some(_) => {
                let what = "has a wrong reference; cleaning up";
                ("IPAddressWrongReference", format!("IPAddress: {name} for Service {namespace}/{service} {what}"))
            }
            None if claim.age(now) <= LEAK_GRACE => return,
            None => {
                let what = "appears to have leaked: cleaning up";
                ("IPAddressNotAllocated", format!("IPAddress: {name} for Service {namespace}/{service} {what}"))
            }
        },
    };
    found.notes.push((ADDRESSES, claim.note(reason, message)));
    found.repairs.push(Repair::Remove { name: name.clone(), seen: claim.revision });
}

fn look_at_ports(facts: &Facts, suspects: &Suspects, found: &mut Found) {
    let claimed: BTreeMap<u16, Revision> = facts.ports.iter().copied().collect();
    let mut held = BTreeSet::new();
    for holder in &facts.holders {
        for port in holder.node_ports.iter().copied() {
            let mut note = |reason, message| found.notes.push((PORTS, holder.note(reason, message)));
            if !facts.node_ports.contains(&port) {
                let range = format!("{}-{}", facts.node_ports.start(), facts.node_ports.end());
                let message = format!("Port {port} is not within the port range {range}; please recreate service");
                note("PortOutOfRange", message);
            } else if held.contains(&port) {
                let message = format!("Port {port} was assigned to multiple services; please recreate service");
                note("PortAlreadyAllocated", message);
            } else if !claimed.contains_key(&port) {
                note("PortNotAllocated", format!("Port {port} is not allocated; repairing"));
                found.repairs.push(Repair::ClaimPort { port, holder: holder.clone() });
            }
            held.insert(port);
        }
    }
    let may_leak = |port: &u16| facts.unread.is_empty() && !held.contains(port);
    for (port, seen) in claimed.into_iter().filter(|(port, _)| may_leak(port)) {
        match suspects.get(&port).copied().unwrap_or_default() + 1 {
            LOOKS.. => found.repairs.push(Repair::ReleasePort { port, seen }),
            looks => drop(found.suspects.insert(port, looks)),
        }
    }
}

#[cfg(test)]
mod tests;
