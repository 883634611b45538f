//! Addresses that a namespace takes packets for although none of its real links has them: on a link that leads nowhere, or by routes alone.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{LinkError, LinkIndex, Links, family, named};

/// What tells our routes from others (`rtm_protocol`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x5e);

impl Links {
    /// Makes a link that drops what is sent to it, down; it takes addresses all the same. Names have 1–15 bytes.
    ///
    /// # Errors
    /// EOPNOTSUPP where the kernel has no such links (`CONFIG_DUMMY`).
    pub fn create_dummy(&mut self, name: &str) -> Result<LinkIndex, LinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
        self.acknowledged(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create dummy link {name}")
        })?;
        self.index(name)
    }

    /// Makes an address one of this namespace's, without a link that has it; `loopback` is the link `lo`.
    pub fn add_local_route(&mut self, loopback: LinkIndex, address: IpAddr) -> Result<(), LinkError> {
        let message = local_route(loopback, address);
        self.acknowledged(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("add local route to {address}")
        })
    }

    pub fn delete_local_route(&mut self, loopback: LinkIndex, address: IpAddr) -> Result<(), LinkError> {
        let message = local_route(loopback, address);
        self.acknowledged(RouteNetlinkMessage::DelRoute(message), 0, || format!("delete local route to {address}"))
    }

    /// The addresses that [`Links::add_local_route`] has made, by whatever process.
    pub fn local_routes(&mut self) -> Result<Vec<IpAddr>, LinkError> {
        let mut addresses = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            self.dump(RouteNetlinkMessage::GetRoute(message), |answer| {
                if let RouteNetlinkMessage::NewRoute(message) = answer {
                    addresses.extend(ours(&message));
                }
            })?;
        }
        Ok(addresses)
    }
}

fn local_route(loopback: LinkIndex, address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = IpNet::from(address).prefix_len();
    message.header.table = libc::RT_TABLE_LOCAL;
    message.header.protocol = PROTOCOL;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes.push(RouteAttribute::Destination(address.into()));
    message.attributes.push(RouteAttribute::Oif(loopback.0));
    message
}

fn ours(message: &RouteMessage) -> Option<IpAddr> {
    let header = &message.header;
    let is_ours = (header.table, header.protocol, header.kind) == (libc::RT_TABLE_LOCAL, PROTOCOL, RouteType::Local);
    is_ours.then_some(())?;
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}
