//! Who reaches whom.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use stead_model::{Family, Protocol};
use stead_sys::link::Route;
use stead_testbed::{Failure, Host, Lab, Layout, POD_RANGES, SERVICE_RANGES, node_address};

const PORT: u16 = 8080;

fn ask(from: &Host, protocol: Protocol, to: IpAddr) -> Result<String, Failure> {
    from.ask(protocol, SocketAddr::new(to, PORT)).map(|answer| answer.server)
}

#[test]
fn pods_and_nodes_reach_each_other() {
    let lab = Lab::build(Layout::default()).unwrap();
    let hosts: Vec<_> = lab.pods().chain([lab.node(1), lab.node(2)]).collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let servers: Vec<_> = hosts.iter().map(|host| host.serve(protocol, PORT).unwrap()).collect();
        for family in Family::ALL {
            for from in &hosts {
                for to in &hosts {
                    let answer = from.ask(protocol, SocketAddr::new(to.address(family), PORT));
                    let answer = answer.unwrap_or_else(|failure| {
                        panic!("{} to {} by {protocol} over {family}: {failure}", from.name(), to.name())
                    });
                    assert_eq!(answer.server, to.name());
                    if lab.pods().any(|pod| pod.name() == from.name()) {
                        assert_eq!(answer.source.ip(), from.address(family), "nothing translates addresses");
                    }
                }
            }
        }
        assert!(servers.iter().all(|server| server.answered() == 2 * hosts.len() as u64));
    }
}

#[test]
fn outside_and_far_reach_nodes_and_nothing_behind_them() {
    let lab = Lab::build(Layout { nodes: 1, pods_per_node: 1 }).unwrap();
    let _servers: Vec<_> =
        [lab.node(1), lab.pod(1, 1)].iter().map(|host| host.serve(Protocol::Tcp, PORT).unwrap()).collect();
    for family in Family::ALL {
        let vip =
            SERVICE_RANGES.iter().find(|range| Family::of(range.addr()) == family).unwrap().hosts().nth(6).unwrap();
        for client in [lab.outside(), lab.far()] {
            let answer = client.ask(Protocol::Tcp, SocketAddr::new(lab.node(1).address(family), PORT)).unwrap();
            assert_eq!((answer.server.as_str(), answer.source.ip()), ("node1", client.address(family)));
            for hidden in [lab.pod(1, 1).address(family), vip] {
                assert_eq!(
                    ask(client, Protocol::Tcp, hidden),
                    Err(Failure::Unreachable),
                    "{} to {hidden}",
                    client.name()
                );
            }
        }
    }
}

#[test]
fn a_test_may_add_a_route_from_outside() {
    let lab = Lab::build(Layout { nodes: 1, pods_per_node: 1 }).unwrap();
    let _server = lab.pod(1, 1).serve(Protocol::Udp, PORT).unwrap();
    let mut links = lab.outside().links().unwrap();
    for to in POD_RANGES {
        let family = Family::of(to.addr());
        links.replace_route(Route { to, via: Some(node_address(family, 1)), link: None }).unwrap();
        assert_eq!(ask(lab.outside(), Protocol::Udp, lab.pod(1, 1).address(family)).unwrap(), "pod-1-1");
    }
}

#[test]
fn no_host_has_a_way_out() {
    let lab = Lab::build(Layout { nodes: 1, pods_per_node: 1 }).unwrap();
    for host in [lab.fabric(), lab.node(1), lab.pod(1, 1), lab.outside(), lab.far()] {
        for somewhere in ["192.0.2.1", "2001:db8::1"] {
            // A pod's node says so; the others know it themselves.
            assert_eq!(
                ask(host, Protocol::Tcp, somewhere.parse().unwrap()),
                Err(Failure::Unreachable),
                "{}",
                host.name()
            );
        }
    }
}

#[test]
fn a_virtual_ip_that_nobody_programmed_does_not_answer() {
    let lab = Lab::build(Layout { nodes: 1, pods_per_node: 1 }).unwrap();
    for host in [lab.node(1), lab.pod(1, 1)] {
        let short = stead_testbed::Calls { timeout: Duration::from_millis(100), ..stead_testbed::Calls::of(1) };
        let tally = host.call(Protocol::Tcp, "10.96.0.7:80".parse().unwrap(), short);
        assert!(tally.all_failed(Failure::TimedOut), "{tally}");
    }
}

#[test]
fn labs_stand_side_by_side() {
    let labs = [0; 2].map(|_| Lab::build(Layout { nodes: 1, pods_per_node: 1 }).unwrap());
    let address = SocketAddr::new(labs[0].pod(1, 1).address(Family::V4), PORT);
    let _server = labs[0].pod(1, 1).serve(Protocol::Tcp, PORT).unwrap();
    assert!(labs[0].node(1).ask(Protocol::Tcp, address).is_ok());
    assert_eq!(labs[1].node(1).ask(Protocol::Tcp, address), Err(Failure::Refused));
}

#[test]
fn pods_join_later() {
    let mut lab = Lab::build(Layout { nodes: 2, pods_per_node: 0 }).unwrap();
    assert_eq!(lab.add_pod(2).unwrap().name(), "pod-2-1");
    let _server = lab.pod(2, 1).serve(Protocol::Tcp, PORT).unwrap();
    assert_eq!(ask(lab.node(1), Protocol::Tcp, lab.pod(2, 1).address(Family::V6)).unwrap(), "pod-2-1");
    assert!(lab.add_pod(3).is_err());
    assert!(Lab::build(Layout { nodes: 0, pods_per_node: 0 }).is_err());
}
