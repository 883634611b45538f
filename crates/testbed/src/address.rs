//! The addresses of a lab: the defaults of `stead up`, in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use stead_model::Family;

/// The fabric that nodes, `outside` and the router share.
pub const FABRIC_RANGES: [IpNet; 2] = [v4([192, 168, 56, 0], 24), v6([0xfd56, 0, 0, 0], 64)];
/// Of all pods together.
pub const POD_RANGES: [IpNet; 2] = [v4([10, 244, 0, 0], 16), v6([0xfd56, 0x244, 0, 0], 32)];
/// Of virtual IPs. Nodes have a route for it that leads nowhere.
pub const SERVICE_RANGES: [IpNet; 2] = [v4([10, 96, 0, 0], 16), v6([0xfd56, 0x96, 0, 0], 112)];
/// Behind the router.
pub const FAR_RANGES: [IpNet; 2] = [v4([192, 168, 57, 0], 24), v6([0xfd57, 0, 0, 0], 64)];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6([a, b, c, d]: [u16; 4], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length))
}

const fn of(ranges: [IpNet; 2], family: Family) -> IpNet {
    match family {
        Family::V4 => ranges[0],
        Family::V6 => ranges[1],
    }
}

/// The address in `range` whose last digits read the same in both families: 101 is `.101` and `::101`.
fn host(range: IpNet, digits: u16) -> IpAddr {
    match range {
        IpNet::V4(range) => Ipv4Addr::from_bits(range.network().to_bits() + u32::from(digits)).into(),
        IpNet::V6(range) => {
            let hexadecimal = u128::from(u16::from_str_radix(&digits.to_string(), 16).unwrap_or(digits));
            Ipv6Addr::from_bits(range.network().to_bits() + hexadecimal).into()
        }
    }
}

/// Of the fabric's own namespace, where a lab's server would listen.
pub fn fabric_address(family: Family) -> IpAddr {
    host(of(FABRIC_RANGES, family), 100)
}

/// Of node 1, 2, … on the fabric.
pub fn node_address(family: Family, node: u8) -> IpAddr {
    host(of(FABRIC_RANGES, family), 100 + u16::from(node))
}

pub fn outside_address(family: Family) -> IpAddr {
    host(of(FABRIC_RANGES, family), 50)
}

/// Of the router on the fabric.
pub fn router_address(family: Family) -> IpAddr {
    host(of(FABRIC_RANGES, family), 60)
}

pub fn far_address(family: Family) -> IpAddr {
    host(of(FAR_RANGES, family), 2)
}

/// Of the router on the far side.
pub(crate) fn far_gateway(family: Family) -> IpAddr {
    host(of(FAR_RANGES, family), 1)
}

/// Of the pods of one node.
pub fn pod_range(family: Family, node: u8) -> IpNet {
    match family {
        Family::V4 => v4([10, 244, node, 0], 24),
        Family::V6 => v6([0xfd56, 0x244, u16::from(node), 0], 64),
    }
}

/// Of pod 1, 2, … of a node.
pub fn pod_address(family: Family, node: u8, pod: u8) -> IpAddr {
    host(pod_range(family, node), u16::from(pod) + 1)
}

/// Of a node, as its pods see it.
pub(crate) fn pod_gateway(family: Family, node: u8) -> IpAddr {
    host(pod_range(family, node), 1)
}

pub(crate) fn fabric_range(family: Family) -> IpNet {
    of(FABRIC_RANGES, family)
}

pub(crate) fn service_range(family: Family) -> IpNet {
    of(SERVICE_RANGES, family)
}

pub(crate) fn far_range(family: Family) -> IpNet {
    of(FAR_RANGES, family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_a_default_lab() {
        let check = |address: IpAddr, expect: &str| assert_eq!(address.to_string(), expect);
        check(node_address(Family::V4, 2), "192.168.56.102");
        check(node_address(Family::V6, 2), "fd56::102");
        check(outside_address(Family::V6), "fd56::50");
        check(pod_address(Family::V4, 2, 1), "10.244.2.2");
        check(pod_address(Family::V6, 2, 1), "fd56:244:2::2");
        check(far_address(Family::V4), "192.168.57.2");
        assert_eq!(SERVICE_RANGES.map(|range| range.to_string()), ["10.96.0.0/16", "fd56:96::/112"]);
        assert!(POD_RANGES[1].contains(&pod_range(Family::V6, 9)));
    }
}
