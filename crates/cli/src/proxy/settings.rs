//! What the proxy is to do, from all that was said: the one place where texts become meanings.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use stead_apiserver::ExternalRange;
use stead_client::Requests;
use stead_dataplane::{
    Mode, Options, UnknownMode, iptables,
    ipvs::{self, Arp, Timeouts},
    userspace,
};
use stead_proxy::{
    Config, DetectLocal, Endpoints, LocalhostPorts, MasqueradeAll, NodePortAddresses, OpenRange, PodTraffic,
    ServiceTraffic, WhenTaken,
};

use super::{
    configuration::{configuration, flags},
    file::{Cluster, File},
    said::Said,
    table::{MODE, Row, Verdict, row_of},
    value::{parse_duration, parse_listen, parse_ranges, parse_switch},
};
use crate::log::Format;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) task: Task,
    pub(crate) planes: Planes,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) server: Option<String>,
    /// `None`: the host's name.
    pub(crate) node: Option<String>,
    pub(crate) primary: Option<IpAddr>,
    pub(crate) pods: PodTraffic,
    pub(crate) masquerade_all: MasqueradeAll,
    pub(crate) open_to_external: Vec<OpenRange>,
    pub(crate) node_ports: NodePortAddresses,
    pub(crate) localhost_ports: LocalhostPorts,
    pub(crate) healthz: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) when_taken: WhenTaken,
    pub(crate) traffic: ServiceTraffic,
    /// How long a change may wait before the proxy counts as ill is twice this.
    pub(crate) sync_period: Duration,
    pub(crate) machine: Machine,
    pub(crate) verbosity: u32,
    pub(crate) log_format: Format,
    /// All of it, as a KubeProxyConfiguration says it.
    pub(crate) effective: Said,
}

/// Which data plane, and what is to be as somebody wishes in each.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    pub(crate) mode: Mode,
    /// In turn, where the kernel cannot have that one.
    pub(crate) stand_ins: Vec<Mode>,
    pub(crate) options: Options,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Run,
    Cleanup(Whose),
    InitOnly,
    DryRun,
    WriteConfig(PathBuf),
}

/// Whose rules are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    KubeProxys,
    Both,
}

/// What is set on the machine and the process, and not in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) oom_score_adj: i32,
    pub(crate) max_per_core: Wish<u32>,
    pub(crate) min: u32,
    pub(crate) established: Wish<Duration>,
    pub(crate) close_wait: Wish<Duration>,
    pub(crate) be_liberal: bool,
    pub(crate) udp: Duration,
    pub(crate) udp_stream: Duration,
}

/// A value, and whether somebody said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish<T> {
    Said(T),
    Default(T),
}

