//! A Service as its readers want it.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use stead_model::{ObjectKey, Protocol, Revision};

use super::{
    balance::{Algorithm, Weights, read_algorithm, read_weights},
    wire::{
        Object, Text, ViewProblem, listed, parse_address, parse_port, parse_protocol, parse_range, read_each, text_of,
    },
};
use crate::item::{FromItem, ItemError, parse_revision};

/// What readers ask of a Service (v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub key: Arc<ObjectKey>,
    pub uid: Box<str>,
    pub revision: Revision,
    pub service_type: ServiceType,
    /// Virtual IPs, the primary one first; empty for headless and ExternalName Services.
    pub cluster_ips: Box<[IpAddr]>,
    /// Whether `clusterIP` is `None`, so that its names stand for its endpoints.
    pub is_headless: bool,
    pub ports: Box<[ServicePortView]>,
    /// `Some`: session affinity by client address, and for how long.
    pub affinity: Option<Duration>,
    pub internal_policy: TrafficPolicy,
    pub external_policy: TrafficPolicy,
    /// `externalIPs`, without duplicates.
    pub external_ips: Box<[IpAddr]>,
    /// Addresses in `status.loadBalancer.ingress` that lead to nodes untranslated (`ipMode` is not `Proxy`), without duplicates.
    pub load_balancer_ips: Box<[IpAddr]>,
    /// `Some`: only clients in `loadBalancerSourceRanges` may come from outside. What is no range lets nobody in, so it may be empty.
    pub source_ranges: Option<Box<[IpNet]>>,
    pub health_check_node_port: Option<NonZeroU16>,
    pub algorithm: Algorithm,
    pub weights: Weights,
    /// Whether the label `service.kubernetes.io/service-proxy-name` gives it to another proxy.
    pub has_other_proxy: bool,
    /// What was left out.
    pub problems: Box<[ViewProblem]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortView {
    pub name: Box<str>,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<NonZeroU16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// Which endpoints traffic may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    /// Only those on the node that the traffic comes to.
    Local,
}

/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it is not given.
const DEFAULT_AFFINITY: Duration = Duration::from_secs(10_800);

impl FromItem for ServiceView {
    fn from_item(json: &[u8]) -> Result<Self, ItemError> {
        let Object::<WireSpec, WireStatus> { metadata, spec, status } = serde_json::from_slice(json)?;
        let mut problems = Vec::new();
        let is_headless = text_of(&spec.cluster_ip) == "None";
        let annotations = metadata.annotations.as_ref();
        Ok(Self {
            key: metadata.key()?,
            uid: text_of(&metadata.uid).into(),
            revision: parse_revision(text_of(&metadata.resource_version)),
            service_type: read_type(text_of(&spec.r#type), &mut problems),
            cluster_ips: read_cluster_ips(&spec, &mut problems),
            is_headless,
            ports: read_ports(spec.ports.as_deref().unwrap_or_default(), &mut problems),
            affinity: read_affinity(&spec, &mut problems),
            internal_policy: read_policy("spec.internalTrafficPolicy", &spec.internal_traffic_policy, &mut problems),
            external_policy: read_policy("spec.externalTrafficPolicy", &spec.external_traffic_policy, &mut problems),
            external_ips: read_external_ips(&spec, &mut problems),
            load_balancer_ips: read_ingress(&status, &mut problems),
            source_ranges: read_source_ranges(&spec, &mut problems),
            health_check_node_port: read_health_check_node_port(&spec, &mut problems),
            algorithm: annotations
                .map_or_else(Algorithm::default, |all| read_algorithm(text_of(&all.algorithm), &mut problems)),
            weights: annotations
                .map_or_else(Weights::default, |all| read_weights(text_of(&all.weights), &mut problems)),
            has_other_proxy: metadata.labels.is_some_and(|labels| labels.has_proxy_name),
            problems: problems.into(),
        })
    }

    fn key(&self) -> ObjectKey {
        (*self.key).clone()
    }

    fn revision(&self) -> Revision {
        self.revision
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireSpec<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow, rename = "clusterIP")]
    cluster_ip: Option<Text<'a>>,
    #[serde(borrow, rename = "clusterIPs")]
    cluster_ips: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    ports: Option<Vec<WirePort<'a>>>,
    #[serde(borrow, rename = "sessionAffinity")]
    session_affinity: Option<Text<'a>>,
    #[serde(rename = "sessionAffinityConfig")]
    session_affinity_config: Option<WireAffinityConfig>,
    #[serde(borrow, rename = "internalTrafficPolicy")]
    internal_traffic_policy: Option<Text<'a>>,
    #[serde(borrow, rename = "externalTrafficPolicy")]
    external_traffic_policy: Option<Text<'a>>,
    #[serde(borrow, rename = "externalIPs")]
    external_ips: Option<Vec<Text<'a>>>,
    #[serde(borrow, rename = "loadBalancerSourceRanges")]
    load_balancer_source_ranges: Option<Vec<Text<'a>>>,
    #[serde(rename = "healthCheckNodePort")]
    health_check_node_port: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus<'a> {
    #[serde(borrow, rename = "loadBalancer")]
    load_balancer: Option<WireLoadBalancer<'a>>,
}

#[derive(Deserialize)]
struct WireLoadBalancer<'a> {
    #[serde(borrow)]
    ingress: Option<Vec<WireIngress<'a>>>,
}

