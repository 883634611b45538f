//! What `iptables-restore --noflush` takes to get from one state of the chains to another: only what differs.
//!
//! From a Service as it was to as it is ([`Script::change`]), from whatever a kernel holds to what it should hold ([`Script::reconcile`]), and to
//! nothing ([`Script::removal`]). Rules of others are in none of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    layout::{Frame, MARKER, Shared, Table, is_ours},
    listing::Listing,
    lower::Lowered,
    rule::{Chain, Rule},
};

/// Steps in the order in which they are taken, each coming into effect at once. Who is refused is so before nobody serves him, and still
/// while somebody does already: a packet that was translated meets no refusal.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: [Step; 5],
}

#[derive(Debug, Default)]
pub(super) struct Step {
    /// Chains that are made or emptied, with all that is in them then.
    pub(super) fills: Vec<(Chain, Vec<Rule>)>,
    pub(super) deletions: Vec<(String, Deletion)>,
    /// Each at the top of its chain, so that the last stands first.
    pub(super) insertions: Vec<(&'static str, Rule)>,
    /// Chains that are emptied and removed.
    pub(super) removals: Vec<String>,
}

/// A rule that goes.
#[derive(Debug)]
pub(super) enum Deletion {
    Rule(Rule),
    /// As it was listed.
    Listed(String),
}

const MANGLE: usize = 0;
const FILTER_FIRST: usize = 1;
const NAT: usize = 2;
const FILTER_LAST: usize = 3;
/// The mark of who owns the rest goes last.
const MANGLE_LAST: usize = 4;
const TABLES: [Table; 5] = [Table::Mangle, Table::Filter, Table::Nat, Table::Filter, Table::Mangle];

/// Where what is added to a table goes.
const fn adding(table: Table) -> usize {
    match table {
        Table::Mangle => MANGLE,
        Table::Filter => FILTER_FIRST,
        Table::Nat => NAT,
    }
}

/// Where what is taken out of a table goes.
const fn removing(table: Table) -> usize {
    match table {
        Table::Mangle => MANGLE_LAST,
        Table::Nat => NAT,
        Table::Filter => FILTER_LAST,
    }
}

impl Script {
    pub(super) fn is_empty(&self) -> bool {
        self.operations() == 0
    }

    /// Chains and rules that come or go.
    pub(super) fn operations(&self) -> usize {
        self.steps.iter().map(Step::operations).sum()
    }

    /// The steps that do anything, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Table, &Step)> {
        TABLES.into_iter().zip(&self.steps).filter(|(_, step)| step.operations() > 0)
    }

    /// From what some Services came to, to what they come to now.
    pub(super) fn change(old: &Lowered, new: &Lowered) -> Self {
        let mut script = Self::default();
        for (chain, rules) in &new.chains {
            if old.chains.get(chain) != Some(rules) {
                script.write(Table::Nat, chain, rules.clone());
            }
        }
        for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
            script.remove_chain(Table::Nat, chain);
        }
        let [before, after] = [old, new].map(|lowered| lowered.shared.iter().collect::<BTreeSet<_>>());
        for (shared, rule) in old.shared.iter().filter(|entry| !after.contains(entry)) {
            let (table, chain) = shared.place();
            script.steps[removing(table)].deletions.push((chain.to_owned(), Deletion::Rule(rule.clone())));
        }
        // At the top, so that what must be last stays last; hence the last one first.
        for (shared, rule) in new.shared.iter().rev().filter(|entry| !before.contains(entry)) {
            let (table, chain) = shared.place();
            script.steps[adding(table)].insertions.push((chain, rule.clone()));
        }
        script
    }

    /// From what the kernel holds to all of this.
    pub(super) fn reconcile(frame: &Frame<'_>, wanted: &Lowered, actual: &BTreeMap<Table, Listing<'_>>) -> Self {
        let mut script = Self::default();
        let nothing = Listing::default();
        let listing = |table| actual.get(&table).unwrap_or(&nothing);
        let mut kept = BTreeSet::<(Table, &str)>::new();
        for (chain, rules) in &wanted.chains {
            kept.insert((Table::Nat, chain));
            if !is_so(listing(Table::Nat), chain, rules) {
                script.write(Table::Nat, chain, rules.clone());
            }
        }
        let frame_chains = frame.chains();
        for (table, chain, rules) in &frame_chains {
            kept.insert((*table, chain));
            if !is_so(listing(*table), chain, rules) {
                script.write(*table, &Chain::Borrowed(chain), rules.clone());
            }
        }
        let mut by_chain = BTreeMap::<Shared, Vec<Rule>>::new();
        for (shared, rule) in &wanted.shared {
            by_chain.entry(*shared).or_default().push(rule.clone());
        }
        for shared in Shared::ALL {
            let (table, chain) = shared.place();
            kept.insert((table, chain));
            let (rules, ending) = (by_chain.remove(&shared).unwrap_or_default(), frame.ending(shared));
            if !listing(table).rules(chain).is_some_and(|found| has_all(found, &rules, &ending)) {
                script.write(table, &Chain::Borrowed(chain), rules.into_iter().chain(ending).collect());
            }
        }
        let jumps = frame.jumps();
        for table in Table::ALL {
            script.mend_jumps(table, listing(table), &jumps);
            for chain in listing(table).chains.keys().filter(|chain| is_ours(chain)) {
                if !kept.contains(&(table, chain)) {
                    script.remove_chain(table, chain);
                }
            }
        }
        script
    }

    /// To nothing of ours; what has no mark of ours is kube-proxy's.
    pub(super) fn removal(actual: &BTreeMap<Table, Listing<'_>>) -> Self {
        let mut script = Self::default();
        if actual.get(&Table::Mangle).is_none_or(|mangle| mangle.rules(MARKER).is_none()) {
            return script;
        }
        for (table, listing) in actual {
            script.mend_jumps(*table, listing, &[]);
            for chain in listing.chains.keys().filter(|chain| is_ours(chain)) {
                script.remove_chain(*table, chain);
            }
        }
        script
    }

    /// Empties the chain, or makes it, and fills it.
    fn write(&mut self, table: Table, chain: &Chain, rules: Vec<Rule>) {
        self.steps[adding(table)].fills.push((chain.clone(), rules));
    }

    fn remove_chain(&mut self, table: Table, chain: &str) {
        self.steps[removing(table)].removals.push(chain.to_owned());
    }

    /// Jumps from others' chains to ours: each that is wanted once, at the top and in order; others not at all.
    fn mend_jumps(&mut self, table: Table, listing: &Listing<'_>, wanted: &[(Table, &'static str, Rule)]) {
        let mut built_in: BTreeMap<&'static str, Vec<Rule>> = BTreeMap::new();
        for (_, chain, rule) in wanted.iter().filter(|(of, ..)| *of == table) {
            built_in.entry(chain).or_default().push(rule.clone());
        }
        let others = listing.chains.keys().copied().filter(|chain| !is_ours(chain));
        let unwanted: BTreeSet<&str> = others.filter(|chain| !built_in.contains_key(chain)).collect();
        for (chain, rules) in built_in {
            let found = ours(listing, chain);
            if rules.iter().map(Rule::to_string).eq(found.iter().copied()) {
                continue;
            }
            let step = &mut self.steps[adding(table)];
            for text in found {
                let known = rules.iter().find(|rule| rule.to_string() == text);
                let listed = || Deletion::Listed(text.to_owned());
                let deletion = known.map_or_else(listed, |rule| Deletion::Rule(rule.clone()));
                step.deletions.push((chain.to_owned(), deletion));
            }
            step.insertions.extend(rules.into_iter().rev().map(|rule| (chain, rule)));
        }
        for chain in unwanted {
            let listed = ours(listing, chain).into_iter().map(|text| Deletion::Listed(text.to_owned()));
            self.steps[removing(table)].deletions.extend(listed.map(|deletion| (chain.to_owned(), deletion)));
        }
    }
}

