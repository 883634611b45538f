//! What ranges of addresses a cluster may have: the one rule for all that are told of ranges, by flag, file or lab.
//!
//! Which ranges may stand beside each other, and how large a lab needs them, is for those to say.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    #[error("{range} holds {what} addresses ({special}), which nothing can be reached at: choose another range")]
    Special { range: IpNet, special: IpNet, what: &'static str },
    #[error("{0} is too small or too large for virtual IPs: IPv4 /30 to /8, IPv6 /126 to /64")]
    ServiceSize(IpNet),
}

/// What the kernel never sends to another machine as it sends to one, with what it is (RFC 6890, RFC 5771, RFC 4291).
const SPECIAL: [(IpNet, &str); 7] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    // The unspecified address, loopback, and IPv4 in the clothes of IPv6.
    (v6(0, 8), "reserved"),
    (v6(0xfe80, 10), "link-local"),
    (v6(0xff00, 8), "multicast"),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

/// Whether machines, pods or Services can have the addresses of `range`.
pub fn validate(range: IpNet) -> Result<(), InvalidRange> {
    let mut special = SPECIAL.iter().filter(|(special, _)| special.contains(&range) || range.contains(special));
    match special.next() {
        Some((special, what)) => Err(InvalidRange::Special { range, special: *special, what }),
        None => Ok(()),
    }
}

/// Whether virtual IPs can come from `range`.
pub fn validate_service(range: IpNet) -> Result<(), InvalidRange> {
    let fits = match range {
        IpNet::V4(range) => (8..=30).contains(&range.prefix_len()),
        IpNet::V6(range) => (64..=126).contains(&range.prefix_len()),
    };
    if fits { validate(range) } else { Err(InvalidRange::ServiceSize(range)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_nothing_can_be_reached_in_are_named() {
        let check = |text: &str, expect: &str| {
            let said = validate(text.parse().unwrap()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{text}: {said:?}");
        };
        for range in ["10.96.0.0/16", "100.64.0.0/10", "192.168.56.0/24", "240.0.0.0/8", "fd56::/64", "2001:db8::/32"] {
            check(range, "");
        }
        check("127.1.0.0/16", "127.1.0.0/16 holds loopback addresses (127.0.0.0/8)");
        check("169.254.0.0/16", "link-local");
        check("239.0.0.0/16", "multicast");
        check("0.0.0.0/0", "unspecified");
        check("64.0.0.0/2", "loopback");
        check("::/112", "reserved");
        check("::ffff:10.96.0.0/112", "reserved");
        check("fe80::/64", "link-local");
        check("ff02::/64", "multicast");
        check("::/0", "reserved");
    }

    #[test]
    fn virtual_ips_come_from_ranges_that_can_be_counted() {
        let check = |text: &str, expect: bool| {
            assert_eq!(validate_service(text.parse().unwrap()).is_ok(), expect, "{text}");
        };
        check("10.0.0.0/8", true);
        check("10.96.0.0/30", true);
        check("10.96.0.0/31", false);
        check("64.0.0.0/4", false);
        check("fd56::/64", true);
        check("fd56::/126", true);
        check("fd56::/127", false);
        check("fd77:96::/48", false);
        check("127.0.0.0/16", false);
    }
}
