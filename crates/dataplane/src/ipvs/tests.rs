//! What is wanted is the fewest words that lead there, and nothing is left of what was.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use stead_model::{Frontend, Protocol};
use stead_plan::{
    Algorithm, Backend, FrontendKind, FrontendRule, Lists, ServicePlan, ServicePortPlan, Settings, TrafficPolicy,
};
use stead_sys::ipvs::{Change, Name};

use super::{
    element::{Element, SetId},
    *,
};

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn frontend(text: &str) -> Frontend {
    Frontend { address: socket(text).ip(), protocol: Protocol::Tcp, port: socket(text).port() }
}

fn port(frontends: &[(&str, FrontendKind)], backends: &[&str]) -> ServicePortPlan {
    let rule = |(text, kind): &(&str, FrontendKind)| FrontendRule { frontend: frontend(text), kind: *kind };
    let backend = |text: &&str| Backend { address: socket(text), local: false, lists: Lists::Cluster };
    ServicePortPlan {
        frontends: frontends.iter().map(rule).collect(),
        backends: backends.iter().map(backend).collect(),
        ..ServicePortPlan::default()
    }
}

const VIRTUAL: (&str, FrontendKind) = ("10.96.0.1:80", FrontendKind::ClusterIp);
const BALANCER: (&str, FrontendKind) = ("198.51.100.1:80", FrontendKind::LoadBalancer);

fn plan(ports: impl Into<Vec<ServicePortPlan>>) -> Plan {
    let settings = Settings { service_ranges: vec!["10.96.0.0/16".parse().unwrap()], ..Settings::default() };
    let service = ServicePlan { ports: ports.into() };
    Plan { settings, services: [(ObjectKey::new("default", "web"), service)].into() }
}

/// A kernel that does as it is told.
#[derive(Default)]
struct Told {
    state: State,
}

impl Told {
    fn apply(&mut self, plan: &Plan) -> Vec<String> {
        let (touched, ..) = self.state.step(plan, Scope::All, &Options::default());
        lines(&self.state.standing.approach(&self.state.program, &touched))
    }

    fn leave(&mut self) -> Vec<String> {
        lines(&self.state.standing.leave(&self.state.program))
    }
}

fn lines(stride: &Stride) -> Vec<String> {
    let element = |verb: &str, element: &Element| format!("{verb} {element:?}");
    let removed = stride.remove.iter().map(|each| element("remove", each));
    let added = stride.add.iter().map(|each| element("add", each));
    let held = stride.hold.iter().map(|address| format!("hold {address}"));
    let released = stride.release.iter().map(|address| format!("release {address}"));
    removed.chain(added).chain(held).chain(stride.servers.iter().map(Change::to_string)).chain(released).collect()
}

#[test]
fn a_backend_comes_before_another_goes_and_goes_in_two_strides() {
    let mut told = Told::default();
    told.apply(&plan([port(&[VIRTUAL], &["10.244.1.2:8080"])]));
    assert_eq!(told.leave(), [] as [&str; 0]);
    let next = plan([port(&[VIRTUAL], &["10.244.1.3:8080"])]);
    let expect = ["-a -t 10.96.0.1:80 -r 10.244.1.3:8080 -m -w 1", "-e -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 0"];
    assert_eq!(told.apply(&next), expect);
    assert_eq!(told.leave(), ["-d -t 10.96.0.1:80 -r 10.244.1.2:8080"]);
    assert_eq!(told.apply(&next), [] as [&str; 0]);
    assert_eq!(told.leave(), [] as [&str; 0]);
}

#[test]
fn a_service_that_goes_is_refused_until_its_connections_end() {
    let mut told = Told::default();
    let with = plan([port(&[VIRTUAL], &["10.244.1.2:8080"])]);
    let first = told.apply(&with);
    let expect = ["hold 10.96.0.1", "-A -t 10.96.0.1:80 -s rr", "-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 1"];
    assert_eq!(first[1..], expect, "{first:?}");
    let without = Plan { services: BTreeMap::new(), ..with.clone() };
    let refused = told.apply(&without);
    assert!(refused.len() == 1 && refused[0].starts_with("add Refused"), "{refused:?}");
    // Back before it went: nothing but the refusal is undone.
    let back = told.apply(&with);
    assert!(back.len() == 1 && back[0].starts_with("remove Refused"), "{back:?}");
    told.apply(&without);
    let left = told.leave();
    assert_eq!(left[2..], ["-D -t 10.96.0.1:80", "release 10.96.0.1"], "{left:?}");
    assert_eq!(told.state.standing, Standing::default());
}

