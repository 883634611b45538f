//! The file of `--config`: a KubeProxyConfiguration, or one of ours, told apart by `apiVersion` and `kind`.

use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;
use stead_apiserver::ExternalRange;

use super::said::Said;
use crate::config::{Config, ConfigError, read_yaml};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum File {
    KubeProxy(Said),
    /// The sections that count here.
    Own {
        proxy: Said,
        cluster: Option<Cluster>,
    },
}

/// What the `server` section says of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) service_ranges: Vec<IpNet>,
    pub(crate) pod_ranges: Vec<IpNet>,
    pub(crate) external_ips: Vec<ExternalRange>,
}

impl File {
    /// Where no file is named nothing is said.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::Own { proxy: Said::default(), cluster: None }) };
        let value = read_yaml(path)?;
        Self::read(value).map_err(|problem| ConfigError::Malformed { path: path.to_owned(), problem })
    }

    pub(super) fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(mut fields) if fields.contains_key("apiVersion") || fields.contains_key("kind") => {
                let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                let (version, kind) = (text(fields.remove("apiVersion")), text(fields.remove("kind")));
                if version != API_VERSION || kind != KIND {
                    return Err(format!(
                        "no kind {kind:?} of version {version:?} is known; a {KIND} of {API_VERSION} is"
                    ));
                }
                Said::from_configuration(&fields).map(Self::KubeProxy)
            }
            value => {
                let is_cluster_said = value.get("server").is_some_and(|section| !section.is_null());
                let Config { proxy, server, .. } = Config::from_value(value)?;
                let cluster = is_cluster_said.then(|| Cluster {
                    service_ranges: server.service_ranges,
                    pod_ranges: server.pod_ranges,
                    external_ips: server.allow_external_ips.unwrap_or_default(),
                });
                Ok(Self::Own { proxy, cluster })
            }
        }
    }

    pub(crate) fn into_cluster(self) -> Option<Cluster> {
        match self {
            Self::Own { cluster, .. } => cluster,
            Self::KubeProxy(_) => None,
        }
    }
}
