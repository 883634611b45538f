//! `stead proxy` on a node of a lab, which has a proxy already, and on nodes that are nothing but a network.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output, Stdio},
};

use stead_sys::namespace::Namespace;

use crate::lab::{Lab, eventually, ok, stead};

/// The whole answer of a port of the node's loopback; empty where nobody answers.
pub(crate) fn get(node: &Namespace, port: u16, path: &str) -> String {
    let asked = node.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    });
    asked.unwrap().unwrap_or_default()
}

/// Whether a proxy, ours or kube-proxy, has put all Services into the kernel; `port` is that of its metrics.
pub(crate) fn has_synced(node: &Namespace, port: u16) -> bool {
    metric(node, port, "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}") > 0
}

/// A number among a proxy's metrics; 0 where it is not told.
pub(crate) fn metric(node: &Namespace, port: u16, name: &str) -> u64 {
    let metrics = get(node, port, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

const TIMEOUT: &str = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";

#[test]
fn a_node_has_one_proxy_that_says_how_it_is() {
    let lab = Lab::up("proxy", 1);
    let node = lab.namespace("node1");
    eventually("health", || Some(()).filter(|()| get(&node, 10256, "/healthz").starts_with("HTTP/1.1 200")));
    assert!(get(&node, 10256, "/livez").contains("\"secondsSinceHeard\":{\"services\":"));
    eventually("a full sync", || has_synced(&node, 10249).then_some(()));
    assert!(get(&node, 10249, "/configz").contains("\"kind\":\"KubeProxyConfiguration\""));

    let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"LoadBalancer","selector":{"app":"web"},
        "externalTrafficPolicy":"Local","ports":[{"port":80}]}}"#;
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], service));
    let port = lab.kubectl_ok("get svc web -o jsonpath={.spec.healthCheckNodePort}").parse().unwrap();
    let answer =
        eventually("the health-check node port", || Some(get(&node, port, "/")).filter(|text| !text.is_empty()));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"localEndpoints\": 0,"), "{answer}");

    node_ports_on_loopback_are_the_nodes_alone(&lab);
    an_annotation_takes_hold_and_connections_go_on(&lab, &node);
    what_kube_proxy_left_goes(&lab);

    let proxy = |flags: &[&str]| -> Output {
        let kubeconfig = format!("/run/stead/{}/nodes/node1/kubeconfig", lab.name);
        let mut command = stead();
        command.args([
            "proxy",
            "--hostname-override=node1",
            "--cluster-cidr=10.244.0.0/16,fd56:244::/32",
            "--kubeconfig",
            &kubeconfig,
        ]);
        // What is the machine's stays as it is.
        command.args([
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ]);
        node.run(|| command.args(flags).output()).unwrap().unwrap()
    };
    let timeout = || node.run(|| std::fs::read_to_string(TIMEOUT).unwrap()).unwrap();
    let before = timeout();
    for flags in [&["--conntrack-udp-timeout=77s"][..], &["--cleanup"]] {
        let refused = proxy(flags);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success()
                && text.contains("a Stead proxy runs in this network namespace already (process "),
            "{text}"
        );
    }
    assert_eq!(timeout(), before, "who is refused has set nothing");
    let preview = proxy(&["--dry-run"]);
    assert_eq!(
        (String::from_utf8_lossy(&preview.stdout).as_ref(), preview.status.success()),
        ("", true),
        "{preview:?}"
    );
}

const WEB: &str = r#"{"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"hello"},"spec":{"replicas":2,
        "selector":{"matchLabels":{"app":"hello"}},"template":{"metadata":{"labels":{"app":"hello"}},"spec":{
            "containers":[{"name":"main","image":"stead.local/hello-app:1.0","ports":[{"containerPort":8080}]}]}}}},
    {"apiVersion":"v1","kind":"Service","metadata":{"name":"hello"},"spec":{"type":"NodePort","selector":{"app":"hello"},
        "ports":[{"name":"tcp","port":80,"targetPort":8080},{"name":"udp","port":80,"targetPort":8080,"protocol":"UDP"}]}}]}"#;

