use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Pod, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use stead_api::snapshot::Snapshot;
use stead_model::{Family, ObjectKey};

use super::*;
use crate::endpoint_slices::wanted::wish;

/// Pods of one Service: each has a number, which is its name and address, and is ready or not.
type Pods = BTreeMap<u8, bool>;

fn spec() -> ServiceSpec {
    let spec =
        json!({ "publishNotReadyAddresses": true, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] });
    serde_json::from_value(spec).unwrap()
}

/// A pod; those of even number have another port behind the name.
fn pod((number, is_ready): (&u8, &bool)) -> Pod {
    let port = if number.is_multiple_of(2) { 8080 } else { 9090 };
    let name = format!("pod{number}");
    let status = if *is_ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": name, "uid": name },
        "spec": { "containers": [{ "name": "web", "ports": [{ "name": "http", "containerPort": port, "protocol": "TCP" }] }] },
        "status": { "phase": "Running", "podIPs": [{ "ip": format!("10.0.0.{number}") }], "conditions": [{ "type": "Ready", "status": status }] },
    }))
    .unwrap()
}

/// What has to be written, as the slices that are then there; and how many writes that were.
fn step(slices: &mut BTreeMap<String, EndpointSlice>, pods: &Pods, capacity: usize, serial: &mut u32) -> usize {
    let (snapshot, key, spec, labels) =
        (Snapshot::default(), ObjectKey::new("default", "web"), spec(), BTreeMap::new());
    let pods: Vec<Pod> = pods.iter().map(pod).collect();
    let chosen: Vec<&Pod> = pods.iter().collect();
    let before = slices.clone();
    let existing: Vec<&EndpointSlice> = before.values().collect();
    let groups = wish(&snapshot, &chosen, &key, &spec, Family::V4).groups;
    let packing = pack(&existing, groups, &labels, capacity);
    let mut writes = packing.surplus.len();
    for slice in packing.surplus {
        slices.remove(slice.metadata.name.as_ref().unwrap());
    }
    for packed in packing.slices.into_iter().filter(Packed::is_due) {
        writes += 1;
        let name = match packed.over {
            Some(slice) => slice.metadata.name.clone().unwrap(),
            None => {
                *serial += 1;
                format!("slice{serial:03}")
            }
        };
        let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(BTreeMap::new()), ..ObjectMeta::default() };
        let (ports, endpoints) = (Some(packed.ports.into_owned()), Some(packed.endpoints.into_owned()));
        slices.insert(name, EndpointSlice { metadata, ports, endpoints, ..EndpointSlice::default() });
    }
    writes
}

fn sizes(slices: &BTreeMap<String, EndpointSlice>) -> Vec<usize> {
    slices.values().map(|slice| held(slice).len()).collect()
}

fn numbered(numbers: impl IntoIterator<Item = u8>) -> Pods {
    numbers.into_iter().map(|number| (number, true)).collect()
}

/// Runs a history of pods, and says how large slices are and how many writes each step took.
fn check(capacity: usize, history: &[(Pods, usize, &[usize])]) {
    let (mut slices, mut serial) = (BTreeMap::new(), 0);
    for (number, (pods, writes, expect)) in history.iter().enumerate() {
        assert_eq!(step(&mut slices, pods, capacity, &mut serial), *writes, "step {number}");
        assert_eq!(sizes(&slices), *expect, "step {number}");
    }
}

/// All of one port.
fn odd(count: u8) -> impl Iterator<Item = u8> {
    (0..count).map(|number| 2 * number + 1)
}

#[test]
fn one_more_endpoint_changes_one_slice() {
    check(10, &[(numbered(odd(15)), 2, &[10, 5]), (numbered(odd(16)), 1, &[10, 6]), (numbered(odd(16)), 0, &[10, 6])]);
}

#[test]
fn what_is_left_goes_together_into_the_fullest_slice_that_has_room_for_all() {
    let mut slices = BTreeMap::new();
    let mut serial = 0;
    step(&mut slices, &numbered(odd(30)), 10, &mut serial);
    // 8, 5 and 10 endpoints remain; three more fit into the second alone, two into the first.
    let gone: BTreeSet<u8> = odd(2).chain(odd(15).skip(10)).collect();
    let kept: Pods = numbered(odd(30).filter(|number| !gone.contains(number)));
    assert_eq!(step(&mut slices, &kept, 10, &mut serial), 2);
    assert_eq!(sizes(&slices), [8, 5, 10]);
    let more: Pods = kept.clone().into_iter().chain(numbered([101, 103])).collect();
    assert_eq!(step(&mut slices, &more, 10, &mut serial), 1);
    assert_eq!(sizes(&slices), [10, 5, 10]);
    let more: Pods = more.into_iter().chain(numbered([105, 107, 109, 111, 113, 115])).collect();
    assert_eq!(step(&mut slices, &more, 10, &mut serial), 1, "six fit into no slice together: a new one");
    assert_eq!(sizes(&slices), [10, 5, 10, 6]);
}

