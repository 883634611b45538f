//! Changes as netlink messages (`linux/netfilter/nf_tables.h`), rules as expressions over registers.
//!
//! Registers are 16 words of four bytes; a concatenation fills consecutive words, which is also how nft lays it out.

use std::ops::Range;

use ipnet::IpNet;
use stead_model::{Family, Protocol};

use super::{
    Change, Comparison, Data, Elements, Expiring, Field, Name, Rule, Selector, Set, Shape, Statement, Verdict, digest,
    protocol_family,
};
use crate::netlink::{ATTRIBUTE_MAX, Header, Writer};

pub(crate) const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;

pub(crate) mod message {
    pub(crate) const NEW_TABLE: u16 = 0;
    pub(crate) const GET_TABLE: u16 = 1;
    pub(crate) const DELETE_TABLE: u16 = 2;
    pub(crate) const NEW_CHAIN: u16 = 3;
    pub(crate) const GET_CHAIN: u16 = 4;
    pub(crate) const DELETE_CHAIN: u16 = 5;
    pub(crate) const NEW_RULE: u16 = 6;
    pub(crate) const GET_RULE: u16 = 7;
    pub(crate) const DELETE_RULE: u16 = 8;
    pub(crate) const NEW_SET: u16 = 9;
    pub(crate) const GET_SET: u16 = 10;
    pub(crate) const NEW_ELEMENT: u16 = 12;
    pub(crate) const GET_ELEMENT: u16 = 13;
    pub(crate) const DELETE_ELEMENT: u16 = 14;
    pub(crate) const GET_GENERATION: u16 = 16;
}

/// Attributes of tables, chains, sets and element lists begin with the table's name.
pub(crate) const TABLE: u16 = 1;

pub(crate) mod set_flag {
    pub(crate) const MAP: u32 = 0x8;
    pub(crate) const TIMEOUT: u32 = 0x10;
    pub(crate) const EVAL: u32 = 0x20;
}

/// Kinds of user data that nft reads; other kinds it ignores.
pub(crate) mod user_data {
    pub(crate) const TABLE_COMMENT: u8 = 0;
    pub(crate) const SET_KEY_BYTE_ORDER: u8 = 0;
    pub(crate) const SET_DATA_BYTE_ORDER: u8 = 1;
    pub(crate) const HOST_ORDER: u32 = 1;
    pub(crate) const NETWORK_ORDER: u32 = 2;
    /// Ours: the digest of a rule.
    pub(crate) const RULE_DIGEST: u8 = 0x53;
}

/// How nft notes `typeof meta priority . numgen random mod 65536 : meta priority` on a map: nested runs of kind, length, value.
#[rustfmt::skip]
const TYPE_OF_SLOTS: [u8; 70] = [
    3, 52,
        0, 4, 13, 0, 0, 0,
        1, 44,
            0, 14, 0, 4, 9, 0, 0, 0, 1, 6, 0, 4, 2, 0, 0, 0,
            1, 26, 0, 4, 23, 0, 0, 0, 1, 18, 0, 4, 1, 0, 0, 0, 1, 4, 0, 0, 1, 0, 2, 4, 0, 0, 0, 0,
    4, 14, 0, 4, 9, 0, 0, 0, 1, 6, 0, 4, 2, 0, 0, 0,
];

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

/// Writes changes as messages and notes which message belongs to which change.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) writer: Writer,
    sequence: u32,
    /// For each message the index of its change, by sequence number from the first on.
    pub(crate) origins: Vec<u32>,
    set_id: u32,
}

impl Encoder {
    /// Numbers messages from `sequence` on.
    pub(crate) fn new(sequence: u32) -> Self {
        Self { writer: Writer::new(), sequence, origins: Vec::new(), set_id: 0 }
    }

