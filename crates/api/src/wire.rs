//! Protocol Buffers' wire format: what an OpenAPI document needs to be written, and whatever a client sends to be read.
//!
//! Which number a field has, and what it means, is the caller's matter. The writer leaves out values that a reader takes for
//! granted; the reader trusts no length.

mod read;

pub(crate) use read::{Fields, RawValue, WireError, Wrong};

const VARINT: u32 = 0;
const LENGTH: u32 = 2;

/// The fields of a message, in the order written.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.tag(field, VARINT);
            self.varint(1);
        }
    }

    /// Also zero is written, as a field that is a pointer needs it.
    #[cfg(test)]
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// Also an empty text is written, as a repeated field needs it.
    pub(crate) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(crate) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// Seven bits a byte, the lowest first; the eighth bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
