//! What a plane and the keeper of its relay tell each other: length and JSON, over a Unix socket. Both are of one version, or the keeper is replaced.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    ops::RangeInclusive,
    sync::OnceLock,
    time::SystemTime,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stead_model::Family;
use stead_plan::{ServicePortPlan, Settings};

/// Of this program, another for each build: a keeper of an earlier one is replaced.
pub(crate) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let built = fs::metadata("/proc/self/exe").and_then(|program| program.modified()).ok();
        let built = built.and_then(|built| built.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        format!("{} of {}", env!("CARGO_PKG_VERSION"), built.as_nanos())
    })
}

/// As much as a plan of 100,000 Services may take.
const LONGEST: u32 = 1 << 30;

/// `NAMESPACE/NAME:PORT/PROTOCOL/FAMILY`: one service port of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PortName(pub(crate) String);

impl PortName {
    /// `None` where the port has no frontend, so that nobody can ask for it.
    pub(crate) fn of(key: &stead_model::ObjectKey, port: &ServicePortPlan) -> Option<Self> {
        let family = match port.frontends.first()?.frontend.family() {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        Some(Self(format!("{}/{}:{}/{}/{family}", key.namespace, key.name, port.name, port.protocol)))
    }
}

/// Who may ask the listening sockets themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listen {
    /// Everybody, at any of the node's addresses.
    #[default]
    Everywhere,
    /// Processes of the node, at its loopback addresses; what a firewall redirects comes in all the same.
    Loopback,
}

/// What holds for all ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Common {
    pub(crate) settings: Settings,
    pub(crate) listen: Listen,
    /// Whether a firewall sends clients to the listening sockets, so that they must be found at any address.
    pub(crate) is_redirected: bool,
    /// `None`: any that is free.
    pub(crate) range: Option<RangeInclusive<u16>>,
}

/// One port as it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) plan: ServicePortPlan,
    /// Where it listened before, if that can still be had.
    pub(crate) number: Option<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Hello,
    /// All that it has.
    Read,
    /// New ports are listened on when it is answered; connections are left alone until [`Request::Judge`].
    Change {
        common: Option<Common>,
        ports: BTreeMap<PortName, Wanted>,
    },
    /// These ports are closed.
    Remove {
        ports: Vec<PortName>,
    },
    /// Ends what changes since the last time have forbidden.
    Judge,
    /// Looks whether every socket is still listened on, and listens anew where not.
    Check,
    Count,
    /// To be answered with the listening sockets, which are the asker's from then on.
    HandOver,
    /// Takes nothing more, and ends once its connections are over, or after a while.
    Retire,
    /// Closes everything and ends.
    End,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Hello {
        version: String,
    },
    State {
        common: Common,
        ports: BTreeMap<PortName, Held>,
    },
    /// By port the number that it listens on, or why it does not.
    Changed {
        ports: BTreeMap<PortName, Result<u16, String>>,
    },
    Done,
    /// Connections and clients that were ended.
    Judged {
        ended: usize,
    },
    /// Ports that had to be listened on anew, with their numbers.
    Checked {
        ports: BTreeMap<PortName, Result<u16, String>>,
    },
    Counted(Counted),
    /// As many descriptors follow, in this order.
    HandedOver {
        ports: Vec<PortName>,
    },
}

/// One port as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) plan: ServicePortPlan,
    pub(crate) number: u16,
}

/// What the relay has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub ports: usize,
    /// Connections and clients of datagram ports that are there now.
    pub open: usize,
    pub connections: u64,
    pub clients: u64,
    pub passed_over: u64,
    pub unserved: u64,
    pub without_descriptor: u64,
    pub cut: u64,
}

pub(crate) fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_le_bytes().to_vec();
    framed.extend(text);
    to.write_all(&framed)
}

pub(crate) fn read<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    from.take(length.into()).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
