//! The kernel's side: committing a transaction and reading what stands.

use std::time::Duration;

use stead_model::Family;

use super::{
    ChainInfo, Change, Counted, Data, Elements, Expiring, Name, RuleInfo, SetInfo, Shape, TableInfo, Transaction,
    Words,
    encode::{COUNTER, Encoder, RANGE_END, SUBSYSTEM, TABLE, message, user_data, write_element},
    protocol_family,
};
use crate::{
    namespace::Namespace,
    netlink::{self, Attribute, Attributes, Header, Message, Refusal, Socket, Writer},
};

/// Attempts to read a table that changes meanwhile.
pub(super) const ATTEMPTS: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Nothing of the transaction came into effect.
    #[error("nf_tables refused `{change}`: {refusal}")]
    Refused { change: String, refusal: Refusal },
    /// Nothing of the transaction came into effect: somebody else committed since the expected generation.
    #[error("the kernel's tables were changed by another program")]
    Stale,
    /// Nothing of the transaction came into effect, for a reason that no single change has.
    #[error("nf_tables refused the whole transaction: {0}")]
    Aborted(Refusal),
}

impl Error {
    /// Whether the kernel says that an object which the request names is missing.
    pub fn is_missing(&self) -> bool {
        self.errno() == Some(libc::ENOENT)
    }

    /// Whether the kernel says that this process may not do so.
    pub fn is_forbidden(&self) -> bool {
        self.errno() == Some(libc::EPERM)
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { refusal, .. }
            | Self::Netlink(netlink::Error::Refused(refusal))
            | Self::Aborted(refusal) => Some(refusal.errno),
            _ => None,
        }
    }
}

/// What a commit cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    pub messages: usize,
    pub bytes: usize,
}

/// nf_tables of one network namespace.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
}

