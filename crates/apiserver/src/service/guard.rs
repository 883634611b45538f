//! What of a Service this cluster does not open to everybody who may write Services: addresses from outside, and ports that the
//! cluster's own programs listen on.
//!
//! Whoever names an address in `spec.externalIPs`, or in the status as a load balancer's, gets the traffic that others send there
//! (CVE-2020-8554), so only addresses that the server was told of may be named. What a Service had before stays allowed to it.

use std::{net::IpAddr, time::Duration};

use serde_json::Value;
use stead_api::{
    field::FieldError,
    kinds::{
        node,
        service::{balancer_addresses, external_addresses},
    },
    meta,
};
use stead_store::StoreError;

use crate::{agent, server::Inner};

/// How long a cache is waited for that has to show what the store has.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address and TCP port that a program of the cluster listens on.
#[derive(Debug)]
struct Listener {
    address: IpAddr,
    port: u64,
    owner: String,
}

/// An address from outside that a Service takes traffic at.
#[derive(Debug)]
struct Claim {
    field: String,
    address: IpAddr,
}

/// All of a Service, those of load balancers too: nodes take their traffic in the same way, whoever wrote them there.
fn claims(service: &Value) -> Vec<Claim> {
    let external = external_addresses(service).into_iter().enumerate();
    let external = external.map(|(index, address)| Claim { field: format!("spec.externalIPs[{index}]"), address });
    let balancers = balancer_addresses(service).into_iter().enumerate();
    let field = |index| format!("status.loadBalancer.ingress[{index}].ip");
    external.chain(balancers.map(|(index, address)| Claim { field: field(index), address })).collect()
}

/// What `new` asks for that `old` did not have and that it may not have. `new` has passed validation, or is refused anyway.
pub(crate) async fn refusals(server: &Inner, new: &Value, old: Option<&Value>) -> Result<Vec<FieldError>, StoreError> {
    let claims = claims(new);
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let before: Vec<IpAddr> =
        old.map(self::claims).unwrap_or_default().into_iter().map(|claim| claim.address).collect();
    let namespace = meta::namespace(new);
    let mut errors = Vec::new();
    for Claim { field, address } in claims.iter().filter(|claim| !before.contains(&claim.address)) {
        if !server.config.external_ips.iter().any(|range| range.allows(*address, namespace)) {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            let detail = format!(
                "{address} is not open to Services of namespace {namespace:?}: the server opens addresses with \
                 --allow-external-ips, here {address}/{prefix}@{namespace}"
            );
            errors.push(FieldError::forbidden(field, detail));
        }
    }
    let ports = tcp_ports(new);
    let ports_before = old.map(tcp_ports).unwrap_or_default();
    let is_old = |address: IpAddr, port: u64| before.contains(&address) && ports_before.contains(&Some(port));
    for Listener { address, port, owner } in listeners(server).await? {
        let index = ports.iter().position(|own| *own == Some(port));
        let claim = claims.iter().find(|claim| claim.address == address);
        let (Some(index), Some(claim), false) = (index, claim, is_old(address, port)) else { continue };
        errors.push(if claim.field.starts_with("status.") && ports_before.contains(&Some(port)) {
            FieldError::invalid(&claim.field, address, format!("{owner} listens on port {port} of it"))
        } else {
            let detail = format!("{owner} listens on this port of {address}");
            FieldError::invalid(format!("spec.ports[{index}].port"), port, detail)
        });
    }
    Ok(errors)
}

/// The numbers of TCP ports in their places; `None` for other protocols.
fn tcp_ports(service: &Value) -> Vec<Option<u64>> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let number = |port: &Value| port["port"].as_u64().filter(|_| port["protocol"] == "TCP");
    ports.into_iter().flatten().map(number).collect()
}

async fn listeners(server: &Inner) -> Result<Vec<Listener>, StoreError> {
    let nodes = server.cache(&node::RESOURCE);
    let newest = server.storage.store.revision().await?;
    if let Err(behind) = nodes.reach(newest, PATIENCE).await {
        tracing::warn!(?behind, "nodes are those of a moment ago");
    }
    let own = std::iter::once(server.config.advertise).chain(server.config.read_only);
    let own =
        own.map(|own| Listener { address: own.ip(), port: own.port().into(), owner: "the API server".to_owned() });
    let mut listeners = own.collect::<Vec<_>>();
    for entry in nodes.list(None, None).entries {
        let node = entry.object();
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
        for address in addresses.into_iter().flatten().filter_map(|address| address["address"].as_str()?.parse().ok()) {
            listeners.push(Listener {
                address,
                port: port.unwrap_or_else(|| agent::DEFAULT_PORT.into()),
                owner: format!("the agent of node {}", entry.name()),
            });
        }
    }
    Ok(listeners)
}
