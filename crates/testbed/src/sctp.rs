//! SCTP by raw chunks, for kernels without its sockets: an INIT is the question, and the state cookie of the INIT ACK holds the answer.
//!
//! That is as far as an association gets, and as much as translation, refusal and the table of connections show of themselves.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{SockaddrStorage, recvfrom},
};
use socket2::{Domain, SockAddr, Socket, Type};

const PROTOCOL: i32 = 132;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const STATE_COOKIE: u16 = 7;
/// Ports, verification tag and checksum.
const HEADER: usize = 12;
/// Of a chunk INIT or INIT ACK, with what it always has.
const CHUNK: usize = 20;

/// What is read of a packet.
struct Packet<'a> {
    from: u16,
    to: u16,
    chunk: u8,
    tag: u32,
    cookie: &'a [u8],
}

fn write(from: u16, to: u16, verification: u32, chunk: u8, tag: u32, cookie: &[u8]) -> Vec<u8> {
    let parameter = if cookie.is_empty() { 0 } else { 4 + cookie.len() };
    let mut bytes = Vec::with_capacity(HEADER + CHUNK + parameter + 3);
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(verification.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([chunk, 0]);
    bytes.extend(((CHUNK + parameter) as u16).to_be_bytes());
    bytes.extend(tag.to_be_bytes());
    bytes.extend(65_536_u32.to_be_bytes());
    bytes.extend([0, 1, 0, 1]);
    bytes.extend(1_u32.to_be_bytes());
    if parameter > 0 {
        bytes.extend(STATE_COOKIE.to_be_bytes());
        bytes.extend((parameter as u16).to_be_bytes());
        bytes.extend(cookie);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let checksum = crc32c(&bytes);
    bytes[8..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let length = usize::from(short(HEADER + 2)?);
    let cookie = match length.checked_sub(CHUNK + 4) {
        Some(_) if short(HEADER + CHUNK)? == STATE_COOKIE => {
            let size = usize::from(short(HEADER + CHUNK + 2)?);
            bytes.get(HEADER + CHUNK + 4..HEADER + CHUNK + size)?
        }
        _ => &[],
    };
    let tag = bytes.get(HEADER + 4..HEADER + 8)?.try_into().ok()?;
    Some(Packet { from: short(0)?, to: short(2)?, chunk: *bytes.get(HEADER)?, tag: u32::from_be_bytes(tag), cookie })
}

/// RFC 9260, appendix A: Castagnoli's polynomial, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

/// A raw socket of one protocol.
#[derive(Debug)]
struct Raw(Socket);

impl Raw {
    fn open(domain: Domain, protocol: i32) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::RAW, Some(protocol.into()))?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    fn send(&self, bytes: &[u8], to: IpAddr) -> io::Result<()> {
        self.0.send_to(bytes, &SockAddr::from(SocketAddr::new(to, 0))).map(drop)
    }

    /// The next packet behind its IP header, and who sent it.
    fn receive(&self) -> io::Result<(Vec<u8>, IpAddr)> {
        let mut bytes = vec![0; 2048];
        let (length, from) = recvfrom::<SockaddrStorage>(self.0.as_raw_fd(), &mut bytes)?;
        bytes.truncate(length);
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
        let from = v4.or(from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip()))).ok_or(io::ErrorKind::InvalidData)?;
        if from.is_ipv4() {
            let header = usize::from(bytes.first().copied().unwrap_or_default() & 15) * 4;
            bytes.drain(..header.min(length));
        }
        Ok((bytes, from))
    }
}

/// A client's side.
#[derive(Debug)]
pub(crate) struct Association {
    raw: Raw,
    /// Where refusals come.
    errors: Raw,
    from: SocketAddr,
    to: SocketAddr,
}

impl Association {
    /// In the calling thread's namespace. Nothing is sent yet.
    pub(crate) fn open(port: Option<u16>, to: SocketAddr) -> io::Result<Self> {
        /// Each has one of its own until all have been used.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = port.unwrap_or_else(|| 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 40_000);
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Nothing is sent: the kernel only says which address it would send from.
        let route = std::net::UdpSocket::bind((any, 0))?;
        route.connect(to)?;
        let from = SocketAddr::new(route.local_addr()?.ip(), port);
        let domain = Domain::for_address(to);
        let icmp = if to.is_ipv4() { 1 } else { 58 };
        Ok(Self { raw: Raw::open(domain, PROTOCOL)?, errors: Raw::open(domain, icmp)?, from, to })
    }

