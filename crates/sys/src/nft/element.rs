//! Elements of sets and maps: keys and data as the kernel holds them, in one run of bytes.

use std::{
    fmt::{self, Display},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
    time::Duration,
};

use stead_model::Protocol;

/// One field of a key or of data. In a concatenation each field is padded to four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Ipv4Addr,
    Ipv6Addr,
    /// A transport protocol's number.
    InetProto,
    /// A port.
    InetService,
    /// A number of 32 bits in the host's byte order, as `meta priority` holds it; printed in two hexadecimal halves.
    Classid,
    /// A number of 32 bits in the host's byte order, as `numgen random` yields it.
    Random,
    /// A number of 32 bits in the host's byte order, as `meta mark` holds it.
    Mark,
}

impl Field {
    /// Bytes in a register, padding included.
    pub const fn size(self) -> usize {
        match self {
            Self::Ipv6Addr => 16,
            _ => 4,
        }
    }

    /// Bytes of the value itself.
    pub(crate) const fn width(self) -> usize {
        match self {
            Self::InetProto => 1,
            Self::InetService => 2,
            _ => self.size(),
        }
    }

    /// nft's number of the type; the kernel only keeps it.
    pub(crate) const fn type_number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Classid => 23,
            Self::Random => 4,
            Self::Mark => 19,
        }
    }

    /// The field's name in `type`, or for [`Field::Random`], which has none, in `typeof`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Classid => "classid",
            Self::Random => "numgen random mod 65536",
            Self::Mark => "mark",
        }
    }

    fn print(self, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |bytes: &[u8]| bytes.first_chunk::<4>().map_or(0, |word| u32::from_ne_bytes(*word));
        match (self, bytes) {
            (Self::Ipv4Addr, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).fmt(f),
            (Self::Ipv6Addr, bytes) => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => Ipv6Addr::from(octets).fmt(f),
                Err(_) => Err(fmt::Error),
            },
            (Self::InetProto, &[number, ..]) => match Protocol::from_number(number) {
                Some(Protocol::Tcp) => f.write_str("tcp"),
                Some(Protocol::Udp) => f.write_str("udp"),
                Some(Protocol::Sctp) => f.write_str("sctp"),
                None => number.fmt(f),
            },
            (Self::InetService, &[high, low, ..]) => u16::from_be_bytes([high, low]).fmt(f),
            (Self::Classid, bytes) => {
                let id = word(bytes);
                write!(f, "{:x}:{:x}", id >> 16, id & 0xffff)
            }
            (Self::Random, bytes) => word(bytes).fmt(f),
            (Self::Mark, bytes) => write!(f, "{:#010x}", word(bytes)),
            _ => Err(fmt::Error),
        }
    }
}

/// Fields in a row, printed with dots.
pub(crate) fn print_fields(fields: &[Field], mut bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, field) in fields.iter().enumerate() {
        let (value, rest) = bytes.split_at_checked(field.size()).ok_or(fmt::Error)?;
        f.write_str(if index == 0 { "" } else { " . " })?;
        field.print(value, f)?;
        bytes = rest;
    }
    Ok(())
}

/// As [`print_fields`]; a field that is another in the last key is printed as a range.
pub(crate) fn print_range(fields: &[Field], first: &[u8], last: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut at = 0;
    for (index, field) in fields.iter().enumerate() {
        let place = at..at + field.size();
        at = place.end;
        let (Some(first), Some(last)) = (first.get(place.clone()), last.get(place)) else { return Err(fmt::Error) };
        f.write_str(if index == 0 { "" } else { " . " })?;
        field.print(first, f)?;
        if first != last {
            f.write_str("-")?;
            field.print(last, f)?;
        }
    }
    Ok(())
}

/// What a map gives for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing: a set.
    None,
    /// Nothing: a set whose elements count the packets that meet them, and their bytes.
    Counter,
    /// Nothing: a set of ranges. An element has its last key for data, in which no field is less than in the first; no two overlap.
    End,
    Fields(&'static [Field]),
    Verdict,
}

/// The fields of a set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub key: &'static [Field],
    pub data: Data,
}

const fn size(fields: &[Field]) -> usize {
    let mut sum = 0;
    let mut index = 0;
    while index < fields.len() {
        sum += fields[index].size();
        index += 1;
    }
    sum
}

