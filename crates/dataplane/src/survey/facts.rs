//! Reading the facts: `/proc/sys`, nf_tables, the older iptables by its own program, links, addresses and routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    net::IpAddr,
    process::{Command, Stdio},
};

use ipnet::IpNet;
use stead_sys::{
    link::{LinkError, Links},
    nft::{self, ForeignChain, Nftables},
};

use super::{LegacyTable, parse_legacy};

/// What was read of a machine; a value, so that a test can make up any machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By name, as `sysctl` gives it; a setting that the kernel does not have is missing.
    pub sysctls: BTreeMap<String, u64>,
    pub chains: Vec<ForeignChain>,
    pub legacy: Vec<LegacyTable>,
    /// Names of tables of the older iptables that are in use, where no program is there to show them.
    pub unread_legacy: Option<String>,
    /// Names of network interfaces.
    pub links: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
    /// The main table's.
    pub routes: Vec<RouteFact>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFact {
    pub to: IpNet,
    pub via: Option<IpAddr>,
    pub link: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open rtnetlink to look at interfaces and routes")]
    Open(#[source] io::Error),
    #[error("look at interfaces and routes")]
    Links(#[source] LinkError),
    #[error("look at nf_tables; this needs root rights (CAP_NET_ADMIN)")]
    Tables(#[source] nft::Error),
}

impl Facts {
    /// Reads them in the calling thread's network namespace and changes nothing.
    pub fn read() -> Result<Self, Error> {
        let mut links = Links::open().map_err(Error::Open)?;
        let listed = links.list().map_err(Error::Links)?;
        let name_of = |index| listed.iter().find(|link| link.index == index).map(|link| link.name.clone());
        let routes = links.routes().map_err(Error::Links)?;
        let addresses = links.addresses().map_err(Error::Links)?;
        let chains = Nftables::open().and_then(|mut tables| tables.all_chains()).map_err(Error::Tables)?;
        let names: BTreeSet<String> = listed.iter().map(|link| link.name.clone()).collect();
        let (legacy, unread_legacy) = read_legacy();
        Ok(Self {
            sysctls: read_sysctls(&names),
            chains,
            legacy,
            unread_legacy,
            links: names,
            addresses: addresses.into_iter().map(|address| address.address.addr()).collect(),
            routes: routes
                .into_iter()
                .map(|route| RouteFact { to: route.to, via: route.via, link: route.link.and_then(name_of) })
                .collect(),
        })
    }

    /// Of all facts only the settings that no interface has for itself; any user may read them.
    pub fn sysctls() -> Self {
        Self { sysctls: read_sysctls(&BTreeSet::new()), ..Self::default() }
    }

    pub(super) fn sysctl(&self, name: &str) -> Option<u64> {
        self.sysctls.get(name).copied()
    }
}

impl fmt::Display for RouteFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(link) = &self.link {
            write!(f, " dev {link}")?;
        }
        Ok(())
    }
}

const SYSCTLS: [&str; 6] = [
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.rp_filter",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_count",
];

fn read_sysctls(links: &BTreeSet<String>) -> BTreeMap<String, u64> {
    let fixed = SYSCTLS.iter().map(|name| ((*name).to_owned(), name.replace('.', "/")));
    // A name of an interface may have dots of its own.
    let of_links =
        links.iter().map(|link| (format!("net.ipv4.conf.{link}.rp_filter"), format!("net/ipv4/conf/{link}/rp_filter")));
    let read = |(name, path): (String, String)| {
        let text = fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
        Some((name, text.trim().parse().ok()?))
    };
    fixed.chain(of_links).filter_map(read).collect()
}

/// The programs are asked only where their tables are in use already: asking would make them.
fn read_legacy() -> (Vec<LegacyTable>, Option<String>) {
    let (mut tables, mut unread) = (Vec::new(), Vec::new());
    for (names, program, save) in [
        ("/proc/net/ip_tables_names", "iptables-legacy", "iptables-legacy-save"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy", "ip6tables-legacy-save"),
    ] {
        let in_use = fs::read_to_string(names).unwrap_or_default();
        let in_use: Vec<_> = in_use.split_whitespace().filter(|name| matches!(*name, "filter" | "nat")).collect();
        if in_use.is_empty() {
            continue;
        }
        match Command::new(save).stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {
                tables.extend(parse_legacy(program, &String::from_utf8_lossy(&output.stdout)));
            }
            _ => unread.extend(in_use.into_iter().map(|name| format!("{program} {name}"))),
        }
    }
    (tables, (!unread.is_empty()).then(|| unread.join(", ")))
}
