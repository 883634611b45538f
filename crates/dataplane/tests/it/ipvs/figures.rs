//! What large plans cost: messages are counted, times are printed. Emulated processors are slow, so times say no more than what grows with
//! what.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use stead_dataplane::{Applied, DataPlane, IpvsPlane, Scope, Verified, ipvs::Options};
use stead_model::{Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, Lists, Plan, ServicePlan, ServicePortPlan};
use stead_sys::namespace::Namespace;

const SERVICES: u16 = 10_000;
const BACKENDS: u8 = 5;

fn service(number: u16, backends: u8) -> (ObjectKey, ServicePlan) {
    let [high, low] = number.to_be_bytes();
    let frontend = Frontend { address: [10, 96, high, low].into(), protocol: Protocol::Tcp, port: 80 };
    let backend = |host: u8| {
        let address = SocketAddr::new([10, 128 + host, high, low].into(), 8080);
        Backend { address, local: false, lists: Lists::Cluster }
    };
    let port = ServicePortPlan {
        protocol: Protocol::Tcp,
        frontends: vec![FrontendRule { frontend, kind: FrontendKind::ClusterIp }],
        backends: (1..=backends).map(backend).collect(),
        ..ServicePortPlan::default()
    };
    (ObjectKey::new("a", format!("service-{number}")), ServicePlan { ports: vec![port] })
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    let took = start.elapsed();
    println!("{what}: {took:?} (emulated)");
    (done, took)
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn ten_thousand_services_take_a_message_for_each_server_destination_and_address() {
    let namespace = Namespace::create().unwrap();
    let open = || IpvsPlane::open_in(&namespace, Options::default()).unwrap();
    let mut plan =
        Plan { services: (0..SERVICES).map(|number| service(number, BACKENDS)).collect(), ..Plan::default() };
    plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap()];
    let mut plane = open();
    let (Applied { operations, bytes, .. }, _) = timed("cold start", || plane.apply(&plan, Scope::All).unwrap());
    println!("{operations} operations, {bytes} bytes of IPVS and nf_tables");
    let services = usize::from(SERVICES);
    // A server, its destinations, its address and its element; then chains, rules, sets and variables.
    let each = 3 + usize::from(BACKENDS);
    assert!((each * services..each * services + 100).contains(&operations), "{operations}");

    let (key, changed) = service(7, BACKENDS - 1);
    plan.services.insert(key.clone(), changed);
    let scope = [key].into();
    let (applied, change) = timed("one backend leaves", || plane.apply(&plan, Scope::Services(&scope)).unwrap());
    assert_eq!(applied.operations, 1);
    timed("its cleaning", || plane.cleaner().clean().unwrap());
    let (verified, verification) = timed("a look at all of it", || plane.verify().unwrap());
    assert_eq!(verified, Verified::Intact);
    let mut next = open();
    let (applied, _) = timed("a restart", || next.apply(&plan, Scope::All).unwrap());
    assert_eq!(applied.operations, 0);
    assert!(change < verification / 20, "one change does not read all");
    timed("removal", || next.remove().unwrap());
}
