//! Lays endpoints into slices so that few slices change: endpoints stay where they are, new ones go into slices that change
//! anyway, then all that are left into one slice with room, and only then into new slices. Nothing is ever moved to fill gaps.
//!
//! Knows nothing of hints: a slice that would stay as it is, is passed on with its endpoints untouched.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::wanted::{Group, Identity, Wanted, identity};

/// A slice as it is to be. Owner, family and labels are the caller's.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    /// The slice it is written over; `None`: a new one.
    pub(super) over: Option<&'a EndpointSlice>,
    pub(super) ports: Cow<'a, [EndpointPort]>,
    /// Borrowed where they are as they were.
    pub(super) endpoints: Cow<'a, [Endpoint]>,
    /// Whether it must be written even if its endpoints are what they were.
    pub(super) change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Endpoints or labels.
    Updated,
    /// The slice is another than it was, or new: nothing of it remains but its name.
    Replaced,
}

/// All slices of a Service in one family.
#[derive(Debug, Default)]
pub(super) struct Packing<'a> {
    pub(super) slices: Vec<Packed<'a>>,
    pub(super) surplus: Vec<&'a EndpointSlice>,
}

/// Makes `existing` slices of one family hold exactly the endpoints of `groups`. Without any slice one empty one remains.
pub(super) fn pack<'a>(
    existing: &[&'a EndpointSlice],
    groups: Vec<Group<'a>>,
    labels: &BTreeMap<String, String>,
    capacity: usize,
) -> Packing<'a> {
    let mut packing = Packing::default();
    let mut created = VecDeque::new();
    let mut left = existing.to_vec();
    for Group { ports, endpoints } in groups {
        let own = left.extract_if(.., |slice| have_same_ports(held_ports(slice), &ports)).collect();
        let rest = fill(own, endpoints, labels, capacity, &mut packing);
        created.extend(rest.into_iter().map(|endpoints| (ports.clone(), endpoints)));
    }
    packing.surplus.extend(left);
    if packing.slices.is_empty() && created.is_empty() {
        match packing.surplus.iter().position(|slice| is_placeholder(slice, labels)) {
            Some(place) => packing.slices.push(Packed::kept(packing.surplus.remove(place))),
            None => created.push_back((Vec::new(), Vec::new())),
        }
    }
    // Writing over a slice that is to go costs readers one event instead of two.
    let mut spare = std::mem::take(&mut packing.surplus).into_iter();
    packing.slices.extend(created.into_iter().map(|(ports, endpoints)| Packed {
        over: spare.next(),
        ports: ports.into(),
        endpoints: endpoints.into(),
        change: Change::Replaced,
    }));
    packing.surplus = spare.collect();
    packing
}

impl<'a> Packed<'a> {
    fn kept(slice: &'a EndpointSlice) -> Self {
        Self { over: Some(slice), ports: held_ports(slice).into(), endpoints: held(slice).into(), change: Change::None }
    }

    /// Whether readers see anything new if it is written.
    pub(super) fn is_due(&self) -> bool {
        match (self.change, self.over, &self.endpoints) {
            (Change::None, Some(slice), Cow::Owned(endpoints)) => held(slice) != endpoints,
            (change, ..) => change != Change::None,
        }
    }
}

/// Fills the slices of one group. Returns what found no place, in portions of one slice.
fn fill<'a>(
    slices: Vec<&'a EndpointSlice>,
    endpoints: Vec<Wanted<'a>>,
    labels: &BTreeMap<String, String>,
    capacity: usize,
    packing: &mut Packing<'a>,
) -> Vec<Vec<Endpoint>> {
    let mut wanted: HashMap<Identity<'a>, (usize, Wanted<'a>)> =
        endpoints.into_iter().enumerate().map(|(order, wanted)| (wanted.identity(), (order, wanted))).collect();
    let mut own = Vec::with_capacity(slices.len());
    for slice in slices {
        match keep(slice, &mut wanted, labels) {
            Some(packed) => own.push(packed),
            None => packing.surplus.push(slice),
        }
    }
    let mut rest: Vec<_> = wanted.into_values().collect();
    rest.sort_unstable_by_key(|(order, _)| *order);
    let mut rest: VecDeque<Wanted<'_>> = rest.into_iter().map(|(_, wanted)| wanted).collect();
    let mut changed: Vec<_> = own.iter_mut().filter(|packed| packed.change == Change::Updated).collect();
    changed.sort_by_key(|packed| Reverse(packed.endpoints.len()));
    for packed in changed.into_iter().filter(|packed| packed.endpoints.len() < capacity) {
        take(packed.endpoints.to_mut(), &mut rest, capacity);
    }
    let mut portions = Vec::new();
    while !rest.is_empty() {
        let has_room =
            |packed: &&mut Packed<'_>| packed.change == Change::None && packed.endpoints.len() + rest.len() <= capacity;
        let fullest = own.iter_mut().filter(has_room).max_by_key(|packed| packed.endpoints.len());
        match fullest.filter(|_| rest.len() < capacity) {
            Some(packed) => {
                packed.change = Change::Updated;
                take(packed.endpoints.to_mut(), &mut rest, capacity);
            }
            None => {
                let mut portion = Vec::new();
                take(&mut portion, &mut rest, capacity);
                portions.push(portion);
            }
        }
    }
    packing.slices.extend(own);
    portions
}

/// What of a slice stays: endpoints that are still wanted, in their place and as they are wanted now. Takes them from `wanted`.
/// `None` where it had endpoints and none stays.
fn keep<'a>(
    slice: &'a EndpointSlice,
    wanted: &mut HashMap<Identity<'a>, (usize, Wanted<'a>)>,
    labels: &BTreeMap<String, String>,
) -> Option<Packed<'a>> {
    let held = held(slice);
    let mut stay = Vec::with_capacity(held.len());
    let mut is_changed = false;
    for endpoint in held {
        match wanted.remove(&identity(endpoint)) {
            Some((_, wanted)) => {
                is_changed |= !wanted.is(endpoint);
                stay.push(wanted);
            }
            None => is_changed = true,
        }
    }
    let mut packed = Packed::kept(slice);
    if is_changed {
        if stay.is_empty() {
            return None;
        }
        packed.endpoints = stay.iter().map(Wanted::to_endpoint).collect::<Vec<_>>().into();
    }
    if is_changed || slice.metadata.labels.as_ref() != Some(labels) {
        packed.change = Change::Updated;
    }
    Some(packed)
}

pub(super) fn held(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

fn held_ports(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or_default()
}

/// Whatever their order.
pub(crate) fn have_same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    // Names are unique in a slice.
    a.len() == b.len() && a.iter().all(|port| b.contains(port))
}

fn is_placeholder(slice: &EndpointSlice, labels: &BTreeMap<String, String>) -> bool {
    held(slice).is_empty() && held_ports(slice).is_empty() && slice.metadata.labels.as_ref() == Some(labels)
}

fn take(into: &mut Vec<Endpoint>, from: &mut VecDeque<Wanted<'_>>, capacity: usize) {
    let room = capacity.saturating_sub(into.len()).min(from.len());
    into.extend(from.drain(..room).map(|wanted| wanted.to_endpoint()));
}

#[cfg(test)]
mod tests;
