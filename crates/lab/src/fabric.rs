//! The network of a lab: one namespace with the bridge (the server lives on it), one per node, and `outside`.
//!
//! Nothing leads out: no link to the host, no default route. A packet to a virtual IP that is not programmed has nowhere to go.

use std::{fs, io};

use ipnet::IpNet;
use stead_sys::{
    link::{LinkError, LinkIndex, Links, Route, VethEnd},
    namespace::Namespace,
};

use crate::topology::{NodeAddresses, Topology};

/// The namespaces of a lab, held by descriptors of this process: they go when it goes.
#[derive(Debug)]
pub struct Fabric {
    pub fabric: Namespace,
    pub outside: Namespace,
    /// By node name, in the topology's order.
    pub nodes: Vec<(String, Namespace)>,
}

#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    #[error("making a network namespace failed (root with CAP_SYS_ADMIN and CAP_NET_ADMIN is needed)")]
    Namespace(#[source] io::Error),
    #[error("host {host}")]
    Link { host: String, source: LinkError },
    #[error("host {host}: setting {path} failed")]
    Sysctl { host: String, path: &'static str, source: io::Error },
}

const BRIDGE: &str = "fabric0";
const UPLINK: &str = "eth0";

impl Fabric {
    pub fn build(topology: &Topology) -> Result<Self, FabricError> {
        let fabric = Namespace::create().map_err(FabricError::Namespace)?;
        let mut links = Links::open_in(&fabric).map_err(FabricError::Namespace)?;
        let bridge = build_bridge(&mut links, &topology.server).map_err(at("fabric"))?;
        let mut attach = |host: &str, addresses: &[IpNet]| -> Result<Namespace, FabricError> {
            let namespace = Namespace::create().map_err(FabricError::Namespace)?;
            attach_host(&mut links, bridge, host, &namespace, addresses).map_err(at(host))?;
            Ok(namespace)
        };
        let outside = attach("outside", &topology.outside)?;
        let mut nodes = Vec::with_capacity(topology.nodes.len());
        for node in &topology.nodes {
            let namespace = attach(&node.name, &node.addresses)?;
            become_router(&node.name, &namespace, &node.addresses)?;
            route_services(&namespace, &topology.ranges.services).map_err(at(&node.name))?;
            nodes.push((node.name.clone(), namespace));
        }
        route_pods(&mut links, &topology.nodes).map_err(at("fabric"))?;
        Ok(Self { fabric, outside, nodes })
    }

    /// The namespace of a host by its name: a node, `outside`, or `fabric`.
    pub fn host(&self, name: &str) -> Option<&Namespace> {
        match name {
            "fabric" => Some(&self.fabric),
            "outside" => Some(&self.outside),
            _ => self.nodes.iter().find(|(node, _)| node == name).map(|(_, namespace)| namespace),
        }
    }
}

fn at(host: &str) -> impl FnOnce(LinkError) -> FabricError + '_ {
    move |source| FabricError::Link { host: host.to_owned(), source }
}

fn build_bridge(links: &mut Links, addresses: &[IpNet]) -> Result<LinkIndex, LinkError> {
    let bridge = links.create_bridge(BRIDGE)?;
    for address in addresses {
        links.add_address(bridge, *address)?;
    }
    links.set_up(bridge)?;
    Ok(bridge)
}

fn attach_host(
    fabric: &mut Links,
    bridge: LinkIndex,
    host: &str,
    namespace: &Namespace,
    addresses: &[IpNet],
) -> Result<(), LinkError> {
    let near = VethEnd { name: host, namespace: None };
    let far = VethEnd { name: UPLINK, namespace: Some(namespace) };
    fabric.create_veth(near, far)?;
    let port = fabric.index(host)?;
    fabric.attach(port, bridge)?;
    fabric.set_up(port)?;
    let mut links = Links::open_in(namespace)?;
    let uplink = links.index(UPLINK)?;
    for address in addresses {
        links.add_address(uplink, *address)?;
    }
    links.set_up(uplink)
}

