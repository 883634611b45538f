//! What kube-proxy leaves in a kernel when it ends, in any of its modes, and its removal.
//!
//! Its nf_tables tables and its dummy link go by netlink; chains of iptables by the programs that are installed, as only they know which of the two iptables
//! made them; sets by `ipset`. What a missing program would be needed for is named. Chains of the kubelet and of container runtimes are not kube-proxy's, and
//! virtual servers of IPVS may be anybody's, so both are left.

use std::{
    fs,
    io::{self, Write as _},
    process::{Command, Stdio},
};

use stead_model::Family;
use stead_sys::{
    link::{LinkError, Links},
    nft::{self, Change, Name, Nftables, Transaction},
};

/// Of each family, `iptables` first: most often the others are names of it.
const PROGRAMS: [&str; 6] =
    ["iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"];
const TABLE: &str = "kube-proxy";
const LINK: &str = "kube-ipvs0";
/// Chains and sets by their names, and by what those begin with.
const NAMES: [&str; 15] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-NODE-PORT",
    "KUBE-LOAD-BALANCER",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-NODEPORT-CONTAINER",
    "KUBE-NODEPORT-HOST",
];
const PREFIXES: [&str; 7] =
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-", "KUBE-PORTALS-"];
const SETS: [&str; 9] = [
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
    "KUBE-6-",
    "KUBE-NODE-PORT-LOCAL",
];

/// One thing that was looked for. The text is a line for people.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Removed(String),
    /// It is there, or may be, and stays.
    Left(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("remove kube-proxy's tables from nf_tables")]
    Tables(#[source] nft::Error),
    #[error("remove the link {LINK}")]
    Link(#[source] LinkError),
    #[error("run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
}

/// Removes all that is found in the calling thread's network namespace. kube-proxy must not run: it would put it back.
///
/// # Errors
/// The first failure; what comes after it is not looked for.
pub fn remove() -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    remove_tables(&mut found)?;
    remove_chains(&mut found)?;
    remove_sets(&mut found)?;
    remove_link(&mut found)?;
    found.extend(opened_loopback());
    Ok(found)
}

/// Others may need it too, so it is only told.
fn opened_loopback() -> Option<Found> {
    let value = fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap_or_default();
    let remedy = "net.ipv4.conf.all.route_localnet=1, which the iptables mode sets for node ports on 127.0.0.1 and which lets other machines send there: \
                  `sysctl -w net.ipv4.conf.all.route_localnet=0` unless something else needs it";
    (value.trim() == "1").then(|| Found::Left(remedy.to_owned()))
}

fn remove_tables(found: &mut Vec<Found>) -> Result<(), Error> {
    let mut nft = Nftables::open().map_err(Error::Tables)?;
    for family in Family::ALL {
        let tables = nft.tables(family).map_err(Error::Tables)?;
        if tables.iter().any(|table| table.name == TABLE) {
            let changes = vec![Change::DeleteTable(Name { family, table: TABLE })];
            nft.commit(&Transaction { changes }, None).map_err(Error::Tables)?;
            found.push(Found::Removed(format!("table {TABLE} of nf_tables ({family})")));
        }
    }
    Ok(())
}

fn remove_chains(found: &mut Vec<Found>) -> Result<(), Error> {
    let mut is_installed = false;
    for program in PROGRAMS {
        let Some(saved) = output(&format!("{program}-save"), &[])? else { continue };
        is_installed = true;
        if let Some(undoing) = undo(&saved) {
            feed(&format!("{program}-restore"), &undoing)?;
            found.push(Found::Removed(format!("chains KUBE-* of {program}")));
        }
    }
    if !is_installed {
        found.push(Found::Left(
            "chains KUBE-* of the iptables and ipvs modes, if any: install iptables to have them removed".into(),
        ));
    }
    Ok(())
}

fn remove_sets(found: &mut Vec<Found>) -> Result<(), Error> {
    let Some(names) = output("ipset", &["list", "-n"])? else {
        found.push(Found::Left("sets KUBE-* of the ipvs mode, if any: install ipset to have them removed".into()));
        return Ok(());
    };
    for name in names.lines().filter(|name| SETS.iter().any(|set| name.starts_with(set))) {
        output("ipset", &["destroy", name])?;
        found.push(Found::Removed(format!("set {name}")));
    }
    Ok(())
}

fn remove_link(found: &mut Vec<Found>) -> Result<(), Error> {
    let mut links = Links::open().map_err(|source| Error::Run { program: "rtnetlink".to_owned(), source })?;
    match links.index(LINK) {
        Ok(link) => {
            links.delete(link).map_err(Error::Link)?;
            found.push(Found::Removed(format!("link {LINK} with its addresses")));
        }
        Err(LinkError::NoLink(_)) => {}
        Err(error) => return Err(Error::Link(error)),
    }
    let servers = fs::read_to_string("/proc/net/ip_vs").unwrap_or_default();
    if servers.lines().any(|line| ["TCP ", "UDP ", "SCTP "].iter().any(|protocol| line.starts_with(protocol))) {
        found.push(Found::Left("virtual servers of IPVS, which may be others': `ipvsadm -C` removes them all".into()));
    }
    Ok(())
}