    /// Where its packets come from, as seen from its own host.
    pub(crate) fn local(&self) -> SocketAddr {
        self.from
    }

    /// Asks once, and waits for the answer or a refusal.
    pub(crate) fn ask(&self, timeout: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        let tag = u32::from(self.from.port()) | 1 << 31;
        self.raw.send(&write(self.from.port(), self.to.port(), 0, INIT, tag, &[]), self.to.ip())?;
        loop {
            while let Ok((bytes, from)) = self.raw.receive() {
                let is_answer = |packet: &Packet<'_>| {
                    (packet.from, packet.to, packet.chunk) == (self.to.port(), self.from.port(), INIT_ACK)
                        && from == self.to.ip()
                };
                if let Some(packet) = read(&bytes).filter(is_answer) {
                    return Ok(packet.cookie.to_vec());
                }
            }
            while let Ok((bytes, _)) = self.errors.receive() {
                if let Some(error) = self.refusal(&bytes) {
                    return Err(error.into());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait(&[self.raw.0.as_fd(), self.errors.0.as_fd()], left)?;
        }
    }

    /// What an ICMP error says of this association.
    fn refusal(&self, bytes: &[u8]) -> Option<io::ErrorKind> {
        const ICMP_HEADER: usize = 8;
        let [kind, code, ..] = *bytes else { return None };
        let refused = match (self.to.is_ipv4(), kind, code) {
            (true, 3, 3) | (false, 1, 4) => io::ErrorKind::ConnectionRefused,
            // Also that the host knows no such protocol, which ICMPv6 calls a problem with a parameter.
            (true, 3, _) | (false, 1 | 4, _) => io::ErrorKind::HostUnreachable,
            _ => return None,
        };
        let packet = bytes.get(ICMP_HEADER..)?;
        let (header, destination) = match self.to {
            SocketAddr::V4(_) => {
                let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
                (usize::from(packet[0] & 15) * 4, IpAddr::from(octets))
            }
            SocketAddr::V6(_) => {
                let octets: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
                (40, IpAddr::from(octets))
            }
        };
        let ports = packet.get(header..header + 4)?;
        let is_ours = destination == self.to.ip()
            && ports == [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        is_ours.then_some(refused)
    }
}

/// A server's side: a port at every address of the host.
#[derive(Debug)]
pub(crate) struct Listener {
    raw: [Raw; 2],
    port: u16,
}

impl Listener {
    /// In the calling thread's namespace.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        Ok(Self { raw: [Raw::open(Domain::IPV4, PROTOCOL)?, Raw::open(Domain::IPV6, PROTOCOL)?], port })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.raw.iter().map(|raw| raw.0.as_fd())
    }

    /// Answers every question that has come in.
    pub(crate) fn serve(&self, answer: impl Fn(SocketAddr) -> String) {
        for raw in &self.raw {
            while let Ok((bytes, from)) = raw.receive() {
                let Some(question) = read(&bytes).filter(|packet| (packet.to, packet.chunk) == (self.port, INIT))
                else {
                    continue;
                };
                let cookie = answer(SocketAddr::new(from, question.from));
                let packet = write(self.port, question.from, question.tag, INIT_ACK, !question.tag, cookie.as_bytes());
                // Where the answer cannot be sent, the client misses it.
                let _ = raw.send(&packet, from);
            }
        }
    }
}

fn wait(descriptors: &[BorrowedFd<'_>], time: Duration) -> io::Result<()> {
    let mut waiting: Vec<_> = descriptors.iter().map(|each| PollFd::new(*each, PollFlags::POLLIN)).collect();
    let milliseconds = time.as_millis().clamp(1, 1000) as u16;
    match poll(&mut waiting, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_are_written() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let bytes = write(1, 2, 3, INIT_ACK, 4, b"pod 10.0.0.1:5\n");
        let packet = read(&bytes).unwrap();
        assert_eq!((packet.from, packet.to, packet.chunk, packet.tag), (1, 2, INIT_ACK, 4));
        assert_eq!(packet.cookie, b"pod 10.0.0.1:5\n");
        for length in 0..bytes.len() {
            let _ = read(&bytes[..length]);
        }
        assert!(read(&write(1, 2, 0, INIT, 4, &[])).unwrap().cookie.is_empty());
    }
}
