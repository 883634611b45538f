//! One client's conversation with a server of the testbed: a line there, a line back.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::OnceLock,
    time::{Duration, Instant},
};

use stead_model::Protocol;

use crate::{Host, sctp::Association};

/// How long one step of a flow waits unless told otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest line that is read.
const LINE: usize = 512;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// Where the server saw the question come from.
    pub source: SocketAddr,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Failure {
    /// TCP reset in answer to SYN, or ICMP port unreachable.
    #[error("refused")]
    Refused,
    #[error("timed out")]
    TimedOut,
    /// An established connection was reset.
    #[error("reset")]
    Reset,
    /// No route, no neighbour, or another ICMP unreachable than that of a port.
    #[error("unreachable")]
    Unreachable,
    /// The server ended the connection without an answer.
    #[error("closed")]
    Closed,
    /// Something answered that is no server of the testbed.
    #[error("garbled")]
    Garbled,
    #[error("errno {0}")]
    Other(i32),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Other(error.raw_os_error().unwrap_or(0)),
        }
    }
}

/// An open conversation.
#[derive(Debug)]
pub struct Flow {
    socket: Socket,
    timeout: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Sctp(Association),
}

/// How much longer than on a machine of today everything may take: `STEAD_PATIENCE`, for emulated processors.
pub fn patience() -> u32 {
    static PATIENCE: OnceLock<u32> = OnceLock::new();
    *PATIENCE.get_or_init(|| std::env::var("STEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1))
}

impl Flow {
    pub(crate) fn open_in(host: &Host, protocol: Protocol, port: Option<u16>, to: SocketAddr) -> Result<Self, Failure> {
        host.run(|| Self::open(protocol, port, to, TIMEOUT))?
    }

    /// Opens a flow in the calling thread's namespace.
    pub(crate) fn open(
        protocol: Protocol,
        port: Option<u16>,
        to: SocketAddr,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let timeout = timeout * patience();
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = match (protocol, port) {
            (Protocol::Tcp, None) => Socket::Tcp(TcpStream::connect_timeout(&to, timeout)?),
            (Protocol::Tcp, Some(port)) => Socket::Tcp(connect_from(SocketAddr::new(any, port), to, timeout)?),
            (Protocol::Udp, port) => {
                let socket = UdpSocket::bind((any, port.unwrap_or(0)))?;
                socket.connect(to)?;
                Socket::Udp(socket)
            }
            (Protocol::Sctp, port) => Socket::Sctp(Association::open(port, to)?),
        };
        match &socket {
            Socket::Tcp(stream) => stream.set_nodelay(true)?,
            Socket::Udp(_) | Socket::Sctp(_) => {}
        }
        Ok(Self { socket, timeout })
    }

    /// Waits this long for each answer from now on; at first 2 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout * patience();
        self
    }

    /// The flow's own address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr(),
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Sctp(association) => Ok(association.local()),
        }
    }

    /// Has a connection end by a reset when the flow is dropped.
    pub fn reset_at_end(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Socket::Udp(_) | Socket::Sctp(_) => Ok(()),
        }
    }

    /// Asks the server behind the flow who it is.
    pub fn ask(&mut self) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut line = [0; LINE];
        let mut length = 0;
        match &mut self.socket {
            Socket::Sctp(association) => {
                let answer = association.ask(self.timeout)?;
                return parse(&answer).ok_or(Failure::Garbled);
            }
            Socket::Udp(socket) => {
                socket.send(b"?\n")?;
                length = going_on(deadline, |left| {
                    socket.set_read_timeout(Some(left))?;
                    socket.recv(&mut line)
                })?;
            }
            Socket::Tcp(stream) => {
                stream.set_write_timeout(Some(self.timeout))?;
                stream.write_all(b"?\n")?;
                while !line[..length].ends_with(b"\n") && length < LINE {
                    let read = going_on(deadline, |left| {
                        stream.set_read_timeout(Some(left))?;
                        stream.read(&mut line[length..])
                    });
                    match read? {
                        0 => return Err(Failure::Closed),
                        read => length += read,
                    }
                }
            }
        }
        parse(&line[..length]).ok_or(Failure::Garbled)
    }
}

/// Reads for as long as there is time, whatever signals come: a read that has a timeout is not begun again by itself.
fn going_on(deadline: Instant, mut read: impl FnMut(Duration) -> io::Result<usize>) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match read(left) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `NAME ADDRESS:PORT\n`
fn parse(line: &[u8]) -> Option<Answer> {
    let (server, source) = str::from_utf8(line).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    Some(Answer { server: server.to_owned(), source: source.parse().ok()? })
}

/// A connection from a given address; the standard library has none.
fn connect_from(from: SocketAddr, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), timeout)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_lines() {
        let answer =
            |server: &str, source: &str| Some(Answer { server: server.into(), source: source.parse().unwrap() });
        assert_eq!(parse(b"pod-1-1 10.244.1.3:4000\n"), answer("pod-1-1", "10.244.1.3:4000"));
        assert_eq!(parse(b"node1 [fd56::50]:4000\n"), answer("node1", "[fd56::50]:4000"));
        for garbled in
            [&b""[..], b"\n", b"pod", b"pod 1.2.3.4:5", b"pod 1.2.3.4\n", b"HTTP/1.1 400 Bad Request\r\n", b"\xff \n"]
        {
            assert_eq!(parse(garbled), None);
        }
    }
}