#[derive(Deserialize)]
struct WireIngress<'a> {
    #[serde(borrow)]
    ip: Option<Text<'a>>,
    #[serde(borrow, rename = "ipMode")]
    ip_mode: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePort<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
    port: Option<i64>,
    node_port: Option<i64>,
}

#[derive(Deserialize)]
struct WireAffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<WireClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireClientIp {
    timeout_seconds: Option<i64>,
}

/// An unknown type is read as the one that opens least.
fn read_type(text: &str, problems: &mut Vec<ViewProblem>) -> ServiceType {
    match text {
        "" | "ClusterIP" => ServiceType::ClusterIp,
        "NodePort" => ServiceType::NodePort,
        "LoadBalancer" => ServiceType::LoadBalancer,
        "ExternalName" => ServiceType::ExternalName,
        _ => {
            problems.push(ViewProblem::Unknown { field: "spec.type".into(), value: text.into() });
            ServiceType::ClusterIp
        }
    }
}

fn read_cluster_ips(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Box<[IpAddr]> {
    let texts = listed(&spec.cluster_ips, &spec.cluster_ip).iter().map(Text::as_str).enumerate();
    let texts = texts.filter(|(_, text)| *text != "None");
    once_each(read_each(texts, |index| format!("spec.clusterIPs[{index}]"), parse_address, problems))
}

fn read_external_ips(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Box<[IpAddr]> {
    let Some(texts) = &spec.external_ips else { return Box::default() };
    let texts = texts.iter().map(Text::as_str).enumerate();
    once_each(read_each(texts, |index| format!("spec.externalIPs[{index}]"), parse_address, problems))
}

fn read_ingress(status: &WireStatus<'_>, problems: &mut Vec<ViewProblem>) -> Box<[IpAddr]> {
    let Some(ingress) = status.load_balancer.as_ref().and_then(|wire| wire.ingress.as_ref()) else {
        return Box::default();
    };
    let direct = ingress.iter().enumerate().filter(|(_, wire)| text_of(&wire.ip_mode) != "Proxy");
    let texts = direct.map(|(index, wire)| (index, text_of(&wire.ip)));
    once_each(read_each(texts, |index| format!("status.loadBalancer.ingress[{index}].ip"), parse_address, problems))
}

fn read_source_ranges(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Option<Box<[IpNet]>> {
    let texts = spec.load_balancer_source_ranges.as_ref().filter(|texts| !texts.is_empty())?;
    // The API takes them with blanks around.
    let texts = texts.iter().map(|text| text.as_str().trim()).enumerate();
    Some(read_each(texts, |index| format!("spec.loadBalancerSourceRanges[{index}]"), parse_range, problems).into())
}

fn read_health_check_node_port(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Option<NonZeroU16> {
    let number = spec.health_check_node_port.filter(|number| *number != 0)?;
    match parse_port(number, || "spec.healthCheckNodePort".into()) {
        Ok(port) => NonZeroU16::new(port),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// In the order they have, the first of each.
fn once_each(all: Vec<IpAddr>) -> Box<[IpAddr]> {
    let mut addresses = Vec::with_capacity(all.len());
    for address in all {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.into()
}

fn read_ports(wire: &[WirePort<'_>], problems: &mut Vec<ViewProblem>) -> Box<[ServicePortView]> {
    let mut ports = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        match read_port(wire, index) {
            Ok((port, problem)) => {
                ports.push(port);
                problems.extend(problem);
            }
            Err(problem) => problems.push(problem),
        }
    }
    ports.into()
}

/// A wrong node port leaves the port itself standing.
fn read_port(wire: &WirePort<'_>, index: usize) -> Result<(ServicePortView, Option<ViewProblem>), ViewProblem> {
    let field = |name: &str| Box::from(format!("spec.ports[{index}].{name}"));
    let port = match wire.port {
        Some(port) => parse_port(port, || field("port"))?,
        None => return Err(ViewProblem::Missing { field: field("port") }),
    };
    let protocol = parse_protocol(&wire.protocol, || field("protocol"))?;
    let (node_port, problem) = match wire.node_port.filter(|number| *number != 0) {
        None => (None, None),
        Some(number) => match parse_port(number, || field("nodePort")) {
            Ok(number) => (NonZeroU16::new(number), None),
            Err(problem) => (None, Some(problem)),
        },
    };
    Ok((ServicePortView { name: text_of(&wire.name).into(), protocol, port, node_port }, problem))
}

fn read_affinity(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Option<Duration> {
    match text_of(&spec.session_affinity) {
        "" | "None" => return None,
        "ClientIP" => {}
        text => {
            problems.push(ViewProblem::Unknown { field: "spec.sessionAffinity".into(), value: text.into() });
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    match config.and_then(|client_ip| client_ip.timeout_seconds) {
        None => Some(DEFAULT_AFFINITY),
        Some(seconds @ 1..=86_400) => Some(Duration::from_secs(seconds.unsigned_abs())),
        Some(value) => {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds".into();
            problems.push(ViewProblem::Timeout { field, value });
            Some(DEFAULT_AFFINITY)
        }
    }
}

fn read_policy(field: &str, text: &Option<Text<'_>>, problems: &mut Vec<ViewProblem>) -> TrafficPolicy {
    match text_of(text) {
        "" | "Cluster" => TrafficPolicy::Cluster,
        "Local" => TrafficPolicy::Local,
        text => {
            problems.push(ViewProblem::Unknown { field: field.into(), value: text.into() });
            TrafficPolicy::Cluster
        }
    }
}