impl<T> Wish<T> {
    pub(crate) fn value(self) -> T {
        match self {
            Self::Said(value) | Self::Default(value) => value,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSettings {
    #[error("--{name}: {mode:?} {problem}")]
    Mode { name: &'static str, mode: String, problem: UnknownMode },
    #[error("--ipvs-exclude-cidrs: {problem}")]
    Excluded { problem: String },
    #[error("--proxy-port-range {range:?}: a range of ports is FROM-TO, as 36000-36999")]
    PortRange { range: String },
    #[error("--detect-local-mode {mode} needs --{needs}")]
    LocalMode { mode: &'static str, needs: &'static str },
}

/// The settings, and a line for each that has no effect.
///
/// The command line counts more than a file of ours. A KubeProxyConfiguration counts more than the command line, but for what to do, the
/// node's name, the API server's address and logs, as upstream.
pub(crate) fn resolve(flags: Said, file: &File) -> Result<(Settings, Vec<String>), InvalidSettings> {
    let mut warnings = Vec::new();
    let said = match file {
        File::Own { proxy, .. } => {
            let mut said = proxy.clone();
            said.extend(flags);
            said
        }
        File::KubeProxy(configuration) => {
            let (kept, others) = flags.split(counts_beside_a_configuration);
            warnings.extend(
                others.iter().map(|(row, _)| format!("--{} is left aside: the file of --config counts", row.name)),
            );
            let mut said = configuration.clone();
            said.extend(kept);
            said
        }
    };
    warnings.extend(said.iter().filter_map(|(row, text)| without_effect(row, text)));
    let settings = Settings::read(said)?;
    let mode = settings.planes.mode;
    let of_others = settings.effective.iter().filter_map(|(row, text)| of_another_mode(row, text, mode));
    warnings.extend(of_others);
    Ok((settings, warnings))
}

/// A line for each setting that means nothing where the proxy runs beside an agent: its node, its API server and its process are the
/// agent's too.
pub(crate) fn of_a_node_without_effect(said: &Said) -> Vec<String> {
    const OF_THE_PROCESS: [&str; 9] = [
        "hostname-override",
        "kubeconfig",
        "master",
        "oom-score-adj",
        "cleanup",
        "cleanup-kube-proxy",
        "dry-run",
        "init-only",
        "write-config-to",
    ];
    let is_lost = |row: &Row| OF_THE_PROCESS.contains(&row.name) || row.name.starts_with("conntrack-");
    let lost = said.iter().filter(|(row, _)| is_lost(row));
    lost.map(|(row, text)| format!("{} {text} has no effect beside an agent: it is of `stead proxy` alone", row.key()))
        .collect()
}

fn counts_beside_a_configuration(name: &str) -> bool {
    let row = row_of(name);
    let is_port = matches!(name, "healthz-port" | "metrics-port");
    let is_log = row.field().is_some_and(|field| field.starts_with("logging."));
    name == "hostname-override" || is_log || (row.field().is_none() && !is_port)
}

fn without_effect(row: &Row, text: &str) -> Option<String> {
    let Verdict::Ignored(why) = row.verdict else { return None };
    let name = if row.is_flag() { format!("--{}", row.name) } else { row.name.to_owned() };
    (!text.is_empty() && text != row.default).then(|| format!("{name} {text} has no effect: {why}"))
}

/// A line for what only another mode heeds.
fn of_another_mode(row: &Row, text: &str, mode: Mode) -> Option<String> {
    let is_of = match row.name {
        name if name.starts_with("ipvs-") => Mode::Ipvs,
        name if name.starts_with("userspace-") || name == "proxy-port-range" => Mode::Userspace,
        _ => return None,
    };
    if is_of == mode {
        return None;
    }
    let is_honoured = row.verdict == Verdict::Honoured && !text.is_empty() && text != row.default;
    is_honoured.then(|| format!("--{} {text} has no effect: the mode is {mode}, not {is_of}", row.name))
}

/// Reads texts that have passed their checks, with the table's defaults.
struct Reader(Said);

impl Reader {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or(row_of(name).default)
    }

    fn switch(&self, name: &str) -> bool {
        parse_switch(self.text(name)).unwrap_or_default()
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.text(name).parse().unwrap_or_default()
    }

    fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or_default()
    }

    fn wish<T>(&self, name: &str, read: impl Fn(&Self, &str) -> T) -> Wish<T> {
        let value = read(self, name);
        if self.0.get(name).is_some() { Wish::Said(value) } else { Wish::Default(value) }
    }

    fn word(&self, name: &str) -> Option<String> {
        Some(self.text(name).trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn task(&self) -> Task {
        match self.word("write-config-to") {
            Some(path) => Task::WriteConfig(path.into()),
            None => match (self.switch("cleanup"), self.switch("cleanup-kube-proxy")) {
                (true, true) => Task::Cleanup(Whose::Both),
                (true, false) => Task::Cleanup(Whose::Ours),
                (false, true) => Task::Cleanup(Whose::KubeProxys),
                (false, false) if self.switch("init-only") => Task::InitOnly,
                (false, false) if self.switch("dry-run") => Task::DryRun,
                (false, false) => Task::Run,
            },
        }
    }

    fn pods(&self) -> Result<PodTraffic, InvalidSettings> {
        let named = |mode, needs| match self.word(needs) {
            Some(name) => Ok(name.into()),
            None => Err(InvalidSettings::LocalMode { mode, needs }),
        };
        Ok(match self.text("detect-local-mode") {
            "NodeCIDR" => PodTraffic::OfNodeRanges,
            "BridgeInterface" => {
                PodTraffic::Known(DetectLocal::Bridge(named("BridgeInterface", "pod-bridge-interface")?))
            }
            "InterfaceNamePrefix" => {
                PodTraffic::Known(DetectLocal::Prefix(named("InterfaceNamePrefix", "pod-interface-name-prefix")?))
            }
            _ => PodTraffic::of(parse_ranges(self.text("cluster-cidr")).unwrap_or_default()),
        })
    }

    fn mode(&self, name: &'static str, text: &str) -> Result<Mode, InvalidSettings> {
        text.parse().map_err(|problem| InvalidSettings::Mode { name, mode: text.to_owned(), problem })
    }

    fn planes(&self) -> Result<Planes, InvalidSettings> {
        let mode = self.mode("proxy-mode", self.text("proxy-mode"))?;
        let names = self.text("ipvs-fallback").split(',').map(str::trim).filter(|name| !name.is_empty());
        let stand_ins = names.map(|name| self.mode("ipvs-fallback", name)).collect::<Result<_, _>>()?;
        let timeout = |name| Some(self.duration(name)).filter(|timeout| !timeout.is_zero());
        let ipvs = ipvs::Options {
            scheduler: self.word("ipvs-scheduler").unwrap_or_else(|| "rr".to_owned()).into(),
            excluded: self.excluded()?,
            arp: if self.switch("ipvs-strict-arp") { Arp::Strict } else { Arp::default() },
            timeouts: Timeouts {
                tcp: timeout("ipvs-tcp-timeout"),
                tcp_fin: timeout("ipvs-tcpfin-timeout"),
                udp: timeout("ipvs-udp-timeout"),
            },
        };
        let iptables = iptables::Options { masquerade_bit: self.number("iptables-masquerade-bit") };
        let stand_ins = if mode == Mode::Ipvs { stand_ins } else { Vec::new() };
        Ok(Planes { mode, stand_ins, options: Options { iptables, ipvs, userspace: self.userspace()? } })
    }

    fn excluded(&self) -> Result<Vec<IpNet>, InvalidSettings> {
        parse_ranges(self.text("ipvs-exclude-cidrs")).map_err(|problem| InvalidSettings::Excluded { problem })
    }

    /// A KubeProxyConfiguration that names another mode than nftables, or none, means what its section `iptables` says.
    fn masquerade_all(&self) -> MasqueradeAll {
        let is_other = self.0.get("proxy-mode").is_none_or(|mode| mode != MODE);
        let of_iptables = is_other && self.switch("iptables.masqueradeAll");
        match of_iptables || self.switch("masquerade-all") {
            true => MasqueradeAll::Yes,
            false => MasqueradeAll::No,
        }
    }

    fn open_to_external(&self) -> Vec<OpenRange> {
        let ranges = self.text("allow-external-ips").split(',').filter_map(|range| range.parse().ok());
        open_ranges(ranges.collect())
    }

    fn node_ports(&self) -> NodePortAddresses {
        match self.text("nodeport-addresses") {
            "" => NodePortAddresses::All,
            "primary" => NodePortAddresses::Primary,
            ranges => NodePortAddresses::In(parse_ranges(ranges).unwrap_or_default()),
        }
    }

    /// Where to listen by the flags `{name}-bind-address` and `{name}-port`.
    fn listen(&self, name: &str, unless_said: IpAddr) -> Option<SocketAddr> {
        let port: u16 = self.number(&format!("{name}-port"));
        match self.0.get(&format!("{name}-bind-address")) {
            _ if port == 0 => None,
            Some(text) => parse_listen(text, port).ok().flatten(),
            None => Some(SocketAddr::new(unless_said, port)),
        }
    }

    fn userspace(&self) -> Result<userspace::Options, InvalidSettings> {
        let range =
            self.word("proxy-port-range").map(|range| parse_ports(&range).ok_or(InvalidSettings::PortRange { range }));
        let comments = match self.text("userspace-comments") {
            "namespaced" => userspace::Comments::Namespaced,
            _ => userspace::Comments::Name,
        };
        Ok(userspace::Options {
            listen: match self.text("userspace-listen") {
                "loopback" => userspace::Listen::Loopback,
                _ => userspace::Listen::Everywhere,
            },
            redirect: (self.text("userspace-redirect") != "none").then_some(comments),
            range: range.transpose()?,
            ..userspace::Options::default()
        })
    }

    fn sync_period(&self) -> Duration {
        let name = match self.text("proxy-mode") {
            "ipvs" => "ipvs-sync-period",
            MODE if self.0.get("nftables.syncPeriod").is_some() => "nftables.syncPeriod",
            _ => "iptables-sync-period",
        };
        self.duration(name)
    }
}

impl Settings {
    /// What the proxy of `node` is told. What a file says of the cluster counts besides, and of its pods where nothing else does.
    pub(crate) fn into_config(self, node: String, cluster: Cluster) -> Config {
        let mut open_to_external = self.open_to_external;
        open_to_external.extend(open_ranges(cluster.external_ips));
        Config {
            mode: self.planes.mode,
            instead_of: None,
            node,
            service_ranges: cluster.service_ranges,
            pods: match self.pods {
                PodTraffic::Known(DetectLocal::Unknown) => PodTraffic::of(cluster.pod_ranges),
                said => said,
            },
            masquerade_all: self.masquerade_all,
            open_to_external,
            reserved: Vec::new(),
            without_hashes: None,
            node_ports: self.node_ports,
            localhost_ports: self.localhost_ports,
            primary: self.primary,
            endpoints: Endpoints {
                healthz: self.healthz,
                metrics: self.metrics,
                when_taken: self.when_taken,
                configuration: configuration(&self.effective).to_string().into(),
                flags: flags(&self.effective).into(),
            },
            traffic: self.traffic,
            requests: Requests::default(),
            sync_period: self.sync_period,
        }
    }

    fn read(said: Said) -> Result<Self, InvalidSettings> {
        let reader = Reader(said);
        let bind: Option<IpAddr> = reader.text("bind-address").parse().ok();
        let [any, own]: [IpAddr; 2] = match bind {
            Some(IpAddr::V6(_)) => [Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()],
            _ => [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()],
        };
        Ok(Self {
            task: reader.task(),
            planes: reader.planes()?,
            kubeconfig: reader.word("kubeconfig").map(PathBuf::from),
            server: reader.word("master"),
            node: reader.word("hostname-override").map(|name| name.to_lowercase()),
            primary: bind.filter(|address| !address.is_unspecified()),
            pods: reader.pods()?,
            masquerade_all: reader.masquerade_all(),
            open_to_external: reader.open_to_external(),
            node_ports: reader.node_ports(),
            localhost_ports: match reader.switch("iptables-localhost-nodeports") {
                true => LocalhostPorts::Served,
                false => LocalhostPorts::Closed,
            },
            healthz: reader.listen("healthz", any),
            metrics: reader.listen("metrics", own),
            when_taken: match reader.switch("bind-address-hard-fail") {
                true => WhenTaken::Fail,
                false => WhenTaken::TryAgain,
            },
            traffic: match reader.switch("service-traffic-metrics") {
                true => ServiceTraffic::Counted,
                false => ServiceTraffic::Uncounted,
            },
            sync_period: reader.sync_period(),
            machine: Machine {
                oom_score_adj: reader.number("oom-score-adj"),
                max_per_core: reader.wish("conntrack-max-per-core", Reader::number),
                min: reader.number("conntrack-min"),
                established: reader.wish("conntrack-tcp-timeout-established", Reader::duration),
                close_wait: reader.wish("conntrack-tcp-timeout-close-wait", Reader::duration),
                be_liberal: reader.switch("conntrack-tcp-be-liberal"),
                udp: reader.duration("conntrack-udp-timeout"),
                udp_stream: reader.duration("conntrack-udp-timeout-stream"),
            },
            verbosity: reader.number("v"),
            log_format: match reader.text("logging-format") {
                "json" => Format::Json,
                _ => Format::Text,
            },
            effective: reader.0,
        })
    }
}

/// What the API server lets Services name as external addresses, the proxy takes even where it is the node's own.
fn open_ranges(allowed: Vec<ExternalRange>) -> Vec<OpenRange> {
    let open =
        |allowed: ExternalRange| OpenRange { range: allowed.range, namespace: allowed.namespace.map(Into::into) };
    allowed.into_iter().map(open).collect()
}

/// `FROM-TO`, or `FROM+COUNT` as kube-proxy took it besides.
fn parse_ports(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|number| *number > 0);
    let (from, to) = match (text.split_once('-'), text.split_once('+')) {
        (Some((from, to)), _) => (number(from)?, number(to)?),
        (None, Some((from, more))) => (number(from)?, number(from)?.checked_add(number(more)?)?),
        (None, None) => (number(text)?, number(text)?),
    };
    (from <= to).then_some(from..=to)
}