impl Step {
    fn operations(&self) -> usize {
        let filled: usize = self.fills.iter().map(|(_, rules)| 1 + rules.len()).sum();
        filled + self.deletions.len() + self.insertions.len() + self.removals.len()
    }
}

/// The rules of another's chain that lead to ours.
fn ours<'l>(listing: &'l Listing<'_>, chain: &str) -> Vec<&'l str> {
    let rules = listing.rules(chain).unwrap_or_default().iter().map(|rule| &**rule);
    rules.filter(|rule| leads_to_ours(rule)).collect()
}

fn is_so(listing: &Listing<'_>, chain: &str, rules: &[Rule]) -> bool {
    let same = |found: &[Cow<'_, str>]| {
        found.len() == rules.len() && found.iter().zip(rules).all(|(found, rule)| *found == rule.to_string())
    };
    listing.rules(chain).is_some_and(same)
}

/// Whether a chain holds these rules in any order, and then its ending.
fn has_all(found: &[Cow<'_, str>], rules: &[Rule], ending: &[Rule]) -> bool {
    let middle = found.len().checked_sub(ending.len()).filter(|middle| *middle == rules.len());
    let Some((found, last)) = middle.map(|middle| found.split_at(middle)) else { return false };
    let mut found: Vec<_> = found.iter().map(|rule| &**rule).collect();
    let mut rules: Vec<_> = rules.iter().map(Rule::to_string).collect();
    found.sort_unstable();
    rules.sort_unstable();
    found == rules && last.iter().zip(ending).all(|(found, rule)| *found == rule.to_string())
}

fn leads_to_ours(rule: &str) -> bool {
    let target = rule.rsplit_once("-j ").and_then(|(_, target)| target.split(' ').next());
    target.is_some_and(is_ours)
}

impl fmt::Display for Script {
    /// Chains in ascending order: the nft kind takes a time that grows with the square of their number in any other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, step) in self.steps() {
            writeln!(f, "*{}", table.name())?;
            let filled = step.fills.iter().map(|(chain, _)| &**chain);
            let chains: BTreeSet<&str> = filled.chain(step.removals.iter().map(String::as_str)).collect();
            chains.iter().try_for_each(|chain| writeln!(f, ":{chain} - [0:0]"))?;
            for (chain, deletion) in &step.deletions {
                match deletion {
                    Deletion::Rule(rule) => writeln!(f, "-D {chain} {rule}")?,
                    Deletion::Listed(text) => writeln!(f, "-D {chain} {text}")?,
                }
            }
            for (chain, rules) in &step.fills {
                rules.iter().try_for_each(|rule| writeln!(f, "-A {chain} {rule}"))?;
            }
            step.insertions.iter().try_for_each(|(chain, rule)| writeln!(f, "-I {chain} {rule}"))?;
            step.removals.iter().try_for_each(|chain| writeln!(f, "-X {chain}"))?;
            f.write_str("COMMIT\n")?;
        }
        Ok(())
    }
}
