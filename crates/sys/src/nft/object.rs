//! Tables, chains and sets: as they are wanted, and as they were read.

use std::{borrow::Cow, time::Duration};

use super::Shape;

/// A table to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Shown by `nft list`; it cannot be changed while the table exists.
    pub comment: Cow<'static, str>,
}

/// A chain to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: Cow<'static, str>,
    pub base: Option<BaseChain>,
}

/// What makes a chain see packets; its policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    pub hook: Hook,
    pub priority: i32,
}

/// Where in a packet's way, and of which packets: a connection's first ones (type nat), or all (type filter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Output,
    Postrouting,
    EveryPrerouting,
    EveryInput,
    EveryForward,
    EveryOutput,
}

impl Hook {
    /// `NF_INET_*`
    pub const fn number(self) -> u32 {
        match self {
            Self::Prerouting | Self::EveryPrerouting => 0,
            Self::EveryInput => 1,
            Self::EveryForward => 2,
            Self::Output | Self::EveryOutput => 3,
            Self::Postrouting => 4,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Prerouting | Self::EveryPrerouting => "prerouting",
            Self::EveryInput => "input",
            Self::EveryForward => "forward",
            Self::Output | Self::EveryOutput => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// The chain's type.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Prerouting | Self::Output | Self::Postrouting => "nat",
            Self::EveryPrerouting | Self::EveryInput | Self::EveryForward | Self::EveryOutput => "filter",
        }
    }
}

/// A set or map to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: &'static str,
    pub shape: Shape,
    /// The most elements it can hold. With it the kernel picks a table of fixed size, which fills faster.
    pub size: Option<u32>,
    /// Filled by rules, each element for this long unless the rule says otherwise.
    pub dynamic: Option<Duration>,
}

/// A table as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    pub name: String,
    pub comment: Option<String>,
    /// `NFT_TABLE_F_*`; a dormant table is 1.
    pub flags: u32,
}

/// A chain as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    pub name: String,
    /// Hook number and priority of a base chain.
    pub base: Option<(u32, i32)>,
}

/// A rule as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    pub chain: String,
    pub handle: u64,
    /// The digest that [`super::Change::AddRule`] left on it; rules of others have none.
    pub digest: Option<u64>,
    /// The words of its [`super::Statement::Note`].
    pub note: Option<String>,
    /// The chain that it jumps to.
    pub jump: Option<String>,
}

/// A set as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetInfo {
    pub name: String,
    pub key_size: u32,
    pub data_size: u32,
    pub size: Option<u32>,
    /// The number of elements, from kernels that tell.
    pub count: Option<u32>,
}
