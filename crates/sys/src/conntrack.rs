//! The kernel's table of connections: typed entries, dumped and deleted. Which are to go is decided by the data plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stead_model::{Family, Protocol};

use crate::{
    namespace::Namespace,
    netlink::{self, Attribute, Attributes, Header, Socket, Writer},
    nft::protocol_family,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read conntrack entries")]
    Read(#[source] netlink::Error),
    #[error("delete conntrack entries")]
    Delete(#[source] netlink::Error),
    #[error(transparent)]
    Open(netlink::Error),
}

/// `IPS_*` bits of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    pub const SEEN_REPLY: Self = Self(1 << 1);
    pub const ASSURED: Self = Self(1 << 2);
    pub const DESTINATION_NAT: Self = Self(1 << 5);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub protocol: Protocol,
    /// As the first packet was sent.
    pub original: Tuple,
    /// As answers come: its source is where the connection really goes.
    pub reply: Tuple,
    pub zone: u16,
    pub status: Status,
    /// The kernel's number of the entry; a later entry with the same tuples has another.
    pub id: Option<u32>,
}

/// Which entries a dump shows; what the kernel cannot tell apart is sorted out here.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub family: Family,
}

/// The connections of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;

impl Conntrack {
    /// The connections of the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open().map_err(Error::Open)? })
    }

    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        Ok(Self { socket: Socket::open_in(namespace).map_err(Error::Open)? })
    }

    /// Gives `each` every TCP, UDP and SCTP entry that the filter lets through. Entries that come or go meanwhile may be missed.
    pub fn read(&mut self, filter: Filter, mut each: impl FnMut(Entry)) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        let family = protocol_family(filter.family);
        writer.message(Header { kind: GET, flags, sequence, family, resource: 0 }, |_| {});
        self.socket
            .request(sequence, writer.bytes(), |message| {
                if message.family == family {
                    parse(message.attributes()).into_iter().for_each(&mut each);
                }
                Ok(())
            })
            .map_err(Error::Read)
    }

    /// Deletes these very entries; those that are gone already are passed over. Returns how many were there.
    pub fn delete(&mut self, entries: &[Entry]) -> Result<usize, Error> {
        /// Requests in one datagram.
        const REQUESTS: usize = 128;
        let mut deleted = 0;
        for chunk in entries.chunks(REQUESTS) {
            let first = self.socket.sequences(chunk.len() as u32);
            let mut writer = Writer::new();
            for (sequence, entry) in (first..).zip(chunk) {
                write_delete(&mut writer, sequence, entry);
            }
            self.socket.send(writer.bytes()).map_err(Error::Delete)?;
            for sequence in (first..).take(chunk.len()) {
                let refusals = self.socket.acknowledge(sequence, sequence).map_err(Error::Delete)?;
                match refusals.into_iter().next() {
                    None => deleted += 1,
                    Some(refusal) if refusal.errno == libc::ENOENT => {}
                    Some(refusal) => return Err(Error::Delete(netlink::Error::Refused(refusal))),
                }
            }
        }
        Ok(deleted)
    }
}

fn write_delete(writer: &mut Writer, sequence: u32, entry: &Entry) {
    let family = protocol_family(Family::of(entry.original.source.ip()));
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    writer.message(Header { kind: DELETE, flags, sequence, family, resource: 0 }, |writer| {
        writer.nest(TUPLE_ORIGINAL, |writer| write_tuple(writer, entry.protocol, &entry.original));
        if entry.zone != 0 {
            writer.attribute(ZONE, &entry.zone.to_be_bytes());
        }
        if let Some(id) = entry.id {
            writer.number(ID, id);
        }
    });
}

fn write_tuple(writer: &mut Writer, protocol: Protocol, tuple: &Tuple) {
    writer.nest(1, |writer| match (tuple.source.ip(), tuple.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            writer.attribute(1, &source.octets());
            writer.attribute(2, &destination.octets());
        }
        (source, destination) => {
            writer.attribute(3, &mapped(source).octets());
            writer.attribute(4, &mapped(destination).octets());
        }
    });
    writer.nest(2, |writer| {
        writer.attribute(1, &[protocol.number()]);
        writer.attribute(2, &tuple.source.port().to_be_bytes());
        writer.attribute(3, &tuple.destination.port().to_be_bytes());
    });
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// `None` for what is no TCP, UDP or SCTP entry.
fn parse(attributes: Attributes<'_>) -> Option<Entry> {
    let (protocol, original) = parse_tuple(attributes.find(TUPLE_ORIGINAL)?.nested())?;
    let (_, reply) = parse_tuple(attributes.find(TUPLE_REPLY)?.nested())?;
    Some(Entry {
        protocol,
        original,
        reply,
        zone: attributes.find(ZONE).and_then(short).unwrap_or(0),
        status: Status(attributes.find(STATUS).and_then(Attribute::number).unwrap_or(0)),
        id: attributes.find(ID).and_then(Attribute::number),
    })
}

fn parse_tuple(attributes: Attributes<'_>) -> Option<(Protocol, Tuple)> {
    let addresses = attributes.find(1)?.nested();
    let ports = attributes.find(2)?.nested();
    let protocol = ports.find(1).and_then(|number| Protocol::from_number(*number.value.first()?))?;
    let address = |v4: u16, v6: u16| {
        let v4 = addresses.find(v4).and_then(|bytes| <[u8; 4]>::try_from(bytes.value).ok());
        let v6 = addresses.find(v6).and_then(|bytes| <[u8; 16]>::try_from(bytes.value).ok());
        v4.map(|octets| Ipv4Addr::from(octets).into()).or(v6.map(|octets| Ipv6Addr::from(octets).into()))
    };
    let source = SocketAddr::new(address(1, 3)?, ports.find(2).and_then(short)?);
    let destination = SocketAddr::new(address(2, 4)?, ports.find(3).and_then(short)?);
    Some((protocol, Tuple { source, destination }))
}

fn short(attribute: Attribute<'_>) -> Option<u16> {
    attribute.value.try_into().ok().map(u16::from_be_bytes)
}
