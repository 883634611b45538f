//! Routes that programs of the node itself need to virtual IPs: without any route the kernel refuses to send, before a packet comes
//! to where it is translated.
//!
//! A machine with a default route has all it needs. Elsewhere each range of ServiceCIDRs gets a route by the link of the node's
//! address; what is not translated ends on that link, where nobody has such an address. Routes of ranges that leave stay: they
//! lead nowhere.

use std::net::IpAddr;

use ipnet::IpNet;
use stead_model::Family;
use stead_sys::link::{Links, Route};

use super::NetworkError;

/// Gives each range a route where none leads to it. `own` are this node's addresses.
pub fn ensure(ranges: &[IpNet], own: &[IpAddr]) -> Result<(), NetworkError> {
    let mut links = Links::open().map_err(|error| NetworkError::Routes(error.into()))?;
    let present = links.routes().map_err(NetworkError::Routes)?;
    let missing = without_route(ranges, &present);
    if missing.is_empty() {
        return Ok(());
    }
    let addresses = links.addresses().map_err(NetworkError::Routes)?;
    let mut failed = None;
    for range in missing {
        let is_own = |address: IpAddr| own.contains(&address) && Family::of(address) == Family::of(range.addr());
        let Some(uplink) = addresses.iter().find(|each| is_own(each.address.addr())) else { continue };
        if let Err(error) = links.replace_route(Route { to: range, via: None, link: Some(uplink.link) }) {
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), |error| Err(NetworkError::Routes(error)))
}

/// Those of `ranges` that no route covers whole.
fn without_route(ranges: &[IpNet], present: &[Route]) -> Vec<IpNet> {
    ranges.iter().copied().filter(|range| !present.iter().any(|route| route.to.contains(range))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_that_nothing_leads_to_get_a_route() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let check = |present: &[&str], expect: &[&str]| {
            let routes = nets(present).into_iter().map(|to| Route { to, via: None, link: None }).collect::<Vec<_>>();
            assert_eq!(without_route(&nets(&["10.96.0.0/16", "fd56:96::/112"]), &routes), nets(expect));
        };
        check(&[], &["10.96.0.0/16", "fd56:96::/112"]);
        check(&["0.0.0.0/0"], &["fd56:96::/112"]);
        check(&["10.0.0.0/8", "fd56::/64"], &["fd56:96::/112"]);
        check(&["10.96.0.0/16", "::/0"], &[]);
        check(&["10.96.0.0/24"], &["10.96.0.0/16", "fd56:96::/112"]);
    }
}
