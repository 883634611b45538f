//! What large plans cost in each kind of iptables: operations are counted, times are printed. `STEAD_FIGURE_SERVICES` says how many Services
//! there are (few in CI, 10,000 for docs/data-planes.md).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use stead_dataplane::{Applied, Scope, Verified, iptables::programs::Variant};
use stead_model::{Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, DetectLocal, FrontendKind, FrontendRule, Lists, Plan, ServicePlan, ServicePortPlan};
use stead_sys::namespace::Namespace;

use super::open_kind;

const BACKENDS: u8 = 5;
const CHANGES: u16 = 20;

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
    (ObjectKey::new("default", format!("service-{number}")), ServicePlan { ports: vec![port] })
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    println!("  {what}: {:?}", start.elapsed());
    done
}

#[test]
fn a_change_costs_its_own_chains_and_a_restart_nothing() {
    let services = std::env::var("STEAD_FIGURE_SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for variant in Variant::ALL {
        println!("{variant}, {services} Services of {BACKENDS} endpoints");
        let namespace = Namespace::create().unwrap();
        let mut plan =
            Plan { services: (0..services).map(|number| service(number, BACKENDS)).collect(), ..Plan::default() };
        plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap()];
        plan.settings.detect_local = DetectLocal::Ranges(vec!["10.128.0.0/9".parse().unwrap()]);
        let mut plane = open_kind(variant, &namespace);
        let Applied { operations, bytes, .. } = timed("cold start", || plane.apply(&plan, Scope::All).unwrap());
        println!("  {operations} operations, {bytes} bytes");
        // Each Service: a chain, the way to it, its mark and choices; each endpoint: a chain and two rules.
        let each = 1 + 1 + 1 + usize::from(BACKENDS) + 3 * usize::from(BACKENDS);
        assert!(
            (each * usize::from(services)..each * usize::from(services) + 100).contains(&operations),
            "{operations}"
        );

        let mut times = Vec::new();
        for number in 0..CHANGES {
            let (key, changed) = service(number * (services / CHANGES), BACKENDS - 1);
            plan.services.insert(key.clone(), changed);
            let scope = [key].into();
            let start = Instant::now();
            let applied = plane.apply(&plan, Scope::Services(&scope)).unwrap();
            times.push(start.elapsed());
            assert_eq!(applied.operations, 1 + 1 + usize::from(BACKENDS - 1) + 1);
        }
        times.sort_unstable();
        println!("  one endpoint leaves: median {:?}, slowest {:?}", times[times.len() / 2], times[times.len() - 1]);
        // A Service that comes and goes: a rule in a shared chain.
        let (key, one_more) = service(services, BACKENDS);
        let scope = [key.clone()].into();
        plan.services.insert(key.clone(), one_more);
        timed("a Service comes", || plane.apply(&plan, Scope::Services(&scope)).unwrap());
        plan.services.remove(&key);
        timed("and goes", || plane.apply(&plan, Scope::Services(&scope)).unwrap());
        assert_eq!(timed("a look at all of it", || plane.verify().unwrap()), Verified::Intact);
        assert_eq!(timed("and one more", || plane.verify().unwrap()), Verified::Intact);
        let mut next = open_kind(variant, &namespace);
        let applied = timed("a restart", || next.apply(&plan, Scope::All).unwrap());
        assert_eq!(applied.operations, 0);
        timed("removal", || next.remove().unwrap());
        assert!(times[0] < Duration::from_secs(5));
    }
}
