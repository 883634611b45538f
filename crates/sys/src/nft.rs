//! nf_tables as values: tables, sets, chains, rules and elements; a [`Transaction`] of changes to them that commits whole or not at all,
//! and reads of what the kernel holds.
//!
//! The vocabulary is that part of nft's language which a service proxy speaks, so that every transaction also prints as text that
//! `nft -f` takes. What the tables mean, and which exist, is known by the data plane.

mod connection;
mod element;
mod encode;
mod object;
mod overview;
mod rule;
mod text;
mod transaction;

#[cfg(test)]
mod tests;

pub use connection::{Commit, Error, Nftables};
pub use element::{Counted, Data, Elements, Expiring, Field, Shape, WordReader, Words};
pub use object::{BaseChain, Chain, ChainInfo, Hook, RuleInfo, Set, SetInfo, Table, TableInfo};
pub use overview::{ForeignBase, ForeignChain};
pub use rule::{Comparison, Direction, Extension, LinkName, Rule, Selector, Statement, Verdict};
pub use transaction::{Change, Name, Transaction, digest};

use stead_model::Family;

/// `NFPROTO_*` of a family.
pub(crate) const fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u8,
        Family::V6 => libc::NFPROTO_IPV6 as u8,
    }
}
