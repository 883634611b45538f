//! Servers that answer every line (TCP), datagram (UDP) or INIT (SCTP) with their name and where they saw it come from.
//!
//! One thread each; its sockets belong to the host's namespace. A UDP answer comes from the address that was asked.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use stead_model::Protocol;

use crate::{Host, sctp::Listener};

/// How many connections one server keeps open; others wait to be accepted.
const CONNECTIONS: usize = 256;

/// A running server. Dropping it closes its sockets and open connections.
#[derive(Debug)]
pub struct Server {
    answered: Arc<AtomicU64>,
    /// Closing it wakes the thread, which then ends. `None` only while dropping.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(host: &Host, protocol: Protocol, port: u16) -> anyhow::Result<Self> {
        let sockets = Sockets::open(host, protocol, port)
            .with_context(|| format!("serving {protocol} port {port} on {}", host.name()))?;
        let (wake, woken) = UnixStream::pair()?;
        let answered = Arc::new(AtomicU64::new(0));
        let name = host.name().to_owned();
        let counter = Arc::clone(&answered);
        let serve = move || Service { name, answered: counter, sockets, woken, connections: Vec::new() }.run();
        let thread = std::thread::Builder::new().name(format!("serve {}", host.name())).spawn(serve)?;
        Ok(Self { answered, wake: Some(wake), thread: Some(thread) })
    }

    /// How many questions it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there has failed the clients' part of the test already.
            let _ = thread.join();
        }
    }
}

enum Sockets {
    Tcp(TcpListener),
    /// One for each address.
    Udp(Vec<UdpSocket>),
    Sctp(Listener),
}

impl Sockets {
    fn open(host: &Host, protocol: Protocol, port: u16) -> anyhow::Result<Self> {
        match protocol {
            Protocol::Tcp => {
                let listener = host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            Protocol::Udp => {
                let addresses = host.links()?.addresses()?;
                // A link-local address would need its link to be named.
                let addresses =
                    addresses.iter().map(|address| address.address.addr()).filter(|address| match address {
                        std::net::IpAddr::V4(_) => true,
                        std::net::IpAddr::V6(address) => !address.is_unicast_link_local(),
                    });
                // A pod's gateway address is on each of the node's links to pods.
                let addresses: std::collections::BTreeSet<_> = addresses.collect();
                let open = |address| {
                    let socket = UdpSocket::bind((address, port))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                };
                Ok(Self::Udp(host.run(|| addresses.into_iter().map(open).collect::<io::Result<_>>())??))
            }
            Protocol::Sctp => Ok(Self::Sctp(host.run(|| Listener::open(port))??)),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Tcp(listener) => vec![listener.as_fd()],
            Self::Udp(sockets) => sockets.iter().map(AsFd::as_fd).collect(),
            Self::Sctp(listener) => listener.descriptors().collect(),
        }
    }
}

struct Service {
    name: String,
    answered: Arc<AtomicU64>,
    sockets: Sockets,
    woken: UnixStream,
    connections: Vec<(TcpStream, SocketAddr)>,
}

impl Service {
    fn run(mut self) {
        while self.wait().is_ok_and(|stop| !stop) {
            self.serve_datagrams();
            self.serve_connections();
            self.accept();
        }
    }

    /// Waits until there is something to do; true: to end.
    fn wait(&self) -> io::Result<bool> {
        let is_full = self.connections.len() >= CONNECTIONS;
        let sockets = if is_full { Vec::new() } else { self.sockets.descriptors() };
        let connections = self.connections.iter().map(|(connection, _)| connection.as_fd());
        let all = [self.woken.as_fd()].into_iter().chain(sockets).chain(connections);
        let mut waiting: Vec<_> = all.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(waiting[0].any().unwrap_or(true)),
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&self, source: SocketAddr) -> String {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        format!("{} {source}\n", self.name)
    }

    fn serve_datagrams(&self) {
        if let Sockets::Sctp(listener) = &self.sockets {
            listener.serve(|source| self.answer(source));
        }
        let Sockets::Udp(sockets) = &self.sockets else { return };
        for socket in sockets {
            while let Ok((_, source)) = socket.recv_from(&mut [0; 64]) {
                // Where the answer cannot be sent, the client misses it.
                let _ = socket.send_to(self.answer(source).as_bytes(), source);
            }
        }
    }

    fn serve_connections(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        connections.retain_mut(|(connection, source)| self.serve_connection(connection, *source).is_ok());
        self.connections = connections;
    }

    /// Answers what has come in; an error ends the connection.
    fn serve_connection(&self, connection: &mut TcpStream, source: SocketAddr) -> io::Result<()> {
        let mut lines = [0; 64];
        loop {
            match connection.read(&mut lines) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    for _ in lines[..length].iter().filter(|byte| **byte == b'\n') {
                        connection.write_all(self.answer(source).as_bytes())?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn accept(&mut self) {
        let Sockets::Tcp(listener) = &self.sockets else { return };
        while self.connections.len() < CONNECTIONS {
            let Ok((connection, source)) = listener.accept() else { return };
            if connection.set_nonblocking(true).and_then(|()| connection.set_nodelay(true)).is_ok() {
                self.connections.push((connection, source));
            }
        }
    }
}
