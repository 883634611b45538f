//! What a table looks like apart from its elements: sets, chains and rules. Only nat chains, none of them per Service or backend,
//! but for lists that take turns: a rule has one counter.
//!
//! A connection's first packet looks up `frontends` (address, protocol, port → list), `lists` (list → kind), goes by `balance` to the
//! chain for that kind, which looks up `slots` (list, number → endpoint; the number is random, the next, or a hash) and `backends`
//! (endpoint → address). In between the value rides in `meta priority`; the mark is left to others. Each lookup may meet a newer state
//! than the one before, since a change can come into effect between them: hence every path that matched `frontends` has a second try
//! and ends in `gone`, never untranslated.
//!
//! Beside that way there are two that only some frontends have. One that is for certain sources stands in `ranged`, and is looked up with
//! the source in `ranges` before anything else. One whose external policy is `Local` leads to a list of this node's endpoints; `inside` has
//! the cluster's list for it, where the node looks first, and pods do once the kind of the list says so; the chains `in-…` go on from there.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use stead_model::Family;
use stead_plan::{DetectLocal, HASH_SEED, MasqueradeAll, Settings};
use stead_sys::nft::{
    BaseChain, Comparison, Data, Field, Hook, LinkName, Name, Rule,
    Selector::{self, *},
    Shape, Statement, Verdict,
};

use super::{
    id::{Choice, Class, Clients, HashBy, Kind, Way},
    program::SetId,
};

/// The tables' name in each family.
pub(crate) const TABLE: &str = "stead";
/// Raised with every change of sets, of what elements mean or of what a rule leaves behind; tables of another layout are replaced.
pub(crate) const COMMENT: &str = "Services by Stead, layout 2";

pub(crate) const fn name(family: Family) -> Name {
    Name { family, table: TABLE }
}

/// From the kind of a list to its chain, by the way that led to the list.
pub(crate) const fn balance(way: Way) -> &'static str {
    match way {
        Way::Frontends => "balance",
        Way::Inside => "balance-inside",
    }
}

pub(crate) const AFFINITY: &str = "affinity";
/// Affinity entries in one table; when it is full, further clients are spread without sticking. The kernel clears 8 bytes for each place
/// (four thirds of this, rounded up to a power of two) when the table is made, whether it is ever used or not: 1 MB here, which takes
/// milliseconds.
pub(crate) const AFFINITY_SIZE: u32 = 3 << 15;
/// Rules give each entry a timeout; this one is for what they do not write.
pub(crate) const AFFINITY_TIMEOUT: Duration = Duration::from_secs(3 * 3600);

pub(crate) const BALANCE_SHAPE: Shape = Shape { key: &[Field::Classid], data: Data::Verdict };

pub(crate) const fn affinity_shape(family: Family) -> Shape {
    use Field::{Classid, InetProto, InetService, Ipv4Addr, Ipv6Addr};
    Shape {
        key: match family {
            Family::V4 => &[Ipv4Addr, Ipv4Addr, InetProto, InetService],
            Family::V6 => &[Ipv6Addr, Ipv6Addr, InetProto, InetService],
        },
        data: Data::Fields(&[Classid]),
    }
}

type ChainName = Cow<'static, str>;

/// Chains with their rules, and where each kind leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skeleton {
    pub(crate) chains: BTreeMap<ChainName, (Option<BaseChain>, Vec<Rule>)>,
    pub(crate) verdicts: BTreeMap<(Way, u32), ChainName>,
}

const FRONTEND: [Selector; 3] = [DestinationAddress, Protocol, DestinationPort];
const FRONTEND_AND_SOURCE: [Selector; 4] = [DestinationAddress, Protocol, DestinationPort, SourceAddress];
const CLIENT: [Selector; 4] = [SourceAddress, DestinationAddress, Protocol, DestinationPort];

fn to_list(way: Way) -> Statement {
    let map = match way {
        Way::Frontends => SetId::Frontends,
        Way::Inside => SetId::Inside,
    };
    Statement::SetPriority(FRONTEND.into(), map.name())
}

fn to_slot(number: Selector) -> Statement {
    Statement::SetPriority(vec![Priority, number], SetId::Slots.name())
}

const SOURCE: &[Selector] = &[SourceAddress];
const FLOW: &[Selector] = &[SourceAddress, DestinationAddress, Protocol, SourcePort, DestinationPort];