/// Neither the listener nor the kernel's rules answer who sends to 127.0.0.1 from another machine.
fn node_ports_on_loopback_are_the_nodes_alone(lab: &Lab) {
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], WEB));
    lab.kubectl_ok("rollout status deployment hello --timeout=60s");
    let port = lab.kubectl_ok("get svc hello -o jsonpath={.spec.ports[0].nodePort}");
    let url = format!("http://127.0.0.1:{port}");
    eventually("the node port on the node's loopback", || lab.curl("node1", &url));
    let run = |host: &str, line: &str| ok(line, lab.exec(host, &line.split(' ').collect::<Vec<_>>()));
    // A machine that has not that address itself can send there.
    run("outside", "ip addr del 127.0.0.1/8 dev lo");
    run("outside", "ip route add 127.0.0.1/32 via 192.168.56.101");
    assert_eq!(lab.curl_code("outside", &url), Some(28), "nobody answers");
    // Where somebody else has opened the node's loopback, what listens there is reached, but no node port.
    for host in ["outside", "node1"] {
        run(host, "sysctl -q -w net.ipv4.conf.eth0.route_localnet=1");
    }
    let health = || lab.curl("outside", "http://127.0.0.1:10249/healthz");
    assert_eq!(eventually("an answer through a loopback that is open", health), "ok");
    assert_ne!(lab.curl_code("outside", &url), Some(0), "who comes from elsewhere is reset");
    assert!(lab.curl("node1", &url).is_some());
    let udp = lab.kubectl_ok("get svc hello -o jsonpath={.spec.ports[1].nodePort}");
    let ask = format!("exec 3<>/dev/udp/127.0.0.1/{udp}; echo who >&3; timeout 1 head -c 1 <&3");
    let answer = lab.exec("outside", &["bash", "-c", &ask]).stdout;
    assert_eq!(answer, b"", "the kernel's rules do not know the loopback");
    for host in ["outside", "node1"] {
        run(host, "sysctl -q -w net.ipv4.conf.eth0.route_localnet=0");
    }
    run("outside", "ip route del 127.0.0.1/32");
    run("outside", "ip addr add 127.0.0.1/8 dev lo");
}

/// By `kubectl annotate`, as somebody would try it.
fn an_annotation_takes_hold_and_connections_go_on(lab: &Lab, node: &Namespace) {
    let vip = lab.kubectl_ok("get svc hello -o jsonpath={.spec.clusterIP}");
    let url = format!("http://{vip}");
    assert_eq!(lab.answering("node1", &url, 40).len(), 2, "at random");
    lab.kubectl_ok("annotate svc hello stead.local/algorithm=least-load");
    let told = eventually("an event on the Service", || {
        let events =
            lab.kubectl_ok("get events --field-selector involvedObject.name=hello,involvedObject.kind=Service");
        events.lines().find(|line| line.contains("least-load")).map(ToOwned::to_owned)
    });
    assert!(told.contains("Warning") && told.contains("InvalidService") && told.contains("at random"), "{told}");
    assert_eq!(lab.answering("node1", &url, 40).len(), 2, "at random still");

    let open = |_: usize| node.run(|| TcpStream::connect((vip.as_str(), 80))).unwrap().unwrap();
    let running: Vec<_> = (0..8).map(open).collect();
    lab.kubectl_ok("annotate --overwrite svc hello stead.local/algorithm=maglev");
    eventually("the hash in the kernel's rules", || {
        let rules = ok("nft", lab.exec("node1", &["nft", "list", "table", "ip", "stead"]));
        rules.contains("jhash ip saddr . ip daddr").then_some(())
    });
    for mut stream in running {
        let mut answer = String::new();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("Hostname: hello-"), "{answer}");
    }
    // Ports differ, so both get some.
    assert_eq!(lab.answering("node1", &url, 40).len(), 2, "by flow");
    lab.kubectl_ok("annotate --overwrite svc hello stead.local/algorithm=source-hash");
    eventually("one pod for one client", || (lab.answering("node1", &url, 20).len() == 1).then_some(()));
    lab.kubectl_ok("annotate svc hello stead.local/algorithm-");
    eventually("both pods again", || (lab.answering("node1", &url, 20).len() == 2).then_some(()));
}

