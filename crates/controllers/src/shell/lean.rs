//! Leaves out of objects what no controller reads, before they are kept: with many thousands of objects made by others it is
//! most of the memory. Metadata stay whole.

use k8s_openapi::api::networking::v1::IPAddressSpec;
use stead_api::snapshot::{Change, KindChange};

use crate::{endpoint_slices, namespaces};

pub(super) fn lean(mut change: KindChange) -> KindChange {
    match &mut change {
        KindChange::EndpointSlice(Change::InitApply(slice) | Change::Apply(slice))
            if !endpoint_slices::is_managed(slice) =>
        {
            slice.endpoints = None;
            slice.ports = None;
        }
        KindChange::ConfigMap(Change::InitApply(map) | Change::Apply(map))
            if map.metadata.name.as_deref() != Some(namespaces::ROOT_CA) =>
        {
            map.data = None;
            map.binary_data = None;
        }
        KindChange::IPAddress(Change::InitApply(address) | Change::Apply(address)) => {
            address.spec = IPAddressSpec::default();
        }
        _ => {}
    }
    change
}
