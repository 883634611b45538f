//! The nftables plane, held to the suite and to what is its own.

use std::time::Duration;

use stead_dataplane::{DataPlane, NfTables, Scope};
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{FrontendKind, FrontendRule, Plan, ServicePlan, ServicePortPlan};
use stead_sys::namespace::Namespace;

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
