//! Which address a proxy subresource means. It is taken from objects once, checked here, and then connected to as it is.
//!
//! Upstream's rules and words. Stricter in one point: a pod is reached at addresses of the pod ranges only, or those of its own
//! node where it shares that one's network, whatever its status says.

use std::net::{IpAddr, SocketAddr};

use rand::Rng as _;
use serde_json::Value;
use stead_api::{kinds, meta, resource::Resource, status::ApiError};

use crate::{
    agent,
    outbound::{Peer, Security, is_reachable, unverified},
    path::ResourcePath,
    refusal::Refusal,
    server::Inner,
};

/// `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`, where scheme and port may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id<'a> {
    scheme: Scheme,
    name: &'a str,
    port: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts = text.split(':').collect::<Vec<_>>();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let scheme = match scheme {
            "" | "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        (!name.is_empty() && !name.contains('/')).then_some(Self { scheme, name, port })
    }

    fn peer(&self, address: IpAddr, port: u16) -> Peer {
        let security = match self.scheme {
            Scheme::Http => Security::Plain,
            Scheme::Https => Security::Tls(unverified()),
        };
        Peer { address: SocketAddr::new(address, port), security }
    }
}

/// Whom `path`, with the decoded name `id`, leads to.
pub(super) async fn find(server: &Inner, path: &ResourcePath<'_>, id: &str) -> Result<Peer, Refusal> {
    let namespace = path.namespace.unwrap_or_default();
    let what = path.resource.singular;
    let invalid = || ApiError::bad_request(format_args!("invalid {what} request {id:?}"));
    let parsed = Id::parse(id).ok_or_else(invalid)?;
    match path.resource.plural {
        "services" => service(server, namespace, &parsed, id).await,
        "pods" => pod(server, namespace, &parsed).await?.ok_or_else(|| invalid().into()),
        _ => node(server, &parsed).await?.ok_or_else(|| invalid().into()),
    }
}

async fn get(server: &Inner, kind: &'static Resource, namespace: &str, name: &str) -> Result<Value, Refusal> {
    let stored = server.storage.get(&kind.registry_key(namespace, name)).await?;
    Ok(stored.ok_or_else(|| ApiError::not_found(kind, name))?.object)
}

async fn service(server: &Inner, namespace: &str, id: &Id<'_>, text: &str) -> Result<Peer, Refusal> {
    let mut port_name = id.port.to_owned();
    if let Ok(number) = id.port.parse::<i64>() {
        let service = get(server, &kinds::service::RESOURCE, namespace, id.name).await?;
        let port = list(&service, "/spec/ports").iter().find(|port| port["port"] == number);
        let port = port.ok_or_else(|| {
            ApiError::unavailable(format!("no service port {number} found for service {:?}", id.name))
        })?;
        port_name = port["name"].as_str().unwrap_or_default().to_owned();
    }
    let endpoints = get(server, &kinds::endpoints::RESOURCE, namespace, id.name).await?;
    let subsets = list(&endpoints, "/subsets");
    if subsets.is_empty() {
        return Err(ApiError::unavailable(format!("no endpoints available for service {:?}", id.name)).into());
    }
    for subset in from_any_place(subsets) {
        let ports = list(subset, "/ports").iter();
        let port = ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
        let port = port.filter_map(|port| port["port"].as_u64().and_then(|port| u16::try_from(port).ok())).next();
        let Some(port) = port else { continue };
        for address in from_any_place(list(subset, "/addresses")) {
            if let Some(address) = pod_behind(server, namespace, address).await? {
                return Ok(id.peer(address, port));
            }
        }
    }
    Err(ApiError::unavailable(format!("no endpoints available for service {text:?}")).into())
}

/// All of a list, beginning anywhere.
fn from_any_place(list: &[Value]) -> impl Iterator<Item = &Value> {
    let start = if list.is_empty() { 0 } else { rand::rng().random_range(0..list.len()) };
    list[start..].iter().chain(&list[..start])
}

