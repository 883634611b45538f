//! How a Service asks for its connections to be spread: the annotations `stead.local/algorithm` and `stead.local/weights`.
//!
//! What is wrong in them becomes a problem and counts as not there: an algorithm as a whole, weights entry by entry. What an
//! algorithm does to a connection is `stead-plan`'s to say.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::wire::{ViewProblem, parse_address, parse_range};

/// How one of a Service's endpoints is chosen for a new connection. Each gets connections in proportion to its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// `random`, and `weighted`, which says the same where there are weights.
    #[default]
    Random,
    /// `round-robin`: one after the other, on each node by itself.
    RoundRobin,
    /// `source-hash`: by the client's address alone, alike on all nodes.
    SourceHash,
    /// `maglev`: by the addresses and ports of both ends and the protocol, alike on all nodes.
    Maglev,
}

/// Weights by endpoint address, 1–100; an address that nothing is said of has 1. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(IpNet, u8)>", into = "Vec<(IpNet, u8)>")]
pub struct Weights(Option<Arc<Table>>);

#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// In ascending order of the range, each once.
    entries: Box<[(IpNet, u8)]>,
    /// Lengths of their prefixes, descending, each once.
    lengths: Box<[u8]>,
}

/// The greatest weight.
const MAX_WEIGHT: u8 = 100;
/// Wrong entries of one annotation that are named.
const NAMED: usize = 8;
/// Characters shown of a wrong one.
const SHOWN: usize = 64;

impl Weights {
    /// The weight of an address: that of the longest prefix that holds it.
    pub fn of(&self, address: IpAddr) -> u8 {
        let Some(table) = &self.0 else { return 1 };
        let at = |length: &u8| {
            let range = IpNet::new(address, *length).ok()?.trunc();
            let index = table.entries.binary_search_by_key(&range, |(range, _)| *range).ok()?;
            Some(table.entries[index].1)
        };
        table.lengths.iter().find_map(at).unwrap_or(1)
    }

    /// Whether no address is known to weigh more than another.
    pub fn is_even(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Vec<(IpNet, u8)>> for Weights {
    fn from(entries: Vec<(IpNet, u8)>) -> Self {
        entries.into_iter().collect()
    }
}

impl From<Weights> for Vec<(IpNet, u8)> {
    fn from(weights: Weights) -> Self {
        weights.0.map_or_else(Self::new, |table| table.entries.to_vec())
    }
}

impl FromIterator<(IpNet, u8)> for Weights {
    /// Of two entries for one range the first holds; host bits of ranges are passed over.
    fn from_iter<I: IntoIterator<Item = (IpNet, u8)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().map(|(range, weight)| (range.trunc(), weight)).collect();
        entries.sort_by_key(|(range, _)| *range);
        entries.dedup_by_key(|(range, _)| *range);
        let mut lengths: Vec<_> = entries.iter().map(|(range, _)| range.prefix_len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let table = Table { entries: entries.into(), lengths: lengths.into() };
        Self((!table.entries.is_empty()).then(|| Arc::new(table)))
    }
}

pub(super) fn read_algorithm(text: &str, problems: &mut Vec<ViewProblem>) -> Algorithm {
    match text.trim() {
        "" | "random" | "weighted" => Algorithm::Random,
        "round-robin" => Algorithm::RoundRobin,
        "source-hash" => Algorithm::SourceHash,
        "maglev" => Algorithm::Maglev,
        other => {
            problems.push(ViewProblem::Algorithm { value: shown(other) });
            Algorithm::Random
        }
    }
}

/// Reads `ADDRESS-or-CIDR=1..100`, with commas between; blanks and empty entries are passed over.
pub(super) fn read_weights(text: &str, problems: &mut Vec<ViewProblem>) -> Weights {
    let mut entries = Vec::<(IpNet, u8)>::new();
    let mut wrong = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match parse_entry(entry) {
            Some(parsed) => entries.push(parsed),
            None => wrong.push(ViewProblem::Weight { value: shown(entry) }),
        }
    }
    let count = entries.len();
    let weights: Weights = entries.into_iter().collect();
    if weights.0.as_ref().is_some_and(|table| table.entries.len() < count) {
        wrong.insert(0, ViewProblem::RepeatedWeights);
    }
    problems.extend(wrong.into_iter().take(NAMED));
    weights
}

fn parse_entry(entry: &str) -> Option<(IpNet, u8)> {
    let (range, weight) = entry.split_once('=')?;
    let weight = weight.trim().parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight))?;
    let range = range.trim();
    Some((parse_address(range).map(IpNet::from).or_else(|| parse_range(range))?, weight))
}

