//! Pods' traffic out of the cluster: what leaves the pod, node and service ranges takes the node's address, as nobody outside has a route
//! to pods. Tables `ip stead-egress` and `ip6 stead-egress`; Services are no business of theirs.

use std::collections::BTreeMap;

use ipnet::IpNet;
use stead_model::Family;
use stead_sys::{
    namespace::Namespace,
    nft::{
        self, BaseChain, Chain, Change, Comparison, Hook, Name, Nftables, Rule, Selector, Statement, Table,
        Transaction, Verdict, digest,
    },
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the rules for traffic out of the cluster")]
    Read(#[source] nft::Error),
    #[error("write the rules for traffic out of the cluster")]
    Write(#[source] nft::Error),
}

/// Ranges of either family; a family without pod ranges gets no table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressConfig {
    /// Only what comes from here is masqueraded,
    pub pod_ranges: Vec<IpNet>,
    /// and only what goes neither to pods nor here: nodes and Services.
    pub inside_ranges: Vec<IpNet>,
}

/// Brings the calling thread's network namespace to the configuration; a namespace that is there already is not written to.
pub fn ensure(config: &EgressConfig) -> Result<(), Error> {
    ensure_with(&mut Nftables::open().map_err(Error::Read)?, config)
}

/// As [`ensure`], in another network namespace.
pub fn ensure_in(namespace: &Namespace, config: &EgressConfig) -> Result<(), Error> {
    ensure_with(&mut Nftables::open_in(namespace).map_err(Error::Read)?, config)
}

const TABLE: &str = "stead-egress";
const COMMENT: &str = "traffic of pods out of the cluster, by Stead";
const CHAIN: &str = "postrouting";
/// Just behind the usual place of source NAT, so that a Service's own masquerading comes first.
const BASE: BaseChain = BaseChain { hook: Hook::Postrouting, priority: 101 };

fn ensure_with(nft: &mut Nftables, config: &EgressConfig) -> Result<(), Error> {
    let mut changes = Vec::new();
    for family in Family::ALL {
        let name = Name { family, table: TABLE };
        let wanted = rules(family, config);
        let stands = nft.tables(family).map_err(Error::Read)?.iter().any(|table| table.name == TABLE);
        match (stands, wanted.is_empty()) {
            (false, true) => continue,
            (true, false) if is_so(nft, name, &wanted).map_err(Error::Read)? => continue,
            (true, _) => changes.push(Change::DeleteTable(name)),
            (false, false) => {}
        }
        if !wanted.is_empty() {
            changes.push(Change::AddTable(name, Table { comment: COMMENT.into() }));
            changes.push(Change::AddChain(name, Chain { name: CHAIN.into(), base: Some(BASE) }));
            changes.extend(wanted.into_iter().map(|rule| Change::AddRule(name, CHAIN.into(), rule)));
        }
    }
    nft.commit(&Transaction { changes }, None).map_err(Error::Write)?;
    Ok(())
}

fn is_so(nft: &mut Nftables, name: Name, wanted: &[Rule]) -> Result<bool, nft::Error> {
    let chains: BTreeMap<_, _> = nft.chains(name)?.into_iter().map(|chain| (chain.name, chain.base)).collect();
    let base = Some((BASE.hook.number(), BASE.priority));
    let rules = nft.rules(name)?;
    let digests = rules.iter().map(|rule| rule.digest);
    Ok(chains == BTreeMap::from([(CHAIN.to_owned(), base)]) && digests.eq(wanted.iter().map(|rule| Some(digest(rule)))))
}

/// Empty for a family without pods.
fn rules(family: Family, config: &EgressConfig) -> Vec<Rule> {
    let of_family = |ranges: &[IpNet]| {
        ranges.iter().filter(|range| Family::of(range.addr()) == family).copied().collect::<Vec<_>>()
    };
    let pods = of_family(&config.pod_ranges);
    if pods.is_empty() {
        return Vec::new();
    }
    let inside = pods.iter().copied().chain(of_family(&config.inside_ranges));
    let stay = inside.map(|range| {
        let destination = Statement::Range(Selector::DestinationAddress, Comparison::Equal, range);
        vec![destination, Statement::Verdict(Verdict::Return)]
    });
    let leave = pods
        .iter()
        .map(|range| vec![Statement::Range(Selector::SourceAddress, Comparison::Equal, *range), Statement::Masquerade]);
    stay.chain(leave).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pods: &[&str], inside: &[&str]) -> EgressConfig {
        let parse = |ranges: &[&str]| ranges.iter().map(|range| range.parse().unwrap()).collect();
        EgressConfig { pod_ranges: parse(pods), inside_ranges: parse(inside) }
    }

    #[test]
    fn it_is_written_once_and_mended_when_somebody_meddles() {
        let namespace = Namespace::create().unwrap();
        let mut nft = Nftables::open_in(&namespace).unwrap();
        let both = config(&["10.244.0.0/16", "fd56:244::/48"], &["192.168.56.0/24", "10.96.0.0/16", "fd56::/64"]);
        ensure_in(&namespace, &both).unwrap();
        let generation = nft.generation().unwrap();
        let name = Name { family: Family::V4, table: TABLE };
        assert_eq!((nft.rules(name).unwrap().len(), nft.tables(Family::V6).unwrap().len()), (4, 1));
        ensure_in(&namespace, &both).unwrap();
        assert_eq!(nft.generation().unwrap(), generation);

        let flush = Transaction { changes: vec![Change::FlushChain(name, CHAIN.into())] };
        nft.commit(&flush, None).unwrap();
        ensure_in(&namespace, &both).unwrap();
        assert_eq!(nft.rules(name).unwrap().len(), 4);

        ensure_in(&namespace, &config(&["10.244.0.0/16"], &[])).unwrap();
        assert_eq!((nft.rules(name).unwrap().len(), nft.tables(Family::V6).unwrap()), (2, Vec::new()));
        ensure_in(&namespace, &EgressConfig::default()).unwrap();
        assert_eq!(nft.tables(Family::V4).unwrap(), []);
    }
}
