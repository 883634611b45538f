//! Endpoints that lead into the cluster itself, to addresses of pods, Services and nodes: whoever may write them reaches, through a
//! Service of one namespace, what another namespace keeps to itself. They need a permission of their own.
//!
//! Owns which ranges those are. Addresses that nobody may name (loopback, link, metadata) are refused by validation, whoever asks.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use stead_api::{
    kinds::{endpoint_slice, endpoints, node, service_cidr},
    meta,
    resource::Resource,
    status::ApiError,
};

use crate::{authorize, dispatch::Call, refusal::Refusal};

/// May the object, as it is to be stored, name the addresses that it names? What an update leaves as it was is not asked again.
pub(crate) fn check(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let resource = call.path.resource;
    let Some(addresses) = addresses(resource, new) else { return Ok(()) };
    if authorize::endpoints_restricted(call.identity) {
        return Ok(());
    }
    let known = old.and_then(|old| self::addresses(resource, old)).unwrap_or_default();
    let nodes = call.server.cache(&node::RESOURCE).list(None, None).entries;
    let nodes: Vec<Value> = nodes.iter().map(|entry| entry.object()).collect();
    let ranges = call.server.cache(&service_cidr::RESOURCE).list(None, None).entries;
    let services: Vec<IpNet> = ranges.iter().flat_map(|entry| service_cidr::ranges(&entry.object())).collect();
    for address in addresses.iter().filter(|address| !known.contains(address)) {
        if let Some(place) = place(&call.server.config.pod_ranges, &services, &nodes, *address) {
            return Err(refusal(resource, meta::name(new), *address, &place));
        }
    }
    Ok(())
}

/// `None` for kinds that are no endpoints, at whatever version they are served.
fn addresses(resource: &Resource, object: &Value) -> Option<Vec<IpAddr>> {
    match (resource.group, resource.plural) {
        ("", "endpoints") => Some(endpoints::addresses(object).filter_map(|(_, text)| text.parse().ok()).collect()),
        ("discovery.k8s.io", "endpointslices") => {
            Some(endpoint_slice::addresses(object).filter_map(|(_, text)| text.parse().ok()).collect())
        }
        _ => None,
    }
}

/// What of the cluster has an address.
fn place(pods: &[IpNet], services: &[IpNet], nodes: &[Value], address: IpAddr) -> Option<String> {
    let within = |ranges: &[IpNet]| ranges.iter().find(|range| range.contains(&address)).copied();
    if let Some(range) = within(pods) {
        return Some(format!("in the range {range} of pods"));
    }
    if let Some(range) = within(services) {
        return Some(format!("in the range {range} of Services"));
    }
    nodes.iter().find_map(|node| {
        let name = meta::name(node);
        if let Some(range) = within(&node::pod_ranges(node)) {
            return Some(format!("in the range {range} of the pods of node {name}"));
        }
        node::addresses(node).contains(&address).then(|| format!("an address of node {name}"))
    })
}

fn refusal(resource: &Resource, name: &str, address: IpAddr, place: &str) -> Refusal {
    let permission = format!("create {}/restricted", resource.plural);
    let why =
        format!("endpoint address {address} is not allowed: it is {place}; this needs the permission to {permission}");
    ApiError::forbidden(resource, name, why).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_pods_services_and_nodes_are_known_for_what_they_are() {
        let (pods, services) = (["10.244.0.0/16".parse().unwrap()], ["10.96.0.0/16".parse().unwrap()]);
        let node = json!({
            "metadata": {"name": "node1"}, "spec": {"podCIDRs": ["10.200.1.0/24"]},
            "status": {"addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "192.168.56.101"}]},
        });
        let check = |address: &str, expect: Option<&str>| {
            let found = place(&pods, &services, std::slice::from_ref(&node), address.parse().unwrap());
            assert_eq!(found.as_deref(), expect, "{address}");
        };
        check("192.0.2.1", None);
        check("10.244.1.2", Some("in the range 10.244.0.0/16 of pods"));
        check("10.96.0.1", Some("in the range 10.96.0.0/16 of Services"));
        check("10.200.1.7", Some("in the range 10.200.1.0/24 of the pods of node node1"));
        check("192.168.56.101", Some("an address of node node1"));
        check("192.168.56.102", None);
    }

    #[test]
    fn the_permission_is_named() {
        let refusal = refusal(
            &endpoint_slice::RESOURCE,
            "web",
            "10.96.0.1".parse().unwrap(),
            "in the range 10.96.0.0/16 of Services",
        );
        let expect = "endpointslices.discovery.k8s.io \"web\" is forbidden: endpoint address 10.96.0.1 is not allowed: it is in the \
                      range 10.96.0.0/16 of Services; this needs the permission to create endpointslices/restricted";
        assert_eq!((refusal.0.status.code, refusal.0.status.message.as_str()), (403, expect));
    }

    #[test]
    fn every_address_of_an_object_is_looked_at() {
        let found = |resource: &Resource, object: Value| addresses(resource, &object).map(|all| all.len());
        let subsets =
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}]}]});
        assert_eq!(found(&endpoints::RESOURCE, subsets), Some(2));
        let slice = json!({"endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": ["10.0.0.3"]}]});
        assert_eq!(found(&endpoint_slice::RESOURCE, slice), Some(3));
        assert_eq!(found(&node::RESOURCE, json!({})), None);
    }
}
