//! Whether a kernel can do what a data plane needs, found out before anything is changed.

use std::time::Duration;

use stead_model::{Family, Protocol};
use stead_sys::{
    conntrack::{self, Conntrack},
    namespace::Namespace,
    nft::{
        BaseChain, Chain, Change, Data, Error, Field, Hook, Name, Nftables, Rule, Selector, Set, Shape, Statement,
        Table, Transaction, Verdict,
    },
};

/// What was found; a value, so that a test can say what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What no Service can do without, and what only some ask for.
    pub missing: Vec<Missing>,
}

/// A feature that the kernel lacks. The text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Missing {
    #[error("the right to change nf_tables is missing (CAP_NET_ADMIN); run as root or with that capability")]
    Rights,
    #[error("kernel lacks nf_tables; load module nf_tables or build CONFIG_NF_TABLES")]
    NfTables,
    #[error("kernel lacks nf_tables NAT (nft_chain_nat); load module nft_chain_nat or build CONFIG_NFT_NAT")]
    NatChains,
    #[error("kernel lacks nf_tables NAT (nft_nat); load module nft_nat or build CONFIG_NFT_NAT")]
    Nat,
    #[error("kernel lacks nf_tables masquerading (nft_masq); load module nft_masq or build CONFIG_NFT_MASQ")]
    Masquerade,
    #[error("kernel lacks nf_tables random numbers (nft_numgen); load module nft_numgen or build CONFIG_NFT_NUMGEN")]
    Random,
    #[error("kernel lacks nf_tables hashes (nft_hash); load module nft_hash or build CONFIG_NFT_HASH")]
    Hash,
    #[error("kernel lacks nf_tables rejecting (nft_reject); load module nft_reject or build CONFIG_NFT_REJECT")]
    Reject,
    #[error("kernel lacks nf_tables conntrack matching (nft_ct); load module nft_ct or build CONFIG_NFT_CT")]
    Conntrack,
    #[error(
        "kernel lacks nf_tables route lookups (nft_fib); load modules nft_fib_ipv4 and nft_fib_ipv6 or build CONFIG_NFT_FIB_IPV4 and _IPV6"
    )]
    Fib,
    #[error("kernel lacks sets of ranges over several fields; Linux 5.6 or newer is needed")]
    Ranges,
    #[error("kernel lacks maps that rules can delete from; Linux 5.9 or newer is needed")]
    DynamicMaps,
    #[error("kernel lacks conntrack over netlink; load module nf_conntrack_netlink or build CONFIG_NF_CT_NETLINK")]
    ConntrackNetlink,
}

