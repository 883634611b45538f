//! Every setting of the proxy, as data: kube-proxy 1.36's flags and the fields of its configuration file, and our own.
//!
//! One row is one setting: how it is named in each place, what it may be, what it is where nobody says anything, and the verdict on it. Flags,
//! the `proxy` section and KubeProxyConfiguration are all read by these rows, so that a setting means the same wherever it stands.
//! What a value is good for is [`Settings`](super::settings::Settings)'s.

use super::value::Form;

/// The modes that name where pods' traffic is known by.
pub(crate) const LOCAL_MODES: &[&str] = &["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"];
/// The mode of who names none.
pub(crate) const MODE: &str = "nftables";

#[derive(Debug)]
pub(crate) struct Row {
    /// The flag's name without dashes, else the field's path: unique.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) form: Form,
    /// As a flag would say it; empty: nothing.
    pub(crate) default: &'static str,
    pub(crate) verdict: Verdict,
    /// One line; what is left without effect says why in its verdict.
    pub(crate) help: &'static str,
}

/// Where a setting can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By a flag, in the `proxy` section, and in this field of KubeProxyConfiguration.
    Everywhere(&'static str),
    /// By a flag and in the `proxy` section.
    Flag,
    /// In this field of KubeProxyConfiguration alone.
    Field(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Honoured,
    /// Accepted, checked and left without effect, with a warning that says this.
    Ignored(&'static str),
}

use Form::{
    Addresses, Choice, Duration, External, Gates, Integer, Ip, List, Listen, Number, Ranges, Switch, Text, Verbosities,
};
use Place::{Everywhere, Field, Flag};
use Verdict::{Honoured, Ignored};

const WINDOWS: Verdict = Ignored("this is no Windows");
const ONE_STREAM: Verdict = Ignored("log lines are written to standard error as they come");
const AT_ONCE: Verdict = Ignored("every change is programmed at once, as its cost does not grow with the cluster");
const NO_MARK: Verdict = Ignored("packets to masquerade carry no mark");

const fn row(name: &'static str, place: Place, form: Form, verdict: Verdict, help: &'static str) -> Row {
    Row { name, place, form, default: "", verdict, help }
}

impl Row {
    const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    /// The field of KubeProxyConfiguration.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self.place {
            Place::Everywhere(field) | Place::Field(field) => Some(field),
            Place::Flag => None,
        }
    }

    pub(crate) fn is_flag(&self) -> bool {
        !matches!(self.place, Place::Field(_))
    }

    /// How the `proxy` section names it: `healthz-bind-address` is `healthzBindAddress`.
    pub(crate) fn key(&self) -> String {
        let mut words = self.name.split('-');
        let mut key = words.next().unwrap_or_default().to_owned();
        for word in words {
            key.extend(word.chars().take(1).map(|letter| letter.to_ascii_uppercase()));
            key.extend(word.chars().skip(1));
        }
        key
    }
}

