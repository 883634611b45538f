//! What a node's agent may say of the objects that are its own: which objects those are is the table of `authorize`.
//!
//! Labels, finalizers and owners choose and hold pods; an agent that could write them would put its pods behind any Service or
//! keep them for ever. A Node's labels under `node-restriction.kubernetes.io` and its addresses decide where others send what is
//! not meant for it.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Map, Value};
use stead_api::{kinds::node, meta, resource::Subresource, status::ApiError};

use crate::{dispatch::Call, refusal::Refusal};

/// Labels that only administrators give to Nodes.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// May the object become `new`, if an agent asks for it?
pub(crate) fn check(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let Some(agent) = call.identity.node() else { return Ok(()) };
    let resource = call.path.resource;
    let problem = match (resource.group, resource.plural, call.path.subresource) {
        ("", "pods", Some(Subresource::Status)) => old.and_then(|old| of_pod(agent, new, old)),
        ("", "nodes", _) => restricted_labels(agent, new, old).or_else(|| service_address(call, agent, new, old)),
        _ => None,
    };
    match problem {
        Some(why) => Err(ApiError::forbidden(resource, meta::name(new), why).into()),
        None => Ok(()),
    }
}

fn of_pod(agent: &str, new: &Value, old: &Value) -> Option<String> {
    let changed =
        ["labels", "finalizers"].into_iter().find(|key| new["metadata"].get(*key) != old["metadata"].get(*key))?;
    Some(format!("node {agent:?} cannot update {changed} through pod status"))
}

fn restricted_labels(agent: &str, new: &Value, old: Option<&Value>) -> Option<String> {
    let nothing = Map::new();
    let of = |object| meta::labels(object).unwrap_or(&nothing);
    let (now, before) = (of(new), old.map_or(&nothing, of));
    let changed = now.keys().chain(before.keys()).filter(|key| now.get(*key) != before.get(*key));
    let restricted: BTreeSet<&str> = changed.map(String::as_str).filter(|key| is_restricted(key)).collect();
    if restricted.is_empty() {
        return None;
    }
    let what = if old.is_some() { "modify labels" } else { "set the following labels" };
    Some(format!("node {agent:?} is not allowed to {what}: {}", Vec::from_iter(restricted).join(", ")))
}

fn is_restricted(label: &str) -> bool {
    let namespace = label.split_once('/').map_or("", |(namespace, _)| namespace);
    namespace.strip_suffix(RESTRICTED).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A proxy would take the Service's traffic for the node's.
fn service_address(call: &Call<'_>, agent: &str, new: &Value, old: Option<&Value>) -> Option<String> {
    let known: Vec<IpAddr> = old.map(node::addresses).unwrap_or_default();
    let mut added = node::addresses(new).into_iter().filter(|address| !known.contains(address)).peekable();
    added.peek()?;
    let ranges = call.server.allocator.service_ranges();
    added.find_map(|address| {
        let range = ranges.iter().find(|range| range.contains(&address))?;
        Some(format!(
            "node {agent:?} is not allowed to have the address {address}: it is in the range {range} of Services"
        ))
    })
}
