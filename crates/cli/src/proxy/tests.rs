//! What is said in all places, and what comes of it.

use std::time::Duration;

use serde_json::json;
use stead_dataplane::{
    Mode,
    ipvs::{Arp, Timeouts},
};

use super::{
    configuration::configuration,
    file::File,
    said::Said,
    settings::{Planes, Settings, Task, Wish, of_a_node_without_effect, resolve},
    table::ROWS,
    value::Form,
};
use crate::{config::parse_yaml, log::Format};

fn flags(pairs: &[(&str, &str)]) -> Said {
    let mut said = Said::default();
    for (name, text) in pairs {
        said.say(super::table::row_of(name), (*text).to_owned()).unwrap();
    }
    said
}

fn file(text: &str) -> Result<File, String> {
    File::read(parse_yaml(text)?)
}

fn settings(pairs: &[(&str, &str)], text: &str) -> (Settings, Vec<String>) {
    resolve(flags(pairs), &file(text).unwrap()).unwrap()
}

const KUBE_PROXY: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

#[test]
fn a_file_of_ours_counts_less_than_flags_and_kube_proxys_more() {
    let section = "proxy:\n  healthzBindAddress: 127.0.0.1:1\n  oomScoreAdj: -7\n  nodeportAddresses: [10.0.0.0/8]\n";
    let (ours, warnings) = settings(&[("healthz-bind-address", "127.0.0.1:2")], section);
    assert_eq!((ours.healthz, ours.machine.oom_score_adj), ("127.0.0.1:2".parse().ok(), -7));
    assert_eq!(ours.node_ports, stead_proxy::NodePortAddresses::In(vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(warnings, [] as [&str; 0]);

    let text =
        format!("{KUBE_PROXY}healthzBindAddress: 127.0.0.1:1\nhostnameOverride: one\nlogging: {{verbosity: 2}}\n");
    let said =
        [("healthz-bind-address", "127.0.0.1:2"), ("hostname-override", "Two"), ("v", "5"), ("master", "http://x:1")];
    let (theirs, warnings) = settings(&said, &text);
    assert_eq!(theirs.healthz, "127.0.0.1:1".parse().ok());
    assert_eq!(
        (theirs.node.as_deref(), theirs.verbosity, theirs.server.as_deref()),
        (Some("two"), 5, Some("http://x:1"))
    );
    assert_eq!(warnings, ["--healthz-bind-address is left aside: the file of --config counts"]);
}

#[test]
fn every_flag_can_stand_in_a_file_of_ours() {
    for row in ROWS.iter().filter(|row| row.is_flag()) {
        let text = match row.form {
            Form::Switch => "true",
            Form::Text(_) => "x",
            Form::Integer(least, _) => &least.to_string(),
            Form::Number => "2.5",
            Form::Duration(_) => "31s",
            Form::Ip => "10.0.0.1",
            Form::Listen => "127.0.0.1:1",
            Form::Ranges | Form::Addresses => "10.0.0.0/8,fd00::/8",
            Form::External => "10.0.0.0/8@shop,192.0.2.1/32",
            Form::List(_) => "a,b",
            Form::Choice(_, words) => words[words.len() - 1],
            Form::Gates => "A=true",
            Form::Verbosities => "a=3",
        };
        let section = json!({"proxy": {row.key(): row.form.value_of(text)}});
        let File::Own { proxy, .. } = File::read(section).unwrap_or_else(|error| panic!("{}: {error}", row.name))
        else {
            panic!("{}", row.name)
        };
        assert_eq!(proxy.get(row.name), Some(text));
        let names = proxy.iter().map(|(row, _)| row.name).collect::<Vec<_>>();
        assert_eq!(names, [row.name], "and nothing else is said");
    }
}

#[test]
fn what_nobody_says_is_as_upstream_has_it() {
    let (settings, warnings) = settings(&[], "");
    assert_eq!(settings.task, Task::Run);
    assert_eq!((settings.healthz, settings.metrics), ("0.0.0.0:10256".parse().ok(), "127.0.0.1:10249".parse().ok()));
    assert_eq!(settings.machine.oom_score_adj, -999);
    assert_eq!((settings.machine.max_per_core, settings.machine.min), (Wish::Default(32_768), 131_072));
    assert_eq!(settings.machine.established.value().as_secs(), 86_400);
    assert_eq!((settings.sync_period.as_secs(), settings.verbosity), (30, 0));
    assert_eq!(warnings, [] as [&str; 0]);
}

#[test]
fn addresses_to_serve_on_follow_family_port_and_emptiness() {
    let check = |pairs: &[(&str, &str)], healthz: Option<&str>, metrics: Option<&str>| {
        let (settings, _) = settings(pairs, "");
        let expect = [healthz, metrics].map(|text| text.map(|text| text.parse().unwrap()));
        assert_eq!([settings.healthz, settings.metrics], expect, "{pairs:?}");
    };
    check(&[("bind-address", "::")], Some("[::]:10256"), Some("[::1]:10249"));
    check(&[("healthz-port", "0"), ("metrics-bind-address", "")], None, None);
    check(&[("healthz-port", "7"), ("metrics-bind-address", "::")], Some("0.0.0.0:7"), Some("[::]:10249"));
    check(
        &[("healthz-bind-address", "10.0.0.1:5"), ("healthz-port", "7")],
        Some("10.0.0.1:5"),
        Some("127.0.0.1:10249"),
    );
}

#[test]
fn the_file_that_kubeadm_writes_is_taken_without_a_word() {
    let text = format!(
        "{KUBE_PROXY}bindAddress: 0.0.0.0\nbindAddressHardFail: false\nclientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  \
         contentType: \"\"\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\nclusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\n\
         conntrack:\n  maxPerCore: null\n  min: null\n  tcpBeLiberal: false\n  tcpCloseWaitTimeout: null\n  tcpEstablishedTimeout: null\n  \
         udpStreamTimeout: 0s\n  udpTimeout: 0s\ndetectLocal:\n  bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\n\
         enableProfiling: false\nhealthzBindAddress: \"\"\nhostnameOverride: \"\"\niptables:\n  localhostNodePorts: null\n  \
         masqueradeAll: false\n  masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\nipvs:\n  excludeCIDRs: null\n  minSyncPeriod: 0s\n  \
         scheduler: \"\"\n  strictARP: false\n  syncPeriod: 0s\n  tcpFinTimeout: 0s\n  tcpTimeout: 0s\n  udpTimeout: 0s\nlogging:\n  \
         flushFrequency: 0\n  options:\n    json:\n      infoBufferSize: \"0\"\n    text:\n      infoBufferSize: \"0\"\n  verbosity: 0\n\
         metricsBindAddress: \"\"\nmode: \"\"\nnftables:\n  masqueradeAll: false\n  masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\n\
         nodePortAddresses: null\noomScoreAdj: null\nportRange: \"\"\nshowHiddenMetricsForVersion: \"\"\nwinkernel:\n  enableDSR: false\n  \
         forwardHealthCheckVip: false\n  networkName: \"\"\n  rootHnsEndpointName: \"\"\n  sourceVip: \"\"\n"
    );
    let (settings, warnings) = settings(&[], &text);
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(settings.kubeconfig, Some("/var/lib/kube-proxy/kubeconfig.conf".into()));
    assert_eq!(settings.pods, stead_proxy::PodTraffic::of(vec!["10.244.0.0/16".parse().unwrap()]));
    assert_eq!((settings.healthz, settings.sync_period.as_secs()), ("0.0.0.0:10256".parse().ok(), 30));
}

#[test]
fn logs_are_as_they_are_asked_for_also_beside_an_agent() {
    let text = "proxy:\n  v: 4\n  loggingFormat: json\n  oomScoreAdj: -7\n";
    let (settings, warnings) = settings(&[], text);
    assert_eq!((settings.verbosity, settings.log_format, warnings.len()), (4, Format::Json, 0));
    let File::Own { proxy, .. } = file(text).unwrap() else { panic!("ours") };
    let without = of_a_node_without_effect(&proxy);
    assert!(without.len() == 1 && without[0].starts_with("oomScoreAdj -7 has no effect"), "{without:?}");
}

#[test]
fn what_has_no_effect_is_said_with_its_reason() {
    let (_, warnings) =
        settings(&[("ipvs-scheduler", "lc"), ("iptables-masquerade-bit", "14"), ("profiling", "true")], "");
    let expect = [
        "--profiling true has no effect: there is no Go runtime to profile",
        "--ipvs-scheduler lc has no effect: the mode is nftables, not ipvs",
    ];
    assert_eq!(warnings, expect);
    let (_, warnings) = settings(&[], &format!("{KUBE_PROXY}winkernel: {{enableDSR: true}}\n"));
    assert_eq!(warnings, ["winkernel.enableDSR true has no effect: this is no Windows"]);
}

#[test]
fn beside_an_agent_what_is_of_the_process_is_said_to_be_lost_as_the_file_writes_it() {
    let check = |section: &str, lost: &[&str]| {
        let File::Own { proxy, .. } = file(&format!("proxy: {{{section}}}\n")).unwrap() else { panic!("{section}") };
        let expect: Vec<_> = lost
            .iter()
            .map(|lost| format!("{lost} has no effect beside an agent: it is of `stead proxy` alone"))
            .collect();
        assert_eq!(of_a_node_without_effect(&proxy), expect, "{section}");
    };
    check("", &[]);
    check("healthzBindAddress: 127.0.0.1:1, nodeportAddresses: [primary]", &[]);
    check("conntrackMin: 5, dryRun: true", &["dryRun true", "conntrackMin 5"]);
    check("hostnameOverride: x, conntrackTcpBeLiberal: true", &["hostnameOverride x", "conntrackTcpBeLiberal true"]);
}

#[test]
fn the_period_of_the_mode_counts() {
    let check = |text: &str, seconds: u64| {
        let (settings, _) = settings(&[], &format!("{KUBE_PROXY}{text}"));
        assert_eq!(settings.sync_period.as_secs(), seconds, "{text}");
    };
    check("iptables: {syncPeriod: 10s}\n", 10);
    check("mode: nftables\nnftables: {syncPeriod: 20s}\niptables: {syncPeriod: 10s}\n", 20);
}

#[test]
fn what_is_wrong_in_a_file_is_named_by_its_path() {
    let check = |text: &str, expect: &str| {
        let problem = file(text).unwrap_err();
        assert!(problem.contains(expect), "{text:?} gave {problem:?}");
    };
    let kube = |text: &str| format!("{KUBE_PROXY}{text}");
    check(&kube("conntrack: {most: 3}\nmods: x\n"), "unknown field \"conntrack.most\"; unknown field \"mods\"");
    check(&kube("conntrack: {min: three}\n"), "conntrack.min: invalid type: string \"three\", expected a number");
    check(&kube("conntrack: 3\n"), "conntrack: expected a mapping");
    check(&kube("oomScoreAdj: 1001\n"), "oomScoreAdj: must be within the range [-1000, 1000]");
    check(&kube("nodePortAddresses: [primary, 10.0.0.0/8]\n"), "nodePortAddresses: can't use both 'primary' and CIDRs");
    check(&kube("mode: kernelspace\n"), "mode: must be one of nftables, iptables, ipvs, userspace");
    check(&kube("mode: \"\"\nmode: nftables\n"), "no YAML: duplicate");
    check(
        "apiVersion: kubeproxy.config.k8s.io/v1beta9\nkind: KubeProxyConfiguration\n",
        "no kind \"KubeProxyConfiguration\" of version",
    );
    check("kind: Pod\n", "no kind \"Pod\" of version \"\" is known; a KubeProxyConfiguration of");
    check("proxy:\n  healthz: x\n", "proxy: unknown field `healthz`");
    check("proxy:\n  config: x\n", "proxy: unknown field `config`");
    check("proxy:\n  oomScoreAdj: 1001\n", "proxy: oomScoreAdj: must be within the range [-1000, 1000]");
    check("proxies: {}\n", "proxies: unknown field `proxies`");
}

#[test]
fn each_mode_has_its_own_settings_and_ipvs_its_stand_ins() {
    let (settings, warnings) = settings(
        &[
            ("proxy-mode", "ipvs"),
            ("ipvs-scheduler", "lc"),
            ("ipvs-exclude-cidrs", "192.0.2.0/28,10.99.0.0/16"),
            ("ipvs-strict-arp", "true"),
            ("ipvs-tcp-timeout", "15m"),
            ("ipvs-sync-period", "20s"),
            ("iptables-masquerade-bit", "7"),
        ],
        "",
    );
    assert_eq!((warnings.len(), settings.sync_period.as_secs()), (0, 20));
    let Planes { mode, stand_ins, options } = settings.planes;
    assert_eq!((mode, stand_ins), (Mode::Ipvs, vec![Mode::Iptables, Mode::Nftables, Mode::Userspace]));
    assert_eq!(options.iptables.masquerade_bit, 7);
    let ipvs = options.ipvs;
    assert_eq!((&*ipvs.scheduler, ipvs.arp, ipvs.excluded.len()), ("lc", Arp::Strict, 2));
    let timeouts = Timeouts { tcp: Some(Duration::from_secs(900)), ..Timeouts::default() };
    assert_eq!(ipvs.timeouts, timeouts);

    let (settings, _) = self::settings(&[("proxy-mode", "iptables"), ("ipvs-fallback", "nftables")], "");
    assert_eq!((settings.planes.mode, settings.planes.stand_ins), (Mode::Iptables, Vec::new()));
    let (settings, _) = self::settings(&[("proxy-mode", "ipvs"), ("ipvs-fallback", "")], "");
    assert_eq!(settings.planes.stand_ins, []);

    let refused = |said: &[(&str, &str)]| resolve(flags(said), &file("").unwrap()).unwrap_err().to_string();
    let modes = Mode::ALL.map(Mode::name).join(", ");
    assert_eq!(
        refused(&[("ipvs-fallback", "iptables,ebpf")]),
        format!("--ipvs-fallback: \"ebpf\" must be one of {modes}")
    );
    assert!(refused(&[("ipvs-exclude-cidrs", "10.0.0.0")]).starts_with("--ipvs-exclude-cidrs: "));
}

#[test]
fn only_a_file_that_says_so_tells_of_the_cluster() {
    assert_eq!(file("proxy: {}\n").unwrap().into_cluster(), None);
    let text = "server:\n  serviceRanges: [10.43.0.0/16]\n  podRanges: [10.42.0.0/16]\n  allowExternalIPs: [192.0.2.0/28@shop]\n";
    let cluster = file(text).unwrap().into_cluster().unwrap();
    let ranges = |text: &str| vec![text.parse().unwrap()];
    let config =
        settings(&[("allow-external-ips", "192.0.2.1/32")], "").0.into_config("node1".to_owned(), cluster.clone());
    assert_eq!(config.service_ranges, ranges("10.43.0.0/16"));
    assert_eq!(config.pods, stead_proxy::PodTraffic::of(ranges("10.42.0.0/16")));
    let open: Vec<_> =
        config.open_to_external.iter().map(|open| (open.range.to_string(), open.namespace.as_deref())).collect();
    assert_eq!(open, [("192.0.2.1/32".to_owned(), None), ("192.0.2.0/28".to_owned(), Some("shop"))]);
    let config = settings(&[("cluster-cidr", "10.1.0.0/16")], "").0.into_config("node1".to_owned(), cluster);
    assert_eq!(config.pods, stead_proxy::PodTraffic::of(ranges("10.1.0.0/16")), "what is said counts more");
}

#[test]
fn pods_are_known_by_the_mode_and_masquerading_by_the_section_of_the_mode() {
    use stead_proxy::{DetectLocal, MasqueradeAll, PodTraffic};
    let pods = |pairs: &[(&str, &str)]| settings(pairs, "").0.pods;
    assert_eq!(pods(&[]), PodTraffic::Known(DetectLocal::Unknown));
    assert_eq!(pods(&[("detect-local-mode", "NodeCIDR")]), PodTraffic::OfNodeRanges);
    let bridge = pods(&[("detect-local-mode", "BridgeInterface"), ("pod-bridge-interface", "cni0")]);
    assert_eq!(bridge, PodTraffic::Known(DetectLocal::Bridge("cni0".into())));
    let prefix = pods(&[("detect-local-mode", "InterfaceNamePrefix"), ("pod-interface-name-prefix", "veth")]);
    assert_eq!(prefix, PodTraffic::Known(DetectLocal::Prefix("veth".into())));
    let missing = resolve(flags(&[("detect-local-mode", "BridgeInterface")]), &file("").unwrap()).unwrap_err();
    assert_eq!(missing.to_string(), "--detect-local-mode BridgeInterface needs --pod-bridge-interface");

    let check = |text: &str, expect: MasqueradeAll| {
        assert_eq!(settings(&[], &format!("{KUBE_PROXY}{text}")).0.masquerade_all, expect, "{text}");
    };
    check("iptables: {masqueradeAll: true}\n", MasqueradeAll::Yes);
    check("mode: nftables\niptables: {masqueradeAll: true}\n", MasqueradeAll::No);
    check("mode: nftables\nnftables: {masqueradeAll: true}\n", MasqueradeAll::Yes);
}

#[test]
fn a_configuration_written_out_is_read_as_the_same() {
    let said = [
        ("nodeport-addresses", "10.0.0.0/8,fd00::/8"),
        ("feature-gates", "A=true"),
        ("conntrack-udp-timeout", "5s"),
        ("vmodule", "a=3"),
    ];
    let written = configuration(&settings(&said, "").0.effective);
    assert_eq!(written["nodePortAddresses"], json!(["10.0.0.0/8", "fd00::/8"]));
    assert_eq!(
        (&written["conntrack"]["udpTimeout"], &written["conntrack"]["udpStreamTimeout"]),
        (&json!("5s"), &json!("0s"))
    );
    assert_eq!(
        (&written["ipvs"]["excludeCIDRs"], &written["healthzBindAddress"]),
        (&json!(null), &json!("0.0.0.0:10256"))
    );
    assert_eq!((&written["featureGates"], &written["oomScoreAdj"]), (&json!({"A": true}), &json!(-999)));
    let text = serde_saphyr::to_string(&written).unwrap();
    let (again, warnings) = settings(&[], &text);
    assert_eq!(configuration(&again.effective), written);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}
