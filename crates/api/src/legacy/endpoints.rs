//! Endpoints: `["ip:port"]` of one protocol, or subsets as today, where addresses are spelled `IP`. Subsets count before the
//! plain list; answers have both, and of the list only what has the first port's name.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    carry::{Same, backward, each, forward, put, with_protocol},
    meta, reference,
};
use crate::{
    field::FieldError,
    kinds::value::{at, list, set, text},
};

const PORT: Same = &[("name", "name"), ("port", "port"), ("protocol", "protocol")];

pub(super) fn to_v1(old: &Value, errors: &mut Vec<FieldError>) -> Value {
    let mut new = meta::to_v1(old);
    let subsets = each(old, "subsets", |subset| {
        let mut turned = json!({});
        put(&mut turned, "addresses", each(subset, "addresses", |address| Some(address_to_v1(address))));
        put(&mut turned, "ports", each(subset, "ports", |port| Some(with_protocol(forward(port, PORT)))));
        Some(turned)
    });
    let is_empty = subsets.as_array().is_none_or(Vec::is_empty);
    set(&mut new, "subsets", if is_empty { plain_to_v1(old, errors) } else { subsets });
    new
}

fn address_to_v1(old: &Value) -> Value {
    let mut new = json!({"ip": at(old, "/IP")});
    put(&mut new, "targetRef", reference::to_v1(at(old, "/targetRef")));
    new
}

/// Neighbours with one port become one subset, so that the order stays.
fn plain_to_v1(old: &Value, errors: &mut Vec<FieldError>) -> Value {
    let protocol = match text(old, "/protocol") {
        "" => "TCP".to_owned(),
        stated => stated.to_uppercase(),
    };
    let mut subsets: Vec<(u16, Vec<Value>)> = Vec::new();
    for (index, endpoint) in list(old, "/endpoints").iter().enumerate() {
        let endpoint = endpoint.as_str().unwrap_or_default();
        let Some((ip, port)) = parse(endpoint) else {
            let field = format!("endpoints[{index}]");
            errors.push(FieldError::invalid(field, format!("{endpoint:?}"), "must be of the form ADDRESS:PORT"));
            continue;
        };
        let mut address = json!({"ip": ip.to_string()});
        let target = list(old, "/targetRefs").iter().find(|target| text(target, "/endpoint") == endpoint);
        if let Some(target) = target {
            put(&mut address, "targetRef", reference::to_v1(at(target, "/targetRef")));
        }
        match subsets.last_mut() {
            Some((last, addresses)) if *last == port && !addresses.contains(&address) => addresses.push(address),
            _ => subsets.push((port, vec![address])),
        }
    }
    let subset = |(port, addresses)| json!({"addresses": addresses, "ports": [{"port": port, "protocol": protocol}]});
    subsets.into_iter().map(subset).collect()
}

fn parse(endpoint: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.parse().ok()?, port.parse().ok().filter(|port| *port != 0)?))
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    let subsets = list(new, "/subsets");
    let first = subsets.iter().flat_map(|subset| list(subset, "/ports")).next();
    let (name, protocol) = first.map_or(("", "TCP"), |port| (text(port, "/name"), text(port, "/protocol")));
    set(&mut old, "protocol", protocol);
    let (mut endpoints, mut targets) = (Vec::new(), Vec::new());
    for subset in subsets {
        for port in list(subset, "/ports").iter().filter(|port| text(port, "/name") == name) {
            for address in list(subset, "/addresses") {
                let endpoint = join(text(address, "/ip"), at(port, "/port"));
                let target = reference::from_v1(at(address, "/targetRef"));
                if !target.is_null() {
                    targets.push(json!({"endpoint": endpoint, "targetRef": target}));
                }
                endpoints.push(endpoint);
            }
        }
    }
    set(&mut old, "endpoints", endpoints);
    put(&mut old, "targetRefs", targets);
    let subsets = each(new, "subsets", |subset| {
        let mut turned = json!({});
        put(&mut turned, "addresses", each(subset, "addresses", |address| Some(address_from_v1(address))));
        put(&mut turned, "ports", each(subset, "ports", |port| Some(backward(port, PORT))));
        is_said(&turned).then_some(turned)
    });
    set(&mut old, "subsets", subsets);
    old
}

/// Of addresses that are not ready nothing was said then.
fn is_said(subset: &Value) -> bool {
    subset.get("addresses").is_some()
}

fn address_from_v1(new: &Value) -> Value {
    let mut old = json!({"IP": at(new, "/ip")});
    put(&mut old, "targetRef", reference::from_v1(at(new, "/targetRef")));
    old
}

fn join(ip: &str, port: &Value) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
