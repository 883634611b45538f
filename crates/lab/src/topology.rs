//! Who has which address: pure arithmetic from the ranges of a lab, and the check that they fit together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use stead_model::range::{self, InvalidRange};

/// The ranges a lab is made of. IPv6 ranges may be left out together: then the lab has IPv4 alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// The link all hosts share: one IPv4 range of /24 or larger, and one IPv6 range of /64 or larger.
    pub fabric: Vec<IpNet>,
    /// What pods' addresses come from: IPv4 of /16 or larger, IPv6 of /32 or larger.
    pub pods: Vec<IpNet>,
    /// What virtual IPs come from: IPv4 of /28 or larger, up to /8; IPv6 of /124 or larger, up to /64.
    pub services: Vec<IpNet>,
}

impl Default for Ranges {
    fn default() -> Self {
        let v4 = |a, b, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from([a, b, 0, 0]), length));
        let v6 =
            |segment, length| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd56, segment, 0, 0, 0, 0, 0, 0), length));
        let fabric = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 56, 0), 24));
        Self {
            fabric: vec![fabric, v6(0, 64)],
            pods: vec![v4(10, 244, 16), v6(0x244, 32)],
            services: vec![v4(10, 96, 16), v6(0x96, 112)],
        }
    }
}

/// The addresses of a whole lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Name of the lab: a DNS label of at most 40 characters.
    pub name: String,
    pub ranges: Ranges,
    /// The API server's, with the fabric's prefix lengths.
    pub server: Vec<IpNet>,
    /// Those of the client that is no node.
    pub outside: Vec<IpNet>,
    pub nodes: Vec<NodeAddresses>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    pub name: String,
    /// On the fabric, with its prefix lengths; IPv4 first.
    pub addresses: Vec<IpNet>,
    pub pods: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopology {
    #[error("lab name {0:?} is no DNS label of at most 40 characters (a-z, 0-9, -): choose another with --name")]
    Name(String),
    #[error("a lab has 1 to 99 nodes, not {0}: change --nodes")]
    Nodes(usize),
    #[error("{field}: {range} is smaller than /{at_most}, which a lab needs there")]
    TooSmall { field: &'static str, range: IpNet, at_most: u8 },
    #[error("{field}")]
    Range { field: &'static str, source: InvalidRange },
    #[error("{field}: needs one IPv4 range, and may have one of IPv6 behind it")]
    Families { field: &'static str },
    #[error("lab.fabric and server.podRanges must hold the same families, and server.serviceRanges none beside")]
    MixedFamilies,
    #[error("{first_field} {first} overlaps {second_field} {second}: choose ranges that share no address")]
    Overlap { first_field: &'static str, first: IpNet, second_field: &'static str, second: IpNet },
}

const FABRIC: &str = "lab.fabric";
const PODS: &str = "server.podRanges";
const SERVICES: &str = "server.serviceRanges";

/// Places on the fabric; `200..=250` are kept for load-balancer addresses.
const OUTSIDE: u32 = 50;
const SERVER: u32 = 100;

impl Topology {
    /// Lays out `nodes` nodes named `node1`… in `ranges`.
    pub fn new(name: &str, nodes: usize, ranges: Ranges) -> Result<Self, InvalidTopology> {
        validate_name(name)?;
        if !(1..=99).contains(&nodes) {
            return Err(InvalidTopology::Nodes(nodes));
        }
        validate_ranges(&ranges)?;
        let place = |number| ranges.fabric.iter().map(|range| host(*range, number)).collect::<Vec<_>>();
        let nodes = (1..=nodes as u32)
            .map(|number| NodeAddresses {
                name: format!("node{number}"),
                addresses: place(SERVER + number),
                pods: ranges.pods.iter().map(|range| pod_range(*range, number)).collect(),
            })
            .collect();
        Ok(Self { name: name.to_owned(), server: place(SERVER), outside: place(OUTSIDE), nodes, ranges })
    }

    pub fn node(&self, name: &str) -> Option<&NodeAddresses> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

fn validate_name(name: &str) -> Result<(), InvalidTopology> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let good = bytes.len() <= 40
        && bytes.first().is_some_and(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| inner(*byte))
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-');
    if good { Ok(()) } else { Err(InvalidTopology::Name(name.to_owned())) }
}

fn validate_ranges(ranges: &Ranges) -> Result<(), InvalidTopology> {
    let fields =
        [(FABRIC, &ranges.fabric, 24, 64), (PODS, &ranges.pods, 16, 32), (SERVICES, &ranges.services, 28, 124)];
    for (field, list, v4, v6) in fields {
        if !matches!(list.as_slice(), [IpNet::V4(_)] | [IpNet::V4(_), IpNet::V6(_)]) {
            return Err(InvalidTopology::Families { field });
        }
        for range in list {
            let at_most = if matches!(range, IpNet::V4(_)) { v4 } else { v6 };
            if range.prefix_len() > at_most {
                return Err(InvalidTopology::TooSmall { field, range: *range, at_most });
            }
            let valid = if field == SERVICES { range::validate_service(*range) } else { range::validate(*range) };
            valid.map_err(|source| InvalidTopology::Range { field, source })?;
        }
    }
    if ranges.fabric.len() != ranges.pods.len() || ranges.services.len() > ranges.pods.len() {
        return Err(InvalidTopology::MixedFamilies);
    }
    for (index, (first_field, first, ..)) in fields.iter().enumerate() {
        for (second_field, second, ..) in &fields[index + 1..] {
            let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (*a, *b)));
            for (first, second) in pairs {
                if first.contains(&second) || second.contains(&first) {
                    return Err(InvalidTopology::Overlap { first_field, first, second_field, second });
                }
            }
        }
    }
    Ok(())
}

/// The host with this number: `.101` in an IPv4 range, and `::101` (the same digits) in one of IPv6.
fn host(range: IpNet, number: u32) -> IpNet {
    let address: IpAddr = match range {
        IpNet::V4(range) => Ipv4Addr::from(u32::from(range.network()) + number).into(),
        IpNet::V6(range) => Ipv6Addr::from(u128::from(range.network()) + same_digits(number)).into(),
    };
    IpNet::new(address, range.prefix_len()).expect("the range's own prefix length fits its family")
}

/// The pods of one node: the numbered /24, and the /64 with the number (the same digits) in the third group.
fn pod_range(range: IpNet, number: u32) -> IpNet {
    match range {
        IpNet::V4(range) => {
            let network = u32::from(range.network()) + (number << 8);
            IpNet::V4(Ipv4Net::new_assert(network.into(), 24))
        }
        IpNet::V6(range) => {
            let network = u128::from(range.network()) + (same_digits(number) << 80);
            IpNet::V6(Ipv6Net::new_assert(network.into(), 64))
        }
    }
}

/// The number whose hexadecimal digits are the decimal digits of `number`.
fn same_digits(number: u32) -> u128 {
    u128::from_str_radix(&number.to_string(), 16).expect("decimal digits are hexadecimal ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ranges: &[IpNet]) -> Vec<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_the_documented_ones() {
        let topology = Topology::new("stead", 12, Ranges::default()).unwrap();
        assert_eq!(texts(&topology.server), ["192.168.56.100/24", "fd56::100/64"]);
        assert_eq!(texts(&topology.outside), ["192.168.56.50/24", "fd56::50/64"]);
        let node = topology.node("node1").unwrap();
        assert_eq!(texts(&node.addresses), ["192.168.56.101/24", "fd56::101/64"]);
        assert_eq!(texts(&node.pods), ["10.244.1.0/24", "fd56:244:1::/64"]);
        let node = topology.node("node12").unwrap();
        assert_eq!(texts(&node.addresses), ["192.168.56.112/24", "fd56::112/64"]);
        assert_eq!(texts(&node.pods), ["10.244.12.0/24", "fd56:244:12::/64"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |change: fn(&mut Ranges), expect: &str| {
            let mut ranges = Ranges::default();
            change(&mut ranges);
            let error = Topology::new("stead", 2, ranges).unwrap_err();
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            assert_eq!(format!("{error}{}", source.unwrap_or_default()), expect);
        };
        check(
            |ranges| ranges.services[0] = "10.244.0.0/20".parse().unwrap(),
            "server.podRanges 10.244.0.0/16 overlaps server.serviceRanges 10.244.0.0/20: choose ranges that share no address",
        );
        check(
            |ranges| ranges.fabric[0] = "10.0.0.0/8".parse().unwrap(),
            "lab.fabric 10.0.0.0/8 overlaps server.podRanges 10.244.0.0/16: choose ranges that share no address",
        );
        check(
            |ranges| ranges.pods[0] = "10.1.0.0/20".parse().unwrap(),
            "server.podRanges: 10.1.0.0/20 is smaller than /16, which a lab needs there",
        );
        check(
            |ranges| ranges.services[1] = "fd77:96::/48".parse().unwrap(),
            "server.serviceRanges: fd77:96::/48 is too small or too large for virtual IPs: IPv4 /30 to /8, IPv6 /126 to /64",
        );
        check(
            |ranges| ranges.services[0] = "169.254.0.0/16".parse().unwrap(),
            "server.serviceRanges: 169.254.0.0/16 holds link-local addresses (169.254.0.0/16), which nothing can be reached at: choose another range",
        );
        check(
            |ranges| ranges.fabric[0] = "239.1.2.0/24".parse().unwrap(),
            "lab.fabric: 239.1.2.0/24 holds multicast addresses (224.0.0.0/4), which nothing can be reached at: choose another range",
        );
        check(
            |ranges| ranges.pods[0] = "127.1.0.0/16".parse().unwrap(),
            "server.podRanges: 127.1.0.0/16 holds loopback addresses (127.0.0.0/8), which nothing can be reached at: choose another range",
        );
        check(
            |ranges| ranges.services.clear(),
            "server.serviceRanges: needs one IPv4 range, and may have one of IPv6 behind it",
        );
        check(
            |ranges| ranges.pods.truncate(1),
            "lab.fabric and server.podRanges must hold the same families, and server.serviceRanges none beside",
        );
    }

    #[test]
    fn services_may_be_of_one_family_alone() {
        let mut ranges = Ranges::default();
        ranges.services.truncate(1);
        assert!(Topology::new("stead", 2, ranges).is_ok());
    }

    #[test]
    fn names_and_counts_are_bounded() {
        for name in ["", "-a", "a-", "A", "a.b", "a/b", "..", &"a".repeat(41)] {
            assert_eq!(Topology::new(name, 2, Ranges::default()), Err(InvalidTopology::Name(name.to_owned())));
        }
        assert_eq!(Topology::new("a", 0, Ranges::default()), Err(InvalidTopology::Nodes(0)));
        assert_eq!(Topology::new("a", 100, Ranges::default()), Err(InvalidTopology::Nodes(100)));
    }
}
