//! One rule in the words of iptables, as `iptables-save` prints it and `iptables-restore` takes it.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_model::Protocol;

/// A chain's name, at most 28 bytes.
pub(super) type Chain = Cow<'static, str>;

/// A rule without the chain that it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) source: Option<Side>,
    pub(super) destination: Option<Side>,
    pub(super) link: Option<Link>,
    pub(super) protocol: Option<Protocol>,
    pub(super) matches: Vec<Match>,
    /// `None`: it only says something to people.
    pub(super) target: Option<Target>,
}

/// A range of addresses, or all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    In(IpNet),
    NotIn(IpNet),
}

/// A link that a packet comes in by; `+` at the end of a name stands for any ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Is(Box<str>),
    IsNot(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    Comment(Cow<'static, str>),
    /// `-m tcp`, with the destination port if one is asked for.
    Transport(Protocol, Option<u16>),
    SourceIsLocal,
    DestinationIsLocal,
    /// In 2^31ths.
    Probability(u32),
    /// Each one of so many in turn.
    Turn {
        every: u32,
    },
    /// The source was put into the list less than so many seconds ago.
    Remembered {
        list: Chain,
        seconds: u64,
        mask: Mask,
    },
    Remember {
        list: Chain,
        mask: Mask,
    },
    Marked(u32),
    NotMarked(u32),
    State(&'static str),
}

/// How much of an address is remembered: all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mask {
    V4,
    V6,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Jump(Chain),
    Dnat(SocketAddr),
    Mark(u32),
    /// Takes the mark away from who has it.
    Unmark(u32),
    Masquerade,
    Reset,
    /// With ICMP port unreachable.
    Reject(Mask),
    Drop,
    Accept,
    Return,
}

impl Rule {
    pub(super) fn to(target: Target) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    pub(super) fn jump(chain: impl Into<Chain>) -> Self {
        Self::to(Target::Jump(chain.into()))
    }

    #[must_use]
    pub(super) fn with(mut self, matched: Match) -> Self {
        self.matches.push(matched);
        self
    }

    #[must_use]
    pub(super) fn comment(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.with(Match::Comment(text.into()))
    }

    /// Also matches the protocol.
    #[must_use]
    pub(super) fn transport(self, protocol: Protocol, port: Option<u16>) -> Self {
        Self { protocol: Some(protocol), ..self.with(Match::Transport(protocol, port)) }
    }

    #[must_use]
    pub(super) fn from(self, source: Side) -> Self {
        Self { source: Some(source), ..self }
    }

    #[must_use]
    pub(super) fn destination(self, destination: Side) -> Self {
        Self { destination: Some(destination), ..self }
    }

    #[must_use]
    pub(super) fn addressed(self, address: IpAddr) -> Self {
        self.destination(Side::In(address.into()))
    }
}

pub(super) const fn lower(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// What `statistic` keeps of a probability that is given as kube-proxy gives it, with ten digits.
pub(super) fn probability(share: f64) -> u32 {
    ((share * 1e10).round() / 1e10 * f64::from(1_u32 << 31)).round() as u32
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words { f, first: true };
        for (side, flag) in [(self.source, "-s"), (self.destination, "-d")] {
            match side {
                Some(Side::In(range)) => words.write(format_args!("{flag} {range}"))?,
                Some(Side::NotIn(range)) => words.write(format_args!("! {flag} {range}"))?,
                None => {}
            }
        }
        match &self.link {
            Some(Link::Is(name)) => words.write(format_args!("-i {name}"))?,
            Some(Link::IsNot(name)) => words.write(format_args!("! -i {name}"))?,
            None => {}
        }
        if let Some(protocol) = self.protocol {
            words.write(format_args!("-p {}", lower(protocol)))?;
        }
        for matched in &self.matches {
            words.write(format_args!("{matched}"))?;
        }
        match &self.target {
            Some(target) => words.write(format_args!("{target}")),
            None => Ok(()),
        }
    }
}

/// Separates what it writes by blanks.
struct Words<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Words<'_, '_> {
    fn write(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.f.write_str(" ")?;
        }
        self.f.write_fmt(text)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Comment(text) => write!(f, "-m comment --comment \"{text}\""),
            Self::Transport(protocol, None) => write!(f, "-m {}", lower(*protocol)),
            Self::Transport(protocol, Some(port)) => write!(f, "-m {} --dport {port}", lower(*protocol)),
            Self::SourceIsLocal => f.write_str("-m addrtype --src-type LOCAL"),
            Self::DestinationIsLocal => f.write_str("-m addrtype --dst-type LOCAL"),
            Self::Probability(share) => {
                let share = f64::from(*share) / f64::from(1_u32 << 31);
                write!(f, "-m statistic --mode random --probability {share:.11}")
            }
            Self::Turn { every } => write!(f, "-m statistic --mode nth --every {every} --packet 0"),
            Self::Remembered { list, seconds, mask } => {
                write!(f, "-m recent --rcheck --seconds {seconds} --reap --name {list} --mask {mask} --rsource")
            }
            Self::Remember { list, mask } => write!(f, "-m recent --set --name {list} --mask {mask} --rsource"),
            Self::Marked(mark) => write!(f, "-m mark --mark {mark:#x}/{mark:#x}"),
            Self::NotMarked(mark) => write!(f, "-m mark ! --mark {mark:#x}/{mark:#x}"),
            Self::State(state) => write!(f, "-m conntrack --ctstate {state}"),
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "255.255.255.255",
            Self::V6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(chain) => write!(f, "-j {chain}"),
            Self::Dnat(address) => write!(f, "-j DNAT --to-destination {address}"),
            Self::Mark(mark) => write!(f, "-j MARK --set-xmark {mark:#x}/{mark:#x}"),
            Self::Unmark(mark) => write!(f, "-j MARK --set-xmark {mark:#x}/0x0"),
            Self::Masquerade => f.write_str("-j MASQUERADE"),
            Self::Reset => f.write_str("-j REJECT --reject-with tcp-reset"),
            Self::Reject(Mask::V4) => f.write_str("-j REJECT --reject-with icmp-port-unreachable"),
            Self::Reject(Mask::V6) => f.write_str("-j REJECT --reject-with icmp6-port-unreachable"),
            Self::Drop => f.write_str("-j DROP"),
            Self::Accept => f.write_str("-j ACCEPT"),
            Self::Return => f.write_str("-j RETURN"),
        }
    }
}
