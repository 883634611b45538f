//! Reads the table of numbers beside this file. The table is part of the program: the tests find a line that cannot be read,
//! and a field that has no number.

use std::{collections::BTreeMap, sync::OnceLock};

const TABLE: &str = include_str!("fields.txt");

/// The fields of a message by number.
#[derive(Debug, Default)]
pub(super) struct Message(BTreeMap<u32, Slot>);

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Field(&'static str),
    /// A message whose fields are, in JSON, those of the object around it.
    Inline(&'static str),
}

/// The message of a definition.
pub(super) fn message(definition: &str) -> Option<&'static Message> {
    static MESSAGES: OnceLock<BTreeMap<&'static str, Message>> = OnceLock::new();
    MESSAGES.get_or_init(|| parse().0).get(definition)
}

impl Message {
    pub(super) fn slot(&self, number: u32) -> Option<Slot> {
        self.0.get(&number).copied()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, Slot)> {
        self.0.iter().map(|(number, slot)| (*number, *slot))
    }
}

/// The messages by definition, and the entries that could not be read.
pub(super) fn parse() -> (BTreeMap<&'static str, Message>, Vec<&'static str>) {
    let mut unread = Vec::new();
    let mut messages = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        let Some(definition) = words.next() else { continue };
        let mut message = Message::default();
        for word in words {
            match word.split_once('=').map(|(number, name)| (number.parse(), name)) {
                Some((Ok(number), name)) => {
                    let slot = name.strip_prefix('+').map_or(Slot::Field(name), Slot::Inline);
                    message.0.insert(number, slot);
                }
                _ => unread.push(word),
            }
        }
        messages.insert(definition, message);
    }
    (messages, unread)
}
