//! What the API server serves, as clients ask for it: aggregated (`apidiscovery.k8s.io/v2`) and legacy discovery.
//!
//! Everything is made of the list of resources, in its order; versions of a group too, the preferred one first. Which form a
//! client asked for, and caching, are the API server's.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::kinds;
use crate::resource::{Resource, Subresource};

/// The content type of [`aggregated`] documents; clients look at its parameters to know what they got.
pub const AGGREGATED_CONTENT_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Which of the two roots a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `/api`: the core group.
    Core,
    /// `/apis`: all others.
    Groups,
}

/// A group and its versions, each with the resources it serves.
#[derive(Clone, Debug)]
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<&'a Resource>)>,
}

/// How a subresource looks in discovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubresourceFacts {
    pub(crate) name: &'static str,
    pub(crate) verbs: &'static [&'static str],
    /// Group, version and kind of what it takes and answers, where that is not the resource's own.
    pub(crate) kind: Option<(&'static str, &'static str, &'static str)>,
}

/// The `APIGroupDiscoveryList` for `/api` or `/apis`.
pub fn aggregated(root: Root, resources: &[&Resource]) -> Value {
    let items: Vec<Value> = groups(resources)
        .iter()
        .filter(|group| group.name.is_empty() == (root == Root::Core))
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|(version, resources)| {
                    let resources: Vec<Value> = resources.iter().map(|r| aggregated_resource(r)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// `/api` in the legacy form. `server_address` is the address and port that clients anywhere reach the server at.
pub fn api_versions(resources: &[&Resource], server_address: &str) -> Value {
    let versions: Vec<&str> = groups(resources)
        .iter()
        .filter(|g| g.name.is_empty())
        .flat_map(|g| g.versions.iter().map(|(v, _)| *v))
        .collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis` in the legacy form.
pub fn api_group_list(resources: &[&Resource]) -> Value {
    let groups: Vec<Value> = groups(resources).iter().filter(|g| !g.name.is_empty()).map(Group::to_value).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`; `None` if nothing of that group is served.
pub fn api_group(resources: &[&Resource], group: &str) -> Option<Value> {
    let groups = groups(resources);
    let group = groups.iter().find(|g| g.name == group && !g.name.is_empty())?;
    let mut value = group.to_value();
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

/// `/api/v1` or `/apis/GROUP/VERSION`; `None` if nothing of that version is served.
pub fn api_resource_list(resources: &[&Resource], group: &str, version: &str) -> Option<Value> {
    let served: Vec<&&Resource> = resources.iter().filter(|r| r.group == group && r.version == version).collect();
    let first = served.first()?;
    let entries: Vec<Value> = served.iter().flat_map(|resource| legacy_entries(resource)).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": entries,
    }))
}

impl Group<'_> {
    fn to_value(&self) -> Value {
        let version = |version: &str| json!({"groupVersion": format!("{}/{version}", self.name), "version": version});
        let versions: Vec<Value> = self.versions.iter().map(|(v, _)| version(v)).collect();
        json!({"name": self.name, "versions": versions, "preferredVersion": versions.first()})
    }
}

impl Subresource {
    /// How it looks as a subresource of `resource`.
    pub(crate) fn facts(self, resource: &Resource) -> SubresourceFacts {
        const CHANGED: &[&str] = &["get", "patch", "update"];
        const CONNECTED: &[&str] = &["create", "get"];
        const PROXIED: &[&str] = &["create", "delete", "get", "patch", "update"];
        match self {
            Self::Status => SubresourceFacts { name: "status", verbs: CHANGED, kind: None },
            Self::Scale => {
                SubresourceFacts { name: "scale", verbs: CHANGED, kind: Some(("autoscaling", "v1", "Scale")) }
            }
            Self::Log => SubresourceFacts { name: "log", verbs: &["get"], kind: None },
            Self::Binding => {
                SubresourceFacts { name: "binding", verbs: &["create"], kind: Some(("", "v1", "Binding")) }
            }
            Self::Eviction => {
                SubresourceFacts { name: "eviction", verbs: &["create"], kind: Some(("policy", "v1", "Eviction")) }
            }
            Self::Finalize => SubresourceFacts { name: "finalize", verbs: &["update"], kind: None },
            Self::Token => {
                let kind = Some(("authentication.k8s.io", "v1", "TokenRequest"));
                SubresourceFacts { name: "token", verbs: &["create"], kind }
            }
            Self::Proxy => {
                let options = match resource.plural {
                    "nodes" => "NodeProxyOptions",
                    "services" => "ServiceProxyOptions",
                    _ => "PodProxyOptions",
                };
                SubresourceFacts { name: "proxy", verbs: PROXIED, kind: Some(("", "v1", options)) }
            }
            Self::Exec => SubresourceFacts { name: "exec", verbs: CONNECTED, kind: Some(("", "v1", "PodExecOptions")) },
            Self::Attach => {
                SubresourceFacts { name: "attach", verbs: CONNECTED, kind: Some(("", "v1", "PodAttachOptions")) }
            }
            Self::PortForward => {
                let kind = Some(("", "v1", "PodPortForwardOptions"));
                SubresourceFacts { name: "portforward", verbs: CONNECTED, kind }
            }
        }
    }
}

fn groups<'a>(resources: &[&'a Resource]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for resource in resources {
        let at = groups.iter().position(|g| g.name == resource.group).unwrap_or_else(|| {
            groups.push(Group { name: resource.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        match versions.iter_mut().find(|(version, _)| *version == resource.version) {
            Some((_, resources)) => resources.push(resource),
            None => versions.push((resource.version, vec![resource])),
        }
    }
    groups
}

/// By name, as upstream lists them.
fn subresources(resource: &Resource) -> Vec<SubresourceFacts> {
    let mut facts = resource.subresources.iter().map(|subresource| subresource.facts(resource)).collect::<Vec<_>>();
    facts.sort_by_key(|facts| facts.name);
    facts
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = kind(resource.group, resource.version, resource.kind);
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": own,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    for (key, list) in [("shortNames", resource.short_names), ("categories", resource.categories)] {
        if !list.is_empty() {
            value[key] = json!(list);
        }
    }
    if !resource.subresources.is_empty() {
        let subresource = |facts: &SubresourceFacts| {
            let response = facts.kind.map_or_else(|| own.clone(), |(g, v, k)| kind(g, v, k));
            json!({"subresource": facts.name, "responseKind": response, "verbs": facts.verbs})
        };
        value["subresources"] = subresources(resource).iter().map(subresource).collect();
    }
    value
}

/// What tells clients that objects lie in the store under another kind than before.
fn storage_version_hash(resource: &Resource) -> String {
    let stored = kinds::ALL.iter().find(|kind| kind.registry == resource.registry).copied().unwrap_or(resource);
    let hash = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, stored.kind));
    BASE64_STANDARD.encode(&hash[..8])
}

fn legacy_entries(resource: &Resource) -> Vec<Value> {
    let mut own = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    for (key, list) in [("shortNames", resource.short_names), ("categories", resource.categories)] {
        if !list.is_empty() {
            own[key] = json!(list);
        }
    }
    if resource.verbs.contains(&"get") {
        own["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let mut entries = vec![own];
    for facts in subresources(resource) {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, facts.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": facts.kind.map_or(resource.kind, |(_, _, kind)| kind),
            "verbs": facts.verbs,
        });
        if let Some((group, version, _)) = facts.kind.filter(|(g, v, _)| (*g, *v) != (resource.group, resource.version))
        {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests;
