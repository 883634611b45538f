//! Rules as expressions over registers.
//!
//! Registers are 16 words of four bytes; a concatenation fills consecutive words, which is also how nft lays it out.

use ipnet::IpNet;
use stead_model::{Family, Protocol};

use crate::{
    conntrack::Status,
    netlink::Writer,
    nft::{Comparison, Direction, Extension, LinkName, Rule, Selector, Statement, Verdict, protocol_family},
};

/// The first register; word `n` behind it is register `WORD + n`.
const WORD: u32 = libc::NFT_REG32_00 as u32;
const VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

fn expression(writer: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    writer.nest(1, |writer| {
        writer.string(1, name);
        writer.nest(2, body);
    });
}

pub(super) fn write_rule(writer: &mut Writer, family: Family, rule: &Rule) {
    for statement in rule {
        write_statement(writer, family, statement);
    }
}

fn write_statement(writer: &mut Writer, family: Family, statement: &Statement) {
    match statement {
        Statement::Protocol(protocol) => {
            write_selector(writer, family, Selector::Protocol, WORD);
            write_comparison(writer, Comparison::Equal, &[Protocol::number(*protocol)]);
        }
        Statement::Range(selector, comparison, range) => {
            write_selector(writer, family, *selector, WORD);
            write_range(writer, *comparison, range);
        }
        Statement::Link(name) => {
            write_meta(writer, WORD, libc::NFT_META_IIFNAME as u32);
            write_comparison(writer, Comparison::Equal, &link_bytes(name));
        }
        Statement::OtherLink(name) => {
            write_meta(writer, WORD, libc::NFT_META_IIFNAME as u32);
            write_comparison(writer, Comparison::Different, &link_bytes(name));
        }
        Statement::LinkOut(name) => {
            write_meta(writer, WORD, libc::NFT_META_OIFNAME as u32);
            write_comparison(writer, Comparison::Equal, &link_bytes(name));
        }
        Statement::NoLink => {
            write_meta(writer, WORD, libc::NFT_META_IIF as u32);
            write_comparison(writer, Comparison::Equal, &[0; 4]);
        }
        Statement::SourceIsOwn => {
            expression(writer, "fib", |writer| {
                writer.number(1, WORD);
                writer.number(2, FIB_ADDRESS_TYPE);
                writer.number(3, FIB_SOURCE);
            });
            write_comparison(writer, Comparison::Equal, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
        }
        Statement::NotTranslated => {
            expression(writer, "ct", |writer| {
                writer.number(1, WORD);
                writer.number(2, libc::NFT_CT_STATUS as u32);
            });
            write_mask(writer, &Status::DESTINATION_NAT.0.to_ne_bytes());
            write_comparison(writer, Comparison::Equal, &[0; 4]);
        }
        Statement::Direction(direction) => {
            expression(writer, "ct", |writer| {
                writer.number(1, WORD);
                writer.number(2, libc::NFT_CT_DIRECTION as u32);
            });
            // IP_CT_DIR_ORIGINAL, IP_CT_DIR_REPLY
            let number = match direction {
                Direction::Original => 0,
                Direction::Reply => 1,
            };
            write_comparison(writer, Comparison::Equal, &[number]);
        }
        Statement::InSet(key, set) => {
            write_key(writer, family, key);
            write_lookup(writer, set, None);
        }
        Statement::SetPriority(key, map) => write_mapped(writer, family, key, map, libc::NFT_META_PRIORITY as u32),
        Statement::SetMark(key, map) => write_mapped(writer, family, key, map, libc::NFT_META_MARK as u32),
        Statement::VerdictMap(key, map) => {
            write_key(writer, family, key);
            write_lookup(writer, map, Some(VERDICT));
        }
        Statement::Dnat(key, map) => {
            write_key(writer, family, key);
            write_lookup(writer, map, Some(WORD));
            expression(writer, "nat", |writer| {
                writer.number(1, libc::NFT_NAT_DNAT as u32);
                writer.number(2, protocol_family(family).into());
                writer.number(3, WORD);
                writer.number(5, WORD + words(family));
            });
        }
        Statement::Masquerade => expression(writer, "masq", |_| {}),
        Statement::RejectReset => write_reject(writer, libc::NFT_REJECT_TCP_RST as u32, 0),
        Statement::Reject => {
            // ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH
            let code = match family {
                Family::V4 => 3,
                Family::V6 => 4,
            };
            write_reject(writer, libc::NFT_REJECT_ICMP_UNREACH as u32, code);
        }
        Statement::Remember(key, map, timeout) => {
            let next = write_key(writer, family, key);
            write_selector(writer, family, Selector::Priority, next);
            write_dynamic(writer, map, libc::NFT_DYNSET_OP_UPDATE as u32, next, Some(timeout.as_millis() as u64));
        }
        Statement::Forget(key, map) => {
            let next = write_key(writer, family, key);
            write_selector(writer, family, Selector::Priority, next);
            // NFT_DYNSET_OP_DELETE
            write_dynamic(writer, map, 2, next, None);
        }
        Statement::Match(extension) => write_extension(writer, "match", extension),
        Statement::Target(extension) => write_extension(writer, "target", extension),
        Statement::Counter => expression(writer, super::COUNTER, |_| {}),
        Statement::Note(_) => {}
        Statement::Verdict(verdict) => expression(writer, "immediate", |writer| {
            writer.number(1, VERDICT);
            writer.nest(2, |writer| write_verdict(writer, verdict));
        }),
    }
}

/// Sets what the packet has there to what the map gives.
fn write_mapped(writer: &mut Writer, family: Family, key: &[Selector], map: &str, meta: u32) {
    write_key(writer, family, key);
    write_lookup(writer, map, Some(WORD));
    expression(writer, "meta", |writer| {
        writer.number(2, meta);
        writer.number(3, WORD);
    });
}

fn write_extension(writer: &mut Writer, kind: &str, extension: &Extension) {
    expression(writer, kind, |writer| {
        writer.string(1, extension.name);
        writer.number(2, extension.revision);
        writer.attribute(3, &extension.info);
    });
}

/// What the extensions of a rule are told of it: the protocol that it is for.
pub(super) fn write_compatibility(writer: &mut Writer, rule: &Rule) {
    let protocol = rule.iter().find_map(|statement| match statement {
        Statement::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    let is_extended = |statement: &Statement| matches!(statement, Statement::Match(_) | Statement::Target(_));
    if let Some(protocol) = protocol.filter(|_| rule.iter().any(is_extended)) {
        writer.nest(5, |writer| {
            writer.number(1, protocol.number().into());
            writer.number(2, 0);
        });
    }
}

/// `NFT_FIB_RESULT_ADDRTYPE`
const FIB_ADDRESS_TYPE: u32 = 3;
/// `NFTA_FIB_F_SADDR`
const FIB_SOURCE: u32 = 1;

/// What a register that holds a link's name is compared with: all of it, zeros behind the name, or its beginning.
fn link_bytes(name: &LinkName) -> Vec<u8> {
    let (LinkName::Whole(text) | LinkName::Prefix(text)) = name;
    let mut bytes = text.as_bytes().to_vec();
    match name {
        LinkName::Whole(_) => bytes.resize(libc::IFNAMSIZ, 0),
        LinkName::Prefix(_) => bytes.truncate(libc::IFNAMSIZ),
    }
    bytes
}

const fn words(family: Family) -> u32 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
    }
}

/// Loads a concatenation into the first registers; returns the first register behind it.
fn write_key(writer: &mut Writer, family: Family, key: &[Selector]) -> u32 {
    key.iter().fold(WORD, |register, selector| register + write_selector(writer, family, *selector, register))
}

/// Loads one selector into `register`; returns the words it takes.
fn write_selector(writer: &mut Writer, family: Family, selector: Selector, register: u32) -> u32 {
    let addresses = |v4: u32, v6: u32| match family {
        Family::V4 => (v4, 4),
        Family::V6 => (v6, 16),
    };
    match selector {
        Selector::SourceAddress => {
            let (offset, length) = addresses(12, 8);
            write_payload(writer, register, libc::NFT_PAYLOAD_NETWORK_HEADER as u32, offset, length);
            words(family)
        }
        Selector::DestinationAddress => {
            let (offset, length) = addresses(16, 24);
            write_payload(writer, register, libc::NFT_PAYLOAD_NETWORK_HEADER as u32, offset, length);
            words(family)
        }
        Selector::SourcePort => {
            write_payload(writer, register, libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 0, 2);
            1
        }
        Selector::DestinationPort => {
            write_payload(writer, register, libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 2, 2);
            1
        }
        Selector::Protocol => write_meta(writer, register, libc::NFT_META_L4PROTO as u32),
        Selector::Priority => write_meta(writer, register, libc::NFT_META_PRIORITY as u32),
        Selector::Random(modulus) => write_number(writer, register, modulus, libc::NFT_NG_RANDOM as u32),
        Selector::Turn(modulus) => write_number(writer, register, modulus, libc::NFT_NG_INCREMENTAL as u32),
        Selector::Hash { key, modulus, seed } => {
            // The key stands behind the place of the result, which what was loaded before stands in front of.
            let first = register + 1;
            let next = key.iter().fold(first, |next, part| next + write_selector(writer, family, *part, next));
            expression(writer, "hash", |writer| {
                writer.number(1, first);
                writer.number(2, register);
                writer.number(3, (next - first) * 4);
                writer.number(4, modulus);
                writer.number(5, seed);
            });
            1
        }
        Selector::OriginalDestinationAddress => {
            // NFT_CT_DST_IP, NFT_CT_DST_IP6
            let (key, _) = addresses(20, 22);
            write_original(writer, register, key);
            words(family)
        }
        Selector::OriginalDestinationPort => {
            write_original(writer, register, libc::NFT_CT_PROTO_DST as u32);
            1
        }
    }
}

fn write_payload(writer: &mut Writer, register: u32, base: u32, offset: u32, length: u32) {
    expression(writer, "payload", |writer| {
        writer.number(1, register);
        writer.number(2, base);
        writer.number(3, offset);
        writer.number(4, length);
    });
}

fn write_number(writer: &mut Writer, register: u32, modulus: u32, kind: u32) -> u32 {
    expression(writer, "numgen", |writer| {
        writer.number(1, register);
        writer.number(2, modulus);
        writer.number(3, kind);
    });
    1
}

fn write_meta(writer: &mut Writer, register: u32, key: u32) -> u32 {
    expression(writer, "meta", |writer| {
        writer.number(2, key);
        writer.number(1, register);
    });
    1
}

/// A value of the connection's first packet (`IP_CT_DIR_ORIGINAL`).
fn write_original(writer: &mut Writer, register: u32, key: u32) {
    expression(writer, "ct", |writer| {
        writer.number(1, register);
        writer.number(2, key);
        writer.attribute(3, &[0]);
    });
}

fn write_lookup(writer: &mut Writer, set: &str, destination: Option<u32>) {
    expression(writer, "lookup", |writer| {
        writer.string(1, set);
        writer.number(2, WORD);
        if let Some(destination) = destination {
            writer.number(3, destination);
        }
    });
}

fn write_comparison(writer: &mut Writer, comparison: Comparison, value: &[u8]) {
    expression(writer, "cmp", |writer| {
        writer.number(1, WORD);
        writer.number(
            2,
            match comparison {
                Comparison::Equal => libc::NFT_CMP_EQ as u32,
                Comparison::Different => libc::NFT_CMP_NEQ as u32,
            },
        );
        writer.nest(3, |writer| writer.attribute(1, value));
    });
}

/// The first register masked.
fn write_mask(writer: &mut Writer, mask: &[u8]) {
    expression(writer, "bitwise", |writer| {
        writer.number(1, WORD);
        writer.number(2, WORD);
        writer.number(3, mask.len() as u32);
        writer.nest(4, |writer| writer.attribute(1, mask));
        writer.nest(5, |writer| writer.attribute(1, &vec![0; mask.len()]));
    });
}

fn write_range(writer: &mut Writer, comparison: Comparison, range: &IpNet) {
    let (network, mask) = match range {
        IpNet::V4(range) => (range.network().octets().to_vec(), range.netmask().octets().to_vec()),
        IpNet::V6(range) => (range.network().octets().to_vec(), range.netmask().octets().to_vec()),
    };
    if range.prefix_len() < range.max_prefix_len() {
        write_mask(writer, &mask);
    }
    write_comparison(writer, comparison, &network);
}

fn write_reject(writer: &mut Writer, kind: u32, code: u8) {
    expression(writer, "reject", |writer| {
        writer.number(1, kind);
        writer.attribute(2, &[code]);
    });
}

fn write_dynamic(writer: &mut Writer, map: &str, operation: u32, data: u32, timeout: Option<u64>) {
    expression(writer, "dynset", |writer| {
        writer.string(1, map);
        writer.number(3, operation);
        writer.number(4, WORD);
        writer.number(5, data);
        if let Some(timeout) = timeout {
            writer.long(6, timeout);
        }
    });
}

pub(super) fn write_verdict(writer: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
    };
    writer.nest(2, |writer| {
        writer.number(1, code as u32);
        if let Some(chain) = chain {
            writer.string(2, chain);
        }
    });
}
