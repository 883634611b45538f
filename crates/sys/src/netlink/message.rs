//! Framing: messages and attributes, written into one buffer and read back without copying.
//!
//! Lengths are patched when a message or a nest ends. Numbers inside netfilter's attributes are big-endian.

/// Size of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Size of `struct nfgenmsg`.
pub(crate) const NETFILTER_HEADER: usize = 4;
/// The largest value of an attribute: its length field has 16 bits and counts its own header.
pub(crate) const ATTRIBUTE_MAX: usize = u16::MAX as usize - 4;

const NESTED: u16 = libc::NLA_F_NESTED as u16;
const TYPE_MASK: u16 = libc::NLA_TYPE_MASK as u16;

/// Writes netlink messages one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds a copy of `bytes` and lends it for changes.
    pub fn copy(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        &mut self.bytes[start..]
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One netfilter message: `struct nlmsghdr`, `struct nfgenmsg`, then what `body` writes.
    pub fn message(&mut self, header: Header, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&header.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&header.flags.to_ne_bytes());
        self.bytes.extend_from_slice(&header.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[header.family, 0]);
        self.bytes.extend_from_slice(&header.resource.to_be_bytes());
        body(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// One message of generic netlink: `struct nlmsghdr`, `struct genlmsghdr`, then what `body` writes.
    pub fn generic(&mut self, header: GenericHeader, body: impl FnOnce(&mut Self)) {
        let GenericHeader { kind, flags, sequence, command } = header;
        // The two structs behind `struct nlmsghdr` are of one size, and begin with a byte each.
        self.message(Header { kind, flags, sequence, family: command, resource: 0 }, body);
    }

    /// An attribute with these bytes as its value, padded to four bytes. `value` is shorter than 64 KiB.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        debug_assert!(value.len() <= ATTRIBUTE_MAX);
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub fn long(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A string with the terminating zero that netfilter expects.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.bytes.extend_from_slice(&((value.len() + 5) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// An attribute that holds what `body` writes; that must stay below 64 KiB.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX));
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    }
}

/// What a message begins with.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// `NFPROTO_*`.
    pub family: u8,
    /// `nfgenmsg.res_id`, used by batches for the subsystem.
    pub resource: u16,
}

/// What a message of generic netlink begins with; its numbers and those in its attributes are of the host's byte order.
#[derive(Clone, Copy, Debug)]
pub struct GenericHeader {
    /// The number of the family, which the kernel gives it when it is loaded.
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub command: u8,
}

/// One attribute of a message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    pub kind: u16,
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    pub fn number(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn long(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// The text up to the terminating zero; bytes that are no UTF-8 are replaced.
    pub fn text(self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    pub fn nested(self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// The attributes in a run of bytes. Bytes that are no attribute end the walk.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute of this kind.
    pub fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (header, _) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.string(1, "svc");
        writer.nest(2, |writer| {
            writer.number(1, 7);
            writer.long(3, 9);
        });
        let attributes = Attributes::new(writer.bytes());
        assert_eq!(attributes.find(1).unwrap().text(), "svc");
        let nested = attributes.find(2).unwrap().nested();
        assert_eq!((nested.find(1).unwrap().number(), nested.find(3).unwrap().long()), (Some(7), Some(9)));
        assert_eq!(attributes.find(3), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_walked(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for attribute in Attributes::new(&bytes) {
                let _ = (attribute.text(), attribute.number(), attribute.nested().count());
            }
        }
    }
}
