//! Lays endpoints into slices so that few slices change: endpoints stay where they are, new ones go into slices that change
//! anyway, then all together into one slice with room, and only then into new slices. Nothing is ever moved to fill gaps.

use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Endpoints in one slice.
pub(super) const CAPACITY: usize = 100;

/// A slice that is to be written. Owner, family and labels are the caller's.
#[derive(Debug)]
pub(super) enum Packed {
    Create { ports: Vec<EndpointPort>, endpoints: Vec<Endpoint> },
    Update { metadata: Box<ObjectMeta>, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint> },
    Delete { metadata: Box<ObjectMeta> },
}

/// A slice that is there, with the endpoints that it is to have.
struct Fill<'a> {
    slice: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// What an endpoint is, whatever its condition: address and pod.
type Identity = (String, Option<String>);

/// Makes `existing` slices of one family hold exactly `wanted`, one group for each set of ports. Without any endpoint one
/// empty slice remains. The result is empty when nothing differs.
pub(super) fn pack(
    existing: &[&EndpointSlice],
    wanted: Vec<(Vec<EndpointPort>, Vec<Endpoint>)>,
    labels: &BTreeMap<String, String>,
) -> Vec<Packed> {
    let wanted = if wanted.is_empty() { vec![(Vec::new(), Vec::new())] } else { wanted };
    let (mut packed, mut created, mut spare) = (Vec::new(), Vec::new(), VecDeque::new());
    let mut left: Vec<&EndpointSlice> = existing.to_vec();
    for (ports, endpoints) in wanted {
        let (same, others) = left.into_iter().partition(|slice| slice.ports.as_deref().unwrap_or_default() == ports);
        left = others;
        let placeholder = endpoints.is_empty();
        let (kept, emptied, rest) = fill(same, endpoints, labels, placeholder);
        packed.extend(kept.into_iter().filter(|fill| fill.changed).map(|fill| Packed::Update {
            metadata: Box::new(fill.slice.metadata.clone()),
            ports: ports.clone(),
            endpoints: fill.endpoints,
        }));
        spare.extend(emptied);
        created.extend(rest.into_iter().map(|endpoints| (ports.clone(), endpoints)));
    }
    spare.extend(left);
    for (ports, endpoints) in created {
        packed.push(match spare.pop_front() {
            // Writing over a slice that is to go costs readers one event instead of two.
            Some(slice) => Packed::Update { metadata: Box::new(slice.metadata.clone()), ports, endpoints },
            None => Packed::Create { ports, endpoints },
        });
    }
    packed.extend(spare.into_iter().map(|slice| Packed::Delete { metadata: Box::new(slice.metadata.clone()) }));
    packed
}

/// Fills the slices of one set of ports. Returns those that stay, those that are not needed, and what found no place,
/// in portions of one slice.
fn fill<'a>(
    slices: Vec<&'a EndpointSlice>,
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
    placeholder: bool,
) -> (Vec<Fill<'a>>, Vec<&'a EndpointSlice>, Vec<Vec<Endpoint>>) {
    let mut wanted: BTreeMap<Identity, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let fills = slices.into_iter().map(|slice| keep(slice, &mut wanted, labels));
    let (mut kept, mut emptied): (Vec<_>, Vec<_>) = fills.partition(|fill| !fill.endpoints.is_empty());
    let mut rest: VecDeque<Endpoint> = wanted.into_values().collect();
    for fill in kept.iter_mut().filter(|fill| fill.changed) {
        take(&mut fill.endpoints, &mut rest);
    }
    let with_room = kept.iter_mut().filter(|fill| fill.endpoints.len() + rest.len() <= CAPACITY);
    if let Some(fill) = with_room.max_by_key(|fill| fill.endpoints.len()).filter(|_| !rest.is_empty()) {
        take(&mut fill.endpoints, &mut rest);
        fill.changed = true;
    }
    let mut portions = Vec::new();
    while !rest.is_empty() {
        let mut portion = Vec::new();
        take(&mut portion, &mut rest);
        portions.push(portion);
    }
    if placeholder {
        match emptied.is_empty() {
            true => portions.push(Vec::new()),
            false => kept.push(emptied.remove(0)),
        }
    }
    (kept, emptied.into_iter().map(|fill| fill.slice).collect(), portions)
}

/// What of a slice stays: endpoints that are still wanted, in their place and as they are wanted now. Takes them from `wanted`.
fn keep<'a>(
    slice: &'a EndpointSlice,
    wanted: &mut BTreeMap<Identity, Endpoint>,
    labels: &BTreeMap<String, String>,
) -> Fill<'a> {
    let endpoints: Vec<Endpoint> =
        held(slice).iter().filter_map(|endpoint| wanted.remove(&identity(endpoint))).collect();
    let changed = endpoints != held(slice) || slice.metadata.labels.as_ref() != Some(labels);
    Fill { slice, endpoints, changed }
}

