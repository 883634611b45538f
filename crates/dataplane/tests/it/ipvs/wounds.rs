//! What users of IPVS suffered from, and what this plane promises instead.

use std::{net::SocketAddr, time::Duration};

use stead_dataplane::{DataPlane, IpvsPlane, Scope, Verified, ipvs::Options};
use stead_model::{Family, Frontend, Protocol};
use stead_plan::{Algorithm, FrontendKind, FrontendRule, ServicePortPlan, TrafficPolicy};
use stead_sys::{
    ipvs::{Change, Destination, Ipvs, Name, SchedulerFlags, Server},
    link::Route,
    nft::{self, Nftables, Transaction},
};
use stead_testbed::{Calls, Failure};

use super::open;
use crate::bench::Bench;

fn bench(family: Family) -> Bench {
    Bench::new(open, family)
}

fn ipvs(bench: &Bench) -> Ipvs {
    Ipvs::open_in(bench.lab.node(1).namespace()).unwrap()
}

fn at(to: SocketAddr) -> Name {
    Name::At(Frontend { address: to.ip(), protocol: Protocol::Tcp, port: to.port() })
}

fn destinations(bench: &Bench, to: SocketAddr) -> Vec<Destination> {
    ipvs(bench).destinations(at(to)).unwrap()
}

