//! A blocking netfilter socket: send, acknowledgements mapped to sequence numbers, dumps.
#![expect(unsafe_code, reason = "netlink's own socket options are not in nix")]

use std::{
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
            sockopt::{RcvBufForce, ReceiveTimeout, SndBufForce},
        },
        time::TimeVal,
    },
};

use super::message::{Attributes, HEADER, NETFILTER_HEADER};
use crate::namespace::Namespace;

/// Long enough for a commit of a million elements, short enough to notice a kernel that never answers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel caps a dump's answer at 32 KiB; acknowledgements are smaller.
const RECEIVE: usize = 64 << 10;
/// Room for the acknowledgements of a batch in which thousands of operations fail.
const RECEIVE_QUEUE: usize = 8 << 20;
/// `sk_sndbuf` must exceed a message by the kernel's own overhead.
const SEND_SLACK: usize = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open netlink socket: {source}; root rights (CAP_NET_ADMIN) and nfnetlink are needed")]
    Open { source: io::Error },
    #[error("send {bytes} bytes to netfilter")]
    Send { bytes: usize, source: io::Error },
    #[error("receive from netfilter")]
    Receive { source: io::Error },
    #[error("netfilter refused a request: {0}")]
    Refused(Refusal),
    #[error("netfilter sent a message that cannot be read")]
    Malformed,
    #[error("the kernel's tables changed again and again while they were read")]
    Unsteady,
}

/// A negative acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", Errno::from_raw(*errno).desc(), extended(text, *offset))]
pub struct Refusal {
    /// The sequence number of the request.
    pub sequence: u32,
    pub errno: i32,
    /// Where in the request the offending attribute begins, if the kernel says so.
    pub offset: Option<u32>,
    /// The kernel's own explanation, often absent.
    pub text: Option<String>,
}

fn extended(text: &Option<String>, offset: Option<u32>) -> String {
    match (text, offset) {
        (Some(text), _) => format!(" ({text})"),
        (None, Some(offset)) => format!(" (at byte {offset})"),
        (None, None) => String::new(),
    }
}

/// One message as received, without `struct nlmsghdr` and `struct nfgenmsg`.
#[derive(Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub family: u8,
    pub sequence: u32,
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.body)
    }
}

/// The two system calls of a netlink socket. [`Kernel`] makes them; a test may put something in its place that lets them fail.
pub trait Wire: fmt::Debug + Send {
    /// `send(2)`: all of the bytes, as one datagram.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// `recv(2)`: the length of the next datagram, which may be more than fits the buffer.
    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<usize>;
}

/// Whether to wait for a datagram where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Up to half a minute.
    Yes,
    No,
}

/// Whom a socket speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// NETLINK_NETFILTER
    Netfilter,
    /// NETLINK_GENERIC
    Generic,
}

/// A socket of NETLINK_NETFILTER or NETLINK_GENERIC, bound to the network namespace that it was opened in.
#[derive(Debug)]
pub struct Kernel {
    fd: OwnedFd,
    send_queue: usize,
}

impl Kernel {
    /// In the calling thread's network namespace.
    pub fn open(bus: Bus) -> Result<Self, Error> {
        Self::new(bus).map_err(|source| Error::Open { source })
    }

    /// In another namespace; it can be used from any thread.
    pub fn open_in(bus: Bus, namespace: &Namespace) -> Result<Self, Error> {
        namespace.run(|| Self::new(bus)).and_then(|kernel| kernel).map_err(|source| Error::Open { source })
    }

    fn new(bus: Bus) -> io::Result<Self> {
        let kind = match bus {
            Bus::Netfilter => SockProtocol::NetlinkNetFilter,
            Bus::Generic => SockProtocol::NetlinkGeneric,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)?;
        let timeout = TimeVal::new(TIMEOUT.as_secs() as i64, 0);
        setsockopt(&fd, ReceiveTimeout, &timeout)?;
        setsockopt(&fd, RcvBufForce, &RECEIVE_QUEUE)?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&fd, option)?;
        }
        Ok(Self { fd, send_queue: 0 })
    }

    /// Leaves room for no more than a few answers, so that the queue overruns.
    #[cfg(test)]
    pub(crate) fn narrow(self) -> Self {
        setsockopt(&self.fd, nix::sys::socket::sockopt::RcvBuf, &1).expect("an option of every socket");
        self
    }
}