#[test]
fn whoever_is_inside_keeps_the_cluster_s_list_by_a_mark_that_stays() {
    let mut told = Told::default();
    let mut both = port(&[VIRTUAL, BALANCER], &["10.244.1.2:8080"]);
    told.apply(&plan([both.clone()]));
    let mark = |told: &Told| {
        told.state.program.servers.keys().find_map(|name| match name {
            Name::Marked(_, mark) => Some(*mark),
            Name::At(_) => None,
        })
    };
    let first = mark(&told).unwrap();
    assert!(marks::is_ours(first));
    both.external_policy = TrafficPolicy::Local;
    let changed = told.apply(&plan([both.clone()]));
    assert!(changed.iter().all(|line| !line.contains("-f ")), "{changed:?}");
    assert_eq!(mark(&told), Some(first));
    let inside = Element::Inside(frontend(BALANCER.0), first);
    assert!(told.state.standing.elements.contains(&inside));
    assert!(told.state.standing.elements.contains(&Element::Dropped(frontend(BALANCER.0))));

    // A new process finds it by what stands.
    let mut next = Told::default();
    next.state.standing.elements = [Element::Inside(frontend(BALANCER.0), first + 5)].into();
    next.apply(&plan([both]));
    assert_eq!(mark(&next), Some(first + 5));
}

#[test]
fn schedulers_follow_algorithms_weights_and_affinity() {
    let check = |change: &dyn Fn(&mut ServicePortPlan), expect: &str| {
        let mut port = port(&[VIRTUAL], &["10.244.1.2:8080", "10.244.1.3:8080"]);
        change(&mut port);
        let mut told = Told::default();
        let lines = told.apply(&plan([port]));
        let server = lines.iter().find_map(|line| line.strip_prefix("-A -t 10.96.0.1:80 "));
        assert_eq!(server, Some(expect));
    };
    let weights = || [("10.244.1.2".parse::<IpAddr>().unwrap().into(), 3)].into_iter().collect();
    check(&|_| {}, "-s rr");
    check(&|port| port.weights = weights(), "-s wrr");
    check(&|port| port.algorithm = Algorithm::RoundRobin, "-s rr");
    check(&|port| port.algorithm = Algorithm::SourceHash, "-s mh");
    check(&|port| port.algorithm = Algorithm::Maglev, "-s mh -b flag-2");
    check(&|port| port.affinity = Some(std::time::Duration::from_secs(60)), "-s rr -p 60");
}

#[test]
fn what_is_written_into_sets_is_read_from_them() {
    let (v4, v6): (IpAddr, IpAddr) = ("10.96.0.1".parse().unwrap(), "fd56:96::1".parse().unwrap());
    for address in [v4, v6] {
        let frontend = Frontend { address, protocol: Protocol::Udp, port: 53 };
        let elements = [
            Element::Frontend(frontend),
            Element::Refused(frontend),
            Element::Dropped(frontend),
            Element::Ranged(frontend),
            Element::Range(frontend, address, address),
            Element::Inside(frontend, 0x5e00_0001),
            Element::Masquerade(frontend),
            Element::MasqueradeNode(frontend),
            Element::Hairpin(address),
            Element::Outlying(address),
            Element::Lent(address),
        ];
        assert_eq!(elements.iter().map(Element::set).collect::<BTreeSet<_>>(), SetId::ALL.into());
        for element in elements {
            let (key, data) = (element.key(), element.data());
            let read = Element::read(element.set(), element.family(), key.as_bytes(), data.as_bytes());
            assert_eq!(read, Some(element));
        }
    }
}
