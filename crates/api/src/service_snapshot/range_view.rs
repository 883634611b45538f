//! A ServiceCIDR as its readers want it.

use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use stead_model::{ObjectKey, Revision};

use super::wire::{Object, Text, text_of};
use crate::item::{FromItem, ItemError, parse_revision};

/// What readers ask of a ServiceCIDR (`networking.k8s.io/v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeView {
    /// The name alone; ServiceCIDRs live in no namespace.
    pub key: Arc<ObjectKey>,
    pub revision: Revision,
    /// `spec.cidrs`, without host bits; what is no range is left out.
    pub ranges: Box<[IpNet]>,
}

impl FromItem for RangeView {
    fn from_item(json: &[u8]) -> Result<Self, ItemError> {
        let Object::<WireSpec> { metadata, spec, .. } = serde_json::from_slice(json)?;
        let cidrs = spec.cidrs.unwrap_or_default();
        Ok(Self {
            key: metadata.key()?,
            revision: parse_revision(text_of(&metadata.resource_version)),
            ranges: cidrs
                .iter()
                .filter_map(|cidr| cidr.as_str().parse().ok())
                .map(|range: IpNet| range.trunc())
                .collect(),
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
    cidrs: Option<Vec<Text<'a>>>,
}