fn held(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

fn take(into: &mut Vec<Endpoint>, from: &mut VecDeque<Endpoint>) {
    let room = CAPACITY.saturating_sub(into.len()).min(from.len());
    into.extend(from.drain(..room));
}

fn identity(endpoint: &Endpoint) -> Identity {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    (endpoint.addresses.first().cloned().unwrap_or_default(), uid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::core::v1::ObjectReference;
    use proptest::prelude::*;

    use super::*;

    fn endpoint(number: u8) -> Endpoint {
        let target_ref = ObjectReference { uid: Some(format!("uid{number}")), ..ObjectReference::default() };
        Endpoint { addresses: vec![format!("10.0.0.{number}")], target_ref: Some(target_ref), ..Endpoint::default() }
    }

    fn group(name: u8, numbers: &BTreeSet<u8>) -> (Vec<EndpointPort>, Vec<Endpoint>) {
        let port = EndpointPort { port: Some(name.into()), ..EndpointPort::default() };
        (vec![port], numbers.iter().copied().map(endpoint).collect())
    }

    /// Carries out what `pack` wants.
    fn apply(slices: &mut BTreeMap<String, EndpointSlice>, packed: Vec<Packed>, serial: &mut u32) {
        for packed in packed {
            let (metadata, ports, endpoints) = match packed {
                Packed::Create { ports, endpoints } => {
                    *serial += 1;
                    let metadata = ObjectMeta {
                        name: Some(format!("slice{serial}")),
                        labels: Some(BTreeMap::new()),
                        ..ObjectMeta::default()
                    };
                    (metadata, ports, endpoints)
                }
                Packed::Update { metadata, ports, endpoints } => (*metadata, ports, endpoints),
                Packed::Delete { metadata } => {
                    slices.remove(&metadata.name.unwrap());
                    continue;
                }
            };
            let name = metadata.name.clone().unwrap();
            let slice =
                EndpointSlice { metadata, ports: Some(ports), endpoints: Some(endpoints), ..EndpointSlice::default() };
            slices.insert(name, slice);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Through any history: every endpoint in exactly one slice of its ports, none above capacity, and a second look finds nothing.
        #[test]
        fn every_endpoint_is_in_one_slice(history in prop::collection::vec(
            prop::collection::vec(prop::collection::btree_set(any::<u8>(), 0..240), 0..3), 1..8,
        )) {
            let (mut slices, mut serial, labels) = (BTreeMap::new(), 0, BTreeMap::new());
            for step in history {
                let wanted: Vec<_> = step.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty())
                    .map(|(name, numbers)| group(name as u8, numbers)).collect();
                let existing: Vec<_> = slices.values().cloned().collect();
                let packed = pack(&existing.iter().collect::<Vec<_>>(), wanted.clone(), &labels);
                apply(&mut slices, packed, &mut serial);

                let all: Vec<&EndpointSlice> = slices.values().collect();
                prop_assert!(all.iter().all(|slice| held(slice).len() <= CAPACITY));
                prop_assert!(wanted.is_empty() == all.iter().any(|slice| held(slice).is_empty()));
                prop_assert!(!wanted.is_empty() || all.len() == 1);
                for (ports, endpoints) in &wanted {
                    let mut found: Vec<_> = all.iter().filter(|slice| slice.ports.as_ref() == Some(ports))
                        .flat_map(|slice| held(slice).iter().map(identity)).collect();
                    let mut expect: Vec<_> = endpoints.iter().map(identity).collect();
                    found.sort();
                    expect.sort();
                    prop_assert_eq!(found, expect);
                }
                prop_assert!(pack(&all, wanted, &labels).is_empty());
            }
        }
    }

    #[test]
    fn one_more_endpoint_changes_one_slice() {
        let (mut slices, mut serial, labels) = (BTreeMap::new(), 0, BTreeMap::new());
        let first: BTreeSet<u8> = (0..150).collect();
        apply(&mut slices, pack(&[], vec![group(0, &first)], &labels), &mut serial);
        assert_eq!(slices.values().map(|slice| held(slice).len()).collect::<Vec<_>>(), [100, 50]);
        let second: BTreeSet<u8> = (0..151).collect();
        let all: Vec<_> = slices.values().collect();
        let packed = pack(&all, vec![group(0, &second)], &labels);
        assert!(matches!(&packed[..], [Packed::Update { endpoints, .. }] if endpoints.len() == 51), "{packed:?}");
    }
}
