//! This node as a plan knows it, made from what the process was told, from the cluster's objects and from the kernel's addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use stead_api::service_snapshot::{NodeView, ServiceSnapshot};
use stead_model::{Family, ObjectKey};
use stead_plan::{DetectLocal, NodeContext, Settings};

use crate::Config;

/// What traffic of this cluster's pods is known by; other traffic is masqueraded on its way to a virtual IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodTraffic {
    /// By this.
    Known(DetectLocal),
    /// By the ranges that the Node object gives to this node's own pods (`spec.podCIDRs`), as they are at the time.
    OfNodeRanges,
}

/// Which of the node's addresses node ports answer on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    All,
    /// Those in one of these ranges.
    In(Vec<IpNet>),
    /// The first of each family in the Node object, but for what [`Config::primary`] says.
    Primary,
}

impl Default for PodTraffic {
    fn default() -> Self {
        Self::Known(DetectLocal::Unknown)
    }
}

impl PodTraffic {
    /// Who comes from one of the ranges is a pod; without a range nobody is known to be.
    pub fn of(ranges: Vec<IpNet>) -> Self {
        Self::Known(known_by(ranges))
    }
}

fn known_by(ranges: Vec<IpNet>) -> DetectLocal {
    if ranges.is_empty() { DetectLocal::Unknown } else { DetectLocal::Ranges(ranges) }
}

/// Whether processes of the node reach node ports on 127.0.0.1, over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalhostPorts {
    /// They do where [`NodePortAddresses`] has that address.
    #[default]
    Served,
    Closed,
}

impl Config {
    pub(crate) fn serves_localhost(&self) -> bool {
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        let is_chosen = match &self.node_ports {
            NodePortAddresses::All => true,
            NodePortAddresses::In(ranges) => ranges.iter().any(|range| range.contains(&localhost)),
            NodePortAddresses::Primary => false,
        };
        is_chosen && self.localhost_ports == LocalhostPorts::Served
    }

    /// `addresses`: all of the node, in ascending order.
    pub(crate) fn context(&self, snapshot: &ServiceSnapshot, addresses: Vec<IpAddr>) -> NodeContext {
        let node = snapshot.node(&self.node);
        let settings = Settings {
            service_ranges: self.all_service_ranges(snapshot),
            detect_local: match &self.pods {
                PodTraffic::Known(known) => known.clone(),
                PodTraffic::OfNodeRanges => known_by(node.map(|node| node.pod_ranges.to_vec()).unwrap_or_default()),
            },
            masquerade_all: self.masquerade_all,
            node_addresses: self.serving_addresses(node, addresses.clone()),
            own_addresses: addresses,
        };
        NodeContext {
            node: self.node.as_str().into(),
            zone: node.and_then(|node| node.zone.clone()),
            settings,
            open_to_external: self.open_to_external.clone(),
            reserved: self.reserved_addresses(snapshot),
            without_hashes: self.without_hashes.clone(),
        }
    }

    /// A client may reach the API server by the virtual IP of its own Service, which that Service has all the same.
    fn reserved_addresses(&self, snapshot: &ServiceSnapshot) -> Vec<IpAddr> {
        let own = snapshot.service(&ObjectKey::new("default", "kubernetes")).map(|service| &*service.cluster_ips);
        let others = self.reserved.iter().filter(|address| !own.unwrap_or_default().contains(address));
        others.copied().collect()
    }

    /// The ranges that this process was told of, and those that the cluster has come to use.
    fn all_service_ranges(&self, snapshot: &ServiceSnapshot) -> Vec<IpNet> {
        let mut ranges = self.service_ranges.clone();
        ranges.extend(snapshot.service_ranges().into_iter().filter(|range| !self.service_ranges.contains(range)));
        ranges
    }

    fn serving_addresses(&self, node: Option<&NodeView>, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        match &self.node_ports {
            NodePortAddresses::All => {}
            NodePortAddresses::In(ranges) => {
                addresses.retain(|address| ranges.iter().any(|range| range.contains(address)));
            }
            NodePortAddresses::Primary => {
                let primary = self.primary_addresses(node);
                addresses.retain(|address| primary.contains(address));
            }
        }
        addresses
    }

