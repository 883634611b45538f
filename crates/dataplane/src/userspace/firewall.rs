//! The rules as the kernel has them: read by `iptables-save`, changed by `iptables-restore` holding only what differs. Rules of others are left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

use stead_model::{Family, Frontend, Protocol};

use super::rules::{Chain, JUMPS, Jump, Place, RETURN, Rule, Table};
use crate::iptables::programs::{Error, Programs};

/// What one family has of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) chains: BTreeSet<Chain>,
    /// By position in [`JUMPS`].
    pub(crate) jumps: BTreeSet<usize>,
    pub(crate) rules: BTreeSet<Rule>,
    /// Rules of ours that stand there more than once, once for each time too many.
    pub(crate) surplus: Vec<Rule>,
}

impl Standing {
    /// Nothing of ours is there.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(programs: &Programs, family: Family) -> Result<Self, Error> {
        let mut standing = Self::default();
        for table in Table::ALL {
            standing.add(table, &programs.save(family, table.name())?);
        }
        Ok(standing)
    }

    fn add(&mut self, table: Table, listing: &str) {
        for line in listing.lines() {
            if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(' ').next().and_then(Chain::from_name);
                self.chains.extend(chain.filter(|chain| chain.table() == table));
                continue;
            }
            let Some((chain, spec)) = line.strip_prefix("-A ").and_then(|rule| rule.split_once(' ')) else { continue };
            match Chain::from_name(chain).filter(|chain| chain.table() == table) {
                Some(chain) => {
                    let rule = Rule { chain, spec: spec.to_owned() };
                    if !self.rules.insert(rule.clone()) {
                        self.surplus.push(rule);
                    }
                }
                None => {
                    let is_it = |jump: &Jump| (jump.table, jump.from, jump.spec) == (table, chain, spec);
                    self.jumps.extend(JUMPS.iter().position(is_it));
                }
            }
        }
    }

    /// The numbers that frontends lead to.
    pub(crate) fn numbers(&self) -> BTreeMap<Frontend, u16> {
        self.rules.iter().filter_map(number).collect()
    }
}

/// Of `-d ADDRESS/LENGTH … -p PROTOCOL … --dport PORT … --to-ports NUMBER`.
fn number(rule: &Rule) -> Option<(Frontend, u16)> {
    let words: Vec<_> = rule.spec.split(' ').collect();
    let after = |word: &str| words.iter().position(|each| *each == word).and_then(|at| words.get(at + 1)).copied();
    let address = after("-d")?.split('/').next()?.parse().ok()?;
    let protocol = Protocol::ALL.into_iter().find(|each| after("-p") == Some(&each.to_string().to_lowercase()))?;
    let frontend = Frontend { address, protocol, port: after("--dport")?.parse().ok()? };
    let to_host = || after("--to-destination").and_then(|to| to.parse::<SocketAddr>().ok()).map(|to| to.port());
    Some((frontend, after("--to-ports").and_then(|number| number.parse().ok()).or_else(to_host)?))
}

/// What leads from one state to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    chains: Vec<Chain>,
    jumps: Vec<usize>,
    added: Vec<Rule>,
    removed: Vec<Rule>,
}

impl Change {
    /// From what stands there to these rules, and all that leads to them.
    pub(crate) fn to(standing: &Standing, rules: &BTreeSet<Rule>) -> Self {
        let mut change = Self::between(&standing.rules, rules);
        change.removed.extend(standing.surplus.iter().cloned());
        change.chains = Chain::ALL.into_iter().filter(|chain| !standing.chains.contains(chain)).collect();
        change.jumps = (0..JUMPS.len()).filter(|at| !standing.jumps.contains(at)).collect();
        change
    }

    pub(crate) fn between(before: &BTreeSet<Rule>, after: &BTreeSet<Rule>) -> Self {
        let added = after.difference(before).cloned().collect();
        let removed = before.difference(after).cloned().collect();
        Self { added, removed, ..Self::default() }
    }

    pub(crate) fn operations(&self) -> usize {
        self.chains.len() + self.jumps.len() + self.added.len() + self.removed.len()
    }

    /// What `iptables-restore --noflush` takes. What is new comes before what goes, so that a rule that moves to another number is never missing.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for table in Table::ALL {
            let mut lines = String::new();
            for chain in self.chains.iter().filter(|chain| chain.table() == table) {
                let _ = writeln!(lines, ":{} - [0:0]", chain.name());
            }
            for rule in self.added.iter().filter(|rule| rule.chain.table() == table) {
                let verb = if rule.spec.ends_with(RETURN) { "-I" } else { "-A" };
                let _ = writeln!(lines, "{verb} {} {}", rule.chain.name(), rule.spec);
            }
            for jump in self.jumps.iter().map(|at| &JUMPS[*at]).filter(|jump| jump.table == table) {
                let verb = match jump.place {
                    Place::First => "-I",
                    Place::Last => "-A",
                };
                let _ = writeln!(lines, "{verb} {} {}", jump.from, jump.spec);
            }
            for rule in self.removed.iter().filter(|rule| rule.chain.table() == table) {
                let _ = writeln!(lines, "-D {} {}", rule.chain.name(), rule.spec);
            }
            if !lines.is_empty() {
                let _ = write!(text, "*{}\n{lines}COMMIT\n", table.name());
            }
        }
        text
    }
}

/// What removes all that stands there.
pub(crate) fn removal(standing: &Standing) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let mut lines = String::new();
        for jump in standing.jumps.iter().map(|at| &JUMPS[*at]).filter(|jump| jump.table == table) {
            let _ = writeln!(lines, "-D {} {}", jump.from, jump.spec);
        }
        let chains = || standing.chains.iter().filter(|chain| chain.table() == table);
        // Declared, a chain is empty.
        chains().for_each(|chain| lines += &format!(":{} - [0:0]\n", chain.name()));
        chains().for_each(|chain| lines += &format!("-X {}\n", chain.name()));
        if !lines.is_empty() {
            let _ = write!(text, "*{}\n{lines}COMMIT\n", table.name());
        }
    }
    text
}
