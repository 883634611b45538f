//! Servers and destinations as attributes. Numbers are of the host's byte order, but for addresses, ports and netmasks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use stead_model::{Family, Frontend, Protocol};

use super::{Change, Destination, Name, SchedulerFlags, Server, Timeouts};
use crate::netlink::{Attribute, Attributes, GenericHeader, Writer};

/// `IPVS_CMD_*`
pub(super) mod command {
    pub(crate) const NEW_SERVICE: u8 = 1;
    pub(crate) const SET_SERVICE: u8 = 2;
    pub(crate) const DELETE_SERVICE: u8 = 3;
    pub(crate) const GET_SERVICE: u8 = 4;
    pub(crate) const NEW_DESTINATION: u8 = 5;
    pub(crate) const SET_DESTINATION: u8 = 6;
    pub(crate) const DELETE_DESTINATION: u8 = 7;
    pub(crate) const GET_DESTINATION: u8 = 8;
    pub(crate) const SET_CONFIG: u8 = 12;
    pub(crate) const GET_CONFIG: u8 = 13;
}

/// `IPVS_CMD_ATTR_*`
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;

/// `IPVS_SVC_ATTR_*`
mod service {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const MARK: u16 = 5;
    pub(super) const SCHEDULER: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
}

/// `IPVS_DEST_ATTR_*`
mod destination {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const UPPER: u16 = 5;
    pub(super) const LOWER: u16 = 6;
    pub(super) const ACTIVE: u16 = 7;
    pub(super) const INACTIVE: u16 = 8;
    pub(super) const FAMILY: u16 = 11;
}

/// `IP_VS_SVC_F_PERSISTENT`
const PERSISTENT: u32 = 1;
/// `IP_VS_CONN_F_MASQ`, and the bits that tell it from other ways of forwarding.
const TRANSLATES: u32 = 0;
const METHOD: u32 = 7;

/// What stands in a request that reads.
pub(super) enum Body {
    Nothing,
    Of(Name),
    Timeouts(Timeouts),
}

pub(super) fn write_body(writer: &mut Writer, body: Body) {
    match body {
        Body::Nothing => {}
        Body::Of(name) => writer.nest(SERVICE, |writer| write_name(writer, name)),
        Body::Timeouts(timeouts) => {
            // 0 leaves a time as it is, and each has to be there.
            let each = [(TIMEOUT_TCP, timeouts.tcp), (TIMEOUT_TCP_FIN, timeouts.tcp_fin), (TIMEOUT_UDP, timeouts.udp)];
            each.into_iter().for_each(|(kind, time)| number(writer, kind, time.map_or(0, seconds)));
        }
    }
}

pub(super) fn write(writer: &mut Writer, kind: u16, flags: u16, sequence: u32, change: &Change) {
    let (command, name) = match change {
        Change::AddServer(name, _) => (command::NEW_SERVICE, name),
        Change::SetServer(name, _) => (command::SET_SERVICE, name),
        Change::DeleteServer(name) => (command::DELETE_SERVICE, name),
        Change::AddDestination(name, ..) => (command::NEW_DESTINATION, name),
        Change::SetDestination(name, ..) => (command::SET_DESTINATION, name),
        Change::DeleteDestination(name, _) => (command::DELETE_DESTINATION, name),
    };
    writer.generic(GenericHeader { kind, flags, sequence, command }, |writer| {
        writer.nest(SERVICE, |writer| {
            write_name(writer, *name);
            if let Change::AddServer(_, server) | Change::SetServer(_, server) = change {
                write_server(writer, name.family(), server);
            }
        });
        match change {
            Change::AddDestination(_, address, weight) | Change::SetDestination(_, address, weight) => {
                writer.nest(DESTINATION, |writer| {
                    write_destination(writer, *address);
                    number(writer, destination::METHOD, TRANSLATES);
                    number(writer, destination::WEIGHT, *weight);
                    number(writer, destination::UPPER, 0);
                    number(writer, destination::LOWER, 0);
                });
            }
            Change::DeleteDestination(_, address) => {
                writer.nest(DESTINATION, |writer| write_destination(writer, *address));
            }
            Change::AddServer(..) | Change::SetServer(..) | Change::DeleteServer(_) => {}
        }
    });
}

fn write_name(writer: &mut Writer, name: Name) {
    short(writer, service::FAMILY, address_family(name.family()));
    match name {
        Name::At(Frontend { address, protocol, port }) => {
            short(writer, service::PROTOCOL, protocol.number().into());
            writer.attribute(service::ADDRESS, &octets(address));
            writer.attribute(service::PORT, &port.to_be_bytes());
        }
        Name::Marked(_, mark) => number(writer, service::MARK, mark),
    }
}

