//! A change to the kernel as a value: built, counted, printed and committed whole.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

use stead_model::Family;

use super::{Chain, Elements, Expiring, Rule, Set, Shape, Table, Verdict};

/// A table's family and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub family: Family,
    pub table: &'static str,
}

/// One change; names of chains and sets are within its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes the table; one that exists stays as it is.
    AddTable(Name, Table),
    /// Removes the table and all in it; it must exist.
    DeleteTable(Name),
    AddSet(Name, Set),
    AddChain(Name, Chain),
    /// Removes all rules of a chain.
    FlushChain(Name, Cow<'static, str>),
    /// Removes a chain; no rule and no verdict may lead to it.
    DeleteChain(Name, Cow<'static, str>),
    /// At the end of the chain.
    AddRule(Name, Cow<'static, str>, Rule),
    /// At the beginning of the chain.
    InsertRule(Name, Cow<'static, str>, Rule),
    /// By the handle that [`super::RuleInfo`] has.
    DeleteRule(Name, Cow<'static, str>, u64),
    AddElements(Name, &'static str, Elements),
    DeleteElements(Name, &'static str, Elements),
    /// Adds elements to a map that rules fill.
    AddExpiring(Name, &'static str, Shape, Vec<Expiring>),
    /// Removes all elements of a set or map.
    FlushSet(Name, &'static str),
    /// An element of a map from one [`super::Field::Classid`] to a verdict.
    AddVerdict(Name, &'static str, u32, Verdict),
    DeleteVerdict(Name, &'static str, u32),
}

/// Changes in the order in which they are made; they come into effect together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub changes: Vec<Change>,
}

impl Transaction {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Objects and elements that are added or removed.
    pub fn operations(&self) -> usize {
        self.changes
            .iter()
            .map(|change| match change {
                Change::AddElements(_, _, elements) | Change::DeleteElements(_, _, elements) => elements.len(),
                Change::AddExpiring(_, _, _, elements) => elements.len(),
                _ => 1,
            })
            .sum()
    }
}

/// What [`Change::AddRule`] leaves on a rule, so that it is known again: the same for the same statements in every run of one build.
pub fn digest(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    rule.hash(&mut hasher);
    hasher.finish()
}
