//! Traffic of Services as the kernel counts it, compared with what clients did.

use std::{collections::BTreeSet, net::SocketAddr};

use stead_dataplane::{Count, NfTables, Scope, Traffic};
use stead_model::{Family, ObjectKey, Protocol};
use stead_sys::nft::{Change, Name, Nftables, Transaction};
use stead_testbed::Calls;

use crate::bench::{Bench, POD_PORT};

/// An IP header and one of UDP, without what is in them.
const LEAST: u64 = 28;

fn count(traffic: &mut Traffic, service: &str) -> Option<Count> {
    traffic.read().unwrap().get(&ObjectKey::new("default", service)).copied()
}

#[test]
fn connections_and_bytes_are_counted_by_service() {
    for family in Family::ALL {
        let bench = &mut Bench::new(|namespace| Box::new(NfTables::open_in(namespace).unwrap()), family);
        bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1), (2, 1)])]);
        bench.change("dns", [bench.port(Protocol::Udp, 2, None, &[(1, 1)])]);
        bench.change("none", [bench.port(Protocol::Tcp, 3, None, &[])]);
        let node = bench.lab.node(1);
        let mut traffic = Traffic::open_in(node.namespace()).unwrap();
        traffic.apply(&bench.plan, Scope::All).unwrap();
        assert_eq!(count(&mut traffic, "web"), Some(Count::default()));

        let calls = [
            (bench.pod(1, 2), bench.cluster_ip(1, 80), 20),
            (node, bench.cluster_ip(1, 80), 5),
            (bench.lab.outside(), bench.node_port(30080), 10),
        ];
        for (client, to, connections) in calls {
            assert_eq!(client.call(Protocol::Tcp, to, Calls::of(connections)).failed(), 0, "{to}");
        }
        let direct = SocketAddr::new(bench.pod(2, 1).address(family), POD_PORT);
        assert_eq!(bench.pod(1, 2).call(Protocol::Tcp, direct, Calls::of(7)).failed(), 0);
        let web = count(&mut traffic, "web").unwrap();
        assert_eq!(web.connections, 35);
        // At least six packets each way and connection.
        assert!(web.received > 35 * 5 * LEAST && web.sent > 35 * 5 * LEAST, "{web:?}");

        let mut flow = bench.pod(1, 2).open(Protocol::Udp, bench.cluster_ip(2, 80)).unwrap();
        flow.ask().unwrap();
        let one = count(&mut traffic, "dns").unwrap();
        assert!(one.connections == 1 && one.received > LEAST && one.sent > LEAST, "{one:?}");
        flow.ask().unwrap();
        let two = count(&mut traffic, "dns").unwrap();
        assert_eq!((two.connections, two.received), (1, 2 * one.received), "{one:?}");
        assert_eq!(count(&mut traffic, "web"), Some(web), "others are not counted again");

        bench.pod(1, 2).call(Protocol::Tcp, bench.cluster_ip(3, 80), Calls::of(3));
        let refused = count(&mut traffic, "none").unwrap();
        assert_eq!(refused, Count { connections: 3, received: 0, sent: 0 });
    }
}

#[test]
fn counts_go_on_through_changes_and_end_with_their_service() {
    let bench = &mut Bench::new(|namespace| Box::new(NfTables::open_in(namespace).unwrap()), Family::V4);
    bench.all("web", [bench.web(&[(1, 1)])]);
    let namespace = bench.lab.node(1).namespace();
    let mut tables = Nftables::open_in(namespace).unwrap();
    let mut traffic = Traffic::open_in(namespace).unwrap();
    traffic.apply(&bench.plan, Scope::All).unwrap();
    let ask = |bench: &Bench| {
        bench.pod(1, 2).call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(4));
    };
    ask(bench);
    assert_eq!(count(&mut traffic, "web").unwrap().connections, 4);

    bench.change("web", [bench.web(&[(1, 1), (2, 1)])]);
    let web = BTreeSet::from([ObjectKey::new("default", "web")]);
    let before = tables.generation().unwrap();
    traffic.apply(&bench.plan, Scope::Services(&web)).unwrap();
    assert_eq!(tables.generation().unwrap(), before, "a change of endpoints is none here");

    let remove = Change::DeleteTable(Name { family: Family::V4, table: "stead-traffic" });
    tables.commit(&Transaction { changes: vec![remove] }, None).unwrap();
    assert_eq!(count(&mut traffic, "web").unwrap().connections, 4);
    ask(bench);
    assert_eq!(count(&mut traffic, "web").unwrap().connections, 8, "the tables are there again");

    bench.delete("web");
    traffic.apply(&bench.plan, Scope::Services(&web)).unwrap();
    assert_eq!(count(&mut traffic, "web"), None);
    traffic.remove().unwrap();
    traffic.remove().unwrap();
    let left = tables.tables(Family::V4).unwrap();
    assert!(left.iter().all(|table| table.name != "stead-traffic"), "{left:?}");
}
