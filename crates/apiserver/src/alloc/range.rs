//! Service addresses and node ports as ranges of numbers, with the keys their claims are stored under.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::IpNet;
use stead_model::{Family, Revision};

use super::pool::Span;

/// An IPAddress object is the claim of its address.
pub(crate) const ADDRESS_PREFIX: &str = "/registry/ipaddresses/";
pub(crate) const PORT_PREFIX: &str = "/registry/ranges/servicenodeports/";

/// A range that addresses are given out from, and the ServiceCIDR that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    pub(crate) net: IpNet,
    /// The object's key and revision: what is given out is claimed only while the object is as it was read.
    pub(crate) object: (String, Revision),
}

/// Node ports.
#[derive(Clone, Debug)]
pub(crate) struct PortRange {
    pub(crate) ports: RangeInclusive<u16>,
}

/// The usable addresses of a range: all but the network's own and, for IPv4, the broadcast address. `None`: that is all it has.
pub(crate) fn usable(net: IpNet) -> Option<Span> {
    let net = net.trunc();
    let first = number(net.network()).checked_add(1)?;
    let last = match net {
        IpNet::V4(net) => u128::from(net.broadcast().to_bits()).checked_sub(1)?,
        IpNet::V6(net) => net.broadcast().to_bits(),
    };
    let size = last.checked_sub(first)? + 1;
    let band = if size <= 16 { 0 } else { (size / 16).clamp(16, 256).min(size - 1) };
    Some(Span { first, last, band })
}

/// An address as a number of its family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The way back of [`number`].
pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).expect("a number of an IPv4 range has 32 bits")).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

impl AddressRange {
    pub(crate) fn family(&self) -> Family {
        Family::of(self.net.addr())
    }
}

impl PortRange {
    pub(crate) fn span(&self) -> Span {
        let size = self.ports.len() as u128;
        let band = if size <= 16 { 0 } else { (size / 32).clamp(16, 128).min(size - 1) };
        Span { first: (*self.ports.start()).into(), last: (*self.ports.end()).into(), band }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::pool::Pool;

    #[test]
    fn network_and_broadcast_addresses_are_not_used() {
        let check = |net: &str, first: &str, last: &str, band: u128| {
            let net: IpNet = net.parse().unwrap();
            let (family, span) = (Family::of(net.addr()), usable(net).unwrap());
            assert_eq!(address(family, span.first).to_string(), first);
            assert_eq!(address(family, span.last).to_string(), last);
            assert_eq!(span.band, band, "{net}");
        };
        check("10.96.0.0/16", "10.96.0.1", "10.96.255.254", 256);
        check("10.0.0.0/8", "10.0.0.1", "10.255.255.254", 256);
        check("10.96.0.0/24", "10.96.0.1", "10.96.0.254", 16);
        check("10.96.0.0/28", "10.96.0.1", "10.96.0.14", 0);
        check("10.96.0.0/30", "10.96.0.1", "10.96.0.2", 0);
        check("fd56:96::/112", "fd56:96::1", "fd56:96::ffff", 256);
        check("fd56:96::/64", "fd56:96::1", "fd56:96::ffff:ffff:ffff:ffff", 256);
        for nothing in ["10.96.0.7/32", "10.96.0.6/31", "0.0.0.0/32", "255.255.255.255/32", "fd56::/128"] {
            assert_eq!(usable(nothing.parse().unwrap()), None, "{nothing}");
        }
    }

    #[test]
    fn dynamic_choices_leave_the_lower_band_free() {
        let picked = Pool::default().pick(usable("10.96.0.0/16".parse().unwrap()).unwrap(), 0).unwrap();
        assert_eq!(address(Family::V4, picked).to_string(), "10.96.1.1");
        let ports = PortRange { ports: 30000..=32767 }.span();
        assert_eq!(Pool::default().pick(ports, 0), Some(30086));
        assert!(ports.contains(32767) && !ports.contains(32768));
    }
}