/// As port 80 of an address that a load balancer gave.
fn balanced(bench: &Bench, to: SocketAddr, pods: &[(u8, u8)]) -> ServicePortPlan {
    let frontend = Frontend { address: to.ip(), protocol: Protocol::Tcp, port: to.port() };
    let mut port = bench.web(pods);
    port.frontends.push(FrontendRule { frontend, kind: FrontendKind::LoadBalancer });
    port.frontends.sort_unstable();
    port
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn a_port_that_is_used_again_leads_to_who_is_there() {
    const PORT: u16 = 23_456;
    let bench = &mut bench(Family::V4);
    let to = bench.cluster_ip(1, 80);
    let ask = |bench: &Bench| {
        let mut flow = bench.pod(1, 1).open_from(Protocol::Tcp, PORT, to)?;
        flow.ask().map(|answer| answer.server)
    };
    bench.all("web", [bench.web(&[(2, 1)])]);
    assert_eq!(ask(bench).unwrap(), "pod-2-1");
    // One that is about to end, and then one that has.
    bench.change("web", [bench.web_draining(&[(1, 2)], &[(2, 1)])]);
    assert_eq!(ask(bench).unwrap(), "pod-1-2");
    bench.change("web", [bench.web(&[(2, 2)])]);
    assert_eq!(ask(bench).unwrap(), "pod-2-2");
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn a_restart_leaves_no_weight_of_0() {
    let bench = &mut bench(Family::V4);
    let to = bench.cluster_ip(1, 80);
    bench.all("web", [bench.web(&[(1, 1), (2, 1)])]);
    // Killed between an apply and its cleaning.
    let key = stead_model::ObjectKey::new("default", "web");
    let port = bench.web(&[(1, 1)]);
    bench.plan.services.insert(key.clone(), stead_plan::ServicePlan { ports: vec![port] });
    bench.plane.apply(&bench.plan, Scope::Services(&[key].into())).unwrap();
    assert_eq!(destinations(bench, to).iter().filter(|each| each.weight == 0).count(), 1);
    bench.restart();
    bench.apply(Scope::All);
    let left: Vec<_> = destinations(bench, to).into_iter().map(|each| (each.address, each.weight)).collect();
    assert_eq!(left, [(bench.backend(1, 1).address, 1)]);
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn an_address_of_another_is_not_taken() {
    let bench = &mut bench(Family::V4);
    let to: SocketAddr = "192.168.56.200:80".parse().unwrap();
    bench.all("web", [balanced(bench, to, &[(2, 1)])]);
    let outside = bench.lab.outside();
    let asked = outside.call(Protocol::Tcp, to, Calls { timeout: Duration::from_millis(400), ..Calls::of(2) });
    assert_eq!(asked.answered(), 0, "nobody on this network says that the address is its own: {asked}");
    // Who is led here by a route is served, and learns nothing from that.
    let via = Some(bench.lab.node(1).address(Family::V4));
    let mut links = outside.links().unwrap();
    let route = Route { to: to.ip().into(), via, link: None };
    links.replace_route(route).unwrap();
    assert_eq!(outside.ask(Protocol::Tcp, to).unwrap().server, "pod-2-1");
    links.delete_route(route).unwrap();
    let asked = outside.call(Protocol::Tcp, to, Calls { timeout: Duration::from_millis(400), ..Calls::of(2) });
    assert_eq!(asked.answered(), 0, "{asked}");
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn virtual_servers_of_others_stay_as_they_are() {
    let bench = &mut bench(Family::V4);
    let server = Server { scheduler: "wlc".into(), flags: SchedulerFlags::default(), persistence: None };
    let others = [at(bench.node_port(9999)), Name::Marked(Family::V4, 7), at("203.0.113.1:80".parse().unwrap())];
    let mut foreign = ipvs(bench);
    for name in others {
        let to = bench.backend(2, 2).address;
        foreign.commit(&[Change::AddServer(name, server.clone()), Change::AddDestination(name, to, 5)]).unwrap();
    }
    let read = |foreign: &mut Ipvs| {
        let mut found = foreign.servers().unwrap();
        found.retain(|(name, _)| others.contains(name));
        found.sort_by_key(|(name, _)| *name);
        let destinations = others.map(|name| foreign.destinations(name).unwrap());
        (found, destinations)
    };
    let before = read(&mut foreign);
    assert_eq!(before.0.len(), 3);
    let before_destinations = before.1.clone();
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1)])]);
    bench.delete("web");
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1)])]);
    bench.restart();
    bench.apply(Scope::All);
    bench.plane.verify().unwrap();
    bench.plane.remove().unwrap();
    assert_eq!(read(&mut foreign), (before.0, before_destinations));
    assert_eq!(foreign.servers().unwrap().len(), 3, "and nothing of ours is left");
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn nobody_sticks_to_the_dead() {
    let bench = &mut bench(Family::V4);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let sticky = |bench: &Bench, pods: &[(u8, u8)], draining: &[(u8, u8)]| {
            let mut port = bench.port(protocol, 1, None, pods);
            port.draining = draining.iter().map(|(node, pod)| bench.backend(*node, *pod)).collect();
            port.affinity = Some(Duration::from_secs(10_800));
            port
        };
        let to = bench.cluster_ip(1, 80);
        let mut left = vec![(1, 2), (2, 1), (2, 2)];
        bench.all("web", [sticky(bench, &left, &[])]);
        for is_draining in [true, false] {
            let tally = bench.pod(1, 1).call(protocol, to, Calls::of(12));
            assert_eq!((tally.failed(), tally.servers().len()), (0, 1), "{tally}");
            let dead = left.iter().position(|(node, pod)| bench.pod(*node, *pod).name() == tally.servers()[0]).unwrap();
            let dead = left.remove(dead);
            let draining: &[_] = if is_draining { &[dead] } else { &[] };
            bench.change("web", [sticky(bench, &left, draining)]);
            let tally = bench.pod(1, 1).call(protocol, to, Calls::of(12));
            assert_eq!((tally.failed(), tally.servers().len()), (0, 1), "{protocol}: {tally}");
            assert_ne!(tally.servers()[0], bench.pod(dead.0, dead.1).name());
        }
    }
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn no_service_of_the_node_answers_at_a_held_address() {
    for family in Family::ALL {
        let bench = &mut bench(family);
        let balancer: SocketAddr = match family {
            Family::V4 => "198.51.100.1:80",
            Family::V6 => "[2001:db8::1]:80",
        }
        .parse()
        .unwrap();
        bench.all("web", [balanced(bench, balancer, &[(2, 1)])]);
        let own = bench.lab.node(1).serve(Protocol::Tcp, 9090).unwrap();
        let clients = [bench.pod(1, 1), bench.lab.node(1)];
        for client in clients {
            for held in [bench.cluster_ip(1, 9090), SocketAddr::new(balancer.ip(), 9090)] {
                let asked = client.call(Protocol::Tcp, held, Calls::of(2));
                assert!(asked.all_failed(Failure::Refused), "{} to {held}: {asked}", client.name());
            }
            assert_eq!(client.ask(Protocol::Tcp, bench.node_port(9090)).unwrap().server, "node1");
        }
        drop(own);
    }
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn policy_local_without_local_endpoints_sends_nobody_elsewhere() {
    let bench = &mut bench(Family::V4);
    let mut port = bench.port(Protocol::Tcp, 1, Some(30080), &[(2, 1)]);
    port.external_policy = TrafficPolicy::Local;
    bench.all("web", [port]);
    assert_eq!(destinations(bench, bench.node_port(30080)), []);
    let calls = Calls { timeout: Duration::from_millis(400), ..Calls::of(2) };
    let asked = bench.lab.outside().call(Protocol::Tcp, bench.node_port(30080), calls);
    assert!(asked.all_failed(Failure::TimedOut), "{asked}");
    for inside in [bench.pod(1, 1), bench.lab.node(1)] {
        assert_eq!(inside.ask(Protocol::Tcp, bench.node_port(30080)).unwrap().server, "pod-2-1");
    }
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn what_others_change_is_put_right() {
    let bench = &mut bench(Family::V4);
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1), (2, 1)])]);
    let clear = |bench: &Bench| {
        let mut ipvs = ipvs(bench);
        let all = ipvs.servers().unwrap().into_iter().map(|(name, _)| Change::DeleteServer(name));
        ipvs.commit(&all.collect::<Vec<_>>()).unwrap();
    };
    let release = |bench: &Bench| {
        let mut links = bench.lab.node(1).links().unwrap();
        let link = links.index("stead-ipvs0").unwrap();
        links.delete_address(link, bench.virtual_ip(1).into()).unwrap();
    };
    let unload = |bench: &Bench| {
        let mut links = bench.lab.node(1).links().unwrap();
        let link = links.index("stead-ipvs0").unwrap();
        links.delete(link).unwrap();
    };
    let forget = |bench: &Bench| {
        let mut nft = Nftables::open_in(bench.lab.node(1).namespace()).unwrap();
        let name = nft::Name { family: Family::V4, table: "stead-ipvs" };
        nft.commit(&Transaction { changes: vec![nft::Change::DeleteTable(name)] }, None).unwrap();
    };
    let weigh = |bench: &Bench| {
        let (name, to) = (at(bench.cluster_ip(1, 80)), bench.backend(1, 1).address);
        ipvs(bench).commit(&[Change::SetDestination(name, to, 0)]).unwrap();
    };
    let unset = |bench: &Bench| bench.lab.node(1).set_sysctl("ipv4.vs.conntrack", "0").unwrap();
    type Meddling<'m> = (&'static str, &'m dyn Fn(&Bench));
    let meddlings: [Meddling<'_>; 6] = [
        ("ipvsadm -C", &clear),
        ("an address", &release),
        ("the link", &unload),
        ("the table", &forget),
        ("a weight", &weigh),
        ("a variable", &unset),
    ];
    for (what, meddle) in meddlings {
        meddle(bench);
        assert!(matches!(bench.plane.verify().unwrap(), Verified::Healed { operations } if operations > 0), "{what}");
        assert_eq!(bench.plane.verify().unwrap(), Verified::Intact, "{what}");
        bench.plane.cleaner().clean().unwrap();
        for (client, to) in [(bench.pod(1, 2), bench.cluster_ip(1, 80)), (bench.lab.outside(), bench.node_port(30080))]
        {
            let tally = client.call(Protocol::Tcp, to, Calls::of(8));
            assert_eq!((tally.failed(), tally.servers()), (0, vec!["pod-1-1", "pod-2-1"]), "{what}: {tally}");
        }
    }
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn hashes_keep_their_promise() {
    let bench = &mut bench(Family::V4);
    let mut port = bench.web(&crate::behaviour::ALL_PODS);
    port.algorithm = Algorithm::SourceHash;
    bench.all("web", [port.clone()]);
    bench.route_to_virtual_ip(bench.lab.outside(), 1);
    for client in [bench.pod(1, 1), bench.lab.outside()] {
        let tally = client.call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(20));
        assert_eq!((tally.failed(), tally.servers().len()), (0, 1), "{}: {tally}", client.name());
    }
    // A flow has its backend on every node.
    let mut port = bench.port(Protocol::Udp, 1, None, &crate::behaviour::ALL_PODS);
    port.algorithm = Algorithm::Maglev;
    bench.all("web", [port]);
    bench.plane_on(2).apply(&bench.plan, Scope::All).unwrap();
    let client = bench.lab.outside();
    let asked = [1, 2].map(|node| {
        bench.route_to_virtual_ip_by(client, 1, node);
        let ask = |port| client.open_from(Protocol::Udp, port, bench.cluster_ip(1, 80)).unwrap().ask().unwrap().server;
        (20_000..20_030).map(ask).collect::<Vec<_>>()
    });
    assert_eq!(asked[0], asked[1]);
    assert!(asked[0].iter().collect::<std::collections::BTreeSet<_>>().len() > 2, "{asked:?}");
}