#[test]
fn slices_that_change_anyway_are_filled_first() {
    let mut slices = BTreeMap::new();
    let mut serial = 0;
    step(&mut slices, &numbered(odd(25)), 10, &mut serial);
    assert_eq!(sizes(&slices), [10, 10, 5]);
    let next: Pods = numbered(odd(25).filter(|number| *number != 1).chain([101, 103, 105]));
    assert_eq!(step(&mut slices, &next, 10, &mut serial), 2);
    assert_eq!(sizes(&slices), [10, 10, 7]);
}

#[test]
fn a_slice_that_is_to_go_is_written_over() {
    let mut slices = BTreeMap::new();
    let mut serial = 0;
    step(&mut slices, &numbered([1, 3]), 10, &mut serial);
    assert_eq!(
        step(&mut slices, &numbered([2, 4]), 10, &mut serial),
        1,
        "other ports: the slice is another, under its name"
    );
    assert_eq!(slices.keys().collect::<Vec<_>>(), ["slice001"]);
    assert_eq!(step(&mut slices, &Pods::new(), 10, &mut serial), 1);
    assert_eq!(
        (sizes(&slices), held_ports(&slices["slice001"]).len()),
        (vec![0], 0),
        "an empty one without ports stays"
    );
    assert_eq!(step(&mut slices, &Pods::new(), 10, &mut serial), 0);
    assert_eq!(step(&mut slices, &numbered([1]), 10, &mut serial), 1, "and is filled again");
    assert_eq!(slices.len(), 1);
}

/// What may be said of the slices that are there, whatever happened: a deliberately dumb look at all of them.
fn check_slices(slices: &BTreeMap<String, EndpointSlice>, pods: &Pods, capacity: usize) -> Result<(), TestCaseError> {
    prop_assert!(sizes(slices).iter().all(|size| *size <= capacity));
    prop_assert!(pods.is_empty() == sizes(slices).contains(&0));
    prop_assert!(!pods.is_empty() || slices.len() == 1);
    let mut found = BTreeMap::new();
    for slice in slices.values() {
        for endpoint in held(slice) {
            let number: u8 = endpoint.addresses[0].rsplit('.').next().unwrap().parse().unwrap();
            let port = if number.is_multiple_of(2) { 8080 } else { 9090 };
            prop_assert_eq!(held_ports(slice)[0].port, Some(port));
            let serving = endpoint.conditions.as_ref().unwrap().serving.unwrap();
            prop_assert!(found.insert(number, serving).is_none(), "{} stands twice", number);
        }
    }
    prop_assert_eq!(&found, pods);
    Ok(())
}

/// The least slices that have to change: those that hold what is gone or different.
fn must_change(slices: &BTreeMap<String, EndpointSlice>, pods: &Pods) -> usize {
    let differs = |endpoint: &Endpoint| {
        let number: u8 = endpoint.addresses[0].rsplit('.').next().unwrap().parse().unwrap();
        pods.get(&number).copied() != endpoint.conditions.as_ref().unwrap().serving
    };
    slices.values().filter(|slice| held(slice).iter().any(differs)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Through any history: every endpoint in exactly one slice of its ports as its pod is, none above capacity, no more writes than
    /// slices with something gone or different, one for each group, and new ones for what is new; a second look finds nothing.
    #[test]
    fn every_endpoint_is_in_one_slice(
        capacity in 1..12_usize,
        history in vec(prop::collection::btree_map(any::<u8>(), any::<bool>(), 0..60), 1..8),
    ) {
        let (mut slices, mut serial) = (BTreeMap::new(), 0);
        for pods in &history {
            let (least, before) = (must_change(&slices, pods), slices.len());
            let writes = step(&mut slices, pods, capacity, &mut serial);
            prop_assert!(writes <= least + 2 + slices.len().saturating_sub(before) + usize::from(before == 1), "{writes} writes");
            check_slices(&slices, pods, capacity)?;
            prop_assert_eq!(step(&mut slices, pods, capacity, &mut serial), 0);
        }
    }
}
