//! The nftables plane, held to the suite and to what is its own.

use std::{net::SocketAddr, time::Duration};

use stead_dataplane::{DataPlane, NfTables, Scope};
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, Lists, Plan, ServicePlan, ServicePortPlan};
use stead_sys::{
    namespace::Namespace,
    nft::{Change, Name, Nftables, Table, Transaction},
};

use crate::bench::Bench;

fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
    Box::new(NfTables::open_in(namespace).unwrap())
}

crate::behaviour_tests!(super::open);

#[test]
fn clients_stick_while_the_table_is_replaced_by_a_larger_one() {
    for family in Family::ALL {
        let bench = &mut Bench::new(open, family);
        let mut port = bench.web(&[(1, 1), (1, 2), (2, 1), (2, 2)]);
        port.affinity = Some(Duration::from_secs(600));
        bench.all("web", [port]);
        let ask = |bench: &Bench| {
            let clients = [bench.pod(1, 1), bench.pod(1, 2), bench.lab.node(1)];
            clients.map(|client| client.ask(Protocol::Tcp, bench.cluster_ip(1, 80)).unwrap().server)
        };
        let before = ask(bench);
        // More frontends than a small table holds.
        let other = |number: u16| {
            let mut port = bench.port(Protocol::Udp, 2, None, &[(1, 1)]);
            port.name = number.to_string().into();
            port.frontends[0].frontend.port = number;
            port
        };
        let many = (1..=9000).map(other).collect::<Vec<_>>();
        let applied = bench.change("many", many);
        assert!(applied.operations > 4 * 9000, "{applied:?}");
        assert_eq!(ask(bench), before);
        bench.delete("many");
        assert_eq!(ask(bench), before);
    }
}

#[test]
fn a_preview_says_what_an_apply_would_do_and_does_nothing() {
    let namespace = Namespace::create().unwrap();
    let mut plane = NfTables::open_in(&namespace).unwrap();
    let mut plan = Plan::default();
    plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap()];
    let whole = plane.preview(&plan).unwrap();
    assert!(whole.contains("ip stead"), "{whole}");
    assert_eq!(plane.preview(&plan).unwrap(), whole, "nothing was done");
    plane.apply(&plan, Scope::All).unwrap();
    assert_eq!(NfTables::open_in(&namespace).unwrap().preview(&plan).unwrap(), "");
    let port = ServicePortPlan {
        protocol: Protocol::Tcp,
        frontends: vec![FrontendRule {
            frontend: Frontend { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 },
            kind: FrontendKind::ClusterIp,
        }],
        ..ServicePortPlan::default()
    };
    plan.services.insert(ObjectKey::new("default", "web"), ServicePlan { ports: vec![port] });
    let change = plane.preview(&plan).unwrap();
    assert!(change.contains("10.96.0.1") && change.len() < whole.len(), "{change}");
}

#[test]
fn a_large_new_table_comes_in_parts_and_is_whole() {
    let port = |number: u16| ServicePortPlan {
        protocol: Protocol::Tcp,
        frontends: vec![FrontendRule {
            frontend: Frontend { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: number },
            kind: FrontendKind::ClusterIp,
        }],
        backends: (1..=5).map(|host| backend([10, 244, (number >> 8) as u8, host], number)).collect(),
        ..ServicePortPlan::default()
    };
    let service =
        |number: u16| (ObjectKey::new("a", format!("service-{number}")), ServicePlan { ports: vec![port(number)] });
    let mut plan = Plan { services: (1..=4_000).map(service).collect(), ..Plan::default() };
    plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()];
    let is_whole = |namespace: &Namespace| NfTables::open_in(namespace).unwrap().preview(&plan).unwrap().is_empty();

    let namespace = Namespace::create().unwrap();
    let mut nft = Nftables::open_in(&namespace).unwrap();
    let before = nft.generation().unwrap();
    let applied = NfTables::open_in(&namespace).unwrap().apply(&plan, Scope::All).unwrap();
    assert!(applied.operations > 4_000 * 12, "{applied:?}");
    assert!(nft.generation().unwrap() > before + 2);
    assert!(is_whole(&namespace));

    // Whoever was interrupted left a table that lacks sets.
    let namespace = Namespace::create().unwrap();
    let name = Name { family: Family::V4, table: "stead" };
    let begun = Change::AddTable(name, Table { comment: "Services by Stead, layout 2".into() });
    Nftables::open_in(&namespace).unwrap().commit(&Transaction { changes: vec![begun] }, None).unwrap();
    NfTables::open_in(&namespace).unwrap().apply(&plan, Scope::All).unwrap();
    assert!(is_whole(&namespace));
}

#[test]
fn what_is_large_is_adopted_and_what_somebody_added_to_it_is_found() {
    /// Slots and endpoints of the one port.
    const BACKENDS: u32 = 51_000;
    let port = |number: u16| ServicePortPlan {
        name: number.to_string().into(),
        protocol: Protocol::Tcp,
        frontends: vec![FrontendRule {
            frontend: Frontend { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: number },
            kind: FrontendKind::ClusterIp,
        }],
        backends: (0..BACKENDS).map(|host| backend((0x0af4_0000 + host).to_be_bytes(), number)).collect(),
        ..ServicePortPlan::default()
    };
    let services = (1..=3).map(|number| {
        let part = ServicePlan { ports: vec![port(number)] };
        (ObjectKey::new("a", number.to_string()), part)
    });
    let plan = Plan { services: services.collect(), ..Plan::default() };
    let namespace = Namespace::create().unwrap();
    NfTables::open_in(&namespace).unwrap().apply(&plan, Scope::All).unwrap();
    let mut nft = Nftables::open_in(&namespace).unwrap();
    let before = nft.generation().unwrap();
    let applied = NfTables::open_in(&namespace).unwrap().apply(&plan, Scope::All).unwrap();
    assert_eq!((applied.operations, nft.generation().unwrap()), (0, before));

    // No slot has that endpoint.
    let line = "add element ip stead backends { cfff:1 : 10.0.0.1 . 80 }";
    let added = namespace.run(|| std::process::Command::new("nft").arg(line).status()).unwrap().unwrap();
    assert!(added.success());
    let operations = || NfTables::open_in(&namespace).unwrap().apply(&plan, Scope::All).unwrap().operations;
    assert!(operations() > 0);
    assert_eq!(operations(), 0);
}

fn backend(address: [u8; 4], port: u16) -> Backend {
    Backend { address: SocketAddr::new(address.into(), port), local: false, lists: Lists::Cluster }
}
