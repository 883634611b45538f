//! The table in the kernel against the table in memory.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use stead_model::Protocol;
use stead_plan::{Backend, FrontendKind, FrontendRule, ServicePlan, ServicePortPlan, Settings};

use super::*;

fn settings() -> Settings {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Settings {
        service_ranges: ranges(&["10.96.0.0/16", "fd56:96::/112"]),
        pod_ranges: ranges(&["10.244.0.0/16", "fd56:244::/48"]),
        node_addresses: vec!["192.168.56.101".parse().unwrap()],
    }
}

/// `count` Services of `backends` each, every third with a node port too, every fifth over IPv6.
fn plan(count: usize, backends: usize) -> Plan {
    let mut plan = Plan { settings: settings(), ..Plan::default() };
    for number in 0..count {
        plan.services.insert(ObjectKey::new("default", format!("s{number}")), service(number, 0..backends));
    }
    plan
}

fn service(number: usize, backends: impl Iterator<Item = usize>) -> ServicePlan {
    let v6 = number % 5 == 4;
    let address = |v4: &str, v6_prefix: &str, n: usize| {
        let text = if v6 { format!("{v6_prefix}:{n:x}") } else { format!("{v4}.{}.{}", n / 250, n % 250 + 1) };
        text.parse().unwrap()
    };
    let frontend =
        |address, port, kind| FrontendRule { frontend: Frontend { address, protocol: Protocol::Tcp, port }, kind };
    let mut frontends = vec![frontend(address("10.96", "fd56:96:", number), 80, FrontendKind::ClusterIp)];
    if number.is_multiple_of(3) && !v6 {
        let node = "192.168.56.101".parse().unwrap();
        frontends.push(frontend(node, 30_000 + (number % 2000) as u16, FrontendKind::NodePort));
    }
    let backends = backends.map(|backend| {
        let pod = address("10.244", "fd56:244:", number * 7 % 40_000 + backend);
        Backend { address: (pod, 8080).into(), local: backend == 0 }
    });
    let affinity = (number % 7 == 6).then(|| std::time::Duration::from_secs(10_800));
    let backends = backends.collect();
    ServicePlan {
        ports: vec![ServicePortPlan {
            name: "".into(),
            protocol: Protocol::Tcp,
            frontends,
            backends,
            draining: Vec::new(),
            affinity,
        }],
    }
}

fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> String {
    let run = || {
        let mut command = Command::new("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nft is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    namespace.run(run).unwrap()
}

#[test]
fn the_kernel_takes_a_plan_and_shows_it_to_nft() {
    let namespace = Namespace::create().unwrap();
    let mut plane = NfTables::open_in(&namespace).unwrap();
    let plan = plan(12, 3);
    let applied = plane.apply(&plan, Scope::All).unwrap();
    assert!(applied.operations > 100 && applied.bytes > 1000, "{applied:?}");
    let listing = nft(&namespace, &["list", "ruleset"], "");
    for part in ["table ip stead", "table ip6 stead", "chain lb-3-sticky-10800s", "192.168.56.101 . tcp . 30003"] {
        assert!(listing.contains(part), "{part} in {listing}");
    }
    plane.remove().unwrap();
    assert_eq!(nft(&namespace, &["list", "ruleset"], ""), "");
}