impl Wire for Kernel {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() + SEND_SLACK > self.send_queue {
            let size = (bytes.len() + SEND_SLACK).next_power_of_two().max(256 << 10);
            setsockopt(&self.fd, SndBufForce, &size)?;
            self.send_queue = size;
        }
        Ok(send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()).map(drop)?)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
        let flags = match wait {
            Wait::Yes => MsgFlags::MSG_TRUNC,
            Wait::No => MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT,
        };
        Ok(recv(self.fd.as_raw_fd(), buffer, flags)?)
    }
}

/// Requests to netfilter and their answers, one after the other.
#[derive(Debug)]
pub struct Socket {
    wire: Box<dyn Wire>,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self::over(Box::new(Kernel::open(Bus::Netfilter)?)))
    }

    /// A socket in another namespace; it can be used from any thread.
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        Ok(Self::over(Box::new(Kernel::open_in(Bus::Netfilter, namespace)?)))
    }

    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self { wire, sequence: 0, buffer: vec![0; RECEIVE] }
    }

    /// A run of `count` sequence numbers that no earlier request had; the first is returned.
    pub fn sequences(&mut self, count: u32) -> u32 {
        // Zero is the kernel's own sequence number.
        let first = self.sequence.checked_add(1).filter(|first| first.checked_add(count).is_some()).unwrap_or(1);
        self.sequence = first + count.saturating_sub(1);
        first
    }

    /// Sends `bytes`, however many, as one datagram.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match self.wire.send(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|source| Error::Send { bytes: bytes.len(), source }),
            }
        }
    }

    /// Receives acknowledgements until that of `last`, or a refusal of `first`, has come; returns the refusals in order.
    ///
    /// `first..=last` are the sequence numbers of one datagram of which at least `last` asks for an acknowledgement.
    pub fn acknowledge(&mut self, first: u32, last: u32) -> Result<Vec<Refusal>, Error> {
        let result = self.acknowledgements(first, last);
        self.drain_after(&result);
        result
    }

    fn acknowledgements(&mut self, first: u32, last: u32) -> Result<Vec<Refusal>, Error> {
        let mut refusals = Vec::new();
        loop {
            let mut ended = false;
            self.receive(|message| {
                if let Answer::Acknowledged(answer) = message {
                    let sequence = answer.sequence;
                    if (first..=last).contains(&sequence) {
                        ended |= sequence == last || (sequence == first && answer.errno != 0);
                        refusals.extend((answer.errno != 0).then_some(answer));
                    }
                }
                Ok(())
            })?;
            if ended {
                return Ok(refusals);
            }
        }
    }

    /// Sends a request that is answered by any number of messages and an end mark or acknowledgement.
    ///
    /// # Errors
    /// [`Error::Unsteady`] where the kernel says that the dump mixes two states.
    pub fn request(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        each: impl FnMut(Message<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.send(bytes)?;
        let result = self.answers(sequence, each);
        self.drain_after(&result);
        result
    }

    fn answers(&mut self, sequence: u32, mut each: impl FnMut(Message<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut interrupted = false;
        let mut ended = None;
        while ended.is_none() {
            self.receive(|answer| {
                match answer {
                    Answer::Acknowledged(refusal) if refusal.sequence == sequence => {
                        ended = Some(if refusal.errno == 0 { Ok(()) } else { Err(Error::Refused(refusal)) });
                    }
                    Answer::Done { sequence: of, errno } if of == sequence => {
                        ended = Some(match errno {
                            0 => Ok(()),
                            errno => {
                                let refusal = Refusal { sequence, errno, offset: None, text: None };
                                Err(Error::Refused(refusal))
                            }
                        });
                    }
                    Answer::Message { message, mixed } if message.sequence == sequence => {
                        interrupted |= mixed;
                        each(message)?;
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        match ended {
            Some(Ok(())) if interrupted => Err(Error::Unsteady),
            Some(result) => result,
            None => Err(Error::Malformed),
        }
    }

    /// Takes what is left of an answer that was given up: the kernel begins no dump for a socket (EBUSY) while another one waits to be
    /// read to its end, and puts nothing into a queue that has overrun, and says nothing more of that, until it was empty once.
    fn drain_after<T>(&mut self, result: &Result<T, Error>) {
        let (Err(Error::Receive { .. }) | Err(Error::Malformed)) = result else { return };
        loop {
            match self.wire.receive(&mut self.buffer, Wait::No) {
                Ok(_) => {}
                Err(error) if [Some(libc::EINTR), Some(libc::ENOBUFS)].contains(&error.raw_os_error()) => {}
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self, mut each: impl FnMut(Answer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let length = loop {
            match self.wire.receive(&mut self.buffer, Wait::Yes) {
                Ok(length) if length > self.buffer.len() => return Err(Error::Malformed),
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Receive { source }),
            }
        };
        let mut rest = &self.buffer[..length];
        while !rest.is_empty() {
            let (answer, size) = read(rest).ok_or(Error::Malformed)?;
            each(answer)?;
            rest = rest.get(size..).unwrap_or_default();
        }
        Ok(())
    }
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length describe `on`, which lives through the call; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

enum Answer<'a> {
    Acknowledged(Refusal),
    Done { sequence: u32, errno: i32 },
    Message { message: Message<'a>, mixed: bool },
}

/// The first message in `bytes` and the bytes it takes.
fn read(bytes: &[u8]) -> Option<(Answer<'_>, usize)> {
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let length = number(0)? as usize;
    let (kind, flags, sequence) = (short(4)?, short(6)?, number(8)?);
    let body = bytes.get(HEADER..length)?;
    let errno = || body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg());
    let answer = match i32::from(kind) {
        libc::NLMSG_ERROR => Answer::Acknowledged(refusal(sequence, errno(), flags, body)),
        libc::NLMSG_DONE => Answer::Done { sequence, errno: errno() },
        _ => Answer::Message {
            message: Message { kind, family: *body.first()?, sequence, body: body.get(NETFILTER_HEADER..)? },
            mixed: i32::from(flags) & libc::NLM_F_DUMP_INTR != 0,
        },
    };
    Some((answer, length.next_multiple_of(4)))
}

/// `body` is `struct nlmsgerr` (errno, then the header of the request) and, with NLM_F_ACK_TLVS, the extended acknowledgement.
fn refusal(sequence: u32, errno: i32, flags: u16, body: &[u8]) -> Refusal {
    const TEXT: u16 = 1;
    const OFFSET: u16 = 2;
    let extended = if i32::from(flags) & libc::NLM_F_ACK_TLVS != 0 {
        // With NLM_F_CAPPED only the header of the request is repeated, else all of it.
        let request = body.get(4..8).and_then(|length| Some(u32::from_ne_bytes(length.try_into().ok()?) as usize));
        let repeated = if i32::from(flags) & libc::NLM_F_CAPPED != 0 { Some(HEADER) } else { request };
        repeated.and_then(|repeated| body.get(4 + repeated.next_multiple_of(4)..)).unwrap_or_default()
    } else {
        &[]
    };
    let attributes = Attributes::new(extended);
    Refusal {
        sequence,
        errno,
        offset: attributes.find(OFFSET).and_then(|offset| Some(u32::from_ne_bytes(offset.value.try_into().ok()?))),
        text: attributes.find(TEXT).map(super::Attribute::text).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn sequence_numbers_wrap_without_zero() {
        let mut socket = Socket::open().unwrap();
        assert_eq!((socket.sequences(3), socket.sequences(1)), (1, 4));
        socket.sequence = u32::MAX - 2;
        assert_eq!(socket.sequences(5), 1);
    }
}
