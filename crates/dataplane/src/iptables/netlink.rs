//! The nft kind without its programs: the same rules, read and written by netlink.
//!
//! `iptables-nft-restore` and `-save` take a time that grows with the square of the number of chains: 10,000 Services of 5 endpoints take the
//! first 50 s and the second 55 s of CPU. What is written here they list as if they had written it. Every rule bears a digest of what it
//! says, by which it is known again; one without is somebody else's, and is told apart from ours by being none that we would write.

use std::collections::HashMap;

use stead_model::Family;
use stead_sys::nft::{
    BaseChain, Chain as NftChain, Change, Error, Hook, Name, Nftables, RuleInfo, Table as NftTable, Transaction, digest,
};

use super::{
    layout::Table,
    listing::Listing,
    rule::Rule,
    script::{Deletion, Script, Step},
    xtables::encode,
};

/// What a table holds.
#[derive(Debug)]
pub(super) struct Held {
    chains: Vec<String>,
    rules: Vec<RuleInfo>,
    /// Of each rule, how it is listed where it is not known.
    foreign: Vec<String>,
}

/// What known rules say, by their digests.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<u64, String>);

impl Known {
    pub(super) fn add(&mut self, rule: &Rule, family: Family) {
        self.0.insert(digest(&encode(rule, family)), rule.to_string());
    }
}

/// What the table holds; `None` where there is none.
pub(super) fn read(nft: &mut Nftables, family: Family, table: Table) -> Result<Option<Held>, Error> {
    if !nft.tables(family)?.iter().any(|found| found.name == table.name()) {
        return Ok(None);
    }
    let name = name(family, table);
    let chains = nft.chains(name)?.into_iter().map(|chain| chain.name).collect();
    let rules = nft.rules(name)?;
    let foreign = rules.iter().map(foreign).collect();
    Ok(Some(Held { chains, rules, foreign }))
}

/// Never as a rule that is wanted, but with where it leads and what is sent to.
fn foreign(rule: &RuleInfo) -> String {
    let note = rule.note.as_deref().unwrap_or_default();
    let jump = rule.jump.as_deref().unwrap_or_default();
    format!("#{} {note} -j {jump}", rule.handle)
}

impl Held {
    pub(super) fn listing<'t>(&'t self, known: &'t Known) -> Listing<'t> {
        let mut chains: HashMap<&str, Vec<_>> = self.chains.iter().map(|chain| (chain.as_str(), Vec::new())).collect();
        for (rule, foreign) in self.rules.iter().zip(&self.foreign) {
            let text = rule.digest.and_then(|digest| known.0.get(&digest)).unwrap_or(foreign);
            chains.entry(&rule.chain).or_default().push(text.as_str().into());
        }
        Listing { chains }
    }
}

const fn name(family: Family, table: Table) -> Name {
    Name { family, table: table.name() }
}

/// Carries a script out; each part of a large one comes into effect by itself. As long as the kernel counts so many changes as
/// `generation` says, nobody else has made one; afterwards it says so again, or nothing. Returns the size of the messages.
pub(super) fn write(
    nft: &mut Nftables,
    family: Family,
    script: &Script,
    generation: &mut Option<u32>,
) -> Result<usize, Error> {
    let mut writing = Writing { nft, family, changes: Vec::new(), generation: generation.take(), bytes: 0 };
    let tables = writing.nft.tables(family)?;
    let mut made = Vec::new();
    for (table, step) in script.steps() {
        let is_there = tables.iter().any(|found| found.name == table.name());
        if !is_there && !made.contains(&table) {
            writing.changes.push(Change::AddTable(name(family, table), NftTable { comment: "".into() }));
            made.push(table);
        }
        writing.step(table, step)?;
    }
    writing.commit()?;
    *generation = writing.generation;
    Ok(writing.bytes)
}

/// Changes in one transaction, where there are many.
const MANY: usize = 40_000;

struct Writing<'n> {
    nft: &'n mut Nftables,
    family: Family,
    changes: Vec<Change>,
    generation: Option<u32>,
    bytes: usize,
}

