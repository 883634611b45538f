//! Service addresses and node ports as ranges of numbers, with the keys their claims are stored under.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::IpNet;
use stead_model::Family;

use super::pool::Pool;

pub(crate) const ADDRESS_PREFIX: &str = "/registry/ranges/serviceips/";
pub(crate) const PORT_PREFIX: &str = "/registry/ranges/servicenodeports/";

/// The usable addresses of a service range: all but the network's own and, for IPv4, the broadcast address.
#[derive(Debug)]
pub(crate) struct AddressRange {
    pub(crate) net: IpNet,
    pub(crate) pool: Pool,
}

/// Node ports.
#[derive(Debug)]
pub(crate) struct PortRange {
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) pool: Pool,
}

impl AddressRange {
    pub(crate) fn new(net: IpNet) -> Self {
        let net = net.trunc();
        let bits = u32::from(net.max_prefix_len() - net.prefix_len());
        let whole = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
        let size = whole - if net.addr().is_ipv4() { 2 } else { 1 };
        let band = if size <= 16 { 0 } else { (size / 16).clamp(16, 256) };
        Self { net, pool: Pool::new(size, band.min(size)) }
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(self.net.addr())
    }

    /// The address behind the network's own.
    pub(crate) fn first(&self) -> IpAddr {
        self.address(0)
    }

    pub(crate) fn address(&self, number: u64) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(network) => {
                let number = u32::try_from(number).expect("an IPv4 range has fewer than 2^32 addresses");
                Ipv4Addr::from_bits(network.to_bits() + 1 + number).into()
            }
            IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() + 1 + u128::from(number)).into(),
        }
    }

    /// `None`: not one of the usable addresses.
    pub(crate) fn number(&self, address: IpAddr) -> Option<u64> {
        if !self.net.contains(&address) || address == self.net.network() {
            return None;
        }
        match (self.net, address) {
            (IpNet::V4(net), IpAddr::V4(address)) if address != net.broadcast() => {
                Some(u64::from(address.to_bits() - net.network().to_bits() - 1))
            }
            (IpNet::V6(net), IpAddr::V6(address)) => {
                u64::try_from(address.to_bits() - net.network().to_bits() - 1).ok()
            }
            _ => None,
        }
    }
}

impl PortRange {
    pub(crate) fn new(ports: RangeInclusive<u16>) -> Self {
        let size = ports.len() as u64;
        let band = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        Self { ports, pool: Pool::new(size, band.min(size)) }
    }

    pub(crate) fn port(&self, number: u64) -> u16 {
        self.ports.start() + u16::try_from(number).expect("the pool is as large as the range")
    }

    pub(crate) fn number(&self, port: u16) -> Option<u64> {
        self.ports.contains(&port).then(|| u64::from(port - self.ports.start()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_go_round() {
        let check = |net: &str, first: &str, last: &str, outside: &[&str]| {
            let range = AddressRange::new(net.parse().unwrap());
            assert_eq!(range.first().to_string(), first);
            let last: IpAddr = last.parse().unwrap();
            assert_eq!(range.address(range.number(last).unwrap()), last);
            for address in outside {
                assert_eq!(range.number(address.parse().unwrap()), None, "{address}");
            }
        };
        check("10.96.0.0/16", "10.96.0.1", "10.96.255.254", &["10.96.0.0", "10.96.255.255", "10.97.0.1", "::1"]);
        check("10.0.0.0/8", "10.0.0.1", "10.255.255.254", &["10.0.0.0"]);
        check("fd56:96::/112", "fd56:96::1", "fd56:96::ffff", &["fd56:96::", "fd56:97::1", "10.96.0.1"]);
        check("fd56:96::/64", "fd56:96::1", "fd56:96::ffff:ffff:ffff:fffe", &["fd56:96::"]);
        check("10.96.0.0/30", "10.96.0.1", "10.96.0.2", &["10.96.0.3"]);
    }

    #[test]
    fn dynamic_choices_leave_the_lower_band_free() {
        let range = AddressRange::new("10.96.0.0/16".parse().unwrap());
        assert_eq!(range.address(range.pool.pick(0).unwrap()).to_string(), "10.96.1.1");
        let ports = PortRange::new(30000..=32767);
        assert_eq!(ports.port(ports.pool.pick(0).unwrap()), 30086);
        assert_eq!(ports.number(32767), Some(2767));
        assert_eq!(ports.number(32768), None);
    }

    #[test]
    fn small_ranges_have_no_band() {
        let range = AddressRange::new("10.96.0.0/28".parse().unwrap());
        assert_eq!(range.address(range.pool.pick(0).unwrap()).to_string(), "10.96.0.1");
    }
}
