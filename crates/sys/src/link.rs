//! Links, addresses and routes of one network namespace, over a blocking rtnetlink socket.
//!
//! Verbs of the kernel only (`rtnetlink(7)`); which links a lab or a pod gets is decided by `stead-lab` and `stead-node`.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd},
};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{
        InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
        LinkMessage,
    },
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::namespace::Namespace;

mod local;
mod watch;

pub use watch::AddressWatch;

/// An open rtnetlink socket; it belongs to the namespace it was opened in, whoever uses it.
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

/// Index of a link within its namespace (`ifindex`, ≥ 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: LinkIndex,
    pub name: String,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    pub loopback: bool,
    /// The bridge it is a port of.
    pub controller: Option<LinkIndex>,
    /// Packets received and transmitted since the link was made.
    pub packets: Packets,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub received: u64,
    pub transmitted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub link: LinkIndex,
    /// The address with the length of its subnet's prefix.
    pub address: IpNet,
}

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The destination; a prefix of length 0 is the default route.
    pub to: IpNet,
    pub via: Option<IpAddr>,
    pub link: Option<LinkIndex>,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("no link named {0}")]
    NoLink(String),
    #[error("{operation}")]
    Refused { operation: String, source: io::Error },
    #[error("rtnetlink socket failed")]
    Socket(#[from] io::Error),
    #[error("the kernel's answer could not be read: {0}")]
    Malformed(String),
}

impl LinkError {
    /// Whether the kernel refused because the thing is there already (EEXIST).
    pub fn already_exists(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::EEXIST))
    }

    /// Whether the kernel refused because the thing is not there (ENODEV, ESRCH, EADDRNOTAVAIL).
    pub fn not_found(&self) -> bool {
        match self {
            Self::NoLink(_) => true,
            Self::Refused { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
            }
            _ => false,
        }
    }
}

/// One end of a veth pair to be made: its name, and the namespace it goes to (`None`: where the socket is).
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    pub name: &'a str,
    pub namespace: Option<&'a Namespace>,
}