fn hashed(by: HashBy, slots: u16) -> Selector {
    let key = match by {
        HashBy::Source => SOURCE,
        HashBy::Flow => FLOW,
    };
    Hash { key, modulus: slots.into(), seed: HASH_SEED }
}

fn jump(chain: impl Into<ChainName>) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

fn goto(chain: impl Into<ChainName>) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

/// The skeleton for one family, with a chain for each kind and way to it.
pub(crate) fn skeleton(
    family: Family,
    settings: &Settings,
    kinds: impl IntoIterator<Item = (Way, Kind)>,
    timeout: impl Fn(Class) -> Duration,
) -> Skeleton {
    let mut skeleton = Skeleton::default();
    let mut chain = |name: &'static str, base, rules| skeleton.chains.insert(name.into(), (base, rules));
    let base = |hook, priority| Some(BaseChain { hook, priority });
    let ranges = settings.service_ranges.iter().filter(|range| is_of(range, family));
    let services = ranges.copied().collect::<Vec<_>>();
    let pods = pods(family, settings);

    chain(
        REJECT,
        None,
        vec![vec![Statement::Protocol(stead_model::Protocol::Tcp), Statement::RejectReset], vec![Statement::Reject]],
    );
    chain(DROP, None, vec![vec![Statement::Verdict(Verdict::Drop)]]);
    chain("gone", None, vec![vec![to_list(Way::Frontends), Statement::Verdict(Verdict::Drop)], vec![goto(REJECT)]]);
    chain(
        "check-source",
        None,
        vec![
            vec![
                Statement::InSet(FRONTEND_AND_SOURCE.into(), SetId::Ranges.name()),
                Statement::Verdict(Verdict::Return),
            ],
            vec![Statement::Verdict(Verdict::Drop)],
        ],
    );
    chain("pick", None, pick(Way::Frontends));
    chain("pick-inside", None, pick(Way::Inside));
    let refuse_rest = services
        .iter()
        .map(|range| Statement::Range(DestinationAddress, Comparison::Equal, *range))
        .chain([Statement::InSet(vec![DestinationAddress], SetId::Outlying.name())])
        .map(|nobodys| vec![nobodys, goto(REJECT)]);
    chain("services", None, [vec![to_list(Way::Frontends), goto("pick")]].into_iter().chain(refuse_rest).collect());
    chain(INSIDE, None, vec![vec![to_list(Way::Inside), goto("pick-inside")]]);
    chain("nat-prerouting", base(Hook::Prerouting, -100), vec![vec![jump("services")]]);
    chain("nat-output", base(Hook::Output, -100), vec![vec![jump(INSIDE)], vec![jump("services")]]);
    chain("send", None, translate());
    chain("nat-postrouting", base(Hook::Postrouting, 100), postrouting(&services));
    chain("masq-outside", None, masquerade_outside(&pods, settings.masquerade_all));
    chain("masq-node", None, vec![vec![Statement::SourceIsOwn, Statement::Masquerade]]);

    let reject = Kind { clients: Clients::All, choice: Choice::Reject };
    let always = [Way::Frontends, Way::Inside].map(|way| (way, reject));
    for (way, kind) in always.into_iter().chain(kinds) {
        let name = skeleton.add_choice(way, kind.choice, &timeout);
        let name = match kind.clients {
            Clients::All => name,
            Clients::Outside => skeleton.add_outside(&pods, name),
        };
        skeleton.verdicts.insert((way, kind.number()), name);
    }
    skeleton
}

const REJECT: &str = "reject-it";
const DROP: &str = "drop-it";
const INSIDE: &str = "services-inside";

