//! What a server is told about its cluster.

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;

/// Fixed for the life of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where others in the cluster reach the API: the endpoint of the Service `kubernetes`. Neither loopback nor unspecified.
    pub advertise: SocketAddr,
    /// Addresses for Services: one range, or one of each family; the first one's family is the default. The first
    /// address of the first range is that of the Service `kubernetes`.
    pub service_ranges: Vec<IpNet>,
    /// Ports for Services of type NodePort and LoadBalancer.
    pub node_ports: RangeInclusive<u16>,
    /// Addresses of pods.
    pub pod_ranges: Vec<IpNet>,
    /// Such as `cluster.local`.
    pub cluster_domain: String,
    /// How node agents are asked for logs, see [`crate::tls::agent_client_config`].
    pub agent_tls: Arc<rustls::ClientConfig>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("advertise address {0} is loopback or unspecified; choose one that nodes can reach")]
    Advertise(SocketAddr),
    #[error("{0} service ranges given; one, or one of each family, is needed")]
    ServiceRanges(usize),
    #[error("service ranges {0} and {1} are of one family")]
    SameFamily(IpNet, IpNet),
    #[error("service range {0} is too small or too large: IPv4 /30 to /8, IPv6 /126 to /64")]
    RangeSize(IpNet),
    #[error("ranges {0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    #[error("node port range {}-{} is empty or starts at 0", .0.start(), .0.end())]
    NodePorts(RangeInclusive<u16>),
}

impl Config {
    /// Checks what the fields demand of each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let address = self.advertise.ip();
        if address.is_loopback() || address.is_unspecified() {
            return Err(ConfigError::Advertise(self.advertise));
        }
        match self.service_ranges.as_slice() {
            [_] => {}
            [first, second] if first.addr().is_ipv4() == second.addr().is_ipv4() => {
                return Err(ConfigError::SameFamily(*first, *second));
            }
            [_, _] => {}
            ranges => return Err(ConfigError::ServiceRanges(ranges.len())),
        }
        for range in &self.service_ranges {
            let fits = match range {
                IpNet::V4(range) => (8..=30).contains(&range.prefix_len()),
                IpNet::V6(range) => (64..=126).contains(&range.prefix_len()),
            };
            if !fits {
                return Err(ConfigError::RangeSize(*range));
            }
            for pods in &self.pod_ranges {
                if pods.contains(range) || range.contains(pods) {
                    return Err(ConfigError::Overlap(*range, *pods));
                }
            }
        }
        if self.node_ports.is_empty() || *self.node_ports.start() == 0 {
            return Err(ConfigError::NodePorts(self.node_ports.clone()));
        }
        Ok(())
    }
}