impl Links {
    /// A socket in the calling thread's namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    pub fn open_in(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(Self::open)?
    }

    /// Every link, in ascending order of the index.
    pub fn list(&mut self) -> Result<Vec<Link>, LinkError> {
        let mut links = Vec::new();
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |answer| {
            if let RouteNetlinkMessage::NewLink(message) = answer {
                links.push(Link::from(&message));
            }
        })?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    pub fn index(&mut self, name: &str) -> Result<LinkIndex, LinkError> {
        let found = self.list()?.into_iter().find(|link| link.name == name);
        found.map(|link| link.index).ok_or_else(|| LinkError::NoLink(name.to_owned()))
    }

    /// Makes a bridge, down and without ports. Names have 1–15 bytes.
    pub fn create_bridge(&mut self, name: &str) -> Result<LinkIndex, LinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.acknowledged(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create bridge {name}")
        })?;
        self.index(name)
    }

    /// Makes a veth pair, both ends down.
    pub fn create_veth(&mut self, near: VethEnd<'_>, far: VethEnd<'_>) -> Result<(), LinkError> {
        let mut message = placed(near);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(placed(far)))),
        ]));
        self.acknowledged(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create veth pair {} – {}", near.name, far.name)
        })
    }

    pub fn set_up(&mut self, link: LinkIndex) -> Result<(), LinkError> {
        let mut message = of(link);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.acknowledged(RouteNetlinkMessage::SetLink(message), 0, || format!("set link {} up", link.0))
    }

    /// Makes `port` a port of `bridge`.
    pub fn attach(&mut self, port: LinkIndex, bridge: LinkIndex) -> Result<(), LinkError> {
        let mut message = of(port);
        message.attributes.push(LinkAttribute::Controller(bridge.0));
        self.acknowledged(RouteNetlinkMessage::SetLink(message), 0, || {
            format!("attach link {} to bridge {}", port.0, bridge.0)
        })
    }

    /// Lets a bridge send a frame back out of the port it came from, as a pod that reaches itself through a virtual IP needs.
    pub fn enable_hairpin(&mut self, port: LinkIndex) -> Result<(), LinkError> {
        let mut message = of(port);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        // The kernel reads what is of a port from this message alone.
        self.acknowledged(RouteNetlinkMessage::NewLink(message), 0, || format!("enable hairpin on link {}", port.0))
    }

    /// Deletes a link; the other end of a veth pair goes with it.
    pub fn delete(&mut self, link: LinkIndex) -> Result<(), LinkError> {
        self.acknowledged(RouteNetlinkMessage::DelLink(of(link)), 0, || format!("delete link {}", link.0))
    }

    /// Every address, in ascending order.
    pub fn addresses(&mut self) -> Result<Vec<Address>, LinkError> {
        let mut addresses = Vec::new();
        self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |answer| {
            if let RouteNetlinkMessage::NewAddress(message) = answer {
                addresses.extend(address_of(&message));
            }
        })?;
        addresses.sort();
        Ok(addresses)
    }

    /// Gives a link an address; one of IPv6 is usable at once (no duplicate address detection).
    pub fn add_address(&mut self, link: LinkIndex, address: IpNet) -> Result<(), LinkError> {
        let message = address_message(link, address);
        self.acknowledged(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("add address {address} to link {}", link.0)
        })
    }

    pub fn delete_address(&mut self, link: LinkIndex, address: IpNet) -> Result<(), LinkError> {
        let message = address_message(link, address);
        self.acknowledged(RouteNetlinkMessage::DelAddress(message), 0, || {
            format!("delete address {address} of link {}", link.0)
        })
    }

    /// Unicast routes of the main table, in ascending order.
    pub fn routes(&mut self) -> Result<Vec<Route>, LinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            self.dump(RouteNetlinkMessage::GetRoute(message), |answer| {
                if let RouteNetlinkMessage::NewRoute(message) = answer {
                    routes.extend(route_of(&message));
                }
            })?;
        }
        routes.sort();
        Ok(routes)
    }

    /// Adds a route, or puts it in the place of the one to the same destination.
    pub fn replace_route(&mut self, route: Route) -> Result<(), LinkError> {
        self.acknowledged(RouteNetlinkMessage::NewRoute(route_message(route)), NLM_F_CREATE | NLM_F_REPLACE, || {
            format!("set route {}", describe(route))
        })
    }

    pub fn delete_route(&mut self, route: Route) -> Result<(), LinkError> {
        self.acknowledged(RouteNetlinkMessage::DelRoute(route_message(route)), 0, || {
            format!("delete route {}", describe(route))
        })
    }

    fn acknowledged(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl FnOnce() -> String,
    ) -> Result<(), LinkError> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        match self.receive(|_| ())? {
            None => Ok(()),
            Some(source) => Err(LinkError::Refused { operation: operation(), source }),
        }
    }

    fn dump(&mut self, message: RouteNetlinkMessage, each: impl FnMut(RouteNetlinkMessage)) -> Result<(), LinkError> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        match self.receive(each)? {
            None => Ok(()),
            Some(source) => Err(LinkError::Refused { operation: "list".to_owned(), source }),
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), LinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// Reads up to the end of the answer: the acknowledgement, the end of the dump, or the kernel's error.
    fn receive(&mut self, mut each: impl FnMut(RouteNetlinkMessage)) -> Result<Option<io::Error>, LinkError> {
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| LinkError::Malformed(error.to_string()))?;
                let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
                rest = &rest[length..];
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(None),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(None),
                    NetlinkPayload::Error(error) => return Ok(Some(error.to_io())),
                    NetlinkPayload::InnerMessage(message) => each(message),
                    _ => {}
                }
            }
        }
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn placed(end: VethEnd<'_>) -> LinkMessage {
    let mut message = named(end.name);
    if let Some(namespace) = end.namespace {
        message.attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
    }
    message
}

fn of(link: LinkIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.0;
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_message(link: LinkIndex, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.scope = AddressScope::Universe;
    message.header.index = link.0;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message
}

fn route_message(route: Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Destination(route.to.network().into()));
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(via.into())));
    message.attributes.extend(route.link.map(|link| RouteAttribute::Oif(link.0)));
    message
}

fn describe(route: Route) -> String {
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    let link = route.link.map(|link| format!(" on link {}", link.0)).unwrap_or_default();
    format!("to {}{via}{link}", route.to)
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let address = IpNet::new(address, message.header.prefix_len).ok()?;
    Some(Address { link: LinkIndex(message.header.index), address })
}

fn route_of(message: &RouteMessage) -> Option<Route> {
    let in_main = message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.kind == RouteType::Unicast;
    if !in_main {
        return None;
    }
    let (mut to, mut via, mut link) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
            _ => {}
        }
    }
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        _ => [0; 16].into(),
    };
    let to = IpNet::new(to.unwrap_or(unspecified), message.header.destination_prefix_length).ok()?;
    Some(Route { to, via, link })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: LinkIndex(message.header.index),
            name: String::new(),
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            controller: None,
            packets: Packets::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(index) => link.controller = Some(LinkIndex(*index)),
                LinkAttribute::Stats64(stats) => {
                    link.packets = Packets { received: stats.rx_packets, transmitted: stats.tx_packets };
                }
                _ => {}
            }
        }
        link
    }
}

#[cfg(test)]
mod tests;
