//! The table in the kernel against the table in memory.

mod model;
mod properties;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use stead_model::{Frontend, Protocol};
use stead_plan::{
    Backend, DetectLocal, FrontendKind, FrontendRule, Lists, MasqueradeAll, ServicePlan, ServicePortPlan, Settings,
    TrafficPolicy,
};

use super::*;

fn settings() -> Settings {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Settings {
        service_ranges: ranges(&["10.96.0.0/16", "fd56:96::/112"]),
        detect_local: DetectLocal::Ranges(ranges(&["10.244.0.0/16", "fd56:244::/48"])),
        masquerade_all: MasqueradeAll::No,
        own_addresses: vec!["192.168.56.101".parse().unwrap()],
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
    // Two have all that is for certain clients, one of them over IPv6.
    let is_choosy = [5, 9].contains(&number);
    if is_choosy {
        let balancer = if v6 { "fd56:1b::1" } else { "192.0.2.1" };
        frontends.push(frontend(balancer.parse().unwrap(), 80, FrontendKind::LoadBalancer));
    }
    let sources = if v6 { ["fd56::/64", "fd56:9::7/128"] } else { ["192.0.2.0/24", "198.51.100.7/32"] };
    let backends = backends.map(|backend| {
        let pod = address("10.244", "fd56:244:", number * 7 % 40_000 + backend);
        Backend {
            address: (pod, 8080).into(),
            local: backend == 0,
            lists: if is_choosy && backend == 0 { Lists::Both } else { Lists::Cluster },
        }
    });
    let affinity = (number % 7 == 6).then(|| std::time::Duration::from_secs(10_800));
    let backends = backends.collect();
    let mut port = ServicePortPlan { frontends, backends, affinity, ..ServicePortPlan::default() };
    if is_choosy {
        port.external_policy = TrafficPolicy::Local;
        port.sources = Some(sources.map(|range| range.parse().unwrap()).into());
    }
    ServicePlan { ports: vec![port] }
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
    for part in [
        "table ip stead",
        "table ip6 stead",
        "chain lb-3-sticky-10800s",
        "192.168.56.101 . tcp . 30003",
        "192.0.2.1 . tcp . 80 . 192.0.2.0/24",
        "chain outside-lb-1",
        "chain in-3",
    ] {
        assert!(listing.contains(part), "{part} in {listing}");
    }
    plane.remove().unwrap();
    assert_eq!(nft(&namespace, &["list", "ruleset"], ""), "");
}

#[test]
fn the_text_is_what_the_messages_do() {
    let [by_messages, by_text] = [(); 2].map(|()| Namespace::create().unwrap());
    let plan = plan(12, 3);
    NfTables::open_in(&by_messages).unwrap().apply(&plan, Scope::All).unwrap();
    let text = render(&plan).unwrap();
    nft(&by_text, &["-c", "-f", "-"], &text);
    assert_eq!(nft(&by_text, &["list", "ruleset"], ""), "");
    nft(&by_text, &["-f", "-"], &text);
    let listing = |namespace| {
        // Elements come in the order of the kernel's hash, which differs from table to table.
        let text = nft(namespace, &["list", "ruleset"], "");
        let mut words = text.replace(',', " ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        words.sort_unstable();
        words
    };
    assert_eq!(listing(&by_messages), listing(&by_text));
}

#[test]
fn at_ten_thousand_services_a_change_is_a_handful_of_operations() {
    let namespace = Namespace::create().unwrap();
    let mut plane = NfTables::open_in(&namespace).unwrap();
    let mut plan = plan(10_000, 5);
    let loaded = plane.apply(&plan, Scope::All).unwrap();
    assert!(loaded.operations > 100_000, "{loaded:?}");
    let mut change = |plane: &mut NfTables, number: usize, service: Option<ServicePlan>| {
        let key = ObjectKey::new("default", format!("s{number}"));
        match service {
            Some(service) => plan.services.insert(key.clone(), service),
            None => plan.services.remove(&key),
        };
        plane.apply(&plan, Scope::Services(&BTreeSet::from([key]))).unwrap().operations
    };
    // Old slot and endpoint out, new ones in; the number reserved for the next process may move once.
    let swapped = change(&mut plane, 4_001, Some(service(4_001, [0, 1, 2, 3, 9].into_iter())));
    assert!((4..=8).contains(&swapped), "{swapped}");
    // List, slot and endpoint; the chain for six is made once.
    let added = change(&mut plane, 4_002, Some(service(4_002, 0..6)));
    assert!((4..=20).contains(&added), "{added}");
    let added = change(&mut plane, 4_006, Some(service(4_006, 0..6)));
    assert_eq!(added, 4);
    let removed = change(&mut plane, 4_005, Some(service(4_005, 0..4)));
    assert!((4..=20).contains(&removed), "{removed}");
    let deleted = change(&mut plane, 4_007, None);
    assert_eq!(deleted, 1 + 1 + 5 + 5 + 1, "frontend, list, slots, endpoints, hairpin");
    assert_eq!(change(&mut plane, 4_007, None), 0);

    let mut next = NfTables::open_in(&namespace).unwrap();
    let adopted = next.apply(&plan, Scope::All).unwrap();
    assert!(adopted.operations <= 10, "{adopted:?}");
}

#[test]
fn a_table_that_gets_full_is_replaced_by_a_larger_one() {
    let namespace = Namespace::create().unwrap();
    let mut plane = NfTables::open_in(&namespace).unwrap();
    plane.apply(&plan(1, 1), Scope::All).unwrap();
    let large = plan(5_000, 5);
    plane.apply(&large, Scope::All).unwrap();
    let slots = stead_sys::nft::Nftables::open_in(&namespace).unwrap().sets(name(Family::V4)).unwrap();
    let slots = slots.into_iter().find(|set| set.name == "slots").unwrap();
    // One endpoint is in two lists.
    assert_eq!((slots.count, slots.size), (Some(20_001), Some(49_152)));
    let mut next = NfTables::open_in(&namespace).unwrap();
    assert_eq!(next.apply(&large, Scope::All).unwrap().operations, 0);
}

#[test]
fn a_table_of_another_layout_is_replaced() {
    let namespace = Namespace::create().unwrap();
    nft(&namespace, &["-f", "-"], "table ip stead { comment \"Services by Stead, layout 0\"; chain old { }\n }\n");
    nft(&namespace, &["-f", "-"], "table ip6 stead { chain mine { type nat hook output priority 0; }\n }\n");
    let plan = plan(12, 3);
    let mut plane = NfTables::open_in(&namespace).unwrap();
    plane.apply(&plan, Scope::All).unwrap();
    let listing = nft(&namespace, &["list", "ruleset"], "");
    assert!(!listing.contains("chain old") && !listing.contains("chain mine"), "{listing}");
    assert!(listing.contains("layout 2"), "{listing}");
}

#[test]
fn tables_of_others_are_left_alone_and_their_changes_disturb_nobody() {
    let namespace = Namespace::create().unwrap();
    nft(&namespace, &["-f", "-"], "table ip theirs { chain c { }\n }\n");
    let mut plane = NfTables::open_in(&namespace).unwrap();
    let mut plan = plan(12, 3);
    plane.apply(&plan, Scope::All).unwrap();
    nft(&namespace, &["add", "chain", "ip", "theirs", "d"], "");
    let key = ObjectKey::new("default", "s1");
    plan.services.insert(key.clone(), service(1, 0..2));
    let applied = plane.apply(&plan, Scope::Services(&BTreeSet::from([key]))).unwrap();
    assert!(applied.operations < 20, "{applied:?}");
    assert_eq!(plane.verify().unwrap(), Verified::Intact);

    for meddling in [
        "flush chain ip stead services",
        "delete element ip stead frontends { 10.96.0.2 . tcp . 80 }",
        "add element ip stead frontends { 9.9.9.9 . tcp . 80 : 8000:1 }",
        "add rule ip stead send accept",
        "add chain ip stead mine",
        "delete table ip6 stead",
        "flush ruleset",
    ] {
        nft(&namespace, &["-f", "-"], meddling);
        assert!(matches!(plane.verify().unwrap(), Verified::Healed { .. }), "{meddling}");
        assert_eq!(plane.verify().unwrap(), Verified::Intact, "{meddling}");
        let mut next = NfTables::open_in(&namespace).unwrap();
        assert_eq!(next.apply(&plan, Scope::All).unwrap().operations, 0, "{meddling}");
    }
}

#[test]
fn too_many_backends_are_refused_by_name_and_disturb_nobody() {
    let namespace = Namespace::create().unwrap();
    let mut plane = NfTables::open_in(&namespace).unwrap();
    let good = plan(3, 2);
    plane.apply(&good, Scope::All).unwrap();
    let mut bad = good.clone();
    let backends = &mut bad.services.values_mut().next().unwrap().ports[0].backends;
    *backends = (0..=65_000u32)
        .map(|number| (std::net::Ipv4Addr::from(0x0af4_0000 + number), 80).into())
        .map(|address| Backend { address, local: false, lists: Lists::Cluster })
        .collect();
    let error = plane.apply(&bad, Scope::All).unwrap_err();
    assert_eq!(error.to_string(), "default/s0 has 65001 backends on one port; at most 65000 are possible");
    assert_eq!(plane.apply(&good, Scope::All).unwrap().operations, 0);
    *bad.services.values_mut().next().unwrap().ports[0].backends.last_mut().unwrap() =
        good.services.values().next().unwrap().ports[0].backends[0];
    bad.services.values_mut().next().unwrap().ports[0].backends.truncate(65_000);
    plane.apply(&bad, Scope::All).unwrap();
}
