//! Routes to the pods of other nodes: what is wanted, what is there, and the difference.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use stead_model::Family;
use stead_sys::link::{Links, Route};

use super::NetworkError;

/// The routes that this agent has set, by other nodes' pod ranges.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    set: BTreeMap<IpNet, IpAddr>,
}

/// What turns one table into another; pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    set: BTreeMap<IpNet, IpAddr>,
    delete: BTreeMap<IpNet, IpAddr>,
}

impl RouteTable {
    /// Finds the routes that an earlier agent set: those to parts of the cluster's pod ranges by way of another machine.
    pub fn read(cluster: &[IpNet]) -> Result<Self, NetworkError> {
        let mut links = Links::open().map_err(|error| NetworkError::Routes(error.into()))?;
        let routes = links.routes().map_err(NetworkError::Routes)?;
        let ours = routes.into_iter().filter_map(|route| {
            let within = cluster.iter().any(|range| range.contains(&route.to) && *range != route.to);
            route.via.filter(|_| within).map(|via| (route.to, via))
        });
        Ok(Self { set: ours.collect() })
    }

    /// Makes the kernel's routes those of `wanted`. One that the kernel refuses does not stop the others, and is tried again
    /// with the next call.
    pub fn apply(&mut self, wanted: &BTreeMap<IpNet, IpAddr>) -> Result<(), NetworkError> {
        let change = diff(&self.set, wanted);
        if change == Change::default() {
            return Ok(());
        }
        let mut links = Links::open().map_err(|error| NetworkError::Routes(error.into()))?;
        let mut failed = None;
        for (to, via) in change.delete {
            match links.delete_route(Route { to, via: Some(via), link: None }) {
                Err(error) if !error.not_found() => failed = Some(error),
                _ => drop(self.set.remove(&to)),
            }
        }
        for (to, via) in change.set {
            match links.replace_route(Route { to, via: Some(via), link: None }) {
                Ok(()) => drop(self.set.insert(to, via)),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(NetworkError::Routes(error)))
    }
}

/// Routes for another node: each of its pod ranges by way of its address of the same family.
pub fn routes_to(pod_ranges: &[IpNet], addresses: &[IpAddr]) -> BTreeMap<IpNet, IpAddr> {
    let via = |range: &IpNet| addresses.iter().find(|address| Family::of(**address) == Family::of(range.addr()));
    pod_ranges.iter().filter_map(|range| via(range).map(|via| (range.trunc(), *via))).collect()
}

fn diff(set: &BTreeMap<IpNet, IpAddr>, wanted: &BTreeMap<IpNet, IpAddr>) -> Change {
    let missing = wanted.iter().filter(|(to, via)| set.get(to) != Some(via));
    let extra = set.iter().filter(|(to, _)| !wanted.contains_key(to));
    Change { set: missing.map(|(to, via)| (*to, *via)).collect(), delete: extra.map(|(to, via)| (*to, *via)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str)]) -> BTreeMap<IpNet, IpAddr> {
        routes.iter().map(|(to, via)| (to.parse().unwrap(), via.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_differs_is_changed() {
        let old = table(&[("10.244.1.0/24", "192.168.56.101"), ("10.244.2.0/24", "192.168.56.102")]);
        let new = table(&[("10.244.2.0/24", "192.168.56.103"), ("10.244.3.0/24", "192.168.56.104")]);
        let change = diff(&old, &new);
        assert_eq!(change.set, new);
        assert_eq!(change.delete, table(&[("10.244.1.0/24", "192.168.56.101")]));
        assert_eq!(diff(&new, &new), Change::default());
    }

    #[test]
    fn each_range_goes_by_the_address_of_its_family() {
        let ranges = ["10.244.2.7/24".parse().unwrap(), "fd56:244:2::/64".parse().unwrap()];
        let both = ["192.168.56.102".parse().unwrap(), "fd56::102".parse().unwrap()];
        assert_eq!(
            routes_to(&ranges, &both),
            table(&[("10.244.2.0/24", "192.168.56.102"), ("fd56:244:2::/64", "fd56::102")])
        );
        assert_eq!(routes_to(&ranges, &both[..1]), table(&[("10.244.2.0/24", "192.168.56.102")]));
    }
}