impl Skeleton {
    /// The chain of a choice, and those that it needs.
    fn add_choice(&mut self, way: Way, choice: Choice, timeout: impl Fn(Class) -> Duration) -> ChainName {
        match choice {
            Choice::Reject => REJECT.into(),
            Choice::Drop => DROP.into(),
            Choice::Spread { slots } => {
                self.add_pick(format!("{}{slots}", prefix(way)), || spread(way, Random(slots.into())))
            }
            Choice::Turn { counter, slots } => {
                let name = format!("{}{slots}-turn-{counter}", prefix(way));
                self.add_pick(name, || spread(way, Turn(slots.into())))
            }
            Choice::Hash { by, slots } => {
                let by_what = match by {
                    HashBy::Source => "source",
                    HashBy::Flow => "flow",
                };
                self.add_pick(format!("{}{slots}-{by_what}", prefix(way)), || spread(way, hashed(by, slots)))
            }
            Choice::Sticky { class, slots } => {
                let timeout = timeout(class);
                let name = ChainName::from(sticky_name(way, slots, timeout));
                let stuck = format!("stuck-{}s", timeout.as_secs());
                self.chains.entry(name.clone()).or_insert_with(|| (None, sticky(way, slots, timeout, &stuck)));
                self.chains.entry(stuck.into()).or_insert_with(|| (None, remembered(timeout)));
                name
            }
        }
    }

    fn add_pick(&mut self, name: String, rules: impl FnOnce() -> Vec<Rule>) -> ChainName {
        let name = ChainName::from(name);
        self.chains.entry(name.clone()).or_insert_with(|| (None, rules()));
        name
    }

    /// A chain that goes to `next` with all but pods.
    fn add_outside(&mut self, pods: &[Statement], next: ChainName) -> ChainName {
        let mut rules: Vec<Rule> = pods.iter().map(|pod| vec![pod.clone(), jump(INSIDE)]).collect();
        rules.push(vec![goto(next.clone())]);
        let name = ChainName::from(format!("{OUTSIDE}{next}"));
        self.chains.insert(name.clone(), (None, rules));
        name
    }
}

const OUTSIDE: &str = "outside-";

const fn prefix(way: Way) -> &'static str {
    match way {
        Way::Frontends => "lb-",
        Way::Inside => "in-",
    }
}

fn sticky_name(way: Way, slots: u16, timeout: Duration) -> String {
    format!("{}{slots}-sticky-{}s", prefix(way), timeout.as_secs())
}

/// The timeout in the name of a chain that [`skeleton`] made for a sticky kind.
pub(crate) fn sticky_timeout(chain: &str) -> Option<Duration> {
    let chain = chain.strip_prefix(OUTSIDE).unwrap_or(chain);
    let way = [Way::Frontends, Way::Inside].into_iter().find(|way| chain.starts_with(prefix(*way)))?;
    let (slots, seconds) = chain.strip_prefix(prefix(way))?.split_once("-sticky-")?;
    let timeout = Duration::from_secs(seconds.strip_suffix('s')?.parse().ok()?);
    (sticky_name(way, slots.parse().ok()?, timeout) == chain).then_some(timeout)
}

/// Each statement holds for packets of some pods; empty where none can be told.
pub(crate) fn pods(family: Family, settings: &Settings) -> Vec<Statement> {
    match &settings.detect_local {
        DetectLocal::Unknown => Vec::new(),
        DetectLocal::Ranges(ranges) => {
            let ranges = ranges.iter().filter(|range| is_of(range, family));
            ranges.map(|range| Statement::Range(SourceAddress, Comparison::Equal, *range)).collect()
        }
        DetectLocal::Bridge(name) => vec![Statement::Link(LinkName::Whole(name.clone()))],
        DetectLocal::Prefix(prefix) => vec![Statement::Link(LinkName::Prefix(prefix.clone()))],
    }
}

fn pick(way: Way) -> Vec<Rule> {
    vec![
        vec![Statement::InSet(FRONTEND.into(), SetId::Ranged.name()), jump("check-source")],
        vec![Statement::SetPriority(vec![Priority], SetId::Lists.name())],
        vec![Statement::VerdictMap(vec![Priority], balance(way))],
        vec![goto("gone")],
    ]
}

pub(crate) fn is_of(range: &IpNet, family: Family) -> bool {
    Family::of(range.addr()) == family
}

/// One rule for each protocol: without a match on it nft could not read back a rule that sets a port.
fn translate() -> Vec<Rule> {
    let rule = |protocol| vec![Statement::Protocol(protocol), Statement::Dnat(vec![Priority], SetId::Backends.name())];
    stead_model::Protocol::ALL.map(rule).into()
}

/// The second pick is for a packet that read the old number of slots and found its slot gone: slot 0 exists while any does.
fn spread(way: Way, number: Selector) -> Vec<Rule> {
    vec![
        vec![to_list(way)],
        vec![to_slot(number), jump("send")],
        vec![to_list(way)],
        vec![to_slot(Random(1)), jump("send")],
        vec![goto("gone")],
    ]
}