/// What `iptables-restore --noflush` takes to remove kube-proxy's chains, and the rules that lead to them, from what `iptables-save` printed; `None` where it has none.
fn undo(saved: &str) -> Option<String> {
    let mut undoing = String::new();
    let mut table = Table::default();
    for line in saved.lines() {
        match line.split_at_checked(1) {
            Some(("*", name)) => table = Table { name: name.trim(), ..Table::default() },
            Some((":", chain)) => {
                table.chains.extend(chain.split_whitespace().next().filter(|chain| is_kube_proxys(chain)))
            }
            Some(("-", _)) => table.jumps.extend(line.strip_prefix("-A ").filter(|rule| is_jump(rule))),
            Some(("C", _)) if !table.chains.is_empty() => table.write(&mut undoing),
            _ => {}
        }
    }
    (!undoing.is_empty()).then_some(undoing)
}

#[derive(Default)]
struct Table<'a> {
    name: &'a str,
    chains: Vec<&'a str>,
    /// Rules of others' chains, without `-A`.
    jumps: Vec<&'a str>,
}

impl Table<'_> {
    fn write(&self, text: &mut String) {
        text.push_str(&format!("*{}\n", self.name));
        self.chains.iter().for_each(|chain| text.push_str(&format!(":{chain} - [0:0]\n")));
        self.jumps.iter().for_each(|rule| text.push_str(&format!("-D {rule}\n")));
        self.chains.iter().for_each(|chain| text.push_str(&format!("-X {chain}\n")));
        text.push_str("COMMIT\n");
    }
}

/// Whether the rule stands in another's chain and leads to one of kube-proxy's.
fn is_jump(rule: &str) -> bool {
    let mut words = rule.split_whitespace();
    let is_others = words.next().is_some_and(|chain| !is_kube_proxys(chain));
    let target = words.skip_while(|word| !matches!(*word, "-j" | "-g")).nth(1);
    is_others && target.is_some_and(is_kube_proxys)
}

fn is_kube_proxys(chain: &str) -> bool {
    NAMES.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// What a program prints; `None` where it is not installed.
fn output(program: &str, arguments: &[&str]) -> Result<Option<String>, Error> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(done) if done.status.success() => Ok(Some(String::from_utf8_lossy(&done.stdout).into_owned())),
        Ok(done) => Err(failed(program, &done.stderr)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Run { program: program.to_owned(), source }),
    }
}

fn feed(program: &str, input: &str) -> Result<(), Error> {
    let run = |source| Error::Run { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.arg("--noflush").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(run)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(run)?;
    }
    let done = child.wait_with_output().map_err(run)?;
    if done.status.success() { Ok(()) } else { Err(failed(program, &done.stderr)) }
}

fn failed(program: &str, stderr: &[u8]) -> Error {
    let output = String::from_utf8_lossy(stderr).trim().replace('\n', "; ");
    Error::Failed { program: program.to_owned(), output }
}

#[cfg(test)]
mod tests {
    use stead_sys::{link::VethEnd, namespace::Namespace, nft::Table as NftTable};

    use super::*;

    #[test]
    fn chains_of_kube_proxy_go_and_others_stay() {
        let saved = "# Generated by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABC - [0:0]\n\
            :KUBE-KUBELET-CANARY - [0:0]\n:DOCKER - [0:0]\n\
            -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
            -A PREROUTING -j DOCKER\n-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-ABC\nCOMMIT\n\
            *filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n";
        let expect = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABC - [0:0]\n\
            -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
            -X KUBE-SERVICES\n-X KUBE-SVC-ABC\nCOMMIT\n";
        assert_eq!(undo(saved).as_deref(), Some(expect));
        assert_eq!(undo("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n"), None);
        assert_eq!(undo(""), None);
    }

    #[test]
    fn tables_and_links_go_where_they_are_and_nothing_else_does() {
        let namespace = Namespace::create().unwrap();
        let name = |table| Name { family: Family::V4, table };
        let tables = ["kube-proxy", "mine"].map(|table| Change::AddTable(name(table), NftTable { comment: "".into() }));
        Nftables::open_in(&namespace).unwrap().commit(&Transaction { changes: tables.into() }, None).unwrap();
        let mut links = Links::open_in(&namespace).unwrap();
        // A dummy link there; what kind it is of does not matter.
        let ends = [LINK, "peer"].map(|name| VethEnd { name, namespace: None });
        links.create_veth(ends[0], ends[1]).unwrap();

        let found = namespace.run(|| {
            let mut found = Vec::new();
            remove_tables(&mut found).unwrap();
            remove_link(&mut found).unwrap();
            found
        });
        let expect = ["table kube-proxy of nf_tables (IPv4)", "link kube-ipvs0 with its addresses"];
        assert_eq!(found.unwrap(), expect.map(|text| Found::Removed(text.to_owned())));
        let left = Nftables::open_in(&namespace).unwrap().tables(Family::V4).unwrap();
        assert_eq!(left.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["mine"]);
    }
}