impl Nftables {
    /// The tables of the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open()? })
    }

    /// The tables of another namespace.
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        Ok(Self { socket: Socket::open_in(namespace)? })
    }

    /// The tables of the namespace that the socket is in.
    pub fn over(socket: Socket) -> Self {
        Self { socket }
    }

    /// Makes all changes at once, or none.
    ///
    /// With `generation` the commit happens only if nothing was committed by anybody since [`Nftables::generation`] gave that number;
    /// each commit then raises it by one.
    pub fn commit(&mut self, transaction: &Transaction, generation: Option<u32>) -> Result<Commit, Error> {
        if transaction.is_empty() {
            return Ok(Commit::default());
        }
        let mut encoder = Encoder::begin(generation, &transaction.changes);
        for (index, change) in transaction.changes.iter().enumerate() {
            encoder.change(index as u32, change);
        }
        // Only now is it known how many numbers are needed.
        let first = self.socket.sequences(encoder.len());
        let (bytes, origins) = encoder.finish(first);
        let count = origins.len() as u32;
        self.socket.send(&bytes)?;
        let refusals = self.socket.acknowledge(first, first + count)?;
        match refusals.into_iter().next() {
            None => Ok(Commit { messages: count as usize, bytes: bytes.len() }),
            Some(refusal) if refusal.sequence == first && refusal.errno == libc::ERESTART => Err(Error::Stale),
            Some(refusal) => {
                let message = refusal.sequence.wrapping_sub(first + 1) as usize;
                let change = origins.get(message).and_then(|index| transaction.changes.get(*index as usize));
                Err(match change {
                    Some(change) => Error::Refused { change: shorten(change), refusal },
                    None => Error::Aborted(refusal),
                })
            }
        }
    }

    /// The number of the ruleset's state: every commit by anybody raises it.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut generation = None;
        self.get(
            libc::AF_UNSPEC as u8,
            message::GET_GENERATION,
            0,
            |_| {},
            |message| {
                generation = message.attributes().find(1).and_then(Attribute::number);
                Ok(())
            },
        )?;
        generation.ok_or(Error::Netlink(netlink::Error::Malformed))
    }

    /// The tables of one family.
    pub fn tables(&mut self, family: Family) -> Result<Vec<TableInfo>, Error> {
        self.dump(
            protocol_family(family),
            message::GET_TABLE,
            |_| {},
            |attributes, tables| {
                tables.extend(attributes.find(TABLE).map(|name| {
                    TableInfo {
                        name: name.text(),
                        comment: attributes
                            .find(6)
                            .and_then(|data| entry(data.value, user_data::TABLE_COMMENT))
                            .map(|text| Attribute { kind: 0, value: text }.text()),
                        flags: attributes.find(2).and_then(Attribute::number).unwrap_or(0),
                    }
                }));
            },
        )
    }

    pub fn chains(&mut self, name: Name) -> Result<Vec<ChainInfo>, Error> {
        // A dump of chains cannot be narrowed to a table by the kernel.
        self.dump(
            protocol_family(name.family),
            message::GET_CHAIN,
            |_| {},
            |attributes, chains| {
                if attributes.find(TABLE).is_some_and(|table| table.text() == name.table) {
                    let base = attributes.find(4).map(|hook| {
                        let number = |kind| hook.nested().find(kind).and_then(Attribute::number).unwrap_or(u32::MAX);
                        (number(1), number(2) as i32)
                    });
                    chains.extend(attributes.find(3).map(|chain| ChainInfo { name: chain.text(), base }));
                }
            },
        )
    }

    /// The rules of a table, in order within each chain.
    pub fn rules(&mut self, name: Name) -> Result<Vec<RuleInfo>, Error> {
        self.read_rules(name, None)
    }

    /// The rules of one chain, in order.
    pub fn rules_of(&mut self, name: Name, chain: &str) -> Result<Vec<RuleInfo>, Error> {
        self.read_rules(name, Some(chain))
    }

    fn read_rules(&mut self, name: Name, chain: Option<&str>) -> Result<Vec<RuleInfo>, Error> {
        let narrow = |writer: &mut Writer| {
            writer.string(TABLE, name.table);
            if let Some(chain) = chain {
                writer.string(2, chain);
            }
        };
        self.dump(protocol_family(name.family), message::GET_RULE, narrow, |attributes, rules| {
            let data = attributes.find(7).map_or(&[][..], |data| data.value);
            let digest =
                entry(data, user_data::RULE_DIGEST).and_then(|digest| digest.try_into().ok().map(u64::from_be_bytes));
            let note = entry(data, user_data::RULE_NOTE).map(|note| Attribute { kind: 0, value: note }.text());
            let handle = attributes.find(3).and_then(Attribute::long).unwrap_or(0);
            let jump = attributes.find(4).and_then(jump);
            rules.extend(attributes.find(2).map(|chain| RuleInfo { chain: chain.text(), handle, digest, note, jump }));
        })
    }

    pub fn sets(&mut self, name: Name) -> Result<Vec<SetInfo>, Error> {
        let narrow = |writer: &mut Writer| writer.string(TABLE, name.table);
        self.dump(protocol_family(name.family), message::GET_SET, narrow, |attributes, sets| {
            let number = |kind| attributes.find(kind).and_then(Attribute::number);
            sets.extend(attributes.find(2).map(|set| SetInfo {
                name: set.text(),
                key_size: number(5).unwrap_or(0),
                data_size: number(7).unwrap_or(0),
                size: attributes.find(9).and_then(|size| size.nested().find(1)).and_then(Attribute::number),
                count: number(20),
            }));
        })
    }

    /// All elements of a set or map. The time grows with the square of their number: beyond 150,000 prefer [`Nftables::elements_of`].
    pub fn elements(&mut self, name: Name, set: &str, shape: Shape) -> Result<Elements, Error> {
        let narrow = |writer: &mut Writer| {
            writer.string(TABLE, name.table);
            writer.string(2, set);
        };
        let mut steady = Err(netlink::Error::Unsteady.into());
        for _ in 0..ATTEMPTS {
            let mut elements = Elements::new(shape);
            steady = self.get(protocol_family(name.family), message::GET_ELEMENT, DUMP, narrow, |message| {
                read_elements(&message, shape, &mut |key, data| {
                    if (key.len(), data.len()) == (shape.key_size(), shape.data_size()) {
                        elements.push(key, data);
                    }
                });
                Ok(())
            });
            match steady {
                Ok(()) => return Ok(elements),
                Err(Error::Netlink(netlink::Error::Unsteady)) => {}
                Err(error) => return Err(error),
            }
        }
        steady.map(|()| Elements::new(shape))
    }

    /// Those elements of a set or map whose keys `keys` has, with the data that the kernel has for them.
    pub fn elements_of(&mut self, name: Name, set: &str, keys: &Elements) -> Result<Elements, Error> {
        /// Keys in one request; the kernel sends an answer for each before it reads on, and these have to wait in our queue.
        const KEYS: usize = 500;
        let shape = keys.shape();
        let mut found = Elements::new(shape);
        let mut batch: Vec<&[u8]> = Vec::with_capacity(KEYS);
        let mut keys = keys.iter().map(|(key, _)| key).peekable();
        while keys.peek().is_some() {
            batch.clear();
            batch.extend(keys.by_ref().take(KEYS));
            self.look_up(name, set, &batch, &mut found)?;
        }
        Ok(found)
    }

    /// The kernel stops at the first key that is missing, so the rest is asked for one by one.
    fn look_up(&mut self, name: Name, set: &str, keys: &[&[u8]], found: &mut Elements) -> Result<(), Error> {
        let shape = found.shape();
        let mut start = 0;
        while start < keys.len() {
            let before = found.len();
            let asked = &keys[start..];
            let narrow = |writer: &mut Writer| {
                writer.string(TABLE, name.table);
                writer.string(2, set);
                writer.nest(3, |writer| asked.iter().for_each(|key| write_element(writer, key, &[])));
            };
            let result = self.get(protocol_family(name.family), message::GET_ELEMENT, 0, narrow, |message| {
                read_elements(&message, shape, &mut |key, data| {
                    if (key.len(), data.len()) == (shape.key_size(), shape.data_size()) {
                        found.push(key, data);
                    }
                });
                Ok(())
            });
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.is_missing() => start += found.len() - before + 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The elements of a map that rules fill; such as come or go meanwhile may be missed.
    pub fn expiring(&mut self, name: Name, map: &str) -> Result<Vec<Expiring>, Error> {
        let narrow = |writer: &mut Writer| {
            writer.string(TABLE, name.table);
            writer.string(2, map);
        };
        let mut elements = Vec::new();
        let read = self.get(protocol_family(name.family), message::GET_ELEMENT, DUMP, narrow, |message| {
            elements.extend(message.attributes().find(3).into_iter().flat_map(Attribute::nested).filter_map(expiring));
            Ok(())
        });
        match read {
            Ok(()) | Err(Error::Netlink(netlink::Error::Unsteady)) => Ok(elements),
            Err(error) => Err(error),
        }
    }

    /// The elements of a set that counts, and how far they have counted; such as come or go meanwhile may be missed.
    pub fn counters(&mut self, name: Name, set: &str) -> Result<Vec<Counted>, Error> {
        let narrow = |writer: &mut Writer| {
            writer.string(TABLE, name.table);
            writer.string(2, set);
        };
        let mut elements = Vec::new();
        let read = self.get(protocol_family(name.family), message::GET_ELEMENT, DUMP, narrow, |message| {
            elements.extend(message.attributes().find(3).into_iter().flat_map(Attribute::nested).filter_map(counted));
            Ok(())
        });
        match read {
            Ok(()) | Err(Error::Netlink(netlink::Error::Unsteady)) => Ok(elements),
            Err(error) => Err(error),
        }
    }

    /// The verdicts of a map whose keys are one [`super::Field::Classid`]: key, and the chain it leads to if it leads to one.
    pub fn verdicts(&mut self, name: Name, map: &str) -> Result<Vec<(u32, Option<String>)>, Error> {
        let narrow = |writer: &mut Writer| {
            writer.string(TABLE, name.table);
            writer.string(2, map);
        };
        let mut verdicts = Vec::new();
        self.get(protocol_family(name.family), message::GET_ELEMENT, DUMP, narrow, |message| {
            for element in message.attributes().find(3).into_iter().flat_map(Attribute::nested) {
                let key = element.nested().find(1).and_then(|key| key.nested().find(1));
                let key = key.and_then(|key| key.value.try_into().ok()).map(u32::from_ne_bytes);
                let verdict = element.nested().find(2).and_then(|data| data.nested().find(2));
                let chain = verdict.and_then(|verdict| verdict.nested().find(2)).map(Attribute::text);
                verdicts.extend(key.map(|key| (key, chain)));
            }
            Ok(())
        })?;
        Ok(verdicts)
    }

    pub(super) fn get(
        &mut self,
        family: u8,
        kind: u16,
        flags: u16,
        body: impl Fn(&mut Writer),
        each: impl FnMut(Message<'_>) -> Result<(), netlink::Error>,
    ) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16 | flags;
        writer.message(Header { kind: SUBSYSTEM | kind, flags, sequence, family, resource: 0 }, body);
        Ok(self.socket.request(sequence, writer.bytes(), each)?)
    }

    fn dump<T>(
        &mut self,
        family: u8,
        kind: u16,
        body: impl Fn(&mut Writer),
        each: impl Fn(Attributes<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Error> {
        let mut result = Err(netlink::Error::Unsteady.into());
        for _ in 0..ATTEMPTS {
            let mut values = Vec::new();
            let read = self.get(family, kind, DUMP, &body, |message| {
                each(message.attributes(), &mut values);
                Ok(())
            });
            result = read.map(|()| values);
            if !matches!(result, Err(Error::Netlink(netlink::Error::Unsteady))) {
                break;
            }
        }
        result
    }
}

pub(super) const DUMP: u16 = libc::NLM_F_DUMP as u16;

fn shorten(change: &Change) -> String {
    const LIMIT: usize = 160;
    let mut text = change.to_string();
    if let Some((end, _)) = text.char_indices().nth(LIMIT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The chain that the last of a rule's expressions jumps to.
fn jump(expressions: Attribute<'_>) -> Option<String> {
    let last = expressions.nested().last()?;
    let verdict = last.nested().find(2)?.nested().find(2)?.nested().find(2)?;
    verdict.nested().find(2).map(Attribute::text)
}

/// The value of one entry of user data.
fn entry(mut data: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, length, rest @ ..] = data {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == wanted {
            return Some(value);
        }
        data = rest;
    }
    None
}

/// `None` for an element without data, or one that does not expire.
fn expiring(element: Attribute<'_>) -> Option<Expiring> {
    let value = |kind| element.nested().find(kind).and_then(|data| data.nested().find(1)).map(|data| data.value);
    let time = |kind| element.nested().find(kind).and_then(Attribute::long).map(Duration::from_millis);
    let left = time(5)?;
    Some(Expiring {
        key: Words::from_bytes(value(1)?)?,
        data: Words::from_bytes(value(2)?)?,
        timeout: time(4).unwrap_or(left).max(left),
        left,
    })
}

/// `None` for an element that does not count.
fn counted(element: Attribute<'_>) -> Option<Counted> {
    /// What an element does when it is met: one thing, or several in a list.
    const EXPRESSION: u16 = 7;
    const EXPRESSIONS: u16 = 11;
    let key = element.nested().find(1).and_then(|key| key.nested().find(1))?;
    let one = element.nested().find(EXPRESSION);
    let several = element.nested().find(EXPRESSIONS).into_iter().flat_map(Attribute::nested);
    let is_counter =
        |expression: &Attribute<'_>| expression.nested().find(1).is_some_and(|name| name.text() == COUNTER);
    let counter = one.into_iter().chain(several).find(is_counter)?.nested().find(2)?;
    let number = |kind| counter.nested().find(kind).and_then(Attribute::long);
    Some(Counted { key: Words::from_bytes(key.value)?, packets: number(2)?, bytes: number(1)? })
}

fn read_elements(message: &Message<'_>, shape: Shape, each: &mut impl FnMut(&[u8], &[u8])) {
    for element in message.attributes().find(3).into_iter().flat_map(Attribute::nested) {
        let value = |kind| element.nested().find(kind).and_then(|data| data.nested().find(1)).map(|data| data.value);
        let Some(key) = value(1) else { continue };
        match shape.data {
            Data::End => each(key, value(RANGE_END).unwrap_or(key)),
            _ => each(key, value(2).unwrap_or_default()),
        }
    }
}