/// After an endpoint is picked, the pick is written and read back, so that of two packets the first writer wins. Where the map is full,
/// nothing is read back and the connection is spread without sticking.
fn sticky(way: Way, slots: u16, timeout: Duration, stuck: &str) -> Vec<Rule> {
    let to_remembered = || Statement::SetPriority(CLIENT.into(), AFFINITY);
    let mut rules = vec![
        vec![to_remembered(), jump(stuck.to_owned())],
        vec![to_list(way)],
        vec![to_slot(Random(slots.into()))],
        vec![to_slot(Random(1))],
        vec![Statement::Remember(CLIENT.into(), AFFINITY, timeout)],
        vec![to_remembered(), jump("send")],
    ];
    rules.extend(spread(way, Random(slots.into())));
    rules
}

/// Refreshes the entry, which keeps its endpoint; an endpoint that is gone makes the translation miss, the entry goes and a new pick is made.
/// Of packets of one client that do so at the same instant, one may end what another has just picked: their connections then differ.
fn remembered(timeout: Duration) -> Vec<Rule> {
    let mut rules = vec![vec![Statement::Remember(CLIENT.into(), AFFINITY, timeout)]];
    rules.extend(translate());
    rules.push(vec![Statement::Forget(CLIENT.into(), AFFINITY)]);
    rules
}

fn postrouting(services: &[IpNet]) -> Vec<Rule> {
    let mut rules = vec![
        vec![Statement::NotTranslated, Statement::Verdict(Verdict::Accept)],
        vec![Statement::InSet(vec![SourceAddress, DestinationAddress], SetId::Hairpin.name()), Statement::Masquerade],
    ];
    rules.extend(services.iter().map(|range| {
        vec![Statement::Range(OriginalDestinationAddress, Comparison::Equal, *range), goto("masq-outside")]
    }));
    rules.push(vec![Statement::InSet(vec![OriginalDestinationAddress], SetId::Outlying.name()), goto("masq-outside")]);
    let external = |set: fn(stead_model::Protocol) -> SetId, then: Statement| {
        stead_model::Protocol::ALL.map(|protocol| {
            let key = vec![OriginalDestinationAddress, OriginalDestinationPort];
            vec![Statement::Protocol(protocol), Statement::InSet(key, set(protocol).name()), then.clone()]
        })
    };
    rules.extend(external(SetId::external, Statement::Masquerade));
    rules.extend(external(SetId::external_local, goto("masq-node")));
    rules
}

/// Nothing where nobody can be told from pods.
///
/// Where a bridge hands its frames to these rules (`bridge-nf-call-iptables`), what comes in by one of its ports and is translated to behind another is
/// not routed: on its way out nothing is known of the way in but that there was none, and only the node itself sends so too.
pub(crate) fn masquerade_outside(pods: &[Statement], all: MasqueradeAll) -> Vec<Rule> {
    let masquerade = vec![Statement::Masquerade];
    match all {
        MasqueradeAll::Yes => vec![masquerade],
        MasqueradeAll::No if pods.is_empty() => Vec::new(),
        MasqueradeAll::No => {
            let inside = pods.iter().map(|pod| vec![pod.clone(), Statement::Verdict(Verdict::Return)]);
            let bridged = pods.iter().filter_map(|pod| match pod {
                Statement::Link(name) => Some([
                    vec![Statement::SourceIsOwn, Statement::Masquerade],
                    vec![Statement::LinkOut(name.clone()), Statement::NoLink, Statement::Verdict(Verdict::Return)],
                ]),
                _ => None,
            });
            inside.chain(bridged.flatten()).chain([masquerade]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_read_from_the_name_of_a_sticky_chain() {
        let check = |chain: &str, seconds: Option<u64>| {
            assert_eq!(sticky_timeout(chain), seconds.map(Duration::from_secs), "{chain}");
        };
        check("lb-3-sticky-5s", Some(5));
        check("lb-65000-sticky-86400s", Some(86_400));
        check("in-3-sticky-5s", Some(5));
        check("outside-lb-3-sticky-5s", Some(5));
        for chain in ["lb-3", "lb-3-sticky-", "lb-x-sticky-5s", "lb-03-sticky-5s", "reject-it", ""] {
            check(chain, None);
        }
    }
}