/// A node's own programs need some route to the service ranges for their packets to reach the output hook at all;
/// what is not translated there ends on the fabric, where nobody has such an address.
fn route_services(namespace: &Namespace, ranges: &[IpNet]) -> Result<(), LinkError> {
    let mut links = Links::open_in(namespace)?;
    let uplink = links.index(UPLINK)?;
    for range in ranges {
        links.replace_route(Route { to: range.trunc(), via: None, link: Some(uplink) })?;
    }
    Ok(())
}

/// The server reaches pods for proxy subresources: each pod range lies behind its node.
fn route_pods(links: &mut Links, nodes: &[NodeAddresses]) -> Result<(), LinkError> {
    for node in nodes {
        for range in &node.pods {
            let same_family = |address: &&IpNet| address.addr().is_ipv4() == range.addr().is_ipv4();
            if let Some(via) = node.addresses.iter().find(same_family) {
                links.replace_route(Route { to: range.trunc(), via: Some(via.addr()), link: None })?;
            }
        }
    }
    Ok(())
}

/// Nodes forward between pods and fabric, and take no router advertisements. A kernel may lack a family that the node has not.
fn become_router(host: &str, namespace: &Namespace, addresses: &[IpNet]) -> Result<(), FabricError> {
    const V4: &[(&str, &str)] = &[("/proc/sys/net/ipv4/ip_forward", "1")];
    const V6: &[(&str, &str)] = &[
        ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
        ("/proc/sys/net/ipv6/conf/all/accept_ra", "0"),
        ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
    ];
    let families = addresses.iter().map(|address| if address.addr().is_ipv4() { V4 } else { V6 });
    let mut settings = families.flatten();
    // `/proc/sys/net` is that of the thread's own namespace, so nothing of the host's is set here.
    let result = namespace
        .run(|| settings.try_for_each(|(path, value)| fs::write(path, value).map_err(|source| (*path, source))));
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err((path, source))) => Err(FabricError::Sysctl { host: host.to_owned(), path, source }),
        Err(source) => Err(FabricError::Namespace(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;
    use crate::topology::Ranges;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Else a kernel without IPv6 could not have it.
    #[test]
    fn a_lab_of_ipv4_alone_touches_nothing_of_ipv6() {
        let mut ranges = Ranges::default();
        for list in [&mut ranges.fabric, &mut ranges.pods, &mut ranges.services] {
            list.truncate(1);
        }
        let fabric = Fabric::build(&Topology::new("test", 1, ranges).unwrap()).unwrap();
        let set = |path: &str| fabric.nodes[0].1.run(|| fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(set("/proc/sys/net/ipv4/ip_forward"), "1\n");
        assert_eq!(set("/proc/sys/net/ipv6/conf/all/forwarding"), "0\n");
    }

    #[test]
    fn hosts_reach_each_other_and_nothing_else() {
        let topology = Topology::new("test", 2, Ranges::default()).unwrap();
        let fabric = Fabric::build(&topology).unwrap();
        let node1 = &topology.node("node1").unwrap().addresses;
        for address in [node1[0].addr(), node1[1].addr(), topology.server[0].addr()] {
            let host = if address == topology.server[0].addr() { "fabric" } else { "node1" };
            let listener = fabric.host(host).unwrap().run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
            let target = listener.local_addr().unwrap();
            for client in ["node2", "outside"] {
                let connected = fabric.host(client).unwrap().run(|| TcpStream::connect_timeout(&target, PATIENCE));
                connected.unwrap().unwrap_or_else(|error| panic!("{client} to {target}: {error}"));
            }
        }
        let vip: SocketAddr = "10.96.0.1:443".parse().unwrap();
        let refused = fabric.outside.run(|| TcpStream::connect_timeout(&vip, PATIENCE)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NetworkUnreachable);
        for (name, namespace) in &fabric.nodes {
            let routes = Links::open_in(namespace).unwrap().routes().unwrap();
            assert!(routes.iter().all(|route| route.to.prefix_len() > 0), "{name} has a default route: {routes:?}");
        }
    }
}
