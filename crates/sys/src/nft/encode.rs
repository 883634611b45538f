//! Changes as the netlink messages of one batch (`linux/netfilter/nf_tables.h`).
//!
//! Large batches are written once and sent from where they were written: pages that are touched for the first time are what costs most.

mod rule;

use std::ops::Range;

use self::rule::{write_compatibility, write_rule, write_verdict};
use super::{
    Change, Data, Elements, Expiring, Field, Name, Rule, Set, Shape, Statement, Verdict, digest, protocol_family,
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

/// The attribute of an element that has the last key of a range.
pub(crate) const RANGE_END: u16 = 10;

/// The attribute of a set that says what its elements do when they are met.
const SET_EXPRESSION: u16 = 17;
pub(crate) const COUNTER: &str = "counter";

pub(crate) mod set_flag {
    pub(crate) const INTERVAL: u32 = 0x4;
    pub(crate) const MAP: u32 = 0x8;
    pub(crate) const TIMEOUT: u32 = 0x10;
    pub(crate) const EVAL: u32 = 0x20;
    pub(crate) const CONCATENATION: u32 = 0x80;
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
    /// Ours: words on a rule.
    pub(crate) const RULE_NOTE: u8 = 0x54;
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

/// Writes changes as messages between the marks of a batch and notes which message belongs to which change.
#[derive(Debug)]
pub(crate) struct Encoder {
    writer: Writer,
    /// For each message between the marks the index of its change.
    origins: Vec<u32>,
    set_id: u32,
}

impl Encoder {
    /// The mark at the beginning, in a buffer with room for these changes.
    pub(crate) fn begin(generation: Option<u32>, changes: &[Change]) -> Self {
        let mut writer = Writer::with_capacity(size_of(changes));
        write_mark(&mut writer, BEGIN, generation);
        Self { writer, origins: Vec::new(), set_id: 0 }
    }

    /// How many sequence numbers the batch takes, marks included.
    pub(crate) fn len(&self) -> u32 {
        self.origins.len() as u32 + 2
    }

    /// The batch, its messages numbered from `first` on; the last change asks for an acknowledgement. Then the index of the change for
    /// each message between the marks.
    pub(crate) fn finish(mut self, first: u32) -> (Vec<u8>, Vec<u32>) {
        const FLAGS: usize = 6;
        const SEQUENCE: usize = 8;
        let last = first + self.origins.len() as u32;
        write_mark(&mut self.writer, END, None);
        let mut bytes = self.writer.into_bytes();
        let mut at = 0;
        for sequence in first..=last + 1 {
            let length = bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes) as usize;
            bytes[at + SEQUENCE..at + SEQUENCE + 4].copy_from_slice(&sequence.to_ne_bytes());
            if sequence == last {
                bytes[at + FLAGS] |= libc::NLM_F_ACK as u8;
            }
            at += length;
        }
        (bytes, self.origins)
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
                    writer.string(7, base.hook.kind());
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
            Change::AddRule(name, chain, rule) => self.rule(index, CREATE | APPEND, name, chain, rule),
            Change::InsertRule(name, chain, rule) => self.rule(index, CREATE, name, chain, rule),
            Change::DeleteRule(name, chain, handle) => self.message(index, message::DELETE_RULE, 0, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(2, chain);
                writer.long(3, *handle);
            }),
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

    fn rule(&mut self, index: u32, flags: u16, name: &Name, chain: &str, rule: &Rule) {
        self.message(index, message::NEW_RULE, flags, name, |writer| {
            writer.string(TABLE, name.table);
            writer.string(2, chain);
            writer.nest(4, |writer| write_rule(writer, name.family, rule));
            write_compatibility(writer, rule);
            let mut data = entry(user_data::RULE_DIGEST, &digest(rule).to_be_bytes());
            for statement in rule {
                if let Statement::Note(text) = statement {
                    data.extend(entry(user_data::RULE_NOTE, text.as_bytes()));
                }
            }
            writer.attribute(7, &data);
        });
    }

    fn message(&mut self, index: u32, kind: u16, flags: u16, name: &Name, body: impl FnOnce(&mut Writer)) {
        let header = Header {
            kind: SUBSYSTEM | kind,
            flags: libc::NLM_F_REQUEST as u16 | flags,
            sequence: 0,
            family: protocol_family(name.family),
            resource: 0,
        };
        self.origins.push(index);
        self.writer.message(header, body);
    }

    /// As many messages as the limit of one attribute demands.
    fn elements(&mut self, index: u32, kind: u16, flags: u16, name: &Name, set: &str, elements: &Elements) {
        let stencil = Stencil::new(elements.shape(), kind);
        for range in chunks(stencil.bytes.len(), elements.len()) {
            self.message(index, kind, flags, name, |writer| {
                writer.string(TABLE, name.table);
                writer.string(2, set);
                writer.nest(3, |writer| {
                    elements.range(range.clone()).for_each(|(key, data)| stencil.write(writer, key, data));
                });
            });
        }
    }
}

const BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
const END: u16 = libc::NFNL_MSG_BATCH_END as u16;

/// Begin or end of a batch.
fn write_mark(writer: &mut Writer, kind: u16, generation: Option<u32>) {
    let resource = libc::NFNL_SUBSYS_NFTABLES as u16;
    let header = Header { kind, flags: libc::NLM_F_REQUEST as u16, sequence: 0, family: 0, resource };
    writer.message(header, |writer| {
        if let Some(generation) = generation {
            writer.number(1, generation);
        }
    });
}

/// About as many bytes as the changes take.
fn size_of(changes: &[Change]) -> usize {
    const OTHERS: usize = 64 << 10;
    let elements = changes.iter().map(|change| match change {
        Change::AddElements(_, _, elements) => {
            elements.len() * Stencil::new(elements.shape(), message::NEW_ELEMENT).bytes.len()
        }
        _ => 0,
    });
    let elements = elements.sum::<usize>();
    elements + elements / 64 + if elements > 0 { OTHERS } else { 0 }
}

/// Elements of one shape differ in nothing but key and data: the rest is written once and copied.
struct Stencil {
    bytes: Vec<u8>,
    key: Range<usize>,
    /// Empty where an element is named by its key alone.
    data: Range<usize>,
}

impl Stencil {
    fn new(shape: Shape, kind: u16) -> Self {
        /// Headers of the element, of its key and of the key's value.
        const KEY: usize = 12;
        let key = KEY..KEY + shape.key_size();
        let mut writer = Writer::new();
        // A range is named by both its ends.
        let has_data = kind == message::NEW_ELEMENT || shape.data == Data::End;
        let data_size = if has_data { shape.data_size() } else { 0 };
        let (key_bytes, data_bytes) = (vec![0; shape.key_size()], vec![0; data_size]);
        match shape.data {
            Data::End => write_range(&mut writer, &key_bytes, &data_bytes),
            _ => write_element(&mut writer, &key_bytes, &data_bytes),
        }
        let bytes = writer.into_bytes();
        let data = bytes.len() - data_size..bytes.len();
        Self { bytes, key, data }
    }

    fn write(&self, writer: &mut Writer, key: &[u8], data: &[u8]) {
        let element = writer.copy(&self.bytes);
        element[self.key.clone()].copy_from_slice(key);
        if !self.data.is_empty() {
            element[self.data.clone()].copy_from_slice(data);
        }
    }
}

/// Ranges of elements of which each fits into one list.
fn chunks(element: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let fit = ATTRIBUTE_MAX / element;
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

fn write_range(writer: &mut Writer, first: &[u8], last: &[u8]) {
    writer.nest(1, |writer| {
        writer.nest(1, |writer| writer.attribute(1, first));
        writer.nest(RANGE_END, |writer| writer.attribute(1, last));
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
        [Field::Classid | Field::Random | Field::Mark] => user_data::HOST_ORDER,
        [_] => user_data::NETWORK_ORDER,
        _ => 0,
    }
}

fn write_set(writer: &mut Writer, name: &Name, set: &Set, id: u32) {
    let Shape { key, data } = set.shape;
    let mut flags = match data {
        Data::None | Data::Counter => 0,
        Data::End => set_flag::INTERVAL | set_flag::CONCATENATION,
        Data::Fields(_) | Data::Verdict => set_flag::MAP,
    };
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
        Data::None | Data::Counter | Data::End => {}
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
    if set.size.is_some() || data == Data::End {
        writer.nest(9, |writer| {
            if let Some(size) = set.size {
                writer.number(1, size);
            }
            if data == Data::End {
                let field = |writer: &mut Writer, field: &Field| {
                    writer.nest(1, |writer| writer.number(1, field.width() as u32));
                };
                writer.nest(2, |writer| key.iter().for_each(|each| field(writer, each)));
            }
        });
    }
    writer.number(10, id);
    if let Some(timeout) = set.dynamic {
        writer.long(11, timeout.as_millis() as u64);
    }
    writer.attribute(13, &notes);
    if data == Data::Counter {
        // Each element gets one of its own.
        writer.nest(SET_EXPRESSION, |writer| writer.string(1, COUNTER));
    }
}
