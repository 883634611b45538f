//! Rules: what a statement does, in nft's terms. Encoding is in `encode`, printing in `text`.

use std::{borrow::Cow, time::Duration};

use ipnet::IpNet;
use stead_model::Protocol;

/// What a rule reads from a packet or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// `ip saddr`, `ip6 saddr`
    SourceAddress,
    /// `ip daddr`, `ip6 daddr`
    DestinationAddress,
    /// `meta l4proto`
    Protocol,
    /// `th sport`
    SourcePort,
    /// `th dport`
    DestinationPort,
    /// `meta priority`
    Priority,
    /// `numgen random mod N`, N at least 1
    Random(u32),
    /// `numgen inc mod N`, N at least 1: every rule counts by itself.
    Turn(u32),
    /// `jhash KEY mod N seed S`, N at least 1; the key takes at most 11 words of registers.
    Hash { key: &'static [Selector], modulus: u32, seed: u32 },
    /// `ct original ip daddr`
    OriginalDestinationAddress,
    /// `ct original proto-dst`
    OriginalDestinationPort,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Cow<'static, str>),
    Goto(Cow<'static, str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    Different,
}

/// Which way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// That of its first packet.
    Original,
    Reply,
}

/// How a link is named; at most 15 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkName {
    Whole(Box<str>),
    Prefix(Box<str>),
}

/// A match or a target of iptables, which nf_tables rules can hold as it is (`nft_compat`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extension {
    pub name: &'static str,
    pub revision: u32,
    /// As the kernel lays it out, its size a multiple of eight.
    pub info: Box<[u8]>,
}

/// One statement of a rule; a statement that does not match ends the rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement {
    /// `meta l4proto tcp`
    Protocol(Protocol),
    /// An address selector in, or not in, a range.
    Range(Selector, Comparison, IpNet),
    /// `iifname "NAME"`, with an asterisk at its end for a prefix; nothing for who sends himself.
    Link(LinkName),
    /// `iifname != "NAME"`, likewise.
    OtherLink(LinkName),
    /// `oifname "NAME"`, likewise.
    LinkOut(LinkName),
    /// `iif 0`: it came in by no link, as what the node sends itself, and what a bridge passes on from one of its ports to another.
    NoLink,
    /// `fib saddr type local`
    SourceIsOwn,
    /// `ct status & dnat == 0`
    NotTranslated,
    /// `ct direction original`
    Direction(Direction),
    /// `KEY @SET`
    InSet(Vec<Selector>, &'static str),
    /// `meta priority set KEY map @MAP`; a key that the map lacks ends the rule.
    SetPriority(Vec<Selector>, &'static str),
    /// `meta mark set KEY map @MAP`, likewise.
    SetMark(Vec<Selector>, &'static str),
    /// `KEY vmap @MAP`
    VerdictMap(Vec<Selector>, &'static str),
    /// `dnat ip to KEY map @MAP`, the map giving an address and a port.
    Dnat(Vec<Selector>, &'static str),
    /// `masquerade`: the source port stays what it is unless another connection has it. A port drawn at random would sooner or later be
    /// one that the far end remembers in TIME_WAIT from somebody whose sequence numbers and timestamps ran differently; it then
    /// answers the SYN with an ACK, and the client tries again only after up to seconds.
    Masquerade,
    /// `reject with tcp reset`
    RejectReset,
    /// `reject` (ICMP port unreachable)
    Reject,
    /// `update @MAP { KEY timeout T : meta priority }`
    Remember(Vec<Selector>, &'static str, Duration),
    /// `delete @MAP { KEY : meta priority }`
    Forget(Vec<Selector>, &'static str),
    Verdict(Verdict),
    Match(Extension),
    Target(Extension),
    /// `counter`
    Counter,
    /// For who reads the rule back ([`super::RuleInfo::note`]), at most 128 bytes; packets do not meet it.
    Note(Box<str>),
}

pub type Rule = Vec<Statement>;
