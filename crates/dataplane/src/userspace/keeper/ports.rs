//! Listening sockets: on the number they had before, else on any that is free.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rand::Rng;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with,
    sockopt::{set_ipv6_v6only, set_socket_reuseaddr, socket_acceptconn, socket_type},
};
use stead_model::{Family, Protocol};
use stead_plan::ServicePortPlan;

use crate::userspace::wire::{Common, Listen};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Numbers of a range that are tried at random before they are tried one after the other.
const DRAWS: usize = 16;

/// A socket for the port's family and protocol.
pub(crate) fn listen(plan: &ServicePortPlan, common: &Common, before: Option<u16>) -> io::Result<OwnedFd> {
    let family = plan.frontends.first().map_or(Family::V4, |rule| rule.frontend.family());
    let address = address(family, common);
    let is_allowed = |number: &u16| common.range.as_ref().is_none_or(|range| range.contains(number));
    let mut refusal = io::Error::from(io::ErrorKind::AddrInUse);
    let drawn = common.range.clone().into_iter().flat_map(|range| {
        let draw = move |_| rand::rng().random_range(range.clone());
        (0..DRAWS).map(draw)
    });
    let in_order = common.range.clone().into_iter().flatten();
    let any = common.range.is_none().then_some(0);
    for number in before.into_iter().filter(is_allowed).chain(drawn).chain(in_order).chain(any) {
        match open(plan.protocol, SocketAddr::new(address, number)) {
            Err(error) if [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied].contains(&error.kind()) => {
                refusal = error;
            }
            result => return result,
        }
    }
    Err(refusal)
}

/// What is redirected arrives at any of the node's addresses.
const fn address(family: Family, common: &Common) -> IpAddr {
    let is_narrow = matches!(common.listen, Listen::Loopback) && !common.is_redirected;
    match (family, is_narrow) {
        (Family::V4, false) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (Family::V4, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (Family::V6, false) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        (Family::V6, true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn open(protocol: Protocol, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol == Protocol::Udp { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier process may linger.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

pub(crate) fn number_of(socket: &OwnedFd) -> io::Result<u16> {
    let address = SocketAddr::try_from(getsockname(socket)?).map_err(|_| io::ErrorKind::Unsupported)?;
    Ok(address.port())
}

/// Whether nobody has destroyed it.
pub(crate) fn is_listening(socket: &OwnedFd) -> bool {
    match socket_type(socket) {
        Ok(SocketType::STREAM) => socket_acceptconn(socket).unwrap_or(false),
        _ => number_of(socket).is_ok_and(|number| number != 0),
    }
}
