//! Packets as they pass a host's links, counted by where they go.
//!
//! A raw socket in the host's namespace sees every frame of every link, in and out. Only what a count needs is kept.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt},
};
use stead_model::Protocol;
use stead_sys::link::LinkIndex;

use crate::Host;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    In,
    Out,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    pub link: LinkIndex,
    pub direction: Direction,
    pub protocol: Protocol,
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// How many different [`Seen`] are told apart; packets beyond are not counted.
const DIFFERENT: usize = 65_536;

type Counts = BTreeMap<Seen, u64>;

/// A running count. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    tap: Arc<Tap>,
    /// Closing it wakes the thread, which then ends. `None` only while dropping.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    pub(crate) fn start(host: &Host) -> anyhow::Result<Self> {
        let raw = host.run(open)?.with_context(|| format!("opening a packet socket on {}", host.name()))?;
        let (wake, woken) = UnixStream::pair()?;
        let tap = Arc::new(Tap { raw, counts: Mutex::default() });
        let tapped = Arc::clone(&tap);
        let thread = std::thread::Builder::new()
            .name(format!("capture {}", host.name()))
            .spawn(move || while tapped.wait(&woken) {})?;
        Ok(Self { tap, wake: Some(wake), thread: Some(thread) })
    }

    /// How many packets that `matches` have passed up to now.
    pub fn count(&self, matches: impl Fn(&Seen) -> bool) -> u64 {
        self.tap.read().iter().filter(|(seen, _)| matches(seen)).map(|(_, count)| count).sum()
    }

    /// Packets to an address and port.
    pub fn count_to(&self, to: SocketAddr) -> u64 {
        self.count(|seen| seen.to == to)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // Its counts are gone with it; a panic in there has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// The socket and what was read from it.
#[derive(Debug)]
struct Tap {
    raw: OwnedFd,
    counts: Mutex<Counts>,
}

impl Tap {
    /// Waits for packets and counts them, so that the socket's buffer does not overflow; false: to end.
    fn wait(&self, woken: &UnixStream) -> bool {
        let mut waiting =
            [PollFd::new(woken.as_fd(), PollFlags::POLLIN), PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) if !waiting[0].any().unwrap_or(true) => {}
            Err(Errno::EINTR) => return true,
            _ => return false,
        }
        drop(self.read());
        true
    }

    /// Counts everything that has passed.
    fn read(&self) -> MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut frame = [0; 128];
        while let Ok((length, link)) = recvfrom::<LinkAddr>(self.raw.as_raw_fd(), &mut frame) {
            if let Some(seen) = link.and_then(|link| parse(link, &frame[..length.min(frame.len())]))
                && (counts.len() < DIFFERENT || counts.contains_key(&seen))
            {
                *counts.entry(seen).or_default() += 1;
            }
        }
        counts
    }
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let raw = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    setsockopt(&raw, sockopt::RcvBufForce, &(8 << 20))?;
    Ok(raw)
}

fn parse(link: LinkAddr, frame: &[u8]) -> Option<Seen> {
    /// `PACKET_OUTGOING` of `linux/if_packet.h`.
    const OUTGOING: u8 = 4;
    let (protocol, from, to) = parse_frame(frame)?;
    Some(Seen {
        link: LinkIndex(u32::try_from(link.ifindex()).ok()?),
        direction: if link.pkttype() == OUTGOING { Direction::Out } else { Direction::In },
        protocol,
        from,
        to,
    })
}

/// Protocol, source and destination of an Ethernet frame with IPv4 or IPv6 (no fragment, no extension headers).
fn parse_frame(frame: &[u8]) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let packet = frame.get(14..)?;
    let (number, from, to, rest): (u8, IpAddr, IpAddr, _) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (*packet.get(9)?, address(12)?.into(), address(16)?.into(), packet.get(header..)?)
        }
        [0x86, 0xdd] => {
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (*packet.get(6)?, address(8)?.into(), address(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk::<2>()?));
    Some((Protocol::from_number(number)?, SocketAddr::new(from, port(0)?), SocketAddr::new(to, port(2)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "112233445566 112233445566 0800 45000020 00000000 40110000 c0a83832 c0a83865 a001 7530 000c0000";
    const V6: &str = "112233445566 112233445566 86dd 60000000 00140640 \
        fd560000000000000000000000000050 fd560000000000000000000000000101 a001 7530 00000000";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<_> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    #[test]
    fn frames_tell_where_they_go() {
        let check = |frame: &str, protocol, from: &str, to: &str| {
            let expect = (protocol, from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(parse_frame(&bytes(frame)), Some(expect));
        };
        check(V4, Protocol::Udp, "192.168.56.50:40961", "192.168.56.101:30000");
        check(V6, Protocol::Tcp, "[fd56::50]:40961", "[fd56::101]:30000");
    }

    #[test]
    fn frames_cut_short_are_no_packets() {
        for (frame, ports_end) in [(V4, 38), (V6, 58)] {
            let frame = bytes(frame);
            for length in 0..ports_end {
                assert_eq!(parse_frame(&frame[..length]), None, "{length}");
            }
        }
        assert_eq!(parse_frame(&bytes("112233445566 112233445566 0806 0001 0800 0604 0001")), None);
    }
}
