//! Datagrams: each client of a port has a socket of its own to one backend, until it is idle.
//!
//! An answer comes from the address that the client asked: the datagram came to it, redirected or not, and the socket is told to send from there.
//! A backend that refuses the first datagram is passed over, and the next one gets it.

use std::{
    collections::HashMap,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send};

use crate::{
    PortId,
    counters::Seat,
    route::{Destination, Route},
    slab::Key,
    socket,
};

/// The largest datagram there is.
pub(crate) const LARGEST: usize = 65_536;

/// Datagrams of one socket before others have their turn.
pub(crate) const TURN: usize = 64;

#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) socket: Arc<OwnedFd>,
    pub(crate) route: Arc<dyn Route>,
    pub(crate) clients: HashMap<Name, Key>,
}

/// Who a client is: the same one at another of the node's addresses is another.
pub(crate) type Name = (SocketAddr, IpAddr);

/// A client of a datagram port.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) port: PortId,
    pub(crate) name: Name,
    pub(crate) last_used: Instant,
    to: Destination,
    route: Arc<dyn Route>,
    /// What clients send to.
    listener: Arc<OwnedFd>,
    /// Connected to `backend`.
    socket: OwnedFd,
    backend: SocketAddr,
    /// Who is next if this one refuses.
    others: std::vec::IntoIter<SocketAddr>,
    /// What was sent, until anything is answered.
    first: Option<Box<[u8]>>,
    #[expect(dead_code, reason = "given back with the client")]
    seat: Seat,
}

/// What has been received.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) name: Name,
}

/// The next one of the socket; an error where there is none.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8], control: &mut Vec<u8>) -> io::Result<Option<Datagram>> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(control), MsgFlags::MSG_DONTWAIT)?;
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    });
    let client = message.address.as_ref().and_then(to_std);
    Ok(client.zip(local).map(|name| Datagram { length: message.bytes, name }))
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

impl Client {
    /// `None` where nobody takes its datagrams.
    ///
    /// # Errors
    /// Where no socket can be had.
    pub(crate) fn new(
        datagrams: &Datagrams,
        port: PortId,
        name: Name,
        to: Destination,
        seat: Seat,
        now: Instant,
    ) -> io::Result<Option<Self>> {
        let mut others = datagrams.route.choose(name.0, to).into_iter();
        while let Some(backend) = others.next() {
            let socket = socket::open(backend, SocketType::DGRAM)?;
            if connect(&socket, &backend).is_err() {
                continue;
            }
            let (route, listener) = (Arc::clone(&datagrams.route), Arc::clone(&datagrams.socket));
            let (last_used, first) = (now, None);
            return Ok(Some(Self { port, name, last_used, to, route, listener, socket, backend, others, first, seat }));
        }
        Ok(None)
    }

    pub(crate) const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(crate) fn keeps(&self) -> bool {
        self.route.keeps(self.name.0, self.to, self.backend)
    }

    /// A datagram on its way to the backend. An error: nobody takes it.
    pub(crate) fn send(&mut self, bytes: &[u8], is_first: bool, now: Instant) -> io::Result<()> {
        self.last_used = now;
        if is_first {
            self.route.on_connected(self.name.0, self.to, self.backend);
            self.first = Some(bytes.into());
        }
        match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            // What came back of an earlier one, most likely.
            Err(_) => {
                self.pass_over()?;
                send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                Ok(())
            }
        }
    }

    /// Passes on what the backend has answered. An error: the backend is not there, nor is another.
    pub(crate) fn answer(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<()> {
        for _ in 0..TURN {
            match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    (self.last_used, self.first) = (now, None);
                    let length = length.min(buffer.len());
                    // Whoever cannot be answered now asks again.
                    let _ = self.reply(&buffer[..length]);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(_) => {
                    let first = self.first.take();
                    self.pass_over()?;
                    if let Some(first) = first {
                        send(&self.socket, &first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                        self.first = Some(first);
                    }
                }
            }
        }
        Ok(())
    }

    /// The next backend in the place of this one, on the same socket.
    fn pass_over(&mut self) -> io::Result<()> {
        for backend in self.others.by_ref() {
            if connect(&self.socket, &backend).is_ok() {
                self.backend = backend;
                self.route.on_connected(self.name.0, self.to, backend);
                return Ok(());
            }
        }
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn reply(&self, bytes: &[u8]) -> io::Result<()> {
        let (client, local) = self.name;
        let (slices, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(client));
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let socket = self.listener.as_raw_fd();
        match local {
            IpAddr::V4(local) => {
                let source = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
                sendmsg(socket, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&to))?;
            }
            IpAddr::V6(local) => {
                let source = libc::in6_addr { s6_addr: local.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
                sendmsg(socket, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&to))?;
            }
        }
        Ok(())
    }
}