#[test]
#[ignore = "needs IPVS: `guest` boots a kernel that has it"]
fn every_scheduler_of_the_kernel_serves() {
    let bench = &mut bench(Family::V4);
    let found = stead_dataplane::ipvs::available();
    assert_eq!(found.problem(), None);
    assert!(found.schedulers.len() > 11, "{found:?}");
    for scheduler in found.schedulers {
        let options = Options { scheduler: scheduler.into(), ..Options::default() };
        bench.plane = Box::new(IpvsPlane::open_in(bench.lab.node(1).namespace(), options).unwrap());
        let mut port = bench.web(&[(1, 2), (2, 1)]);
        // To some it is the number of connections that one may have.
        port.weights = port.backends.iter().map(|backend| (backend.address.ip().into(), 100)).collect();
        bench.all("web", [port]);
        let tally = bench.pod(1, 1).call(Protocol::Tcp, bench.cluster_ip(1, 80), Calls::of(6));
        assert_eq!(tally.failed(), 0, "{scheduler}: {tally}");
    }
    let options = Options { scheduler: "no-such".into(), ..Options::default() };
    let mut plane = IpvsPlane::open_in(bench.lab.node(1).namespace(), options).unwrap();
    let refused = plane.apply(&bench.plan, Scope::All).unwrap_err();
    let told = std::error::Error::source(&refused).unwrap().to_string();
    assert!(told.starts_with("IPVS refused `-E -t 10.96.0.1:80 -s no-such`"), "{told}");
}
