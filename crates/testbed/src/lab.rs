//! The lab: which hosts there are, and how they are linked.
//!
//! ```text
//!  pod ─┐                                    ┌─ pod
//!  pod ─┴─ node1 ──┐                ┌── node2 ┴─ pod
//!                  ├─── fabric ─────┤
//!       outside ───┘   (a bridge)   └── router ─── far
//! ```
//!
//! Nodes know the way to every pod and, so that a packet to a virtual IP gets as far as their rules, have a route for the
//! service range that leads nowhere. `outside` and `far` know neither pods nor virtual IPs. No host has a way out. Pods are
//! linked to their node one by one and reach each other through it, so that its rules see all their packets.

use std::net::IpAddr;

use anyhow::Context as _;
use ipnet::IpNet;
use stead_model::Family;
use stead_sys::link::{LinkIndex, Links, Route, VethEnd};

use crate::{
    Host,
    address::{
        fabric_address, fabric_range, far_address, far_gateway, far_range, node_address, outside_address, pod_address,
        pod_gateway, pod_range, router_address, service_range,
    },
};

const BRIDGE: &str = "fabric";
/// The name of every host's first link.
const UPLINK: &str = "eth0";

/// How large a lab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// 1–9.
    pub nodes: u8,
    /// 0–100.
    pub pods_per_node: u8,
}

impl Default for Layout {
    fn default() -> Self {
        Self { nodes: 2, pods_per_node: 2 }
    }
}

#[derive(Debug)]
pub struct Lab {
    fabric: Host,
    nodes: Vec<Node>,
    outside: Host,
    _router: Host,
    far: Host,
}

#[derive(Debug)]
struct Node {
    host: Host,
    pods: Vec<Host>,
}

impl Lab {
    /// Builds a lab. Needs root. It is gone when it is dropped, or when the process ends.
    pub fn build(layout: Layout) -> anyhow::Result<Self> {
        anyhow::ensure!((1..=9).contains(&layout.nodes), "a lab has 1 to 9 nodes, not {}", layout.nodes);
        anyhow::ensure!(layout.pods_per_node <= 100, "a node has up to 100 pods, not {}", layout.pods_per_node);
        let mut fabric = Host::create("fabric")?;
        let mut links = fabric.links()?;
        let bridge = links.create_bridge(BRIDGE)?;
        links.set_up(bridge)?;
        for family in Family::ALL {
            give(&mut fabric, &mut links, bridge, fabric_address(family), fabric_range(family))?;
        }
        let mut nodes = Vec::new();
        for number in 1..=layout.nodes {
            nodes.push(Node { host: node(&fabric, number, layout.nodes)?, pods: Vec::new() });
        }
        let outside = join(&fabric, Host::create("outside")?, outside_address)?;
        let router = join(&fabric, Host::create("router")?, router_address)?;
        forward(&router)?;
        let far = far(&router)?;
        let mut lab = Self { fabric, nodes, outside, _router: router, far };
        for number in 1..=layout.nodes {
            for _ in 0..layout.pods_per_node {
                lab.add_pod(number)?;
            }
        }
        Ok(lab)
    }

    /// Node 1, 2, …
    ///
    /// # Panics
    /// Where the lab has no such node.
    pub fn node(&self, node: u8) -> &Host {
        &self.nodes[usize::from(node) - 1].host
    }

    /// Pod 1, 2, … of a node, named `pod-NODE-POD`.
    ///
    /// # Panics
    /// Where the lab has no such pod.
    pub fn pod(&self, node: u8, pod: u8) -> &Host {
        &self.nodes[usize::from(node) - 1].pods[usize::from(pod) - 1]
    }

    /// Every pod, node by node.
    pub fn pods(&self) -> impl Iterator<Item = &Host> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// The host that the fabric's bridge is in.
    pub fn fabric(&self) -> &Host {
        &self.fabric
    }

    /// A client on the fabric that is no node.
    pub fn outside(&self) -> &Host {
        &self.outside
    }

    /// A client behind a router.
    pub fn far(&self) -> &Host {
        &self.far
    }

    /// One more pod on a node.
    pub fn add_pod(&mut self, node: u8) -> anyhow::Result<&Host> {
        let index = usize::from(node).checked_sub(1).context("nodes count from 1")?;
        let owner = self.nodes.get_mut(index).with_context(|| format!("the lab has no node {node}"))?;
        let number = u8::try_from(owner.pods.len() + 1).context("no room for another pod")?;
        let pod = pod(&owner.host, node, number).with_context(|| format!("making pod {number} of node {node}"))?;
        owner.pods.push(pod);
        Ok(&owner.pods[owner.pods.len() - 1])
    }
}