impl Capabilities {
    /// What is missing in one line; `None` where the data plane can run.
    pub fn problem(&self) -> Option<String> {
        let texts = self.missing.iter().filter(|missing| !missing.is_wish()).map(ToString::to_string);
        let texts = texts.collect::<Vec<_>>();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Why no Service can have an algorithm that hashes; `None` where each can.
    pub fn without_hashes(&self) -> Option<String> {
        self.missing.contains(&Missing::Hash).then(|| Missing::Hash.to_string())
    }
}

impl Missing {
    /// Whether only a Service that asks for it needs it.
    const fn is_wish(self) -> bool {
        matches!(self, Self::Hash)
    }
}

/// Tries what the nftables data plane needs, in a network namespace that is gone afterwards; who may not make one (it takes CAP_SYS_ADMIN) tries
/// where it is, and nothing comes into effect there.
pub fn probe() -> Capabilities {
    let missing = match Namespace::create() {
        Ok(namespace) => match Nftables::open_in(&namespace) {
            Ok(mut nft) => {
                missing(|transaction| nft.commit(transaction, None).map(drop), || Conntrack::open_in(&namespace))
            }
            Err(_) => vec![Missing::NfTables],
        },
        Err(_) => match Nftables::open() {
            Ok(mut nft) => missing(in_vain(&mut nft), Conntrack::open),
            Err(_) => vec![Missing::NfTables],
        },
    };
    Capabilities { missing }
}

/// Commits what must be refused in the end, and with it all before it: what the kernel says of that is what counts.
fn in_vain(nft: &mut Nftables) -> impl FnMut(&Transaction) -> Result<(), Error> {
    let mut accepted = Vec::new();
    move |transaction| {
        let last = Change::DeleteTable(Name { table: "stead-probe-absent", ..NAME });
        let wanted: Vec<_> = accepted.iter().chain(&transaction.changes).cloned().collect();
        let changes = wanted.iter().chain([&last]).cloned().collect();
        match nft.commit(&Transaction { changes }, None) {
            Err(Error::Refused { change, .. }) if change == last.to_string() => {
                accepted = wanted;
                Ok(())
            }
            result => result.map(drop),
        }
    }
}

const NAME: Name = Name { family: Family::V4, table: "stead-probe" };
const MAP: &str = "map";
const CHAIN: &str = "chain";
const HASH: Selector = Selector::Hash { key: &[Selector::SourceAddress], modulus: 2, seed: 1 };

fn missing(
    mut commit: impl FnMut(&Transaction) -> Result<(), Error>,
    conntrack: impl FnOnce() -> Result<Conntrack, conntrack::Error>,
) -> Vec<Missing> {
    let table = Change::AddTable(NAME, Table { comment: "".into() });
    match commit(&Transaction { changes: vec![table] }) {
        Ok(()) => {}
        Err(error) if error.is_forbidden() => return vec![Missing::Rights],
        Err(_) => return vec![Missing::NfTables],
    }
    let mut try_all = |changes: Vec<Change>| commit(&Transaction { changes }).is_ok();
    let mut missing = Vec::new();
    let base = Some(BaseChain { hook: Hook::Prerouting, priority: -100 });
    let nat_chain = Change::AddChain(NAME, Chain { name: CHAIN.into(), base });
    if !try_all(vec![nat_chain]) {
        // Without such a chain nothing else can be tried where it is needed.
        return vec![Missing::NatChains];
    }
    let shape = Shape { key: &[Field::Classid], data: Data::Fields(&[Field::Classid]) };
    let dynamic = Set { name: MAP, shape, size: Some(16), dynamic: Some(Duration::from_secs(1)) };
    let to = Shape { key: &[Field::Classid], data: Data::Fields(&[Field::Ipv4Addr, Field::InetService]) };
    let addresses = Set { name: "to", shape: to, size: Some(16), dynamic: None };
    let ranges = Shape { key: &[Field::Ipv4Addr, Field::InetService], data: Data::End };
    let post = Chain { name: "post".into(), base: Some(BaseChain { hook: Hook::Postrouting, priority: 100 }) };
    let key = vec![Selector::Priority];
    let rule = |chain: &'static str, rule: Rule| Change::AddRule(NAME, chain.into(), rule);
    let accept = Statement::Verdict(Verdict::Accept);
    let trials = [
        (Missing::Masquerade, vec![Change::AddChain(NAME, post), rule("post", vec![Statement::Masquerade])]),
        (
            Missing::Nat,
            vec![
                Change::AddSet(NAME, addresses),
                rule(CHAIN, vec![Statement::Protocol(Protocol::Tcp), Statement::Dnat(key.clone(), "to")]),
            ],
        ),
        (
            Missing::DynamicMaps,
            vec![
                Change::AddSet(NAME, dynamic),
                rule(CHAIN, vec![Statement::Remember(key.clone(), MAP, Duration::from_secs(1))]),
                rule(CHAIN, vec![Statement::Forget(key, MAP)]),
            ],
        ),
        (
            Missing::Random,
            vec![
                Change::AddSet(NAME, Set { name: "numbers", shape, size: None, dynamic: None }),
                rule(CHAIN, vec![Statement::SetPriority(vec![Selector::Random(2)], "numbers")]),
            ],
        ),
        (
            Missing::Hash,
            vec![
                Change::AddSet(NAME, Set { name: "hashes", shape, size: None, dynamic: None }),
                rule(CHAIN, vec![Statement::SetPriority(vec![HASH], "hashes")]),
            ],
        ),
        (Missing::Reject, vec![rule(CHAIN, vec![Statement::Protocol(Protocol::Tcp), Statement::RejectReset])]),
        (Missing::Fib, vec![rule(CHAIN, vec![Statement::SourceIsOwn, accept.clone()])]),
        (Missing::Ranges, vec![Change::AddSet(NAME, Set { name: "ranges", shape: ranges, size: None, dynamic: None })]),
        (Missing::Conntrack, vec![rule(CHAIN, vec![Statement::NotTranslated, accept])]),
    ];
    missing.extend(trials.into_iter().filter_map(|(feature, changes)| (!try_all(changes)).then_some(feature)));
    if conntrack().and_then(|mut conntrack| conntrack.count()).is_err() {
        missing.push(Missing::ConntrackNetlink);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_all() {
        assert_eq!(probe().problem(), None);
    }

    #[test]
    fn who_may_make_no_namespace_finds_the_same_and_changes_nothing() {
        let namespace = Namespace::create().unwrap();
        let mut nft = Nftables::open_in(&namespace).unwrap();
        let generation = nft.generation().unwrap();
        let found = missing(in_vain(&mut nft), || Conntrack::open_in(&namespace));
        assert_eq!(found, [] as [Missing; 0]);
        let left = nft.tables(Family::V4).unwrap().len() + nft.tables(Family::V6).unwrap().len();
        assert_eq!((left, nft.generation().unwrap()), (0, generation));
    }

    #[test]
    fn what_fails_is_named_with_what_to_do() {
        let namespace = Namespace::create().unwrap();
        let mut nft = Nftables::open_in(&namespace).unwrap();
        let refusal = || Nftables::open().unwrap().commit(&missing_table(), None).unwrap_err();
        let mut lacking = |lacks: &dyn Fn(&Statement) -> bool| {
            let commit = |transaction: &Transaction| {
                let lacks = transaction.changes.iter().any(|change| match change {
                    Change::AddRule(_, _, rule) => rule.iter().any(lacks),
                    _ => false,
                });
                if lacks { Err(refusal()) } else { nft.commit(transaction, None).map(drop) }
            };
            let missing = missing(commit, || Conntrack::open_in(&namespace));
            nft.commit(&Transaction { changes: vec![Change::DeleteTable(NAME)] }, None).unwrap();
            Capabilities { missing }.problem()
        };
        let nat = "kernel lacks nf_tables NAT (nft_nat); load module nft_nat or build CONFIG_NFT_NAT";
        assert_eq!(lacking(&|statement| matches!(statement, Statement::Dnat(..))).as_deref(), Some(nat));
        assert_eq!(lacking(&|_| false), None);
        let hashes = |statement: &Statement| matches!(statement, Statement::SetPriority(key, _) if key.iter().any(|part| matches!(part, Selector::Hash { .. })));
        assert_eq!(lacking(&hashes), None, "no Service needs a hash unless it asks for one");
        let found = Capabilities { missing: vec![Missing::Hash] };
        let expect = "kernel lacks nf_tables hashes (nft_hash); load module nft_hash or build CONFIG_NFT_HASH";
        assert_eq!(found.without_hashes().as_deref(), Some(expect));
        assert_eq!(Capabilities { missing: vec![Missing::Nat] }.without_hashes(), None);
    }

    /// A transaction that every kernel refuses and that changes nothing.
    fn missing_table() -> Transaction {
        Transaction { changes: vec![Change::DeleteTable(Name { family: Family::V4, table: "stead-probe-absent" })] }
    }
}
