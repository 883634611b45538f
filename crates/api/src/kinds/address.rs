//! Addresses and ranges in fields: what may be written, in upstream's words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stead_model::{Family, is_metadata};

/// An address in the form that is written back: no leading zeros, no IPv4 inside IPv6.
pub(crate) fn ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(_) => Vec::new(),
        Err(_) if parse_with_leading_zeros(text).is_some() => vec!["must not have leading 0s".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// An address as the name of an object: there is one way to write it.
pub(crate) fn canonical(text: &str) -> Vec<String> {
    in_one_way(text, ip(text), text.parse::<IpAddr>().ok())
}

/// A range where there is one way to write it.
pub(crate) fn canonical_cidr(text: &str) -> Vec<String> {
    in_one_way(text, cidr(text), text.parse::<ipnet::IpNet>().ok())
}

/// What else is wrong with a text that means `value` and has these problems.
fn in_one_way(text: &str, problems: Vec<String>, value: Option<impl ToString>) -> Vec<String> {
    match value.map(|value| value.to_string()) {
        Some(canonical) if problems.is_empty() && canonical != text => {
            vec![format!("must be in canonical form (\"{canonical}\")")]
        }
        _ => problems,
    }
}

/// What a client should know of an address that [`ip`] accepts, or of one in a field that takes any text.
pub(crate) fn ip_warning(field: &str, text: &str) -> Option<String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() && address.to_string() != text => {
            Some(format!("{field}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{address}\")"))
        }
        Ok(address) if address.to_canonical() == address => None,
        _ => {
            let address = parse_with_leading_zeros(text)?.to_canonical();
            Some(format!("{field}: non-standard IP address {text:?} is invalid: use \"{address}\""))
        }
    }
}

/// What a client should know of a range that [`cidr`] accepts.
pub(crate) fn cidr_warning(field: &str, text: &str) -> Option<String> {
    let range = text.parse::<ipnet::IpNet>().ok()?;
    (range.to_string() != text)
        .then(|| format!("{field}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{range}\")"))
}

/// A range whose address has no bits beyond the prefix.
pub(crate) fn cidr(text: &str) -> Vec<String> {
    const INVALID: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let Some((address, length)) = text.split_once('/') else { return vec![INVALID.to_owned()] };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let (Some(parsed), true) = (parse_with_leading_zeros(address), is_number) else { return vec![INVALID.to_owned()] };
    let Some(range) = length.parse().ok().and_then(|length| ipnet::IpNet::new(parsed, length).ok()) else {
        return vec![INVALID.to_owned()];
    };
    let mut problems = Vec::new();
    if parsed.to_canonical() != parsed {
        problems.push("must not have an IPv4-mapped IPv6 address".to_owned());
    }
    if address.parse::<IpAddr>().is_err() || (length.len() > 1 && length.starts_with('0')) {
        problems.push("must not have leading 0s in IP or prefix length".to_owned());
    }
    if range.trunc() != range {
        problems.push("must not have bits set beyond the prefix length".to_owned());
    }
    problems
}

/// [`canonical`] for a field that may keep what was stored before the rules became strict.
pub(crate) fn canonical_or_stored(text: &str, stored: &[&str]) -> Vec<String> {
    if stored.contains(&text) && parse_with_leading_zeros(text).is_some() { Vec::new() } else { canonical(text) }
}

/// [`ip`] for a field that may keep what was stored before the rules became strict.
pub(crate) fn ip_or_stored(text: &str, stored: &[&str]) -> Vec<String> {
    if stored.contains(&text) && parse_with_leading_zeros(text).is_some() { Vec::new() } else { ip(text) }
}

/// An address that traffic can be sent to: not the machine itself, not the link. Upstream lets nobody name those as
/// endpoint, because it would open the node's own ports to everybody.
pub(crate) fn destination(text: &str) -> Vec<String> {
    let Some(address) = parse_with_leading_zeros(text) else { return vec!["must be a valid IP address".to_owned()] };
    let mut problems = Vec::new();
    if address.is_unspecified() {
        problems.push(format!("may not be unspecified ({text})"));
    }
    let meant = [address.to_canonical(), embedded(address).unwrap_or(address)];
    if meant.iter().any(IpAddr::is_loopback) {
        problems.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if meant.into_iter().any(is_link_local) {
        problems.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if meant.into_iter().any(is_metadata) {
        problems.push("may not be the metadata address of a cloud".to_owned());
    }
    if is_link_local_multicast(address) {
        problems.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    problems
}

/// The IPv4 address that an IPv6 one is on the way to, where a gateway on the path translates: NAT64 (64:ff9b::/96, RFC 6052),
/// 6to4 (2002::/16, RFC 3056), and the old forms ::a.b.c.d (RFC 4291) and ::ffff:0:a.b.c.d (RFC 2765).
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let (high, low) = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
}

/// The family of an address, `None` when it is none.
pub(crate) fn family(text: &str) -> Option<Family> {
    parse_with_leading_zeros(text).map(Family::of)
}

/// Whether `addresses` are two of different families.
pub(crate) fn are_dual_stack(addresses: &[&str]) -> bool {
    matches!(addresses, [a, b] if family(a).is_some() && family(b).is_some() && family(a) != family(b))
}

/// Old manifests write IPv4 octets with leading zeros; they count as decimal.
fn parse_with_leading_zeros(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|octet| {
            let is_octet = (1..=3).contains(&octet.len()) && octet.bytes().all(|byte| byte.is_ascii_digit());
            octet.parse().ok().filter(|_| is_octet)
        })
        .collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => is_link_scope(address),
    }
}

