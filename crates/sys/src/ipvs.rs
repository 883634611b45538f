//! IPVS of one network namespace: virtual servers and their destinations, read and changed over generic netlink (`linux/ip_vs.h`).
//!
//! Owns the messages and their order of sending; a change is a value that prints as `ipvsadm` takes it. Each change comes into effect by
//! itself: IPVS has no transactions. Which servers there are to be is decided by the data plane.

mod text;
mod wire;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use stead_model::{Family, Frontend};

use self::wire::{Body, command};
use crate::{
    namespace::Namespace,
    netlink::{self, Attribute, Bus, GenericHeader, Kernel, Refusal, Socket, Writer},
};

/// What a virtual server takes packets by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// Address, protocol and port that they are sent to.
    At(Frontend),
    /// Their mark, wherever they are sent to; it decides before the other does. Not 0.
    Marked(Family, u32),
}

/// What a virtual server is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name of a scheduler, as `rr`; at most 15 bytes.
    pub scheduler: Box<str>,
    /// What the scheduler alone understands.
    pub flags: SchedulerFlags,
    /// A client address stays with its destination for this long after its last connection has ended; whole seconds.
    pub persistence: Option<Duration>,
}

/// `IP_VS_SVC_F_SCHED*`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerFlags(pub u32);

impl SchedulerFlags {
    /// `sh-fallback`, `mh-fallback`: where the hash leads to a destination of weight 0, another is taken.
    pub const FALLBACK: Self = Self(0x8);
    /// `sh-port`, `mh-port`: the client's port is part of the hash.
    pub const PORT: Self = Self(0x10);
    const ALL: u32 = 0x38;
}

/// A destination as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub address: SocketAddr,
    /// 0: no new connections.
    pub weight: u32,
    /// Whether packets are translated (`-m`); otherwise they are routed or tunnelled, which is nothing of ours.
    pub translates: bool,
    /// Connections that the kernel knows, in whatever state.
    pub connections: u32,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    AddServer(Name, Server),
    SetServer(Name, Server),
    /// With all its destinations.
    DeleteServer(Name),
    /// With its weight; packets to it are translated.
    AddDestination(Name, SocketAddr, u32),
    SetDestination(Name, SocketAddr, u32),
    DeleteDestination(Name, SocketAddr),
}

/// How long idle connections are remembered; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Established ones.
    pub tcp: Option<Duration>,
    /// After a FIN.
    pub tcp_fin: Option<Duration>,
    pub udp: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The kernel has no such family of generic netlink.
    #[error("the kernel has no IPVS; load module ip_vs or build CONFIG_IP_VS")]
    Absent,
    /// Changes before it came into effect, and others after it too.
    #[error("IPVS refused `{change}`: {refusal}")]
    Refused { change: String, refusal: Refusal },
}

impl Error {
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { refusal, .. } | Self::Netlink(netlink::Error::Refused(refusal)) => Some(refusal.errno),
            _ => None,
        }
    }

    /// Whether the kernel says that this process may not do so.
    pub fn is_forbidden(&self) -> bool {
        self.errno() == Some(libc::EPERM)
    }

    /// Whether the kernel knows no such scheduler, or no such server or destination (ENOENT, ESRCH).
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ESRCH))
    }
}

/// What a commit cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    pub messages: usize,
    pub bytes: usize,
}

/// IPVS of one network namespace.
#[derive(Debug)]
pub struct Ipvs {
    socket: Socket,
    /// The number of its family of generic netlink.
    family: u16,
}

const NAME: &str = "IPVS";
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

impl Ipvs {
    /// That of the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error::Absent`] where the kernel has none, or has not loaded it.
    pub fn open() -> Result<Self, Error> {
        Self::over(Socket::over(Box::new(Kernel::open(Bus::Generic)?)))
    }

