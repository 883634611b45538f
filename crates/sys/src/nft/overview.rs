//! All chains of a network namespace, whoever made them: what another program's firewall looks like from outside.

use super::{
    connection::{ATTEMPTS, DUMP, Error, Nftables},
    encode::{TABLE, message},
};
use crate::netlink::{self, Attribute};

/// A chain of any table of any family, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChain {
    /// `NFPROTO_*`: 1 is inet, 2 ip, 10 ip6.
    pub family: u8,
    pub table: String,
    pub name: String,
    pub base: Option<ForeignBase>,
}

/// What makes a chain see packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignBase {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// `NF_INET_*`: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u32,
    /// Whether a packet that no rule decides about is dropped (`NF_DROP`).
    pub drops: bool,
}

impl Nftables {
    /// Every chain of every family, in the kernel's order.
    pub fn all_chains(&mut self) -> Result<Vec<ForeignChain>, Error> {
        let mut result = Err(netlink::Error::Unsteady.into());
        for _ in 0..ATTEMPTS {
            let mut chains = Vec::new();
            let read = self.get(
                libc::NFPROTO_UNSPEC as u8,
                message::GET_CHAIN,
                DUMP,
                |_| {},
                |message| {
                    let text = |kind| message.attributes().find(kind).map(Attribute::text).unwrap_or_default();
                    let number = |kind| message.attributes().find(kind).and_then(Attribute::number);
                    let hook = message.attributes().find(4).and_then(|hook| hook.nested().find(1)?.number());
                    let base = hook.map(|hook| ForeignBase { kind: text(7), hook, drops: number(5) == Some(0) });
                    let (table, name) = (text(TABLE), text(3));
                    chains.push(ForeignChain { family: message.family, table, name, base });
                    Ok(())
                },
            );
            result = read.map(|()| chains);
            if !matches!(result, Err(Error::Netlink(netlink::Error::Unsteady))) {
                break;
            }
        }
        result
    }
}