fn node(fabric: &Host, number: u8, nodes: u8) -> anyhow::Result<Host> {
    let node = join(fabric, Host::create(format!("node{number}"))?, |family| node_address(family, number))?;
    forward(&node)?;
    let mut links = node.links()?;
    let uplink = links.index(UPLINK)?;
    for family in Family::ALL {
        links.replace_route(Route { to: service_range(family), via: None, link: Some(uplink) })?;
        links.replace_route(via(far_range(family), router_address(family)))?;
        for other in (1..=nodes).filter(|other| *other != number) {
            links.replace_route(via(pod_range(family, other), node_address(family, other)))?;
        }
    }
    Ok(node)
}

fn far(router: &Host) -> anyhow::Result<Host> {
    let mut far = Host::create("far")?;
    let (mut near, inside) = link(router, &far, "far")?;
    let mut links = far.links()?;
    let outer = links.index(UPLINK)?;
    for family in Family::ALL {
        near.add_address(inside, within(far_gateway(family), far_range(family))?)?;
        give(&mut far, &mut links, outer, far_address(family), far_range(family))?;
        links.replace_route(via(fabric_range(family), far_gateway(family)))?;
    }
    Ok(far)
}

fn pod(node: &Host, node_number: u8, number: u8) -> anyhow::Result<Host> {
    let mut pod = Host::create(format!("pod-{node_number}-{number}"))?;
    let (mut near, inside) = link(node, &pod, &format!("pod{number}"))?;
    let mut links = pod.links()?;
    let uplink = links.index(UPLINK)?;
    for family in Family::ALL {
        let (gateway, address) = (pod_gateway(family, node_number), pod_address(family, node_number, number));
        near.add_address(inside, IpNet::from(gateway))?;
        near.replace_route(Route { to: IpNet::from(address), via: None, link: Some(inside) })?;
        give(&mut pod, &mut links, uplink, address, IpNet::from(address))?;
        links.replace_route(Route { to: IpNet::from(gateway), via: None, link: Some(uplink) })?;
        let unspecified = match family {
            Family::V4 => IpAddr::from([0; 4]),
            Family::V6 => IpAddr::from([0; 16]),
        };
        links.replace_route(via(IpNet::new(unspecified, 0)?, gateway))?;
    }
    Ok(pod)
}

/// Links a host to the fabric.
fn join(fabric: &Host, mut host: Host, address: impl Fn(Family) -> IpAddr) -> anyhow::Result<Host> {
    let (mut near, port) = link(fabric, &host, host.name())?;
    let bridge = near.index(BRIDGE)?;
    near.attach(port, bridge)?;
    let mut links = host.links()?;
    let uplink = links.index(UPLINK)?;
    for family in Family::ALL {
        give(&mut host, &mut links, uplink, address(family), fabric_range(family))?;
    }
    Ok(host)
}

/// Links two hosts: link `name` in the near one, the uplink of the other. Both are up.
fn link(near: &Host, far: &Host, name: &str) -> anyhow::Result<(Links, LinkIndex)> {
    let mut links = near.links()?;
    links.create_veth(VethEnd { name, namespace: None }, VethEnd { name: UPLINK, namespace: Some(far.namespace()) })?;
    let index = links.index(name)?;
    links.set_up(index)?;
    let mut others = far.links()?;
    let uplink = others.index(UPLINK)?;
    others.set_up(uplink)?;
    Ok((links, index))
}

fn give(host: &mut Host, links: &mut Links, link: LinkIndex, address: IpAddr, range: IpNet) -> anyhow::Result<()> {
    links.add_address(link, within(address, range)?)?;
    host.add_name_of(address);
    Ok(())
}

fn within(address: IpAddr, range: IpNet) -> anyhow::Result<IpNet> {
    Ok(IpNet::new(address, range.prefix_len())?)
}

fn via(to: IpNet, gateway: IpAddr) -> Route {
    Route { to, via: Some(gateway), link: None }
}

fn forward(host: &Host) -> anyhow::Result<()> {
    host.set_sysctl("ipv4.ip_forward", "1")?;
    host.set_sysctl("ipv6.conf.all.forwarding", "1")
}
