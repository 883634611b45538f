//! What a table looks like apart from its elements: sets, chains and rules. Only nat chains, none of them per Service or backend.
//!
//! A connection's first packet looks up `frontends` (address, protocol, port → list), `lists` (list → kind), goes by `balance` to the
//! chain for that kind, which looks up `slots` (list, random number → endpoint) and `backends` (endpoint → address). In between the value
//! rides in `meta priority`; the mark is left to others. Each lookup may meet a newer state than the one before, since a change can
//! come into effect between them: hence every path that matched `frontends` has a second try and ends in `gone`, never untranslated.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use stead_model::Family;
use stead_plan::{DetectLocal, MasqueradeAll, Settings};
use stead_sys::nft::{
    BaseChain, Comparison, Data, Field, Hook, Name, Rule,
    Selector::{self, *},
    Shape, Statement, Verdict,
};

use super::{
    id::{Class, Kind},
    program::SetId,
};

/// The tables' name in each family.
pub(crate) const TABLE: &str = "stead";
/// Raised with every change of sets, of what elements mean or of what a rule leaves behind; tables of another layout are replaced.
pub(crate) const COMMENT: &str = "Services by Stead, layout 1";

pub(crate) const fn name(family: Family) -> Name {
    Name { family, table: TABLE }
}

pub(crate) const BALANCE: &str = "balance";
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
    pub(crate) verdicts: BTreeMap<u32, ChainName>,
}

const FRONTEND: [Selector; 3] = [DestinationAddress, Protocol, DestinationPort];
const CLIENT: [Selector; 4] = [SourceAddress, DestinationAddress, Protocol, DestinationPort];

fn to_list() -> Statement {
    Statement::SetPriority(FRONTEND.into(), SetId::Frontends.name())
}

fn to_slot(modulus: u32) -> Statement {
    Statement::SetPriority(vec![Priority, Random(modulus)], SetId::Slots.name())
}

fn jump(chain: impl Into<ChainName>) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

fn goto(chain: impl Into<ChainName>) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

/// The skeleton for one family, with a chain for each kind.
pub(crate) fn skeleton(
    family: Family,
    settings: &Settings,
    kinds: impl IntoIterator<Item = Kind>,
    timeout: impl Fn(Class) -> Duration,
) -> Skeleton {
    let mut skeleton = Skeleton::default();
    let mut chain = |name: ChainName, base, rules| skeleton.chains.insert(name, (base, rules));
    let base = |hook, priority| Some(BaseChain { hook, priority });
    let of_family = |ranges: &[IpNet]| ranges.iter().filter(|range| is_of(range, family)).copied().collect::<Vec<_>>();
    let services = of_family(&settings.service_ranges);

    chain(
        "reject-it".into(),
        None,
        vec![vec![Statement::Protocol(stead_model::Protocol::Tcp), Statement::RejectReset], vec![Statement::Reject]],
    );
    chain("gone".into(), None, vec![vec![to_list(), Statement::Verdict(Verdict::Drop)], vec![goto("reject-it")]]);
    chain(
        "pick".into(),
        None,
        vec![
            vec![Statement::SetPriority(vec![Priority], SetId::Lists.name())],
            vec![Statement::VerdictMap(vec![Priority], BALANCE)],
            vec![goto("gone")],
        ],
    );
    let refuse_rest = services
        .iter()
        .map(|range| vec![Statement::Range(DestinationAddress, Comparison::Equal, *range), goto("reject-it")])
        .chain([vec![Statement::InSet(vec![DestinationAddress], SetId::Outlying.name()), goto("reject-it")]]);
    chain("services".into(), None, [vec![to_list(), goto("pick")]].into_iter().chain(refuse_rest).collect());
    chain("nat-prerouting".into(), base(Hook::Prerouting, -100), vec![vec![jump("services")]]);
    chain("nat-output".into(), base(Hook::Output, -100), vec![vec![jump("services")]]);
    chain("send".into(), None, translate());
    chain("nat-postrouting".into(), base(Hook::Postrouting, 100), postrouting(&services));
    chain("masq-outside".into(), None, masquerade_outside(family, settings));

    skeleton.verdicts.insert(Kind::Reject.number(), "reject-it".into());
    for kind in kinds {
        match kind {
            Kind::Reject => {}
            Kind::Spread { slots } => {
                let name = format!("lb-{slots}");
                skeleton.verdicts.insert(kind.number(), name.clone().into());
                skeleton.chains.insert(name.into(), (None, spread(slots)));
            }
            Kind::Sticky { class, slots } => {
                let timeout = timeout(class);
                let name = sticky_name(slots, timeout);
                let stuck = format!("stuck-{}s", timeout.as_secs());
                skeleton.verdicts.insert(kind.number(), name.clone().into());
                skeleton.chains.insert(name.into(), (None, sticky(slots, timeout, &stuck)));
                skeleton.chains.entry(stuck.into()).or_insert_with(|| (None, remembered(timeout)));
            }
        }
    }
    skeleton
}

