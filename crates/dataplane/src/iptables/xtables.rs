//! Rules in the form that the nft kind of iptables reads: its matches and targets as extensions of nf_tables rules.
//!
//! What each holds is as the kernel's headers (`linux/netfilter/xt_*.h`, `nf_nat.h`) lay it out; the kernel refuses another size. Only what the plane's
//! rules say is here.

use std::net::{IpAddr, SocketAddr};

use stead_model::{Family, Protocol};
use stead_sys::nft::{Comparison, Extension, LinkName, Rule as NftRule, Selector, Statement, Verdict};

use super::rule::{Link, Match, Rule, Side, Target, lower};

/// The rule as nf_tables holds it.
pub(super) fn encode(rule: &Rule, family: Family) -> NftRule {
    let mut statements = Vec::with_capacity(8);
    statements.extend(rule.protocol.map(Statement::Protocol));
    let sides = [(rule.source, Selector::SourceAddress), (rule.destination, Selector::DestinationAddress)];
    for (side, selector) in sides {
        statements.extend(side.map(|side| match side {
            Side::In(range) => Statement::Range(selector, Comparison::Equal, range),
            Side::NotIn(range) => Statement::Range(selector, Comparison::Different, range),
        }));
    }
    statements.extend(rule.link.as_ref().map(|link| match link {
        Link::Is(name) => Statement::Link(link_name(name)),
        Link::IsNot(name) => Statement::OtherLink(link_name(name)),
    }));
    statements.extend(rule.matches.iter().map(|matched| Statement::Match(extension(matched))));
    statements.extend(note(rule).map(|text| Statement::Note(text.into())));
    statements.push(Statement::Counter);
    statements.extend(rule.target.as_ref().map(|target| encode_target(target, family)));
    statements
}

/// What is sent to, where the rule says so: in the words of a listing, for a process that has no plan with this rule.
fn note(rule: &Rule) -> Option<String> {
    let to_port = |matched: &Match| match matched {
        Match::Transport(protocol, Some(port)) => Some(format!("-p {} --dport {port}", lower(*protocol))),
        _ => None,
    };
    let port = rule.matches.iter().find_map(to_port)?;
    Some(match rule.destination {
        Some(Side::In(range)) => format!("-d {range} {port}"),
        _ => port,
    })
}

fn link_name(name: &str) -> LinkName {
    match name.strip_suffix('+') {
        Some(prefix) => LinkName::Prefix(prefix.into()),
        None => LinkName::Whole(name.into()),
    }
}

/// Fields one after the other, each in the machine's order unless it is said otherwise.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn short(self, number: u16) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn word(self, number: u32) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    /// Zeros up to this size.
    fn fill(mut self, size: usize) -> Self {
        self.0.resize(size, 0);
        self
    }

    /// As large as the kernel counts it, in steps of eight bytes.
    fn extension(mut self, name: &'static str, revision: u32) -> Extension {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        Extension { name, revision, info: self.0.into() }
    }
}

fn extension(matched: &Match) -> Extension {
    let fields = Fields::default();
    match matched {
        Match::Comment(text) => {
            /// `XT_MAX_COMMENT_LEN`
            const LENGTH: usize = 256;
            let text = &text.as_bytes()[..text.len().min(LENGTH - 1)];
            fields.bytes(text).fill(LENGTH).extension("comment", 0)
        }
        Match::Transport(protocol, port) => transport(*protocol, *port),
        Match::SourceIsLocal => fields.short(LOCAL).fill(8).extension("addrtype", 1),
        Match::DestinationIsLocal => fields.short(0).short(LOCAL).fill(8).extension("addrtype", 1),
        // XT_STATISTIC_MODE_RANDOM; a pointer of the kernel's own at the end.
        Match::Probability(share) => fields.short(0).short(0).word(*share).fill(24).extension("statistic", 0),
        // XT_STATISTIC_MODE_NTH; it begins with a packet that matches.
        Match::Turn { every } => {
            let last = every - 1;
            fields.short(1).short(0).word(last).word(0).word(last).fill(24).extension("statistic", 0)
        }
        Match::Remembered { list, seconds, .. } => {
            const CHECK_AND_REAP: u8 = 1 | 1 << 5;
            recent(u32::try_from(*seconds).unwrap_or(u32::MAX), CHECK_AND_REAP, list)
        }
        Match::Remember { list, .. } => recent(0, 1 << 1, list),
        Match::Marked(mark) => fields.word(*mark).word(*mark).fill(16).extension("mark", 1),
        Match::NotMarked(mark) => fields.word(*mark).word(*mark).bytes(&[1]).fill(16).extension("mark", 1),
        Match::State(states) => {
            const FLAGS: usize = 146;
            const STATE: usize = 150;
            const SIZE: usize = 164;
            let mask = states.split(',').map(state_bit).fold(0, |mask, bit| mask | bit);
            // XT_CONNTRACK_STATE
            fields.fill(FLAGS).short(1).fill(STATE).short(mask).fill(SIZE).extension("conntrack", 3)
        }
    }
}