fn shown(text: &str) -> Box<str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_one_of_five_names() {
        let check = |text: &str, expect, problem: &[&str]| {
            let mut problems = Vec::new();
            assert_eq!(read_algorithm(text, &mut problems), expect, "{text}");
            assert_eq!(problems.iter().map(ViewProblem::to_string).collect::<Vec<_>>(), problem);
        };
        check("", Algorithm::Random, &[]);
        check("random", Algorithm::Random, &[]);
        check("weighted", Algorithm::Random, &[]);
        check(" round-robin ", Algorithm::RoundRobin, &[]);
        check("source-hash", Algorithm::SourceHash, &[]);
        check("maglev", Algorithm::Maglev, &[]);
        let known = "is none of random, round-robin, weighted, source-hash, maglev; connections are spread at random";
        let text = |value: &str| format!("metadata.annotations[stead.local/algorithm]: {value} {known}");
        check("Maglev", Algorithm::Random, &[&text("\"Maglev\"")]);
        check(&"ü".repeat(65), Algorithm::Random, &[&text(&format!("\"{}…\"", "ü".repeat(64)))]);
    }

    #[test]
    fn the_longest_prefix_gives_the_weight() {
        let mut problems = Vec::new();
        let text = "10.244.1.2=100, 10.244.1.0/24=5,10.244.9.9/16 = 3 ,fd56::/64=7,,fd56::1=9";
        let weights = read_weights(text, &mut problems);
        assert_eq!(problems, []);
        let check = |address: &str, weight| assert_eq!(weights.of(address.parse().unwrap()), weight, "{address}");
        check("10.244.1.2", 100);
        check("10.244.1.3", 5);
        check("10.244.2.2", 3);
        check("10.245.2.2", 1);
        check("fd56::1", 9);
        check("fd56::2", 7);
        check("fd57::", 1);
        assert!(!weights.is_even() && Weights::default().is_even() && read_weights(" ,", &mut problems).is_even());
        assert_eq!(Weights::default().of([10, 0, 0, 1].into()), 1);
    }

    #[test]
    fn a_wrong_weight_leaves_the_others() {
        let check = |text: &str, expect: &[&str]| {
            let mut problems = Vec::new();
            let weights = read_weights(text, &mut problems);
            let field = "metadata.annotations[stead.local/weights]: ";
            let problems: Vec<_> = problems.iter().map(|problem| problem.to_string().replace(field, "")).collect();
            assert_eq!(problems, expect);
            weights.of([10, 0, 0, 1].into())
        };
        let wrong = |entry: &str| format!("{entry:?} is no ADDRESS=1-100 or CIDR=1-100; it is passed over");
        for entry in
            ["10.0.0.1", "10.0.0.1=0", "10.0.0.1=101", "10.0.0.1=-1", "10.0.0.1=1.5", "10.0.0.1/33=5", "10.0.0.1=5=5"]
        {
            assert_eq!(check(&format!("{entry},10.0.0.0/8=2"), &[&wrong(entry)]), 2);
        }
        for entry in ["web=5", "=5", "::ffff:10.0.0.1=5", "010.0.0.1=5", "10.0.0.0/=5"] {
            assert_eq!(check(entry, &[&wrong(entry)]), 1);
        }
        let twice = "a range stands twice; the first entry counts";
        assert_eq!(check("10.0.0.1=5,10.0.0.1/32=6", &[twice]), 5);
        assert_eq!(check(&"x,".repeat(10_000), &[&*wrong("x"); NAMED]), 1);
    }
}
