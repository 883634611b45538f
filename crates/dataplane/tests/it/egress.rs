//! Pods' traffic out of the cluster, in a lab whose `far` host knows no way back to pods.

use std::net::SocketAddr;

use stead_dataplane::egress::{EgressConfig, ensure_in};
use stead_model::{Family, Protocol};
use stead_testbed::{Calls, FABRIC_RANGES, Lab, Layout, POD_RANGES, SERVICE_RANGES};

#[test]
fn pods_reach_the_world_as_their_node_and_each_other_as_themselves() {
    const PORT: u16 = 7000;
    let lab = Lab::build(Layout { nodes: 2, pods_per_node: 1 }).unwrap();
    let inside_ranges = FABRIC_RANGES.into_iter().chain(SERVICE_RANGES).collect();
    let config = EgressConfig { pod_ranges: POD_RANGES.into(), inside_ranges };
    for node in [1, 2] {
        ensure_in(lab.node(node).namespace(), &config).unwrap();
    }
    let (pod, other) = (lab.pod(1, 1), lab.pod(2, 1));
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _servers = [lab.far(), other].map(|host| host.serve(protocol, PORT).unwrap());
        for family in Family::ALL {
            let sources = |to| pod.call(protocol, SocketAddr::new(to, PORT), Calls::of(5)).sources;
            assert_eq!(sources(lab.far().address(family)), [lab.node(1).address(family)].into());
            assert_eq!(sources(other.address(family)), [pod.address(family)].into());
        }
    }
}