/// All rows; `--config`, `--help` and `--version` are no settings.
pub(crate) static ROWS: &[Row] = &[
    // What to do.
    row("cleanup", Flag, Switch, Honoured, "Remove what a Stead proxy put into the kernel, then exit"),
    row("cleanup-kube-proxy", Flag, Switch, Honoured, "Remove what kube-proxy left in any of its modes, then exit; not while it runs"),
    row("dry-run", Flag, Switch, Honoured, "Print the change that the cluster's Services ask of the kernel, as text for the mode's own program (`nft -f`, `iptables-restore --noflush`), and exit without making it"),
    row("init-only", Flag, Switch, Honoured, "Do what needs full root rights (sysctls of the connection table), then exit; CAP_NET_ADMIN is enough afterwards"),
    row("write-config-to", Flag, Text("FILE"), Honoured, "Write all settings as a KubeProxyConfiguration into this file, then exit"),
    // The API server.
    row("kubeconfig", Everywhere("clientConnection.kubeconfig"), Text("FILE"), Honoured, "Credentials for the API server; those of the pod it runs in unless given"),
    row("master", Flag, Text("URL"), Honoured, "Address of the API server, instead of the kubeconfig's"),
    row("kube-api-content-type", Everywhere("clientConnection.contentType"), Text("TYPE"), Ignored("the API is spoken to in JSON"), "Content type of requests").default("application/vnd.kubernetes.protobuf"),
    row("clientConnection.acceptContentTypes", Field("clientConnection.acceptContentTypes"), Text("TYPE"), Ignored("the API is spoken to in JSON"), "Content types of answers"),
    row("kube-api-qps", Everywhere("clientConnection.qps"), Number, Ignored("watches ask for nothing again, failures wait longer each time, and events have a rate of their own"), "Requests a second").default("5"),
    row("kube-api-burst", Everywhere("clientConnection.burst"), Integer(0, i32::MAX as i64), Ignored("watches ask for nothing again, failures wait longer each time, and events have a rate of their own"), "Requests at once").default("10"),
    row("config-sync-period", Everywhere("configSyncPeriod"), Duration(1), Ignored("watches bring every change, and a watch that broke is resumed where it ended"), "How often everything is looked at again").default("15m0s"),
    // This node.
    row("hostname-override", Everywhere("hostnameOverride"), Text("NAME"), Honoured, "Name of this machine's Node object; its host name unless given"),
    row("bind-address", Everywhere("bindAddress"), Ip, Honoured, "The node's primary address, instead of the Node object's; nothing listens there").default("0.0.0.0"),
    row("detect-local-mode", Everywhere("detectLocalMode"), Choice("MODE", LOCAL_MODES), Honoured, "What traffic of this cluster's pods is known by: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix").default("ClusterCIDR"),
    row("cluster-cidr", Everywhere("clusterCIDR"), Ranges, Honoured, "Ranges of pods' addresses; other sources are masqueraded on their way to a virtual IP (with ClusterCIDR)"),
    row("pod-bridge-interface", Everywhere("detectLocal.bridgeInterface"), Text("LINK"), Honoured, "The bridge that pods' traffic comes in by (with BridgeInterface)"),
    row("pod-interface-name-prefix", Everywhere("detectLocal.interfaceNamePrefix"), Text("PREFIX"), Honoured, "What the links' names begin with that pods' traffic comes in by (with InterfaceNamePrefix)"),
    row("masquerade-all", Everywhere("nftables.masqueradeAll"), Switch, Honoured, "Masquerade all traffic to virtual IPs").default("false"),
    row("nodeport-addresses", Everywhere("nodePortAddresses"), Addresses, Honoured, "Addresses of the node that node ports answer on: ranges, or `primary` for those of the Node object; all of them, and 127.0.0.1 over TCP, unless given"),
    row(
        "allow-external-ips",
        Flag,
        External,
        Honoured,
        "Where addresses of the node itself may be external ones of Services, of one namespace or of all; no others are taken",
    ),
    row("oom-score-adj", Everywhere("oomScoreAdj"), Integer(-1000, 1000), Honoured, "How soon the kernel ends this process when memory is short: -1000 (never) to 1000").default("-999"),
    // Addresses that it serves on.
    row("healthz-bind-address", Everywhere("healthzBindAddress"), Listen, Honoured, "Address and port of /healthz and /livez; empty: none").default("0.0.0.0:10256"),
    row("healthz-port", Flag, Integer(0, 65535), Honoured, "Port of --healthz-bind-address where that has none; 0: none").default("10256"),
    row("metrics-bind-address", Everywhere("metricsBindAddress"), Listen, Honoured, "Address and port of /metrics, /proxyMode and /configz; empty: none").default("127.0.0.1:10249"),
    row("metrics-port", Flag, Integer(0, 65535), Honoured, "Port of --metrics-bind-address where that has none; 0: none").default("10249"),
    row("bind-address-hard-fail", Everywhere("bindAddressHardFail"), Switch, Honoured, "End where one of these addresses cannot be had, instead of trying again").default("false"),
    row("service-traffic-metrics", Flag, Switch, Honoured, "Count each Service's connections and bytes in the kernel, and tell them at /metrics").default("false"),
    row("profiling", Everywhere("enableProfiling"), Switch, Ignored("there is no Go runtime to profile"), "Serve profiles").default("false"),
    row("show-hidden-metrics-for-version", Everywhere("showHiddenMetricsForVersion"), Text("VERSION"), Ignored("no metric is hidden"), "Show metrics that went with this version"),
    // How it forwards.
    row("proxy-mode", Everywhere("mode"), Choice("MODE", &[MODE, "iptables", "ipvs", "userspace"]), Honoured, "How the kernel is told of Services: nftables, iptables, ipvs or userspace (docs/data-planes.md)").default(MODE),
    row("proxy-port-range", Everywhere("portRange"), Text("FROM-TO"), Honoured, "Of mode userspace: ports that Services are relayed from; any that is free unless given"),
    row("userspace-listen", Flag, Choice("WHERE", &["everywhere", "loopback"]), Honoured, "Of mode userspace: where the ports themselves can be asked").default("everywhere"),
    row("userspace-redirect", Flag, Choice("HOW", &["iptables", "none"]), Honoured, "Of mode userspace: what sends clients to these ports; with none the firewall is left alone").default("iptables"),
    row("userspace-comments", Flag, Choice("FORM", &["name", "namespaced"]), Honoured, "Of mode userspace: what its rules say of a Service: its name, as in 2015, or NAMESPACE/NAME:PORT").default("name"),
    row("iptables-localhost-nodeports", Everywhere("iptables.localhostNodePorts"), Switch, Honoured, "Serve node ports on 127.0.0.1, over TCP, by a listener").default("true"),
    row("iptables-sync-period", Everywhere("iptables.syncPeriod"), Duration(1), Honoured, "After twice this long without being programmed a change makes /healthz answer 503").default("30s"),
    row("iptables-min-sync-period", Everywhere("iptables.minSyncPeriod"), Duration(0), AT_ONCE, "Shortest time between two changes of the kernel").default("1s"),
    row("iptables-masquerade-bit", Everywhere("iptables.masqueradeBit"), Integer(0, 31), Honoured, "Of mode iptables: the bit of a packet's mark by which it is masqueraded").default("14"),
    row("iptables.masqueradeAll", Field("iptables.masqueradeAll"), Switch, Honoured, "As nftables.masqueradeAll, where mode is not nftables").default("false"),
    row("nftables.syncPeriod", Field("nftables.syncPeriod"), Duration(1), Honoured, "As iptables.syncPeriod, where mode is nftables").default("30s"),
    row("nftables.minSyncPeriod", Field("nftables.minSyncPeriod"), Duration(0), AT_ONCE, "Shortest time between two changes of the kernel").default("1s"),
    row("nftables.masqueradeBit", Field("nftables.masqueradeBit"), Integer(0, 31), NO_MARK, "Bit of the packet mark").default("14"),
    row("ipvs-sync-period", Everywhere("ipvs.syncPeriod"), Duration(1), Honoured, "As --iptables-sync-period, where mode is ipvs").default("30s"),
    row("ipvs-min-sync-period", Everywhere("ipvs.minSyncPeriod"), Duration(0), AT_ONCE, "Of IPVS: shortest time between two writes"),
    row("ipvs-scheduler", Everywhere("ipvs.scheduler"), Text("NAME"), Honoured, "Of mode ipvs: the kernel's scheduler for Services that name none; rr unless given"),
    row("ipvs-exclude-cidrs", Everywhere("ipvs.excludeCIDRs"), List("CIDR,…"), Honoured, "Of mode ipvs: whose virtual servers are left alone that are there and no Service's"),
    row("ipvs-strict-arp", Everywhere("ipvs.strictARP"), Switch, Honoured, "Of mode ipvs: answer ARP on each link for its own addresses alone, always; else only while the node holds external addresses of Services").default("false"),
    row("ipvs-fallback", Flag, List("MODE,…"), Honoured, "Which modes are tried in turn where mode is ipvs and the kernel has none").default("iptables,nftables,userspace"),
    row("ipvs-tcp-timeout", Everywhere("ipvs.tcpTimeout"), Duration(0), Honoured, "Of mode ipvs: how long an idle TCP connection is remembered; the kernel's own unless given"),
    row("ipvs-tcpfin-timeout", Everywhere("ipvs.tcpFinTimeout"), Duration(0), Honoured, "Of mode ipvs: as that, after a FIN"),
    row("ipvs-udp-timeout", Everywhere("ipvs.udpTimeout"), Duration(0), Honoured, "Of mode ipvs: as that, of UDP"),
    // The kernel's table of connections.
    row("conntrack-max-per-core", Everywhere("conntrack.maxPerCore"), Integer(0, i32::MAX as i64), Honoured, "Room for connections, per processor; 0 leaves it as it is. A default only ever raises it").default("32768"),
    row("conntrack-min", Everywhere("conntrack.min"), Integer(0, i32::MAX as i64), Honoured, "Room for connections, at least").default("131072"),
    row("conntrack-tcp-timeout-established", Everywhere("conntrack.tcpEstablishedTimeout"), Duration(0), Honoured, "How long an idle TCP connection is remembered; 0 leaves it as it is").default("24h0m0s"),
    row("conntrack-tcp-timeout-close-wait", Everywhere("conntrack.tcpCloseWaitTimeout"), Duration(0), Honoured, "How long a half-closed TCP connection is remembered; 0 leaves it as it is").default("1h0m0s"),
    row("conntrack-tcp-be-liberal", Everywhere("conntrack.tcpBeLiberal"), Switch, Honoured, "Let TCP packets outside the window pass").default("false"),
    row("conntrack-udp-timeout", Everywhere("conntrack.udpTimeout"), Duration(0), Honoured, "How long UDP without an answer is remembered; 0 leaves it as it is"),
    row("conntrack-udp-timeout-stream", Everywhere("conntrack.udpStreamTimeout"), Duration(0), Honoured, "How long UDP with answers is remembered; 0 leaves it as it is"),
    // Logs, and what only kube-proxy has.
    row("v", Everywhere("logging.verbosity"), Integer(0, i32::MAX as i64), Honoured, "How much is logged: from 2 on each change and how long it took, from 4 on details, from 6 on all; STEAD_LOG counts more").default("0"),
    row("vmodule", Everywhere("logging.vmodule"), Verbosities, Ignored("it names files of kube-proxy; STEAD_LOG sets levels by part"), "How much is logged, by file"),
    row("logging-format", Everywhere("logging.format"), Choice("FORMAT", &["text", "json"]), Honoured, "Form of log lines: text, or one JSON object for each").default("text"),
    row("log-flush-frequency", Everywhere("logging.flushFrequency"), Duration(0), ONE_STREAM, "How often log lines are written").default("5s"),
    row("log-json-info-buffer-size", Everywhere("logging.options.json.infoBufferSize"), Text("BYTES"), ONE_STREAM, "Buffer for log lines").default("0"),
    row("log-json-split-stream", Everywhere("logging.options.json.splitStream"), Switch, ONE_STREAM, "Errors apart from other lines").default("false"),
    row("log-text-info-buffer-size", Everywhere("logging.options.text.infoBufferSize"), Text("BYTES"), ONE_STREAM, "Buffer for log lines").default("0"),
    row("log-text-split-stream", Everywhere("logging.options.text.splitStream"), Switch, ONE_STREAM, "Errors apart from other lines").default("false"),
    row("feature-gates", Everywhere("featureGates"), Gates, Ignored("they name features of kube-proxy's code"), "Features of kube-proxy"),
    row("boot-id-file", Flag, List("FILE,…"), Ignored("nothing asks for the machine's identity"), "Files to read the boot's identity from").default("/proc/sys/kernel/random/boot_id"),
    row("machine-id-file", Flag, List("FILE,…"), Ignored("nothing asks for the machine's identity"), "Files to read the machine's identity from").default("/etc/machine-id,/var/lib/dbus/machine-id"),
    row("windowsRunAsService", Field("windowsRunAsService"), Switch, WINDOWS, "Of Windows: run as a service").default("false"),
    row("winkernel.networkName", Field("winkernel.networkName"), Text("NAME"), WINDOWS, "Of Windows: the network"),
    row("winkernel.sourceVip", Field("winkernel.sourceVip"), Text("IP"), WINDOWS, "Of Windows: the source address"),
    row("winkernel.enableDSR", Field("winkernel.enableDSR"), Switch, WINDOWS, "Of Windows: direct return").default("false"),
    row("winkernel.rootHnsEndpointName", Field("winkernel.rootHnsEndpointName"), Text("NAME"), WINDOWS, "Of Windows: the root endpoint"),
    row("winkernel.forwardHealthCheckVip", Field("winkernel.forwardHealthCheckVip"), Switch, WINDOWS, "Of Windows: health checks").default("false"),
];