    fn primary_addresses(&self, node: Option<&NodeView>) -> Vec<IpAddr> {
        let internal = node.map(|node| &*node.internal_addresses).unwrap_or_default();
        let known = self.primary.iter().chain(internal);
        Family::ALL
            .into_iter()
            .filter_map(|family| known.clone().find(|each| Family::of(**each) == family))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stead_api::{
        item::FromItem,
        service_snapshot::{ServiceChange, Touched},
        snapshot::Change,
    };

    use super::*;

    fn snapshot() -> ServiceSnapshot {
        let mut snapshot = ServiceSnapshot::default();
        let node = json!({
            "metadata": {"name": "node1"},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.168.56.7"},
                {"type": "InternalIP", "address": "192.168.56.8"},
                {"type": "InternalIP", "address": "fd56::7"},
            ]},
        });
        let node = NodeView::from_item(node.to_string().as_bytes()).unwrap();
        snapshot.apply(ServiceChange::Node(Change::Apply(node)), &mut Touched::default());
        snapshot
    }

    fn serving(node: &str, node_ports: NodePortAddresses, primary: Option<&str>) -> Vec<String> {
        let config = Config {
            node: node.into(),
            node_ports,
            primary: primary.map(|text| text.parse().unwrap()),
            ..Config::default()
        };
        let addresses =
            ["10.0.0.1", "192.168.56.7", "192.168.56.8", "fd56::7", "fd56::8"].map(|text| text.parse().unwrap());
        let context = config.context(&snapshot(), addresses.into());
        context.settings.node_addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn node_ports_answer_where_they_are_told_to() {
        let ranges = |texts: &[&str]| NodePortAddresses::In(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(serving("node1", NodePortAddresses::All, None).len(), 5);
        assert_eq!(serving("node1", ranges(&["192.168.56.8/31", "127.0.0.0/8"]), None), ["192.168.56.8"]);
        assert_eq!(serving("node1", ranges(&["fd00::/8"]), None), ["fd56::7", "fd56::8"]);
        assert_eq!(serving("node1", NodePortAddresses::Primary, None), ["192.168.56.7", "fd56::7"]);
        assert_eq!(serving("node1", NodePortAddresses::Primary, Some("10.0.0.1")), ["10.0.0.1", "fd56::7"]);
        assert_eq!(serving("another", NodePortAddresses::Primary, None), [] as [&str; 0]);
    }

    #[test]
    fn the_api_servers_address_is_nobodys_but_its_own_services() {
        let mut snapshot = snapshot();
        let service = r#"{"metadata":{"namespace":"default","name":"kubernetes"},"spec":{"clusterIP":"10.96.0.1"}}"#;
        let service = ServiceChange::Service(Change::Apply(FromItem::from_item(service.as_bytes()).unwrap()));
        snapshot.apply(service, &mut Touched::default());
        let reserved = ["10.96.0.1", "192.168.56.100"].map(|text| text.parse().unwrap());
        let config = Config { reserved: reserved.into(), ..Config::default() };
        assert_eq!(config.context(&snapshot, Vec::new()).reserved, [reserved[1]]);
    }

    #[test]
    fn localhost_is_served_where_it_is_among_the_addresses() {
        let check = |node_ports: NodePortAddresses, localhost_ports: LocalhostPorts, expect: bool| {
            let config = Config { node_ports, localhost_ports, ..Config::default() };
            assert_eq!(config.serves_localhost(), expect, "{config:?}");
        };
        let ranges = |text: &str| NodePortAddresses::In(vec![text.parse().unwrap()]);
        check(NodePortAddresses::All, LocalhostPorts::Served, true);
        check(NodePortAddresses::All, LocalhostPorts::Closed, false);
        check(ranges("127.0.0.0/8"), LocalhostPorts::Served, true);
        check(ranges("10.0.0.0/8"), LocalhostPorts::Served, false);
        check(NodePortAddresses::Primary, LocalhostPorts::Served, false);
    }

    #[test]
    fn pods_are_known_by_what_was_told_or_by_the_node() {
        let check = |pods: PodTraffic, expect: DetectLocal| {
            let config = Config { node: "node1".into(), pods, ..Config::default() };
            assert_eq!(config.context(&snapshot(), Vec::new()).settings.detect_local, expect);
        };
        let ranges = |text: &str| vec![text.parse().unwrap()];
        check(PodTraffic::of(ranges("10.244.0.0/16")), DetectLocal::Ranges(ranges("10.244.0.0/16")));
        check(PodTraffic::of(Vec::new()), DetectLocal::Unknown);
        check(PodTraffic::OfNodeRanges, DetectLocal::Ranges(ranges("10.244.1.0/24")));
    }
}
