//! What a server is told about its cluster.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use stead_model::range::{self, InvalidRange};

use crate::{agent, sealed::SealingKeys, token::TokenKey};

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
    /// Which addresses `spec.externalIPs` of Services may name; none where it is empty.
    pub external_ips: Vec<ExternalRange>,
    /// Addresses of pods.
    pub pod_ranges: Vec<IpNet>,
    /// Such as `cluster.local`.
    pub cluster_domain: String,
    /// Where the Service `kubernetes-ro` leads: plain HTTP that only reads. `None`: there is no such Service.
    pub read_only: Option<SocketAddr>,
    /// How node agents are asked for logs, see [`crate::tls::agent_client_config`].
    pub agent_tls: Arc<rustls::ClientConfig>,
    /// Signs the tokens of ServiceAccounts.
    pub token_key: Arc<TokenKey>,
    /// What Secrets are encrypted with in the store.
    pub sealing_keys: Arc<SealingKeys>,
}

/// A range of addresses outside of the cluster that Services may take, `CIDR[@NAMESPACE]` as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExternalRange {
    pub range: IpNet,
    /// Only Services of this namespace; of any where it is `None`.
    pub namespace: Option<String>,
}

/// A text that is no [`ExternalRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range such as 192.0.2.0/24 or 192.0.2.0/24@NAMESPACE")]
pub struct InvalidExternalRange(String);

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "--listen {0}: other machines cannot reach a loopback or unspecified address; choose one of this machine that they reach"
    )]
    Advertise(SocketAddr),
    #[error("{0} service ranges given; one, or one of each family, is needed")]
    ServiceRanges(usize),
    #[error("service ranges {0} and {1} are of one family")]
    SameFamily(IpNet, IpNet),
    #[error("service range")]
    ServiceRange(#[source] InvalidRange),
    #[error("pod range")]
    PodRange(#[source] InvalidRange),
    #[error("ranges {0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    #[error("node port range {}-{} is empty or starts at 0", .0.start(), .0.end())]
    NodePorts(RangeInclusive<u16>),
}

impl ExternalRange {
    /// Whether a Service of `namespace` may have `address`.
    pub(crate) fn allows(&self, address: IpAddr, namespace: &str) -> bool {
        self.range.contains(&address) && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

impl FromStr for ExternalRange {
    type Err = InvalidExternalRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (range, namespace) = match text.split_once('@') {
            Some((range, namespace)) => (range, Some(namespace)),
            None => (text, None),
        };
        let range = range.parse::<IpNet>().ok().filter(|range| range.trunc() == *range);
        match (range, namespace) {
            (Some(range), namespace) if namespace != Some("") => {
                Ok(Self { range, namespace: namespace.map(str::to_owned) })
            }
            _ => Err(InvalidExternalRange(text.to_owned())),
        }
    }
}

impl fmt::Display for ExternalRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.range)?;
        self.namespace.iter().try_for_each(|namespace| write!(f, "@{namespace}"))
    }
}

impl TryFrom<String> for ExternalRange {
    type Error = InvalidExternalRange;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExternalRange> for String {
    fn from(range: ExternalRange) -> Self {
        range.to_string()
    }
}

impl Config {
    /// Ports that programs of the cluster listen on: the API server's and that of the nodes' agents. No Service takes them.
    pub(crate) fn own_ports(&self) -> [u16; 2] {
        [self.advertise.port(), agent::DEFAULT_PORT]
    }

    /// Who issues tokens, and whom they are for where nothing else is said.
    pub(crate) fn issuer(&self) -> String {
        format!("https://kubernetes.default.svc.{}", self.cluster_domain)
    }

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
        self.pod_ranges.iter().try_for_each(|range| range::validate(*range)).map_err(ConfigError::PodRange)?;
        for range in &self.service_ranges {
            range::validate_service(*range).map_err(ConfigError::ServiceRange)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_ranges_read_as_they_are_written() {
        for text in ["192.168.56.0/24", "192.0.2.0/28@shop", "fd56::/64@default"] {
            assert_eq!(text.parse::<ExternalRange>().unwrap().to_string(), text);
        }
        for text in ["", "192.0.2.1", "192.0.2.1/24", "192.0.2.0/24@", "@shop", "web"] {
            let error = text.parse::<ExternalRange>().unwrap_err().to_string();
            assert!(error.contains("is no range such as 192.0.2.0/24"), "{error}");
        }
        let range: ExternalRange = "192.0.2.0/28@shop".parse().unwrap();
        assert!(range.allows("192.0.2.1".parse().unwrap(), "shop"));
        assert!(!range.allows("192.0.2.1".parse().unwrap(), "default"));
        assert!(!range.allows("192.0.2.99".parse().unwrap(), "shop"));
    }
}
