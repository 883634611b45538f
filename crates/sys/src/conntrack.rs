//! The kernel's table of connections: typed entries, read and deleted. Which are to go is decided by the data plane.

mod listing;
mod pattern;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::BitOr,
};

use stead_model::{Family, Protocol};

use self::listing::Listing;
pub use self::pattern::Pattern;
use crate::{
    namespace::Namespace,
    netlink::{self, Attribute, Attributes, Header, Socket, Writer},
    nft::protocol_family,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read conntrack entries")]
    Read(#[source] netlink::Error),
    #[error("read /proc/net/nf_conntrack")]
    List(#[source] io::Error),
    #[error("delete conntrack entries")]
    Delete(#[source] netlink::Error),
    #[error("the kernel does not delete conntrack entries by a filter (Linux 6.11 and later do)")]
    NoFilter,
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

impl BitOr for Status {
    type Output = Self;

    fn bitor(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
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
    /// A TCP connection that is over: the entry only waits for late packets, and a new connection replaces it.
    pub is_over: bool,
    /// The kernel's number of the entry, where it was told; a later entry with the same tuples mostly has another (it comes from the entry's
    /// place in memory).
    pub id: Option<u32>,
}

/// The connections of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    /// `None`: only netlink is read.
    listing: Option<Listing>,
}

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GET_STATISTICS: u16 = SUBSYSTEM | 5;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const STATUS_MASK: u16 = 26;
const PROTOCOL_STATE: u16 = 4;

impl Conntrack {
    /// The connections of the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open().map_err(Error::Open)?, listing: Listing::open() })
    }

    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        let listing = namespace.run(Listing::open).ok().flatten();
        Ok(Self { socket: Socket::open_in(namespace).map_err(Error::Open)?, listing })
    }

    /// The connections of the namespace that the socket is in, by netlink alone.
    pub fn over(socket: Socket) -> Self {
        Self { socket, listing: None }
    }

    /// How many entries of all kinds there are; told at once, without a walk of the table.
    pub fn count(&mut self) -> Result<u32, Error> {
        /// `CTA_STATS_GLOBAL_ENTRIES`
        const ENTRIES: u16 = 1;
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        writer.message(Header { kind: GET_STATISTICS, flags, sequence, family: 0, resource: 0 }, |_| {});
        let mut count = None;
        let each = |message: netlink::Message<'_>| {
            count = message.attributes().find(ENTRIES).and_then(Attribute::number);
            Ok(())
        };
        self.socket.request(sequence, writer.bytes(), each).map_err(Error::Read)?;
        count.ok_or(Error::Read(netlink::Error::Malformed))
    }

    /// Gives `each` every TCP, UDP and SCTP entry, in the way that holds packets back least. Entries that come or go meanwhile may be
    /// missed. What is read as text has no number, and of its status only [`Status::SEEN_REPLY`] and [`Status::DESTINATION_NAT`].
    pub fn read(&mut self, each: impl FnMut(Entry)) -> Result<(), Error> {
        /// Up to here the text costs less than a dump, and beyond a dump's answers are soon full.
        const SPARSE: u32 = 2_000;
        let is_sparse = self.count()? <= SPARSE;
        match &mut self.listing {
            Some(listing) if is_sparse => listing.read(each).map_err(Error::List),
            _ => self.dump(each),
        }
    }

    /// Both families in one walk: what is left out would not fill an answer either.
    fn dump(&mut self, mut each: impl FnMut(Entry)) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        let family = libc::AF_UNSPEC as u8;
        writer.message(Header { kind: GET, flags, sequence, family, resource: 0 }, |_| {});
        let each = |message: netlink::Message<'_>| {
            parse(message.attributes()).into_iter().for_each(&mut each);
            Ok(())
        };
        self.socket.request(sequence, writer.bytes(), each).map_err(Error::Read)
    }

    /// What the kernel has by now for the original tuples of these entries, with all that it tells. Those that are gone are left out;
    /// another connection may have come in the place of one.
    pub fn look_up(&mut self, entries: &[Entry]) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let sequence = self.socket.sequences(1);
            let mut writer = Writer::new();
            write_name(&mut writer, GET, sequence, entry);
            let each = |message: netlink::Message<'_>| {
                let same = |other: &Entry| (other.protocol, other.original) == (entry.protocol, entry.original);
                found.extend(parse(message.attributes()).filter(same));
                Ok(())
            };
            match self.socket.request(sequence, writer.bytes(), each) {
                Err(netlink::Error::Refused(refusal)) if refusal.errno == libc::ENOENT => {}
                result => result.map_err(Error::Read)?,
            }
        }
        Ok(found)
    }

    /// The connection whose answers go from `source` to `destination`, if there is one.
    pub fn find_by_reply(
        &mut self,
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Option<Entry>, Error> {
        let sequence = self.socket.sequences(1);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let family = protocol_family(Family::of(source.ip()));
        let mut writer = Writer::new();
        let reply = Tuple { source, destination };
        writer.message(Header { kind: GET, flags, sequence, family, resource: 0 }, |writer| {
            writer.nest(TUPLE_REPLY, |writer| write_tuple(writer, protocol, &reply));
        });
        let mut found = None;
        let each = |message: netlink::Message<'_>| {
            found = parse(message.attributes());
            Ok(())
        };
        match self.socket.request(sequence, writer.bytes(), each) {
            Err(netlink::Error::Refused(refusal)) if refusal.errno == libc::ENOENT => Ok(None),
            result => result.map(|_| found).map_err(Error::Read),
        }
    }

    /// Deletes all entries that fit, whatever the kernel knows of them by now.
    ///
    /// # Errors
    /// [`Error::NoFilter`] where the kernel cannot; nothing is deleted then.
    pub fn delete_matching(&mut self, pattern: &Pattern) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        pattern.write(&mut writer, sequence);
        self.socket.send(writer.bytes()).map_err(Error::Delete)?;
        let refusals = self.socket.acknowledge(sequence, sequence).map_err(Error::Delete)?;
        match refusals.into_iter().next() {
            None => Ok(()),
            Some(refusal) if [libc::EINVAL, libc::EOPNOTSUPP].contains(&refusal.errno) => Err(Error::NoFilter),
            Some(refusal) => Err(Error::Delete(netlink::Error::Refused(refusal))),
        }
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
                write_name(&mut writer, DELETE, sequence, entry);
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