/// The row of this name.
///
/// # Panics
/// Where there is none: names are constants of this program.
pub(crate) fn row_of(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no setting is named {name}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What `kube-proxy --help` of 1.36.2 lists, and the two it hides.
    const UPSTREAM: &str = "bind-address bind-address-hard-fail boot-id-file cleanup cluster-cidr config config-sync-period \
        conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait \
        conntrack-tcp-timeout-established conntrack-udp-timeout conntrack-udp-timeout-stream detect-local-mode feature-gates \
        healthz-bind-address help hostname-override init-only iptables-localhost-nodeports iptables-masquerade-bit \
        iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler ipvs-strict-arp \
        ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout kube-api-burst kube-api-content-type kube-api-qps \
        kubeconfig log-flush-frequency log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size \
        log-text-split-stream logging-format machine-id-file masquerade-all master metrics-bind-address nodeport-addresses \
        oom-score-adj pod-bridge-interface pod-interface-name-prefix profiling proxy-mode show-hidden-metrics-for-version v \
        version vmodule write-config-to healthz-port metrics-port";
    const OWN: [&str; 9] = [
        "allow-external-ips",
        "cleanup-kube-proxy",
        "dry-run",
        "ipvs-fallback",
        "proxy-port-range",
        "service-traffic-metrics",
        "userspace-comments",
        "userspace-listen",
        "userspace-redirect",
    ];
    /// The fields of KubeProxyConfiguration in 1.36.2.
    const FIELDS: &str = "bindAddress bindAddressHardFail clientConnection.acceptContentTypes clientConnection.burst \
        clientConnection.contentType clientConnection.kubeconfig clientConnection.qps clusterCIDR configSyncPeriod \
        conntrack.maxPerCore conntrack.min conntrack.tcpBeLiberal conntrack.tcpCloseWaitTimeout conntrack.tcpEstablishedTimeout \
        conntrack.udpStreamTimeout conntrack.udpTimeout detectLocal.bridgeInterface detectLocal.interfaceNamePrefix detectLocalMode \
        enableProfiling featureGates healthzBindAddress hostnameOverride iptables.localhostNodePorts iptables.masqueradeAll \
        iptables.masqueradeBit iptables.minSyncPeriod iptables.syncPeriod ipvs.excludeCIDRs ipvs.minSyncPeriod ipvs.scheduler \
        ipvs.strictARP ipvs.syncPeriod ipvs.tcpFinTimeout ipvs.tcpTimeout ipvs.udpTimeout logging.flushFrequency logging.format \
        logging.options.json.infoBufferSize logging.options.json.splitStream logging.options.text.infoBufferSize \
        logging.options.text.splitStream logging.verbosity logging.vmodule metricsBindAddress mode nftables.masqueradeAll \
        nftables.masqueradeBit nftables.minSyncPeriod nftables.syncPeriod nodePortAddresses oomScoreAdj portRange \
        showHiddenMetricsForVersion windowsRunAsService winkernel.enableDSR winkernel.forwardHealthCheckVip winkernel.networkName \
        winkernel.rootHnsEndpointName winkernel.sourceVip";

    #[test]
    fn every_flag_of_kube_proxy_has_a_verdict() {
        let upstream: BTreeSet<_> = UPSTREAM.split_whitespace().collect();
        let ours: BTreeSet<_> = ROWS.iter().filter(|row| row.is_flag()).map(|row| row.name).collect();
        let known: BTreeSet<_> = ours.iter().copied().chain(["config", "help", "version"]).collect();
        assert_eq!(known.difference(&upstream).copied().collect::<Vec<_>>(), OWN);
        assert_eq!(upstream.difference(&known).copied().collect::<Vec<_>>(), [] as [&str; 0]);
    }

    #[test]
    fn every_field_of_the_configuration_has_a_verdict() {
        let fields: Vec<_> = ROWS.iter().filter_map(Row::field).collect();
        let ours: BTreeSet<_> = fields.iter().copied().collect();
        assert_eq!(ours.len(), fields.len(), "no field stands twice");
        assert_eq!(ours, FIELDS.split_whitespace().collect());
    }

    #[test]
    fn rows_are_named_once_and_their_defaults_are_good() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            assert!(row.default.is_empty() || row.form.check(row.default).is_ok(), "{}", row.name);
            assert!(row.form != Form::Switch || row.default != "true" || row.name == "iptables-localhost-nodeports");
        }
        assert_eq!(row_of("healthz-bind-address").key(), "healthzBindAddress");
        assert_eq!(row_of("v").key(), "v");
    }

    #[test]
    fn the_page_has_every_setting_with_its_default_and_verdict() {
        let page = include_str!("../../../../docs/proxy.md");
        for row in ROWS.iter().filter(|row| row.is_flag()) {
            let line = page.lines().find(|line| line.starts_with(&format!("| `--{}`", row.name)));
            let line = line.unwrap_or_else(|| panic!("docs/proxy.md lacks --{}", row.name));
            assert!(line.contains(row.default), "docs/proxy.md gives another default of --{}", row.name);
            if let Verdict::Ignored(why) = row.verdict {
                assert!(line.contains(why), "docs/proxy.md gives another reason for --{}", row.name);
            }
        }
    }
}