/// The endpoint's address, where a pod of this namespace has it.
async fn pod_behind(server: &Inner, namespace: &str, endpoint: &Value) -> Result<Option<IpAddr>, Refusal> {
    let target = &endpoint["targetRef"];
    if target["kind"].as_str().is_some_and(|kind| kind != "Pod") || target["namespace"] != namespace {
        return Ok(None);
    }
    let Some(name) = target["name"].as_str() else { return Ok(None) };
    let pod = match get(server, &kinds::pod::RESOURCE, namespace, name).await {
        Ok(pod) => pod,
        Err(refusal) if refusal.is_not_found() => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    if !list(&pod, "/status/podIPs").iter().any(|has| has["ip"] == endpoint["ip"]) {
        return Ok(None);
    }
    let Some(address) = endpoint["ip"].as_str().and_then(|text| text.parse().ok()) else { return Ok(None) };
    Ok(is_pods_own(server, &pod, address).await?.then_some(address))
}

/// `None`: the port is no port.
async fn pod(server: &Inner, namespace: &str, id: &Id<'_>) -> Result<Option<Peer>, Refusal> {
    let pod = get(server, &kinds::pod::RESOURCE, namespace, id.name).await?;
    let first = || {
        let containers = list(&pod, "/spec/containers").iter();
        containers.flat_map(|container| list(container, "/ports")).find_map(|port| port["containerPort"].as_u64())
    };
    let port = match (id.port, id.scheme) {
        ("", Scheme::Http) => first().unwrap_or(80),
        ("", Scheme::Https) => first().unwrap_or(443),
        (port, _) => port.parse().unwrap_or(0),
    };
    let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) else { return Ok(None) };
    let address = list(&pod, "/status/podIPs").first().and_then(|first| first["ip"].as_str()?.parse().ok());
    match address {
        Some(address) if is_pods_own(server, &pod, address).await? => Ok(Some(id.peer(address, port))),
        _ => Err(ApiError::bad_request("address not allowed").into()),
    }
}

/// Whether a pod can have this address that its status states.
async fn is_pods_own(server: &Inner, pod: &Value, address: IpAddr) -> Result<bool, Refusal> {
    if !is_reachable(&address) {
        return Ok(false);
    }
    if server.config.pod_ranges.iter().any(|range| range.contains(&address)) {
        return Ok(true);
    }
    let Some(node) = pod.pointer("/spec/nodeName").and_then(Value::as_str) else { return Ok(false) };
    if pod.pointer("/spec/hostNetwork") != Some(&Value::Bool(true)) {
        return Ok(false);
    }
    let node = get(server, &kinds::node::RESOURCE, "", node).await?;
    let addresses = list(&node, "/status/addresses").iter().filter_map(|address| address["address"].as_str());
    Ok(addresses.filter_map(|text| text.parse::<IpAddr>().ok()).any(|own| own == address))
}

/// The agent, or another port of its node. `None`: the port is no port.
async fn node(server: &Inner, id: &Id<'_>) -> Result<Option<Peer>, Refusal> {
    let node = get(server, &kinds::node::RESOURCE, "", id.name).await?;
    let agent = agent::peer(&server.config, &node)?;
    if id.port.is_empty() {
        return Ok(Some(agent));
    }
    let Some(port) = id.port.parse::<u16>().ok().filter(|port| *port > 0) else { return Ok(None) };
    if port == agent.address.port() {
        return Ok(Some(agent));
    }
    let address = agent.address.ip();
    let ranges = server.config.pod_ranges.iter().copied().chain(server.allocator.service_ranges());
    if ranges.into_iter().any(|range| range.contains(&address)) {
        let what = format_args!("address {address} of node {}: address not allowed", meta::name(&node)).to_string();
        return Err(ApiError::bad_request(what).into());
    }
    Ok(Some(id.peer(address, port)))
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_scheme_name_and_port() {
        let check = |text: &str, expected: Option<(Scheme, &str, &str)>| {
            let found = Id::parse(text).map(|id| (id.scheme, id.name, id.port));
            assert_eq!(found, expected, "{text}");
        };
        check("web", Some((Scheme::Http, "web", "")));
        check("web:", Some((Scheme::Http, "web", "")));
        check("web:80", Some((Scheme::Http, "web", "80")));
        check("https:web:", Some((Scheme::Https, "web", "")));
        check("https:web:name", Some((Scheme::Https, "web", "name")));
        check(":web:80", Some((Scheme::Http, "web", "80")));
        check("ftp:web:80", None);
        check(":80", None);
        check("a:b:c:d", None);
        check("", None);
        check("https:a/../b:1", None);
    }
}