fn is_link_scope(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xff0f == 0xff02
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Vec<String>, text: &str, expect: &[&str]) {
        let problems = rule(text);
        assert_eq!(problems.len(), expect.len(), "{text}: {problems:?}");
        for (problem, start) in problems.iter().zip(expect) {
            assert!(problem.starts_with(start), "{text}: {problem}");
        }
    }

    #[test]
    fn addresses_are_canonical() {
        check(ip, "10.0.0.1", &[]);
        check(ip, "fd00::1", &[]);
        check(ip, "10.0.0.01", &["must not have leading 0s"]);
        check(ip, "::ffff:10.0.0.1", &["must not be an IPv4-mapped"]);
        for text in ["", "10.0.0", "10.0.0.256", "web", "10.0.0.1/24", "1.2.3.0000"] {
            check(ip, text, &["must be a valid IP address, (e.g."]);
        }
    }

    #[test]
    fn names_are_written_in_one_way() {
        check(canonical, "fd00::9", &[]);
        check(canonical, "fd00:0::9", &["must be in canonical form (\"fd00::9\")"]);
        check(canonical, "10.0.0.01", &["must not have leading 0s"]);
        check(canonical_cidr, "fd00::/112", &[]);
        check(canonical_cidr, "FD00::/112", &["must be in canonical form (\"fd00::/112\")"]);
        check(canonical_cidr, "::ffff:10.0.0.0/104", &["must not have an IPv4-mapped IPv6 address"]);
    }

    #[test]
    fn odd_ways_to_write_are_warned_about() {
        let warned = |text: &str| ip_warning("spec.x", text);
        assert_eq!((warned("10.0.0.1"), warned("fd00::9"), warned("web")), (None, None, None));
        let odd = "spec.x: IPv6 address \"FD00::9\" should be in RFC 5952 canonical format (\"fd00::9\")";
        assert_eq!(warned("FD00::9").as_deref(), Some(odd));
        for text in ["010.0.0.1", "::ffff:10.0.0.1"] {
            let warning = warned(text).unwrap();
            assert!(warning.contains("non-standard IP address") && warning.ends_with("use \"10.0.0.1\""), "{warning}");
        }
        assert_eq!(cidr_warning("spec.x", "fd00::/64"), None);
        assert!(cidr_warning("spec.x", "FD00::/64").unwrap().ends_with("(\"fd00::/64\")"));
    }

    #[test]
    fn ranges_have_no_host_bits() {
        check(cidr, "10.0.0.0/8", &[]);
        check(cidr, "fd00::/64", &[]);
        check(cidr, "10.0.0.1/8", &["must not have bits set"]);
        check(cidr, "10.0.0.00/08", &["must not have leading 0s"]);
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "x/8"] {
            check(cidr, text, &["must be a valid CIDR"]);
        }
    }

    #[test]
    fn endpoints_are_neither_the_machine_nor_the_link() {
        check(destination, "10.0.0.1", &[]);
        check(destination, "0.0.0.0", &["may not be unspecified (0.0.0.0)"]);
        check(destination, "127.1.2.3", &["may not be in the loopback"]);
        check(destination, "::1", &["may not be in the loopback"]);
        check(destination, "::ffff:127.0.0.1", &["may not be in the loopback"]);
        check(destination, "169.254.169.254", &["may not be in the link-local range"]);
        check(destination, "fe80::1", &["may not be in the link-local range"]);
        check(destination, "224.0.0.1", &["may not be in the link-local multicast"]);
        check(destination, "ff02::1", &["may not be in the link-local multicast"]);
        check(destination, "fd00:ec2::254", &["may not be the metadata address"]);
        check(destination, "168.63.129.16", &["may not be the metadata address"]);
        for text in ["64:ff9b::7f00:1", "2002:7f00:1::9", "::127.0.0.1", "::ffff:0:127.0.0.1"] {
            check(destination, text, &["may not be in the loopback"]);
        }
        check(destination, "64:ff9b::a9fe:a9fe", &["may not be in the link-local range"]);
        check(destination, "64:ff9b::168.63.129.16", &["may not be the metadata address"]);
        for text in ["64:ff9b::10.0.0.1", "2002:a00:1::", "fd00::127.0.0.1"] {
            check(destination, text, &[]);
        }
        check(destination, "x", &["must be a valid IP address"]);
    }
}
