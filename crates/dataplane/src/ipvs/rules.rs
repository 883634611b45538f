//! The rules around the virtual servers: the same few for any number of Services, in the tables `ip stead-ipvs` and `ip6 stead-ipvs`.
//!
//! IPVS takes a packet only behind our chains of type nat, which see the first of each connection: there it is refused, dropped, marked or
//! let through. Behind IPVS they masquerade. Whatever a held address has beside frontends is refused, so that no service of the node's own
//! answers there.

use std::{borrow::Cow, collections::BTreeMap};

use stead_model::{Family, Protocol as Transport};
use stead_plan::{MasqueradeAll, Settings};
use stead_sys::nft::{
    BaseChain, Comparison, Direction, Hook, Name, Rule,
    Selector::{self, *},
    Statement, Verdict, digest,
};

use super::element::SetId;
use crate::nftables::layout::{is_of, masquerade_outside, pods};

/// The tables' name in each family.
pub(super) const TABLE: &str = "stead-ipvs";
/// Raised with every change of sets or of what elements mean.
pub(super) const COMMENT: &str = "rules beside IPVS by Stead, layout 1";

pub(super) const fn name(family: Family) -> Name {
    Name { family, table: TABLE }
}

/// Chains in the order in which they are made, with their rules.
pub(super) type Chains = Vec<(&'static str, Option<BaseChain>, Vec<Rule>)>;

/// Hook and priority of base chains, and the digest that each rule carries.
pub(super) type Outline = BTreeMap<String, (Option<(u32, i32)>, Vec<Option<u64>>)>;

pub(super) fn outline(chains: &Chains) -> Outline {
    let line = |(name, base, rules): &(&str, Option<BaseChain>, Vec<Rule>)| {
        let base = base.map(|base| (base.hook.number(), base.priority));
        ((*name).to_owned(), (base, rules.iter().map(|rule| Some(digest(rule))).collect()))
    };
    chains.iter().map(line).collect()
}

const FRONTEND: [Selector; 3] = [DestinationAddress, Protocol, DestinationPort];
const ORIGINAL: [Selector; 3] = [OriginalDestinationAddress, Protocol, OriginalDestinationPort];

fn is_in(set: SetId) -> Statement {
    Statement::InSet(FRONTEND.into(), set.name())
}

fn was_in(set: SetId) -> Statement {
    Statement::InSet(ORIGINAL.into(), set.name())
}

fn jump(chain: &'static str) -> Statement {
    Statement::Verdict(Verdict::Jump(Cow::Borrowed(chain)))
}

fn goto(chain: &'static str) -> Statement {
    Statement::Verdict(Verdict::Goto(Cow::Borrowed(chain)))
}

fn end(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

pub(super) fn chains(family: Family, settings: &Settings) -> Chains {
    let ranges: Vec<_> = settings.service_ranges.iter().filter(|range| is_of(range, family)).copied().collect();
    let pods = pods(family, settings);
    let base = |hook, priority| Some(BaseChain { hook, priority });
    let nobodys = || {
        let in_range = ranges.iter().map(|range| Statement::Range(DestinationAddress, Comparison::Equal, *range));
        let held = [SetId::Outlying, SetId::Lent].map(|set| Statement::InSet(vec![DestinationAddress], set.name()));
        in_range.chain(held).map(|nobodys| vec![nobodys, goto("reject-it")])
    };
    let first = |inside: Vec<Rule>| {
        let mut rules =
            vec![vec![is_in(SetId::Ranged), jump("check-source")], vec![is_in(SetId::Refused), goto("reject-it")]];
        rules.extend(inside);
        rules.push(vec![is_in(SetId::Dropped), end(Verdict::Drop)]);
        rules.push(vec![end(Verdict::Accept)]);
        rules
    };
    // What the node is told of a refusal comes to the address that it holds and sent from.
    let told = vec![Statement::Direction(Direction::Reply), end(Verdict::Accept)];
    let services =
        |next| [told.clone(), vec![is_in(SetId::Frontends), goto(next)]].into_iter().chain(nobodys()).collect();
    let check_source = vec![
        vec![
            Statement::InSet(vec![DestinationAddress, Protocol, DestinationPort, SourceAddress], SetId::Ranges.name()),
            end(Verdict::Return),
        ],
        vec![end(Verdict::Drop)],
    ];
    vec![
        (
            "reject-it",
            None,
            vec![vec![Statement::Protocol(Transport::Tcp), Statement::RejectReset], vec![Statement::Reject]],
        ),
        ("check-source", None, check_source),
        ("inside", None, vec![vec![Statement::SetMark(FRONTEND.into(), SetId::Inside.name()), end(Verdict::Accept)]]),
        ("from-outside", None, first(pods.iter().map(|pod| vec![pod.clone(), jump("inside")]).collect())),
        ("from-node", None, first(vec![vec![jump("inside")]])),
        ("masq-outside", None, masquerade_virtual(&pods, settings.masquerade_all)),
        ("masq-node", None, vec![vec![Statement::SourceIsOwn, Statement::Masquerade]]),
        ("nat-prerouting", base(Hook::Prerouting, -100), services("from-outside")),
        ("nat-output", base(Hook::Output, -100), services("from-node")),
        ("nat-postrouting", base(Hook::Postrouting, 100), {
            let key = vec![SourceAddress, DestinationAddress];
            let mut rules = vec![vec![Statement::InSet(key, SetId::Hairpin.name()), Statement::Masquerade]];
            rules.extend(ranges.iter().map(|range| {
                vec![Statement::Range(OriginalDestinationAddress, Comparison::Equal, *range), goto("masq-outside")]
            }));
            let outlying = Statement::InSet(vec![OriginalDestinationAddress], SetId::Outlying.name());
            rules.push(vec![outlying, goto("masq-outside")]);
            rules.push(vec![was_in(SetId::Masquerade), Statement::Masquerade]);
            rules.push(vec![was_in(SetId::MasqueradeNode), goto("masq-node")]);
            rules
        }),
    ]
}

/// Whoever is no pod, as far as that can be told; and always the node, which sends to an address that it holds from that address.
fn masquerade_virtual(pods: &[Statement], all: MasqueradeAll) -> Vec<Rule> {
    let mut rules = masquerade_outside(pods, all);
    if rules.is_empty() {
        rules.push(vec![Statement::SourceIsOwn, Statement::Masquerade]);
    }
    rules
}