impl Shape {
    pub const fn key_size(&self) -> usize {
        size(self.key)
    }

    /// Bytes of data; verdicts have none here.
    pub const fn data_size(&self) -> usize {
        match self.data {
            Data::Fields(fields) => size(fields),
            Data::End => self.key_size(),
            Data::None | Data::Counter | Data::Verdict => 0,
        }
    }
}

/// Elements of one shape, key and data one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    shape: Shape,
    bytes: Vec<u8>,
}

impl Elements {
    pub fn new(shape: Shape) -> Self {
        Self { shape, bytes: Vec::new() }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn len(&self) -> usize {
        self.bytes.len() / self.stride()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn stride(&self) -> usize {
        (self.shape.key_size() + self.shape.data_size()).max(1)
    }

    /// Adds an element.
    ///
    /// # Panics
    /// Where key or data have another size than the shape's.
    pub fn push(&mut self, key: &[u8], data: &[u8]) {
        assert_eq!((key.len(), data.len()), (self.shape.key_size(), self.shape.data_size()), "sizes are the shape's");
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(data);
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.range(0..self.len())
    }

    /// # Panics
    /// Where the range ends behind the last element.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let (stride, key) = (self.stride(), self.shape.key_size());
        self.bytes[range.start * stride..range.end * stride].chunks_exact(stride).map(move |item| item.split_at(key))
    }
}

/// An element of a map that rules fill, with the time it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    pub key: Words,
    pub data: Words,
    /// As it was given when the element was made or last refreshed.
    pub timeout: Duration,
    /// Until it goes.
    pub left: Duration,
}

/// The bytes of a key or of data, built field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; Self::CAPACITY],
    length: u8,
}

impl Default for Words {
    fn default() -> Self {
        Self { bytes: [0; Self::CAPACITY], length: 0 }
    }
}

/// An element of a set that counts ([`Data::Counter`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub key: Words,
    pub packets: u64,
    /// Of the packets with their IP headers.
    pub bytes: u64,
}

impl Words {
    /// Two IPv6 addresses, a protocol and a port.
    pub const CAPACITY: usize = 40;

    pub fn new() -> Self {
        Self::default()
    }

    /// `None` for more bytes than fit.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::CAPACITY).then(|| Self::new().push(bytes))
    }

    fn push(mut self, value: &[u8]) -> Self {
        let start = usize::from(self.length);
        let end = start + value.len();
        self.bytes[start..end].copy_from_slice(value);
        self.length = end.next_multiple_of(4) as u8;
        self
    }

    /// # Panics
    /// Beyond [`Words::CAPACITY`], as the other methods that add a field.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.push(&address.octets()),
            IpAddr::V6(address) => self.push(&address.octets()),
        }
    }

    pub fn protocol(self, protocol: Protocol) -> Self {
        self.push(&[protocol.number()])
    }

    pub fn port(self, port: u16) -> Self {
        self.push(&port.to_be_bytes())
    }

    /// A [`Field::Classid`], [`Field::Random`] or [`Field::Mark`].
    pub fn number(self, number: u32) -> Self {
        self.push(&number.to_ne_bytes())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Takes the bytes of a key or of data apart, field by field; `None` where the bytes end or the value is none of the field's.
#[derive(Clone, Copy, Debug)]
pub struct WordReader<'a>(pub &'a [u8]);

impl WordReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, _) = self.0.split_first_chunk::<N>()?;
        self.0 = self.0.get(N.next_multiple_of(4)..).unwrap_or_default();
        Some(*value)
    }

    pub fn ipv4(&mut self) -> Option<IpAddr> {
        self.take::<4>().map(|octets| Ipv4Addr::from(octets).into())
    }

    pub fn ipv6(&mut self) -> Option<IpAddr> {
        self.take::<16>().map(|octets| Ipv6Addr::from(octets).into())
    }

    pub fn protocol(&mut self) -> Option<Protocol> {
        self.take::<1>().and_then(|[number]| Protocol::from_number(number))
    }

    pub fn port(&mut self) -> Option<u16> {
        self.take::<2>().map(u16::from_be_bytes)
    }

    pub fn number(&mut self) -> Option<u32> {
        self.take::<4>().map(u32::from_ne_bytes)
    }
}
