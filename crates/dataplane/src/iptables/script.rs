//! What `iptables-restore --noflush` takes to get from one state of the chains to another: only what differs.
//!
//! From a Service as it was to as it is ([`Script::change`]), from whatever a kernel holds to what it should hold ([`Script::reconcile`]), and to
//! nothing ([`Script::removal`]). Rules of others are in none of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    layout::{Frame, MARKER, Shared, Table, is_ours},
    listing::Listing,
    lower::Lowered,
    rule::Rule,
};

/// Steps in the order in which they are taken, each coming into effect at once. Who is refused is so before nobody serves him, and still
/// while somebody does already: a packet that was translated meets no refusal.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: [Step; 5],
}

#[derive(Debug, Default)]
struct Step {
    /// Made, or emptied. In ascending order: the nft kind takes a time that grows with the square of their number in any other.
    chains: BTreeSet<String>,
    deletions: Vec<String>,
    additions: Vec<String>,
    /// Of `chains`.
    removals: Vec<String>,
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
        let of_step =
            |step: &Step| step.chains.len() + step.deletions.len() + step.additions.len() + step.removals.len();
        self.steps.iter().map(of_step).sum()
    }

    /// From what some Services came to, to what they come to now.
    pub(super) fn change(old: &Lowered, new: &Lowered) -> Self {
        let mut script = Self::default();
        for (chain, rules) in &new.chains {
            if old.chains.get(chain) != Some(rules) {
                script.write(Table::Nat, chain, rules.iter().map(Rule::to_string));
            }
        }
        for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
            script.remove_chain(Table::Nat, chain);
        }
        let [before, after] = [old, new].map(|lowered| lowered.shared.iter().collect::<BTreeSet<_>>());
        for (shared, rule) in old.shared.iter().filter(|entry| !after.contains(entry)) {
            let (table, chain) = shared.place();
            script.steps[removing(table)].deletions.push(format!("{chain} {rule}"));
        }
        // At the top, so that what must be last stays last; hence the last one first.
        for (shared, rule) in new.shared.iter().rev().filter(|entry| !before.contains(entry)) {
            let (table, chain) = shared.place();
            script.steps[adding(table)].additions.push(format!("-I {chain} {rule}"));
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
            let rules = rules.iter().map(Rule::to_string);
            if !listing(Table::Nat).rules(chain).is_some_and(|found| rules.clone().eq(found.iter().map(|rule| &**rule)))
            {
                script.write(Table::Nat, chain, rules);
            }
        }
        let frame_chains = frame.chains();
        for (table, chain, rules) in &frame_chains {
            kept.insert((*table, chain));
            let rules = rules.iter().map(Rule::to_string);
            if !listing(*table).rules(chain).is_some_and(|found| rules.clone().eq(found.iter().map(|rule| &**rule))) {
                script.write(*table, chain, rules);
            }
        }
        let mut by_chain = BTreeMap::<Shared, Vec<String>>::new();
        for (shared, rule) in &wanted.shared {
            by_chain.entry(*shared).or_default().push(rule.to_string());
        }
        for shared in Shared::ALL {
            let (table, chain) = shared.place();
            kept.insert((table, chain));
            let rules = by_chain.remove(&shared).unwrap_or_default();
            let ending: Vec<_> = frame.ending(shared).iter().map(Rule::to_string).collect();
            let is_so = |found: &[std::borrow::Cow<'_, str>]| {
                let Some(middle) = found.len().checked_sub(ending.len()) else { return false };
                let (found, last) = found.split_at(middle);
                let set = |rules: &mut dyn Iterator<Item = &str>| {
                    let mut all: Vec<_> = rules.map(str::to_owned).collect();
                    all.sort_unstable();
                    all
                };
                ending.iter().eq(last.iter())
                    && found.len() == rules.len()
                    && set(&mut found.iter().map(|rule| &**rule)) == set(&mut rules.iter().map(String::as_str))
            };
            if !listing(table).rules(chain).is_some_and(is_so) {
                script.write(table, chain, rules.into_iter().chain(ending));
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
    fn write(&mut self, table: Table, chain: &str, rules: impl Iterator<Item = String>) {
        let step = &mut self.steps[adding(table)];
        step.chains.insert(chain.to_owned());
        step.additions.extend(rules.map(|rule| format!("-A {chain} {rule}")));
    }

    fn remove_chain(&mut self, table: Table, chain: &str) {
        let step = &mut self.steps[removing(table)];
        step.chains.insert(chain.to_owned());
        step.removals.push(chain.to_owned());
    }

    /// Jumps from others' chains to ours: each that is wanted once, at the top and in order; others not at all.
    fn mend_jumps(&mut self, table: Table, listing: &Listing<'_>, wanted: &[(Table, &'static str, Rule)]) {
        let mut built_in: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (_, chain, rule) in wanted.iter().filter(|(of, ..)| *of == table) {
            built_in.entry(chain).or_default().push(rule.to_string());
        }
        let others = listing.chains.keys().copied().filter(|chain| !is_ours(chain));
        let chains: BTreeSet<&str> = built_in.keys().copied().chain(others).collect();
        for chain in chains {
            let rules = built_in.remove(chain).unwrap_or_default();
            let found = listing.rules(chain).unwrap_or_default().iter().filter(|rule| leads_to_ours(rule));
            let found: Vec<&str> = found.map(|rule| &**rule).collect();
            if found == rules {
                continue;
            }
            let step = &mut self.steps[if rules.is_empty() { removing(table) } else { adding(table) }];
            step.deletions.extend(found.iter().map(|rule| format!("{chain} {rule}")));
            let placed = rules.iter().enumerate().map(|(at, rule)| format!("-I {chain} {} {rule}", at + 1));
            step.additions.extend(placed);
        }
    }
}

fn leads_to_ours(rule: &str) -> bool {
    let target = rule.rsplit_once("-j ").and_then(|(_, target)| target.split(' ').next());
    target.is_some_and(is_ours)
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (table, step) in TABLES.into_iter().zip(&self.steps) {
            if step.chains.is_empty() && step.deletions.is_empty() && step.additions.is_empty() {
                continue;
            }
            let mut text = String::new();
            writeln!(text, "*{}", table.name())?;
            step.chains.iter().try_for_each(|chain| writeln!(text, ":{chain} - [0:0]"))?;
            step.deletions.iter().try_for_each(|rule| writeln!(text, "-D {rule}"))?;
            step.additions.iter().try_for_each(|rule| writeln!(text, "{rule}"))?;
            step.removals.iter().try_for_each(|chain| writeln!(text, "-X {chain}"))?;
            f.write_str(&text)?;
            f.write_str("COMMIT\n")?;
        }
        Ok(())
    }
}