/// A request about one entry.
fn write_name(writer: &mut Writer, kind: u16, sequence: u32, entry: &Entry) {
    let family = protocol_family(Family::of(entry.original.source.ip()));
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    writer.message(Header { kind, flags, sequence, family, resource: 0 }, |writer| {
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
        is_over: is_over(attributes),
        id: attributes.find(ID).and_then(Attribute::number),
    })
}

fn is_over(attributes: Attributes<'_>) -> bool {
    /// `TCP_CONNTRACK_TIME_WAIT`; `CLOSE` follows.
    const TIME_WAIT: u8 = 7;
    let tcp = attributes.find(PROTOCOL_STATE).and_then(|state| state.nested().find(1));
    let state = tcp.and_then(|tcp| tcp.nested().find(1)).and_then(|state| state.value.first().copied());
    state.is_some_and(|state| (TIME_WAIT..=TIME_WAIT + 1).contains(&state))
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::nft::{BaseChain, Chain, Change, Hook, Name, Nftables, Statement, Table, Transaction, Verdict};

    /// A namespace that keeps track of connections, as one with NAT does.
    fn tracking() -> Namespace {
        let namespace = Namespace::create().unwrap();
        let changes = Family::ALL.map(|family| {
            let name = Name { family, table: "track" };
            let base = Some(BaseChain { hook: Hook::Output, priority: -100 });
            [
                Change::AddTable(name, Table { comment: "".into() }),
                Change::AddChain(name, Chain { name: "out".into(), base }),
                Change::AddRule(
                    name,
                    "out".into(),
                    vec![Statement::NotTranslated, Statement::Verdict(Verdict::Accept)],
                ),
            ]
        });
        let transaction = Transaction { changes: changes.into_iter().flatten().collect() };
        Nftables::open_in(&namespace).unwrap().commit(&transaction, None).unwrap();
        namespace
    }

    fn read(conntrack: &mut Conntrack) -> Vec<Entry> {
        let mut entries = Vec::new();
        conntrack.read(|entry| entries.push(entry)).unwrap();
        entries.sort_unstable_by_key(|entry| entry.original);
        entries
    }

    fn dump(conntrack: &mut Conntrack) -> Vec<Entry> {
        let mut entries = Vec::new();
        conntrack.dump(|entry| entries.push(entry)).unwrap();
        entries.sort_unstable_by_key(|entry| entry.original);
        entries
    }

    #[test]
    fn flows_are_read_looked_up_and_deleted_one_by_one() {
        let namespace = tracking();
        let mut conntrack = Conntrack::open_in(&namespace).unwrap();
        for loopback in ["127.0.0.1", "::1"] {
            let bind = || namespace.run(|| UdpSocket::bind((loopback, 0)).unwrap()).unwrap();
            let [server, other, client] = [(); 3].map(|()| bind());
            let [to, elsewhere, from] = [&server, &other, &client].map(|socket| socket.local_addr().unwrap());
            let to_each = |entries: &[Entry]| {
                let mut all: Vec<_> = entries.iter().map(|entry| entry.original.destination).collect();
                all.sort_unstable();
                all
            };
            client.send_to(b"?", to).unwrap();
            client.send_to(b"?", elsewhere).unwrap();
            let mut both = [to, elsewhere];
            both.sort_unstable();
            let entries = read(&mut conntrack);
            assert_eq!(to_each(&entries), both);
            assert!(conntrack.count().unwrap() >= 2);
            let found: Vec<_> = entries.into_iter().filter(|entry| entry.original.destination == to).collect();
            let found = conntrack.look_up(&found).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].original, Tuple { source: from, destination: to });
            assert_eq!((found[0].reply.source, found[0].status.has(Status::SEEN_REPLY)), (to, false));
            assert!(found[0].id.is_some());

            assert_eq!(conntrack.delete(&found).unwrap(), 1);
            assert_eq!(conntrack.delete(&found).unwrap(), 0);
            assert_eq!(conntrack.look_up(&found).unwrap(), []);
            let left = read(&mut conntrack);
            assert_eq!(to_each(&left), [elsewhere]);
            // Another has come in its place: it is found, and only by its own number is it deleted.
            client.send_to(b"?", to).unwrap();
            let next = conntrack.look_up(&found).unwrap();
            assert_eq!(to_each(&next), [to]);
            let other = Entry { id: next[0].id.map(|id| !id), ..next[0] };
            assert_eq!(conntrack.delete(&[other]).unwrap(), 0);
            let all = read(&mut conntrack);
            let all = conntrack.look_up(&all).unwrap();
            assert_eq!(conntrack.delete(&all).unwrap(), 2);
        }
    }

    #[test]
    fn answers_that_overrun_are_told_and_the_next_request_is_answered() {
        let namespace = tracking();
        let kernel = netlink::Kernel::open_in(netlink::Bus::Netfilter, &namespace).unwrap().narrow();
        let mut narrow = Conntrack::over(Socket::over(Box::new(kernel)));
        let mut conntrack = Conntrack::open_in(&namespace).unwrap();
        let [server, client] = [(); 2].map(|()| namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
        client.send_to(b"?", server.local_addr().unwrap()).unwrap();
        let entry = read(&mut conntrack)[0];
        let other = |number: u8| {
            let source = SocketAddr::new([127, 0, 1, number].into(), 1);
            Entry { original: Tuple { source, ..entry.original }, id: None, ..entry }
        };
        let others: Vec<_> = (0..128).map(other).collect();
        match narrow.delete(&others).unwrap_err() {
            Error::Delete(netlink::Error::Receive { source }) => {
                assert_eq!(source.raw_os_error(), Some(libc::ENOBUFS), "{source}");
            }
            error => panic!("{error:?}"),
        }
        assert_eq!(read(&mut conntrack).len(), 1);
        assert_eq!(narrow.delete(&[entry]).unwrap(), 1);
        assert_eq!(read(&mut conntrack), []);
    }

    /// More than a page of them, of both families, answered and not.
    #[test]
    fn text_and_dump_say_the_same() {
        let namespace = tracking();
        let mut conntrack = Conntrack::open_in(&namespace).unwrap();
        let bind = |loopback: &str| namespace.run(|| UdpSocket::bind((loopback, 0)).unwrap()).unwrap();
        for loopback in ["127.0.0.1", "::1"] {
            let server = bind(loopback);
            let to = server.local_addr().unwrap();
            // All open at once, so that none has the port of an earlier one.
            let clients = [(); 60].map(|()| bind(loopback));
            for (number, client) in clients.iter().enumerate() {
                client.send_to(b"?", to).unwrap();
                if number % 2 == 0 {
                    server.send_to(b"!", client.local_addr().unwrap()).unwrap();
                }
            }
        }
        let told = Status::SEEN_REPLY | Status::DESTINATION_NAT;
        let dumped = dump(&mut conntrack).into_iter();
        let dumped: Vec<_> =
            dumped.map(|entry| Entry { id: None, status: Status(entry.status.0 & told.0), ..entry }).collect();
        assert_eq!(dumped.len(), 120);
        assert_eq!(dumped.iter().filter(|entry| entry.status.has(Status::SEEN_REPLY)).count(), 60);
        let listing = conntrack.listing.as_mut().expect("this kernel has a table to read");
        let mut listed = Vec::new();
        listing.read(|entry| listed.push(entry)).unwrap();
        listed.sort_unstable_by_key(|entry: &Entry| entry.original);
        assert_eq!(listed, dumped);
    }

    #[test]
    fn only_flows_that_fit_a_pattern_are_deleted() {
        let namespace = tracking();
        let mut conntrack = Conntrack::open_in(&namespace).unwrap();
        let bind = || namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let [answered, silent, elsewhere, client] = [(); 4].map(|()| bind());
        let [to, to_silent, to_other, from] =
            [&answered, &silent, &elsewhere, &client].map(|socket| socket.local_addr().unwrap());
        let start = || {
            [to, to_silent, to_other].iter().for_each(|to| assert_eq!(client.send_to(b"?", to).unwrap(), 1));
            answered.send_to(b"!", from).unwrap();
        };
        let pattern = |to| Pattern::to(Protocol::Udp, to).unwrap();
        let (tcp, seen) = (Pattern::to(Protocol::Tcp, to).unwrap(), Status::SEEN_REPLY);
        for (pattern, gone) in [
            (tcp, None),
            (pattern(to), Some(to)),
            (pattern(to_silent), Some(to_silent)),
            (pattern(from), None),
            (pattern(to).at(to).unwrap(), Some(to)),
            (pattern(to).at(to_other).unwrap(), None),
            (pattern(to).with(seen), Some(to)),
            (pattern(to).without(seen), None),
            (pattern(to_silent).with(seen), None),
            (pattern(to_silent).without(seen), Some(to_silent)),
            (pattern(to).at(to).unwrap().with(seen).without(Status::DESTINATION_NAT), Some(to)),
            (pattern(to).at(to).unwrap().with(seen | Status::DESTINATION_NAT), None),
        ] {
            start();
            conntrack.delete_matching(&pattern).unwrap();
            let mut left: Vec<_> = read(&mut conntrack).iter().map(|entry| entry.original.destination).collect();
            left.sort_unstable();
            let mut expected: Vec<_> = [to, to_silent, to_other].into_iter().filter(|to| Some(*to) != gone).collect();
            expected.sort_unstable();
            assert_eq!(left, expected, "{pattern:?}");
        }
    }

    #[test]
    fn no_pattern_is_made_that_the_kernel_would_take_for_another() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(Pattern::to(Protocol::Tcp, socket("[fd56:96::1]:80")), None);
        assert_eq!(Pattern::to(Protocol::Sctp, socket("10.96.0.1:80")), None);
        let pattern = Pattern::to(Protocol::Tcp, socket("10.96.0.1:80")).unwrap();
        assert_eq!(pattern.at(socket("[fd56:244::1]:80")), None);
    }
}