    /// That of another namespace.
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        Self::over(Socket::over(Box::new(Kernel::open_in(Bus::Generic, namespace)?)))
    }

    fn over(mut socket: Socket) -> Result<Self, Error> {
        let family = family(&mut socket, NAME)?.ok_or(Error::Absent)?;
        Ok(Self { socket, family })
    }

    /// Every virtual server, in no order.
    pub fn servers(&mut self) -> Result<Vec<(Name, Server)>, Error> {
        let mut servers = Vec::new();
        self.get(command::GET_SERVICE, DUMP, Body::Nothing, |attribute| servers.extend(wire::server(attribute)))?;
        Ok(servers)
    }

    /// The destinations of a server, in no order; none where there is no such server.
    pub fn destinations(&mut self, name: Name) -> Result<Vec<Destination>, Error> {
        let mut destinations = Vec::new();
        let family = name.family();
        let read = self.get(command::GET_DESTINATION, DUMP, Body::Of(name), |attribute| {
            destinations.extend(wire::destination(attribute, family));
        });
        match read {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            result => result.map(|()| destinations),
        }
    }

    /// Makes the changes one after the other, many in one datagram.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first one that the kernel refused; all others of its datagram were tried, none of later ones.
    pub fn commit(&mut self, changes: &[Change]) -> Result<Commit, Error> {
        /// Changes in one datagram.
        const TOGETHER: usize = 256;
        let mut commit = Commit::default();
        for changes in changes.chunks(TOGETHER) {
            let count = changes.len() as u32;
            // One more, which no message has: a refusal of the first is not the end.
            let first = self.socket.sequences(count + 1) + 1;
            let last = first + count - 1;
            let mut writer = Writer::new();
            for (sequence, change) in (first..).zip(changes) {
                let flags = if sequence == last { REQUEST | ACKNOWLEDGE } else { REQUEST };
                wire::write(&mut writer, self.family, flags, sequence, change);
            }
            self.socket.send(writer.bytes())?;
            let refusals = self.socket.acknowledge(first - 1, last)?;
            commit.messages += changes.len();
            commit.bytes += writer.len();
            if let Some(refusal) = refusals.into_iter().next() {
                let index = refusal.sequence.wrapping_sub(first) as usize;
                let change = changes.get(index).map(ToString::to_string).unwrap_or_default();
                return Err(Error::Refused { change, refusal });
            }
        }
        Ok(commit)
    }

    /// How long idle connections are remembered.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        let mut timeouts = Timeouts::default();
        self.get(command::GET_CONFIG, 0, Body::Nothing, |attribute| wire::read_timeout(attribute, &mut timeouts))?;
        Ok(timeouts)
    }

    pub fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error> {
        self.get(command::SET_CONFIG, 0, Body::Timeouts(timeouts), |_| ())
    }

    fn get(&mut self, command: u8, flags: u16, body: Body, mut each: impl FnMut(Attribute<'_>)) -> Result<(), Error> {
        let sequence = self.socket.sequences(1);
        let mut writer = Writer::new();
        let flags = REQUEST | ACKNOWLEDGE | flags;
        let header = GenericHeader { kind: self.family, flags, sequence, command };
        writer.generic(header, |writer| wire::write_body(writer, body));
        Ok(self.socket.request(sequence, writer.bytes(), |message| {
            message.attributes().for_each(&mut each);
            Ok(())
        })?)
    }
}

impl Name {
    pub fn family(&self) -> Family {
        match self {
            Self::At(frontend) => frontend.family(),
            Self::Marked(family, _) => *family,
        }
    }
}

/// The number of a family of generic netlink; `None` where the kernel has none of that name.
fn family(socket: &mut Socket, name: &str) -> Result<Option<u16>, netlink::Error> {
    /// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_FAMILY_ID`
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_NAME: u16 = 2;
    const FAMILY_ID: u16 = 1;
    let sequence = socket.sequences(1);
    let mut writer = Writer::new();
    let header = GenericHeader { kind: CONTROL, flags: REQUEST | ACKNOWLEDGE, sequence, command: GET_FAMILY };
    writer.generic(header, |writer| writer.string(FAMILY_NAME, name));
    let mut number = None;
    let asked = socket.request(sequence, writer.bytes(), |message| {
        let id = message.attributes().find(FAMILY_ID).and_then(|id| id.value.try_into().ok());
        number = id.map(u16::from_ne_bytes);
        Ok(())
    });
    match asked {
        Err(netlink::Error::Refused(refusal)) if refusal.errno == libc::ENOENT => Ok(None),
        result => result.map(|()| number),
    }
}
