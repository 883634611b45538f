//! Sockets as a relay has them.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{
        AddressFamily, SocketAddrAny, SocketFlags, SocketType, getsockname, socket_with,
        sockopt::{
            ip_original_dst, ipv6_original_dst, set_socket_keepalive, set_socket_linger, set_tcp_keepidle,
            set_tcp_nodelay,
        },
    },
};

use crate::route::Destination;

/// One of a connection's two sockets, and what epoll has told of it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    /// Something may be read; false after the kernel had nothing more.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The other end has said all it has to say, which is read after the last byte.
    pub(crate) ended: bool,
}

impl Socket {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd, readable: true, writable: true, ended: false }
    }

    /// The other end is told at once, by a reset, when the socket is closed.
    pub(crate) fn reset_when_closed(&self) {
        let _ = set_socket_linger(&self.fd, Some(Duration::ZERO));
    }
}

/// After this long without a packet the client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What is set on a listening socket is what its connections have.
pub(crate) fn prepare_listener(listener: OwnedFd) -> io::Result<OwnedFd> {
    set_nonblocking(&listener)?;
    set_tcp_nodelay(&listener, true)?;
    set_socket_keepalive(&listener, true)?;
    set_tcp_keepidle(&listener, KEEPALIVE)?;
    Ok(listener)
}

/// Every datagram comes with the address that it was sent to, from which its answer must come.
pub(crate) fn prepare_datagrams(socket: OwnedFd) -> io::Result<OwnedFd> {
    set_nonblocking(&socket)?;
    match address(getsockname(&socket)?) {
        Some(SocketAddr::V6(_)) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
    }
    Ok(socket)
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}

pub(crate) fn open(to: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::STREAM {
        // Small answers do not wait for large ones.
        set_tcp_nodelay(&fd, true)?;
    }
    Ok(fd)
}

pub(crate) fn address(any: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(any).ok()
}

/// Where the client of an accepted connection sent it.
pub(crate) fn destination(connection: &OwnedFd) -> io::Result<Destination> {
    let local = getsockname(connection)?;
    let local = address(local).ok_or(io::ErrorKind::Unsupported)?;
    let original = match local {
        SocketAddr::V4(_) => ip_original_dst(connection).map(SocketAddr::V4),
        SocketAddr::V6(_) => ipv6_original_dst(connection).map(SocketAddr::V6),
    };
    Ok(match original {
        Ok(original) if (original.ip(), original.port()) != (local.ip(), local.port()) => {
            Destination::Redirected(SocketAddr::new(original.ip(), original.port()))
        }
        // Where the kernel keeps no connections nothing is redirected.
        _ => Destination::Direct(local),
    })
}