    pub(crate) fn change(&mut self, index: u32, change: &Change) {
        match change {
            Change::AddTable(name, table) => self.message(index, message::NEW_TABLE, CREATE, name, |writer| {
                writer.string(TABLE, name.table);
                if !table.comment.is_empty() {
                    writer.attribute(6, &comment(&table.comment));
                }
            }),
            Change::DeleteTable(name) => self.message(index, message::DELETE_TABLE, 0, name, |writer| {
                writer.string(TABLE, name.table);
            }),
            Change::AddSet(name, set) => {
                self.set_id += 1;
                let id = self.set_id;
                self.message(index, message::NEW_SET, CREATE, name, |writer| write_set(writer, name, set, id));
            }
            Change::AddChain(name, chain) => self.message(index, message::NEW_CHAIN, CREATE, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(3, &chain.name);
                if let Some(base) = chain.base {
                    writer.nest(4, |writer| {
                        writer.number(1, base.hook.number());
                        writer.number(2, base.priority as u32);
                    });
                    writer.number(5, libc::NF_ACCEPT as u32);
                    writer.string(7, "nat");
                }
            }),
            Change::FlushChain(name, chain) => self.message(index, message::DELETE_RULE, 0, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(2, chain);
            }),
            Change::DeleteChain(name, chain) => self.message(index, message::DELETE_CHAIN, 0, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(3, chain);
            }),
            Change::AddRule(name, chain, rule) => {
                self.message(index, message::NEW_RULE, CREATE | APPEND, name, |writer| {
                    writer.string(TABLE, name.table);
                    writer.string(2, chain);
                    writer.nest(4, |writer| write_rule(writer, name.family, rule));
                    writer.attribute(7, &entry(user_data::RULE_DIGEST, &digest(rule).to_be_bytes()));
                });
            }
            Change::AddElements(name, set, elements) => {
                self.elements(index, message::NEW_ELEMENT, CREATE, name, set, elements);
            }
            Change::DeleteElements(name, set, elements) => {
                self.elements(index, message::DELETE_ELEMENT, 0, name, set, elements);
            }
            Change::AddExpiring(name, map, _, elements) => {
                /// Elements of one message: at most 116 bytes each.
                const ELEMENTS: usize = 500;
                for chunk in elements.chunks(ELEMENTS) {
                    self.message(index, message::NEW_ELEMENT, CREATE, name, |writer| {
                        writer.string(TABLE, name.table);
                        writer.string(2, map);
                        writer.nest(3, |writer| chunk.iter().for_each(|element| write_expiring(writer, element)));
                    });
                }
            }
            Change::FlushSet(name, set) => self.message(index, message::DELETE_ELEMENT, 0, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(2, set);
            }),
            Change::AddVerdict(name, map, key, verdict) => {
                self.message(index, message::NEW_ELEMENT, CREATE, name, |writer| {
                    write_verdict_element(writer, name, map, *key, Some(verdict));
                });
            }
            Change::DeleteVerdict(name, map, key) => {
                self.message(index, message::DELETE_ELEMENT, 0, name, |writer| {
                    write_verdict_element(writer, name, map, *key, None);
                });
            }
        }
    }

    fn message(&mut self, index: u32, kind: u16, flags: u16, name: &Name, body: impl FnOnce(&mut Writer)) {
        let header = Header {
            kind: SUBSYSTEM | kind,
            flags: libc::NLM_F_REQUEST as u16 | flags,
            sequence: self.sequence,
            family: protocol_family(name.family),
            resource: 0,
        };
        self.sequence += 1;
        self.origins.push(index);
        self.writer.message(header, body);
    }

    /// As many messages as the limit of one attribute demands.
    fn elements(&mut self, index: u32, kind: u16, flags: u16, name: &Name, set: &str, elements: &Elements) {
        for range in chunks(elements.shape(), elements.len(), kind) {
            self.message(index, kind, flags, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(2, set);
                writer.nest(3, |writer| {
                    for (key, data) in elements.range(range.clone()) {
                        write_element(writer, key, if kind == message::NEW_ELEMENT { data } else { &[] });
                    }
                });
            });
        }
    }
}

/// Ranges of elements of which each fits into one list.
fn chunks(shape: Shape, count: usize, kind: u16) -> impl Iterator<Item = Range<usize>> {
    // Headers of the element, of key and value and, with data, of data and value.
    let key = 4 + 8 + shape.key_size();
    let data = if kind == message::NEW_ELEMENT && shape.data_size() > 0 { 8 + shape.data_size() } else { 0 };
    let fit = ATTRIBUTE_MAX / (key + data);
    (0..count).step_by(fit).map(move |start| start..count.min(start + fit))
}

pub(crate) fn write_element(writer: &mut Writer, key: &[u8], data: &[u8]) {
    writer.nest(1, |writer| {
        writer.nest(1, |writer| writer.attribute(1, key));
        if !data.is_empty() {
            writer.nest(2, |writer| writer.attribute(1, data));
        }
    });
}

fn write_expiring(writer: &mut Writer, element: &Expiring) {
    writer.nest(1, |writer| {
        writer.nest(1, |writer| writer.attribute(1, element.key.as_bytes()));
        writer.nest(2, |writer| writer.attribute(1, element.data.as_bytes()));
        writer.long(4, element.timeout.as_millis() as u64);
        writer.long(5, element.left.as_millis() as u64);
    });
}