impl Writing<'_> {
    fn step(&mut self, table: Table, step: &Step) -> Result<(), Error> {
        let name = name(self.family, table);
        self.make_base_chains(table, step)?;
        for (filled, _) in &step.fills {
            self.changes.push(Change::AddChain(name, NftChain { name: filled.clone(), base: None }));
            self.maybe_commit()?;
        }
        for (filled, rules) in &step.fills {
            self.changes.push(Change::FlushChain(name, filled.clone()));
            let rules = rules.iter().map(|rule| encode(rule, self.family));
            self.changes.extend(rules.map(|rule| Change::AddRule(name, filled.clone(), rule)));
            self.maybe_commit()?;
        }
        self.delete(name, step)?;
        let insert =
            |(chain, rule): &(&'static str, Rule)| Change::InsertRule(name, (*chain).into(), encode(rule, self.family));
        self.changes.extend(step.insertions.iter().map(insert));
        self.changes.extend(step.removals.iter().map(|chain| Change::FlushChain(name, chain.clone().into())));
        self.changes.extend(step.removals.iter().map(|chain| Change::DeleteChain(name, chain.clone().into())));
        Ok(())
    }

    /// The kernel's own chains, which nf_tables has only where somebody made them. One that is there keeps its policy.
    fn make_base_chains(&mut self, table: Table, step: &Step) -> Result<(), Error> {
        let insertions = step.insertions.iter();
        let mut wanted: Vec<_> = insertions.filter_map(|(chain, _)| Some((*chain, base(table, chain)?))).collect();
        wanted.dedup_by_key(|(chain, _)| *chain);
        if wanted.is_empty() {
            return Ok(());
        }
        let name = name(self.family, table);
        let there = self.nft.chains(name)?;
        let missing = wanted.into_iter().filter(|(chain, _)| !there.iter().any(|found| found.name == *chain));
        let make = |(chain, base): (&'static str, BaseChain)| {
            Change::AddChain(name, NftChain { name: chain.into(), base: Some(base) })
        };
        self.changes.extend(missing.map(make));
        Ok(())
    }

    fn delete(&mut self, name: Name, step: &Step) -> Result<(), Error> {
        let mut chains: HashMap<&str, Vec<RuleInfo>> = HashMap::new();
        for (chain, deletion) in &step.deletions {
            let handle = match deletion {
                Deletion::Listed(text) => text.strip_prefix('#').and_then(|text| text.split(' ').next()?.parse().ok()),
                Deletion::Rule(rule) => {
                    if !chains.contains_key(chain.as_str()) {
                        chains.insert(chain, self.nft.rules_of(name, chain)?);
                    }
                    let digest = Some(digest(&encode(rule, self.family)));
                    let rules = chains.entry(chain).or_default();
                    let at = rules.iter().position(|found| found.digest == digest);
                    at.map(|at| rules.swap_remove(at).handle)
                }
            };
            // One that is gone already need not be deleted.
            self.changes.extend(handle.map(|handle| Change::DeleteRule(name, chain.clone().into(), handle)));
        }
        Ok(())
    }

    fn maybe_commit(&mut self) -> Result<(), Error> {
        if self.changes.len() >= MANY { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let transaction = Transaction { changes: std::mem::take(&mut self.changes) };
        if transaction.is_empty() {
            return Ok(());
        }
        let commit = match self.nft.commit(&transaction, self.generation) {
            Ok(commit) => {
                self.generation = self.generation.map(|generation| generation.wrapping_add(1).max(1));
                commit
            }
            Err(Error::Stale) => {
                self.generation = None;
                self.nft.commit(&transaction, None)?
            }
            Err(error) => return Err(error),
        };
        self.bytes += commit.bytes;
        Ok(())
    }
}

/// Where iptables has the kernel's own chains that the plane leads out of.
fn base(table: Table, chain: &str) -> Option<BaseChain> {
    let (hook, priority) = match (table, chain) {
        (Table::Nat, "PREROUTING") => (Hook::Prerouting, -100),
        (Table::Nat, "OUTPUT") => (Hook::Output, -100),
        (Table::Nat, "POSTROUTING") => (Hook::Postrouting, 100),
        (Table::Filter, "INPUT") => (Hook::EveryInput, 0),
        (Table::Filter, "FORWARD") => (Hook::EveryForward, 0),
        (Table::Filter, "OUTPUT") => (Hook::EveryOutput, 0),
        _ => return None,
    };
    Some(BaseChain { hook, priority })
}