fn write_server(writer: &mut Writer, family: Family, server: &Server) {
    let persistent = if server.persistence.is_some() { PERSISTENT } else { 0 };
    let flags = persistent | server.flags.0;
    let mask = PERSISTENT | SchedulerFlags::ALL;
    writer.string(service::SCHEDULER, &server.scheduler);
    writer.attribute(service::FLAGS, &[flags.to_ne_bytes(), mask.to_ne_bytes()].concat());
    number(writer, service::TIMEOUT, server.persistence.map_or(0, seconds));
    // Each client by itself: of IPv6 the length of a prefix, of IPv4 a mask.
    let whole = match family {
        Family::V4 => u32::MAX,
        Family::V6 => 128,
    };
    number(writer, service::NETMASK, whole);
}

fn write_destination(writer: &mut Writer, address: SocketAddr) {
    writer.attribute(destination::ADDRESS, &octets(address.ip()));
    writer.attribute(destination::PORT, &address.port().to_be_bytes());
    short(writer, destination::FAMILY, address_family(Family::of(address.ip())));
}

fn number(writer: &mut Writer, kind: u16, value: u32) {
    writer.attribute(kind, &value.to_ne_bytes());
}

fn short(writer: &mut Writer, kind: u16, value: u16) {
    writer.attribute(kind, &value.to_ne_bytes());
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

const fn address_family(family: Family) -> u16 {
    match family {
        Family::V4 => libc::AF_INET as u16,
        Family::V6 => libc::AF_INET6 as u16,
    }
}

/// `union nf_inet_addr`
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn address(family: Family, octets: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => octets.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        Family::V6 => octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
    }
}

/// One of the message's attributes as a server; `None` for what is none that we could have made.
pub(super) fn server(attribute: Attribute<'_>) -> Option<(Name, Server)> {
    let fields = (attribute.kind == SERVICE).then(|| attribute.nested())?;
    let family = fields.find(service::FAMILY).and_then(read_short)?;
    let family = Family::ALL.into_iter().find(|each| address_family(*each) == family)?;
    let name = match read_number(fields, service::MARK).filter(|mark| *mark != 0) {
        Some(mark) => Name::Marked(family, mark),
        None => {
            let number = fields.find(service::PROTOCOL).and_then(read_short)?;
            let protocol = Protocol::from_number(u8::try_from(number).ok()?)?;
            let address = address(family, fields.find(service::ADDRESS)?.value)?;
            Name::At(Frontend { address, protocol, port: read_port(fields, service::PORT)? })
        }
    };
    let flags = fields.find(service::FLAGS)?.value.first_chunk::<4>().map(|flags| u32::from_ne_bytes(*flags))?;
    let timeout = read_number(fields, service::TIMEOUT).unwrap_or(0);
    let server = Server {
        scheduler: fields.find(service::SCHEDULER).map(Attribute::text).unwrap_or_default().into(),
        flags: SchedulerFlags(flags & SchedulerFlags::ALL),
        persistence: (flags & PERSISTENT != 0).then(|| Duration::from_secs(timeout.into())),
    };
    Some((name, server))
}

/// One of the message's attributes as a destination of a server of that family; `None` for what is none.
pub(super) fn destination(attribute: Attribute<'_>, family: Family) -> Option<Destination> {
    let fields = (attribute.kind == DESTINATION).then(|| attribute.nested())?;
    let address = address(family, fields.find(destination::ADDRESS)?.value)?;
    let connections = [destination::ACTIVE, destination::INACTIVE];
    Some(Destination {
        address: SocketAddr::new(address, read_port(fields, destination::PORT)?),
        weight: read_number(fields, destination::WEIGHT)?,
        translates: read_number(fields, destination::METHOD)? & METHOD == TRANSLATES,
        connections: connections.into_iter().filter_map(|kind| read_number(fields, kind)).sum(),
    })
}

pub(super) fn read_timeout(attribute: Attribute<'_>, timeouts: &mut Timeouts) {
    let value = attribute.value.try_into().ok().map(|value| Duration::from_secs(u32::from_ne_bytes(value).into()));
    match attribute.kind {
        TIMEOUT_TCP => timeouts.tcp = value,
        TIMEOUT_TCP_FIN => timeouts.tcp_fin = value,
        TIMEOUT_UDP => timeouts.udp = value,
        _ => {}
    }
}

fn read_number(fields: Attributes<'_>, kind: u16) -> Option<u32> {
    fields.find(kind)?.value.try_into().ok().map(u32::from_ne_bytes)
}

fn read_short(attribute: Attribute<'_>) -> Option<u16> {
    attribute.value.try_into().ok().map(u16::from_ne_bytes)
}

fn read_port(fields: Attributes<'_>, kind: u16) -> Option<u16> {
    fields.find(kind)?.value.try_into().ok().map(u16::from_be_bytes)
}
