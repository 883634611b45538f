//! What may happen to a proxy while a thousand new connections a second come in, through a virtual IP and a node port: killed again and
//! again, replaced by kube-proxy and back, its tables changed by somebody else. `STEAD_PROXY_KILLS`, `STEAD_TAKEOVERS` and `STEAD_HEALINGS` say
//! how often (little in CI, more in `make soak`).

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::{eventually, ok},
    load::Load,
    machine::{Machine, assert_none_failed, go_on},
    proxy::metric,
};

/// So that a second proxy can be there beside the first.
const ELSEWHERE: [&str; 2] = ["--healthz-bind-address=127.0.0.1:20256", "--metrics-bind-address=127.0.0.1:20249"];

fn times(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_proxy_killed_under_connections_fails_none() {
    let machine = Machine::up("killed");
    let mut proxy = machine.stead(&[]);
    proxy.until_synced();
    machine.until_served();
    let loads = machine.load();
    let kills = times("STEAD_PROXY_KILLS", 5);
    for number in 0..kills {
        // At any moment of its life: while it reads the kernel, while it waits for its lists, while it programs, and later.
        thread::sleep(Duration::from_millis(number as u64 * 97 % 400));
        proxy.kill();
        go_on(&loads, 20);
        // What changes while there is no proxy, the next one has to make good.
        machine.set_ready(&[number % 3, (number + 1) % 3]);
        proxy = machine.stead(&[]);
        if number % 5 == 4 || number + 1 == kills {
            proxy.until_synced();
        }
    }
    machine.set_ready(&[0]);
    let node = &machine.host;
    eventually("the one that is ready to be the only one", || {
        let answers: Vec<_> = (0..20).map(|_| node.run(|| crate::load::ask(machine.virtual_ip)).unwrap()).collect();
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|name| name == "192.168.56.50")).then_some(())
    });
    go_on(&loads, 100);
    assert_none_failed(loads);
}

/// kube-proxy's program, where `KUBE_PROXY` names it.
fn kube_proxy(what: &str) -> Option<PathBuf> {
    let program = std::env::var_os("KUBE_PROXY").map(PathBuf::from);
    if program.is_none() {
        println!("not run: {what}; KUBE_PROXY does not name kube-proxy's program");
    }
    program
}

fn taken_over_from_kube_proxy_and_back(mode: &str, tables: &[&str]) {
    let Some(program) = kube_proxy(&format!("take-over from kube-proxy ({mode})")) else { return };
    let machine = Machine::up(&format!("taken-{mode}"));
    let rules = || -> String {
        let mut words = tables.iter();
        let output = machine.host.run(|| Command::new(words.next().unwrap()).args(words).output()).unwrap();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let vip = machine.virtual_ip.ip().to_string();
    let mut kube = machine.kube_proxy(&program, mode);
    kube.until_synced();
    machine.until_served();
    let loads = machine.load();
    for number in 0..times("STEAD_TAKEOVERS", 1) {
        assert!(rules().contains(&vip), "{}", rules());
        go_on(&loads, 200);
        let mut stead = machine.stead(&ELSEWHERE);
        stead.until_synced();
        go_on(&loads, 200);
        kube.end();
        ok("cleanup", machine.stead_proxy(&["--cleanup-kube-proxy"]));
        assert!(!rules().contains(&vip), "{}", rules());
        machine.set_ready(&[number % 3]);
        go_on(&loads, 200);
        kube = machine.kube_proxy(&program, mode);
        kube.until_synced();
        eventually("kube-proxy to have its rules", || rules().contains(&vip).then_some(()));
        go_on(&loads, 200);
        stead.end();
        ok("cleanup", machine.stead_proxy(&["--cleanup"]));
        machine.set_ready(&[(number + 1) % 3, (number + 2) % 3]);
    }
    go_on(&loads, 200);
    assert_none_failed(loads);
}

#[test]
fn kube_proxy_on_nftables_is_taken_over_from_and_to_without_a_failure() {
    taken_over_from_kube_proxy_and_back("nftables", &["nft", "list", "table", "ip", "kube-proxy"]);
}

#[test]
fn kube_proxy_on_iptables_is_taken_over_from_and_to_without_a_failure() {
    if Command::new("iptables").arg("--version").output().is_err() {
        println!("not run: take-over from kube-proxy (iptables); there is no iptables on this machine");
        return;
    }
    taken_over_from_kube_proxy_and_back("iptables", &["iptables-save", "-t", "nat"]);
}

/// What somebody does, with `VIP` for the virtual IP. The last is none of the proxy's business.
const CHANGES: [&str; 5] = [
    "flush ruleset",
    "delete table ip stead",
    "delete element ip stead frontends { VIP . tcp . 80 }",
    "flush chain ip stead nat-prerouting; flush chain ip stead nat-output",
    "add table ip theirs; add chain ip theirs out { type nat hook output priority -150; }",
];
/// The rule is half a minute.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_somebody_else_changed_is_healed_under_connections() {
    let machine = Machine::up("healed");
    let mut proxy = machine.stead(&[]);
    proxy.until_synced();
    machine.until_served();
    let loads = machine.load();
    let mut outages = Vec::new();
    for number in 0..times("STEAD_HEALINGS", 1) {
        go_on(&loads, 200);
        let change = CHANGES[number % CHANGES.len()].replace("VIP", &machine.virtual_ip.ip().to_string());
        let healed = || metric(&machine.host, 10249, "stead_proxy_foreign_changes_healed_total");
        let (before, since, start) = (healed(), loads.each_ref().map(Load::elapsed), Instant::now());
        let nft = machine.host.run(|| Command::new("nft").arg(&change).output()).unwrap();
        ok(&change, nft.unwrap());
        if !change.contains("theirs") {
            eventually("the proxy to count it", || (healed() > before).then_some(()));
        }
        machine.until_served();
        let took = start.elapsed();
        println!("{change}: healed in {took:?}");
        assert!(took < SOON, "{change}: {took:?}");
        outages.push((since, loads.each_ref().map(Load::elapsed)));
    }
    go_on(&loads, 200);
    for (place, load) in loads.into_iter().enumerate() {
        let tally = load.stop();
        let is_meant = |at: Duration| {
            // Of those that were under way when it happened some are lost too.
            let begin = |since: Duration| since.saturating_sub(Duration::from_millis(500));
            outages.iter().any(|(since, until)| (begin(since[place])..until[place]).contains(&at))
        };
        let others: Vec<_> = tally.failures.iter().filter(|(at, _)| !is_meant(*at)).collect();
        assert!(others.is_empty(), "outside of {outages:?}: {others:?}");
    }
    let told = || machine.lab.kubectl_ok("get events -A -o jsonpath={.items[*].reason}");
    eventually("an event", || told().contains("ForeignChangesHealed").then_some(()));
}