/// In each mode that is possible here, where its program is given by `KUBE_PROXY`.
fn what_kube_proxy_left_goes(lab: &Lab) {
    let Ok(program) = env::var("KUBE_PROXY") else {
        println!("KUBE_PROXY names no program: what the real one leaves is not tried");
        return;
    };
    let outside = lab.namespace("outside");
    let run = |command: &mut Command| outside.run(|| command.output()).unwrap().unwrap();
    let rules = |saves: &[&str]| -> String {
        saves.iter().map(|save| String::from_utf8_lossy(&run(&mut Command::new(save)).stdout).into_owned()).collect()
    };
    let nft = || String::from_utf8_lossy(&run(Command::new("nft").args(["list", "ruleset"])).stdout).into_owned();
    let has_iptables = Command::new("iptables-save").stdout(Stdio::null()).status().is_ok();
    for mode in ["nftables", "iptables"] {
        if mode == "iptables" && !has_iptables {
            println!("iptables is not installed: what kube-proxy leaves in that mode is not tried");
            continue;
        }
        let text = || match mode {
            "nftables" => nft(),
            _ => rules(&["iptables-save", "ip6tables-save"]),
        };
        let mut kube_proxy = Command::new(&program);
        kube_proxy.args(["--hostname-override=node1", "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0"]);
        kube_proxy.args(["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"]);
        kube_proxy.args([format!("--kubeconfig=/run/stead/{}/nodes/node1/kubeconfig", lab.name)]);
        kube_proxy.args([format!("--proxy-mode={mode}")]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = outside.run(|| kube_proxy.spawn()).unwrap().unwrap();
        let name = if mode == "nftables" { "service-ips" } else { "KUBE-SVC-" };
        eventually("kube-proxy's rules", || text().contains(name).then_some(()));
        running.kill().unwrap();
        running.wait().unwrap();
        let clean = || ok("cleanup", run(stead().args(["proxy", "--cleanup-kube-proxy"])));
        let first = clean();
        let expect = if mode == "nftables" {
            "removed: table kube-proxy of nf_tables (IPv4)"
        } else {
            "removed: chains KUBE-* of iptables"
        };
        assert!(first.contains(expect), "{mode}: {first}");
        let is_its = |line: &&str| line.contains("KUBE-") || line.contains("kube-proxy");
        // The kubelet's chain KUBE-FIREWALL, which kube-proxy fills too, stays.
        let is_left = |line: &&str| is_its(line) && !line.contains("KUBE-FIREWALL");
        let left: Vec<_> = text().lines().filter(is_left).map(ToOwned::to_owned).collect();
        assert_eq!(left, [] as [String; 0], "{mode}");
        let second = clean();
        assert!(!second.contains("removed: "), "the second time there is nothing to do: {second}");
        assert_eq!(second.contains("left: net.ipv4.conf.all.route_localnet=1"), mode == "iptables", "{second}");
    }
}

/// As the init container of a DaemonSet does what needs rights over the machine, and the other container goes without them.
#[test]
fn init_only_does_what_the_proxy_itself_may_not() {
    let network = Namespace::create().unwrap();
    let mut links = stead_sys::link::Links::open_in(&network).unwrap();
    let loopback = links.index("lo").unwrap();
    links.set_up(loopback).unwrap();
    let sysctl = |name: &str| {
        let read = network.run(|| fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")));
        read.unwrap().unwrap().trim().to_owned()
    };
    const SETTINGS: [&str; 4] = [
        "--conntrack-tcp-be-liberal",
        "--conntrack-tcp-timeout-established=3h",
        "--conntrack-tcp-timeout-close-wait=0",
        "--conntrack-max-per-core=0",
    ];
    let run = |command: &mut Command| network.run(|| command.output()).unwrap().unwrap();
    ok("init", run(stead().arg("proxy").arg("--init-only").args(SETTINGS)));
    assert_eq!((sysctl("tcp_be_liberal"), sysctl("tcp_timeout_established")), ("1".to_owned(), "10800".to_owned()));

    // One capability is left, and /proc/sys cannot be written to, as in a container that is not privileged.
    let unprivileged = |flags: &[&str]| {
        let line = format!(
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             exec setpriv --pdeathsig KILL --bounding-set=-all,+net_admin --inh-caps=-all {} proxy --master=http://127.0.0.1:1 {}",
            env!("CARGO_BIN_EXE_stead"),
            flags.join(" ")
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &line]);
        command
    };
    let refused = run(&mut unprivileged(&["--conntrack-tcp-timeout-established=4h"]));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("nf_conntrack_tcp_timeout_established cannot be set to 14400"), "{text}");
    let mut command = unprivileged(&SETTINGS);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = network.run(|| command.spawn()).unwrap().unwrap();
    let answer = eventually("the proxy to live", || {
        if let Some(status) = running.try_wait().unwrap() {
            let mut said = String::new();
            running.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{status}: {said}");
        }
        Some(get(&network, 10256, "/livez")).filter(|answer| !answer.is_empty())
    });
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    for _ in 0..2 {
        let said = ok("cleanup", run(stead().args(["proxy", "--cleanup"])));
        assert_eq!(said, "nothing of a Stead proxy was in the kernel\n");
    }
}
