//! How it reads to a person: `ipvsadm -Ln` in the guest, and what a dry run prints; `docs/data-planes.md` shows both.

use std::process::Command;

use stead_dataplane::{DataPlane, IpvsPlane, ipvs::Options};
use stead_model::{Family, Protocol};
use stead_plan::TrafficPolicy;

use super::open;
use crate::bench::Bench;

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn the_kernel_s_own_tool_shows_what_a_dry_run_says() {
    let bench = &mut Bench::new(open, Family::V4);
    let mut port = bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1), (2, 1)]);
    port.external_policy = TrafficPolicy::Local;
    port.backends[0].lists = stead_plan::Lists::Both;
    let mut sticky = bench.port(Protocol::Udp, 2, None, &[(2, 2)]);
    sticky.affinity = Some(std::time::Duration::from_secs(10_800));
    sticky.draining = vec![bench.backend(1, 2)];
    bench.plan.services = [
        (stead_model::ObjectKey::new("default", "web"), stead_plan::ServicePlan { ports: vec![port] }),
        (stead_model::ObjectKey::new("default", "dns"), stead_plan::ServicePlan { ports: vec![sticky] }),
    ]
    .into();
    let mut other = IpvsPlane::open_in(bench.lab.node(1).namespace(), Options::default()).unwrap();
    let said = other.preview(&bench.plan).unwrap();
    println!("{said}");
    bench.apply(stead_dataplane::Scope::All);
    assert_eq!(other.preview(&bench.plan).unwrap(), "");
    let run = |program: &str, arguments: &[&str]| {
        let output = bench.lab.node(1).run(|| Command::new(program).args(arguments).output().unwrap()).unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = run("ipvsadm", &["-Ln"]);
    println!("{listed}{}", run("ip", &["address", "show", "dev", stead_dataplane::ipvs::LINK]));
    let server = |line: &str| line.starts_with("TCP") || line.starts_with("UDP") || line.starts_with("FWM");
    assert_eq!(listed.lines().filter(|line| server(line)).count(), 4, "{listed}");
    // What is saved is what was said, but for the order.
    let sort = |lines: Vec<String>| {
        let mut lines = lines;
        lines.sort();
        lines
    };
    let saved = run("ipvsadm", &["-Sn"]).lines().map(|line| line.trim().to_owned()).collect();
    let commands = said.lines().filter(|line| line.starts_with("-")).map(str::to_owned).collect();
    assert_eq!(sort(saved), sort(commands));
}
