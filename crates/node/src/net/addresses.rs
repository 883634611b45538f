//! Which pod has which address. Pure; writing it down is the caller's.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use stead_model::Family;

/// The addresses of one node's pods, from the node's own ranges.
#[derive(Clone, Debug)]
pub struct Addresses {
    ranges: Vec<IpNet>,
    records: Records,
}

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    /// By pod uid.
    owners: BTreeMap<String, Vec<IpAddr>>,
    /// The address given last, by range: the next one starts there, so that an address rests before it is another pod's.
    last: BTreeMap<String, IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address is left in this node's pod range {0}")]
pub struct Exhausted(pub IpNet);

/// How far an address lies from the first of its range.
type Offset = u128;

impl Addresses {
    pub(crate) fn new(ranges: &[IpNet], records: Records) -> Self {
        Self { ranges: ranges.to_vec(), records }
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// The first address of the range, which the node has.
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        let range = self.ranges.iter().find(|range| Family::of(range.addr()) == family)?;
        Some(at(range, 1))
    }

    pub fn of(&self, pod: &str) -> Option<&[IpAddr]> {
        self.records.owners.get(pod).map(Vec::as_slice)
    }

    pub fn owners(&self) -> Vec<String> {
        self.records.owners.keys().cloned().collect()
    }

    /// One address of each range, the same ones again for a pod that has some.
    pub fn allocate(&mut self, pod: &str) -> Result<&[IpAddr], Exhausted> {
        if !self.records.owners.contains_key(pod) {
            let mut addresses = Vec::new();
            for range in &self.ranges {
                addresses.push(self.next(range)?);
            }
            for (range, address) in self.ranges.iter().zip(&addresses) {
                self.records.last.insert(range.to_string(), *address);
            }
            self.records.owners.insert(pod.to_owned(), addresses);
        }
        Ok(&self.records.owners[pod])
    }

    /// `false` where the pod had none.
    pub fn release(&mut self, pod: &str) -> bool {
        self.records.owners.remove(pod).is_some()
    }

    fn next(&self, range: &IpNet) -> Result<IpAddr, Exhausted> {
        let bits = u32::from(range.max_prefix_len() - range.prefix_len());
        let size: Offset = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
        // 0 is the network, 1 the gateway; an IPv4 range ends with its broadcast address.
        let end = if range.addr().is_ipv4() { size.saturating_sub(1) } else { size };
        let count = end.saturating_sub(2);
        let taken: std::collections::BTreeSet<Offset> =
            self.records.owners.values().flatten().filter_map(|address| offset(range, *address)).collect();
        let last = self.records.last.get(&range.to_string()).and_then(|address| offset(range, *address));
        let start = last.filter(|last| (2..end).contains(last)).map_or(0, |last| last - 1);
        // One more try than addresses are taken meets a free one, if there is any.
        let tries = count.min(taken.len() as Offset + 1);
        let mut candidates = (0..tries).map(|n| 2 + (start + n) % count);
        let free = candidates.find(|offset| !taken.contains(offset));
        free.map(|offset| at(range, offset)).ok_or(Exhausted(*range))
    }
}

fn at(range: &IpNet, offset: Offset) -> IpAddr {
    match range.network() {
        IpAddr::V4(network) => IpAddr::V4((u32::from(network).wrapping_add(offset as u32)).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network).wrapping_add(offset)).into()),
    }
}

fn offset(range: &IpNet, address: IpAddr) -> Option<Offset> {
    if !range.contains(&address) {
        return None;
    }
    match (range.network(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => Some(Offset::from(u32::from(address) - u32::from(network))),
        (IpAddr::V6(network), IpAddr::V6(address)) => Some(u128::from(address) - u128::from(network)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ranges: &[&str]) -> Addresses {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Addresses::new(&ranges, Records::default())
    }

    fn texts(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn a_pod_gets_one_address_of_each_range_and_keeps_it() {
        let mut given = addresses(&["10.244.1.0/24", "fd56:244:1::/64"]);
        assert_eq!(given.gateway(Family::V4).unwrap().to_string(), "10.244.1.1");
        assert_eq!(given.gateway(Family::V6).unwrap().to_string(), "fd56:244:1::1");
        assert_eq!(texts(given.allocate("a").unwrap()), ["10.244.1.2", "fd56:244:1::2"]);
        assert_eq!(texts(given.allocate("b").unwrap()), ["10.244.1.3", "fd56:244:1::3"]);
        assert_eq!(texts(given.allocate("a").unwrap()), ["10.244.1.2", "fd56:244:1::2"]);
        let json = serde_json::to_string(given.records()).unwrap();
        let again = Addresses::new(&given.ranges.clone(), serde_json::from_str(&json).unwrap());
        assert_eq!(again.of("b"), given.of("b"));
    }

    #[test]
    fn an_address_rests_before_it_is_given_again() {
        let mut given = addresses(&["10.0.0.0/29"]);
        assert_eq!(texts(given.allocate("a").unwrap()), ["10.0.0.2"]);
        assert!(given.release("a"));
        assert_eq!(texts(given.allocate("b").unwrap()), ["10.0.0.3"]);
        for pod in ["c", "d", "e"] {
            given.allocate(pod).unwrap();
        }
        assert_eq!(texts(given.allocate("f").unwrap()), ["10.0.0.2"], "it starts again");
        assert_eq!(
            given.allocate("g").unwrap_err().to_string(),
            "no address is left in this node's pod range 10.0.0.0/29"
        );
        assert!(given.release("d"));
        assert_eq!(texts(given.allocate("g").unwrap()), ["10.0.0.5"]);
        assert!(!given.release("nobody"));
    }

    #[test]
    fn tiny_ranges_have_nothing_to_give() {
        for range in
            ["10.0.0.0/32", "10.0.0.0/31", "10.0.0.0/30", "fd::/128", "fd::/127", "fd::/64", "0.0.0.0/0", "::/0"]
        {
            let mut given = addresses(&[range]);
            let some = given.allocate("a").is_ok();
            assert_eq!(some, matches!(range, "10.0.0.0/30" | "fd::/64" | "0.0.0.0/0" | "::/0"), "{range}");
        }
    }
}
