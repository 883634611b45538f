//! A Node as its readers want it.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::Deserialize;
use stead_model::{ObjectKey, Revision};

use super::wire::{Object, Text, ViewProblem, listed, parse_address, read_each, text_of};
use crate::item::{FromItem, ItemError, parse_revision};

/// What readers ask of a Node (v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The name alone; Nodes live in no namespace.
    pub key: Arc<ObjectKey>,
    pub uid: Box<str>,
    pub revision: Revision,
    /// Addresses of type `InternalIP`, in the object's order.
    pub internal_addresses: Box<[IpAddr]>,
    /// `spec.podCIDRs`, without host bits.
    pub pod_ranges: Box<[IpNet]>,
    /// Whether the condition `Ready` is `True`.
    pub is_ready: bool,
    /// Whether it is being deleted, by somebody or soon by the cluster autoscaler: load balancers are to send nothing new.
    pub is_leaving: bool,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// What was left out.
    pub problems: Box<[ViewProblem]>,
}

/// The taint of a node that the cluster autoscaler is about to delete.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

impl FromItem for NodeView {
    fn from_item(json: &[u8]) -> Result<Self, ItemError> {
        let Object::<WireSpec, WireStatus> { metadata, spec, status } = serde_json::from_slice(json)?;
        let mut problems = Vec::new();
        let conditions = status.conditions.unwrap_or_default();
        Ok(Self {
            key: metadata.key()?,
            uid: text_of(&metadata.uid).into(),
            revision: parse_revision(text_of(&metadata.resource_version)),
            internal_addresses: read_addresses(status.addresses.as_deref().unwrap_or_default(), &mut problems),
            pod_ranges: read_pod_ranges(&spec, &mut problems),
            is_ready: conditions.iter().any(|each| text_of(&each.r#type) == "Ready" && text_of(&each.status) == "True"),
            is_leaving: metadata.deletion_timestamp.is_some()
                || spec.taints.iter().flatten().any(|taint| text_of(&taint.key) == LEAVING),
            zone: metadata.labels.and_then(|labels| labels.zone).map(|zone| zone.as_str().into()),
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
    #[serde(borrow, rename = "podCIDR")]
    pod_cidr: Option<Text<'a>>,
    #[serde(borrow, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    taints: Option<Vec<WireTaint<'a>>>,
}

#[derive(Deserialize)]
struct WireTaint<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus<'a> {
    #[serde(borrow)]
    addresses: Option<Vec<WireAddress<'a>>>,
    #[serde(borrow)]
    conditions: Option<Vec<WireCondition<'a>>>,
}

#[derive(Deserialize)]
struct WireAddress<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    address: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireCondition<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

fn read_addresses(wire: &[WireAddress<'_>], problems: &mut Vec<ViewProblem>) -> Box<[IpAddr]> {
    let internal = wire.iter().enumerate().filter(|(_, wire)| text_of(&wire.r#type) == "InternalIP");
    let texts = internal.map(|(index, wire)| (index, text_of(&wire.address)));
    read_each(texts, |index| format!("status.addresses[{index}].address"), parse_address, problems).into()
}

fn read_pod_ranges(spec: &WireSpec<'_>, problems: &mut Vec<ViewProblem>) -> Box<[IpNet]> {
    let texts = listed(&spec.pod_cidrs, &spec.pod_cidr).iter().map(Text::as_str).enumerate();
    let parse = |text: &str| text.parse::<IpNet>().ok().map(|range| range.trunc());
    read_each(texts, |index| format!("spec.podCIDRs[{index}]"), parse, problems).into()
}