fn sticky_name(slots: u16, timeout: Duration) -> String {
    format!("lb-{slots}-sticky-{}s", timeout.as_secs())
}

/// The timeout in the name of a chain that [`skeleton`] made for a sticky kind.
pub(crate) fn sticky_timeout(chain: &str) -> Option<Duration> {
    let (slots, seconds) = chain.strip_prefix("lb-")?.split_once("-sticky-")?;
    let timeout = Duration::from_secs(seconds.strip_suffix('s')?.parse().ok()?);
    (sticky_name(slots.parse().ok()?, timeout) == chain).then_some(timeout)
}

fn is_of(range: &IpNet, family: Family) -> bool {
    Family::of(range.addr()) == family
}

/// One rule for each protocol: without a match on it nft could not read back a rule that sets a port.
fn translate() -> Vec<Rule> {
    let rule = |protocol| vec![Statement::Protocol(protocol), Statement::Dnat(vec![Priority], SetId::Backends.name())];
    stead_model::Protocol::ALL.map(rule).into()
}

/// The second pick is for a packet that read the old number of slots and found its slot gone: slot 0 exists while any does.
fn spread(slots: u16) -> Vec<Rule> {
    vec![
        vec![to_list()],
        vec![to_slot(slots.into()), jump("send")],
        vec![to_list()],
        vec![to_slot(1), jump("send")],
        vec![goto("gone")],
    ]
}

/// After an endpoint is picked, the pick is written and read back, so that of two packets the first writer wins. Where the map is full,
/// nothing is read back and the connection is spread without sticking.
fn sticky(slots: u16, timeout: Duration, stuck: &str) -> Vec<Rule> {
    let to_remembered = || Statement::SetPriority(CLIENT.into(), AFFINITY);
    let mut rules = vec![
        vec![to_remembered(), jump(stuck.to_owned())],
        vec![to_list()],
        vec![to_slot(slots.into())],
        vec![to_slot(1)],
        vec![Statement::Remember(CLIENT.into(), AFFINITY, timeout)],
        vec![to_remembered(), jump("send")],
    ];
    rules.extend(spread(slots));
    rules
}

/// Refreshes the entry, which keeps its endpoint; an endpoint that is gone makes the translation miss, the entry goes and a new pick is made.
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
    rules.extend(stead_model::Protocol::ALL.map(|protocol| {
        let key = vec![OriginalDestinationAddress, OriginalDestinationPort];
        let external = Statement::InSet(key, SetId::external(protocol).name());
        vec![Statement::Protocol(protocol), external, Statement::Masquerade]
    }));
    rules
}

/// Nothing where nobody can be told from pods.
fn masquerade_outside(family: Family, settings: &Settings) -> Vec<Rule> {
    let ranges: &[IpNet] = match &settings.detect_local {
        DetectLocal::Ranges(ranges) => ranges,
        _ => &[],
    };
    let pods = ranges.iter().filter(|range| is_of(range, family) && settings.masquerade_all == MasqueradeAll::No);
    let mut rules: Vec<Rule> = pods
        .map(|range| {
            vec![Statement::Range(SourceAddress, Comparison::Equal, *range), Statement::Verdict(Verdict::Return)]
        })
        .collect();
    if !rules.is_empty() || settings.masquerade_all == MasqueradeAll::Yes {
        rules.push(vec![Statement::Masquerade]);
    }
    rules
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
        for chain in ["lb-3", "lb-3-sticky-", "lb-x-sticky-5s", "lb-03-sticky-5s", "reject-it", ""] {
            check(chain, None);
        }
    }
}