fn write_verdict_element(writer: &mut Writer, name: &Name, map: &str, key: u32, verdict: Option<&Verdict>) {
    writer.string(TABLE, name.table);
    writer.string(2, map);
    writer.nest(3, |writer| {
        writer.nest(1, |writer| {
            writer.nest(1, |writer| writer.attribute(1, &key.to_ne_bytes()));
            if let Some(verdict) = verdict {
                writer.nest(2, |writer| write_verdict(writer, verdict));
            }
        });
    });
}

/// One entry of user data: kind, length, value. The value is cut at 255 bytes.
fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(usize::from(u8::MAX))];
    [&[kind, value.len() as u8], value].concat()
}

fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(usize::from(u8::MAX) - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    entry(user_data::TABLE_COMMENT, &[&text.as_bytes()[..end], &[0]].concat())
}

fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | field.type_number())
}

fn byte_order(fields: &[Field]) -> u32 {
    match fields {
        [Field::Classid | Field::Random] => user_data::HOST_ORDER,
        [_] => user_data::NETWORK_ORDER,
        _ => 0,
    }
}

fn write_set(writer: &mut Writer, name: &Name, set: &Set, id: u32) {
    let Shape { key, data } = set.shape;
    let mut flags = if data == Data::None { 0 } else { set_flag::MAP };
    if set.dynamic.is_some() {
        flags |= set_flag::TIMEOUT | set_flag::EVAL;
    }
    writer.string(TABLE, name.table);
    writer.string(2, set.name);
    writer.number(3, flags);
    writer.number(4, type_number(key));
    writer.number(5, set.shape.key_size() as u32);
    let mut notes = entry(user_data::SET_KEY_BYTE_ORDER, &byte_order(key).to_ne_bytes());
    match data {
        Data::None => {}
        Data::Fields(fields) => {
            writer.number(6, type_number(fields));
            writer.number(7, set.shape.data_size() as u32);
            notes.extend(entry(user_data::SET_DATA_BYTE_ORDER, &byte_order(fields).to_ne_bytes()));
        }
        Data::Verdict => {
            writer.number(6, libc::NFT_DATA_VERDICT);
            writer.number(7, 0);
            notes.extend(entry(user_data::SET_DATA_BYTE_ORDER, &0u32.to_ne_bytes()));
        }
    }
    if key.contains(&Field::Random) {
        notes.extend(TYPE_OF_SLOTS);
    }
    if let Some(size) = set.size {
        writer.nest(9, |writer| writer.number(1, size));
    }
    writer.number(10, id);
    if let Some(timeout) = set.dynamic {
        writer.long(11, timeout.as_millis() as u64);
    }
    writer.attribute(13, &notes);
}

/// The first register; word `n` behind it is register `WORD + n`.
const WORD: u32 = libc::NFT_REG32_00 as u32;
const VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

fn expression(writer: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    writer.nest(1, |writer| {
        writer.string(1, name);
        writer.nest(2, body);
    });
}

fn write_rule(writer: &mut Writer, family: Family, rule: &Rule) {
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
        Statement::NotTranslated => {
            expression(writer, "ct", |writer| {
                writer.number(1, WORD);
                writer.number(2, libc::NFT_CT_STATUS as u32);
            });
            write_mask(writer, &crate::conntrack::Status::DESTINATION_NAT.0.to_ne_bytes());
            write_comparison(writer, Comparison::Equal, &[0; 4]);
        }
        Statement::InSet(key, set) => {
            write_key(writer, family, key);
            write_lookup(writer, set, None);
        }
        Statement::SetPriority(key, map) => {
            write_key(writer, family, key);
            write_lookup(writer, map, Some(WORD));
            expression(writer, "meta", |writer| {
                writer.number(2, libc::NFT_META_PRIORITY as u32);
                writer.number(3, WORD);
            });
        }
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
        Statement::Verdict(verdict) => expression(writer, "immediate", |writer| {
            writer.number(1, VERDICT);
            writer.nest(2, |writer| write_verdict(writer, verdict));
        }),
    }
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
        Selector::DestinationPort => {
            write_payload(writer, register, libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32, 2, 2);
            1
        }
        Selector::Protocol => write_meta(writer, register, libc::NFT_META_L4PROTO as u32),
        Selector::Priority => write_meta(writer, register, libc::NFT_META_PRIORITY as u32),
        Selector::Random(modulus) => {
            expression(writer, "numgen", |writer| {
                writer.number(1, register);
                writer.number(2, modulus);
                writer.number(3, libc::NFT_NG_RANDOM as u32);
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

fn write_verdict(writer: &mut Writer, verdict: &Verdict) {
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