/// `XT_ADDRTYPE_LOCAL`
const LOCAL: u16 = 1 << 2;

/// `XT_CONNTRACK_STATE_*`
fn state_bit(state: &str) -> u16 {
    match state {
        "INVALID" => 1,
        "ESTABLISHED" => 2,
        "RELATED" => 4,
        "NEW" => 8,
        _ => 0,
    }
}

fn transport(protocol: Protocol, port: Option<u16>) -> Extension {
    let (first, last) = port.map_or((0, u16::MAX), |port| (port, port));
    let fields = Fields::default();
    match protocol {
        Protocol::Tcp => fields.short(0).short(u16::MAX).short(first).short(last).fill(12).extension("tcp", 0),
        Protocol::Udp => fields.short(0).short(u16::MAX).short(first).short(last).fill(10).extension("udp", 0),
        Protocol::Sctp => {
            const FLAGS: usize = 284;
            const SIZE: usize = 292;
            // XT_SCTP_DEST_PORTS; the ports of the destination stand first here.
            let flags = if port.is_some() { 2 } else { 0 };
            fields
                .short(first)
                .short(last)
                .short(0)
                .short(u16::MAX)
                .fill(FLAGS)
                .word(flags)
                .fill(SIZE)
                .extension("sctp", 0)
        }
    }
}

fn recent(seconds: u32, what: u8, list: &str) -> Extension {
    const NAME: usize = 10;
    const SIDE: usize = NAME + 200;
    const MASK: usize = 212;
    let fields = Fields::default().word(seconds).word(0).bytes(&[what, 0]).bytes(list.as_bytes());
    // XT_RECENT_SOURCE; the whole address.
    fields.fill(SIDE).bytes(&[0]).fill(MASK).bytes(&[u8::MAX; 16]).extension("recent", 1)
}

fn encode_target(target: &Target, family: Family) -> Statement {
    let fields = Fields::default();
    let extension = match (target, family) {
        (Target::Jump(chain), _) => return Statement::Verdict(Verdict::Jump(chain.clone())),
        (Target::Drop, _) => return Statement::Verdict(Verdict::Drop),
        (Target::Accept, _) => return Statement::Verdict(Verdict::Accept),
        (Target::Return, _) => return Statement::Verdict(Verdict::Return),
        (Target::Dnat(address), _) => dnat(*address),
        (Target::Mark(mark), _) => fields.word(*mark).word(*mark).extension("MARK", 2),
        (Target::Unmark(mark), _) => fields.word(*mark).word(0).extension("MARK", 2),
        // One range, without any bounds.
        (Target::Masquerade, Family::V4) => fields.word(1).fill(20).extension("MASQUERADE", 0),
        (Target::Masquerade, Family::V6) => fields.fill(40).extension("MASQUERADE", 0),
        // IPT_TCP_RESET, IP6T_TCP_RESET
        (Target::Reset, Family::V4) => fields.word(7).extension("REJECT", 0),
        (Target::Reset, Family::V6) => fields.word(6).extension("REJECT", 0),
        // IPT_ICMP_PORT_UNREACHABLE, IP6T_ICMP6_PORT_UNREACH
        (Target::Reject(_), Family::V4) => fields.word(3).extension("REJECT", 0),
        (Target::Reject(_), Family::V6) => fields.word(4).extension("REJECT", 0),
    };
    Statement::Target(extension)
}

fn dnat(to: SocketAddr) -> Extension {
    const ADDRESS: usize = 16;
    // NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED
    let mut fields = Fields::default().word(1 | 2);
    // From this address to itself, from this port to itself.
    for _ in 0..2 {
        let end = fields.0.len() + ADDRESS;
        fields = match to.ip() {
            IpAddr::V4(address) => fields.bytes(&address.octets()),
            IpAddr::V6(address) => fields.bytes(&address.octets()),
        }
        .fill(end);
    }
    let port = to.port().to_be_bytes();
    fields.bytes(&port).bytes(&port).fill(44).extension("DNAT", 2)
}
