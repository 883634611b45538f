//! Who may do what, in one place.
//!
//! Masters may do everything. A node's agent may read everything and write what is its own: its Node, its Lease, the status
//! of pods bound to it, and events. Who comes by the read-only port reads objects and no more. Others that are known may discover the API, the unknown only its health and version.

use serde_json::Value;
use stead_api::{meta, resource::Subresource, status::ApiError};

use crate::{
    auth::{Identity, MASTERS, NODES, READ_ONLY},
    path::{ResourcePath, Target, Verb, subresource_name},
    refusal::Refusal,
};

/// Where node agents keep their leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What a request for an object still has to prove once that object is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    /// The pod is bound to this node.
    PodOnNode(String),
    /// The object to be created has the name of this node.
    NamedAs(String),
}

/// May this path, that is no resource, be read by `identity`?
pub(crate) fn path(identity: &Identity, target: &Target<'_>, path: &str) -> Result<(), Refusal> {
    match target {
        Target::Health { .. } | Target::Version => Ok(()),
        _ if identity.is_anonymous() => Err(ApiError::unauthorized().into()),
        Target::Unknown if !identity.in_group(MASTERS) && !identity.in_group(NODES) => {
            Err(ApiError::forbidden_path(&identity.user, "get", path).into())
        }
        _ => Ok(()),
    }
}

/// May `identity` do `verb` there?
pub(crate) fn resource(identity: &Identity, verb: Verb, path: &ResourcePath<'_>) -> Result<Demand, Refusal> {
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    if identity.in_group(MASTERS) {
        return Ok(Demand::Nothing);
    }
    if identity.in_group(READ_ONLY) && verb.reads() && only_shows(path) {
        return Ok(Demand::Nothing);
    }
    match identity.node() {
        // What leads into pods and to other nodes is no mere reading.
        Some(_) if verb.reads() && !path.subresource.is_some_and(Subresource::connects) => Ok(Demand::Nothing),
        Some(node) => node_writes(identity, node, verb, path),
        None => Err(denied(identity, verb, path)),
    }
}

/// Whether what is at this path can be seen by anybody: no Secret, and nothing that reaches a pod or a node.
fn only_shows(path: &ResourcePath<'_>) -> bool {
    path.resource.plural != "secrets"
        && matches!(path.subresource, None | Some(Subresource::Status | Subresource::Scale))
}

/// May a request to this target come by the read-only port? What is not named here may not.
pub(crate) fn read_only(identity: &Identity, target: &Target<'_>) -> Result<(), Refusal> {
    if !identity.in_group(READ_ONLY) {
        return Ok(());
    }
    match target {
        Target::Root
        | Target::Version
        | Target::Health { .. }
        | Target::Groups { .. }
        | Target::Group(_)
        | Target::GroupVersion { .. }
        | Target::OpenApiV2
        | Target::OpenApiV3Index
        | Target::OpenApiV3(_)
        | Target::Unknown => Ok(()),
        Target::Resource(path) if only_shows(path) => Ok(()),
        Target::Resource(path) => Err(denied(identity, Verb::Get, path)),
    }
}

/// May `identity` name addresses of pods, Services and nodes in Endpoints and EndpointSlices of its own making?
pub(crate) fn endpoints_restricted(identity: &Identity) -> bool {
    identity.in_group(MASTERS)
}

fn node_writes(identity: &Identity, node: &str, verb: Verb, path: &ResourcePath<'_>) -> Result<Demand, Refusal> {
    let name = path.name.unwrap_or_default();
    let subresource = path.subresource.map(subresource_name);
    match (path.resource.group, path.resource.plural, subresource, verb) {
        ("", "nodes", None, Verb::Create) => Ok(Demand::NamedAs(node.to_owned())),
        ("", "nodes", None | Some("status"), Verb::Update | Verb::Patch) => {
            if name == node {
                Ok(Demand::Nothing)
            } else {
                Err(foreign_name(path, node, name))
            }
        }
        ("coordination.k8s.io", "leases", None, _) if verb != Verb::DeleteCollection => {
            if path.namespace != Some(LEASE_NAMESPACE) {
                let why = format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace");
                return Err(ApiError::forbidden(path.resource, name, &why).into());
            }
            match verb {
                Verb::Create => Ok(Demand::NamedAs(node.to_owned())),
                _ if name == node => Ok(Demand::Nothing),
                _ => Err(foreign_name(path, node, name)),
            }
        }
        ("", "pods", Some("status"), Verb::Update | Verb::Patch) | ("", "pods", None, Verb::Delete) => {
            Ok(Demand::PodOnNode(node.to_owned()))
        }
        ("" | "events.k8s.io", "events", None, Verb::Create | Verb::Update | Verb::Patch) => Ok(Demand::Nothing),
        _ => Err(denied(identity, verb, path)),
    }
}

impl Demand {
    /// Checks it against the object as it is stored, or as it is to be created.
    pub(crate) fn check(&self, path: &ResourcePath<'_>, object: &Value) -> Result<(), Refusal> {
        let bound_to = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Nothing => Ok(()),
            Self::NamedAs(node) if node == meta::name(object) => Ok(()),
            Self::NamedAs(node) => Err(foreign_name(path, node, meta::name(object))),
            Self::PodOnNode(node) if node == bound_to => Ok(()),
            Self::PodOnNode(node) => {
                let what = match path.subresource {
                    Some(_) => "update pod status for pods",
                    None => "delete pods",
                };
                let why = format!("node {node:?} can only {what} with spec.nodeName set to itself");
                Err(ApiError::forbidden(path.resource, path.name.unwrap_or_default(), &why).into())
            }
        }
    }
}

fn foreign_name(path: &ResourcePath<'_>, node: &str, name: &str) -> Refusal {
    let why = match path.resource.plural {
        "nodes" => format!("node {node:?} is not allowed to modify node {name:?}"),
        _ => "can only access node lease with the same name as the requesting node".to_owned(),
    };
    ApiError::forbidden(path.resource, name, why).into()
}

fn denied(identity: &Identity, verb: Verb, path: &ResourcePath<'_>) -> Refusal {
    let mut what = path.resource.plural.to_owned();
    if let Some(subresource) = path.subresource {
        what = format!("{what}/{}", subresource_name(subresource));
    }
    let place = match path.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {:?} cannot {} resource {what:?} in API group {:?} {place}",
        identity.user,
        verb.as_str(),
        path.resource.group
    );
    ApiError::forbidden(path.resource, path.name.unwrap_or_default(), why).into()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::path::parse;

    fn ask(identity: &Identity, method: &Method, text: &str) -> Result<Demand, String> {
        let Target::Resource(path) = parse(text) else { panic!("{text} is no resource") };
        let verb = Verb::of(method, &path).unwrap();
        resource(identity, verb, &path).map_err(|refusal| refusal.0.status.message)
    }

    #[test]
    fn the_read_only_port_reads_objects_alone() {
        let check = |method: Method, path: &str, expected: bool| {
            let target = parse(path);
            let identity = Identity::read_only();
            let mut allowed = read_only(&identity, &target).is_ok();
            if let Target::Resource(path) = &target {
                let verb = Verb::of(&method, path).unwrap();
                allowed &= resource(&identity, verb, path).is_ok();
            }
            assert_eq!(allowed, expected, "{method} {path}");
        };
        for path in [
            "/api/v1/pods",
            "/api/v1/watch/services",
            "/api/v1/nodes/n/status",
            "/apis/apps/v1/deployments",
            "/api",
            "/version",
        ] {
            check(Method::GET, path, true);
        }
        check(Method::GET, "/api/v1/namespaces/a/pods/p/log", false);
        check(Method::POST, "/api/v1/namespaces/a/pods", false);
        check(Method::DELETE, "/api/v1/namespaces/a/pods/p", false);
        check(Method::PATCH, "/api/v1/nodes/n", false);
    }

    #[test]
    fn nodes_write_what_is_their_own() {
        let node = Identity::new("system:node:node1", &[NODES]);
        let pods = Ok(Demand::PodOnNode("node1".into()));
        for (method, path, expected) in [
            (Method::GET, "/api/v1/pods", Ok(Demand::Nothing)),
            (Method::PATCH, "/api/v1/nodes/node1/status", Ok(Demand::Nothing)),
            (Method::PATCH, "/api/v1/nodes/node2/status", Err("is not allowed to modify node")),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1", Ok(Demand::Nothing)),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node2", Err("same name")),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/default/leases/node1",
                Err("can only access leases"),
            ),
            (Method::PATCH, "/api/v1/namespaces/a/pods/b/status", pods.clone()),
            (Method::DELETE, "/api/v1/namespaces/a/pods/b", pods),
            (Method::POST, "/api/v1/namespaces/a/events", Ok(Demand::Nothing)),
            (Method::POST, "/api/v1/nodes", Ok(Demand::NamedAs("node1".into()))),
            (Method::POST, "/api/v1/namespaces/a/pods", Err("cannot create resource")),
            (Method::DELETE, "/api/v1/nodes/node1", Err("cannot delete resource")),
            (Method::GET, "/api/v1/namespaces/a/services/b/proxy/", Err("cannot get resource \"services/proxy\"")),
            (Method::GET, "/api/v1/namespaces/a/pods/b/exec", Err("cannot get resource \"pods/exec\"")),
            (Method::POST, "/api/v1/namespaces/a/pods/b/exec", Err("cannot create resource \"pods/exec\"")),
            (Method::GET, "/api/v1/namespaces/a/pods/b/attach", Err("cannot get resource \"pods/attach\"")),
            (Method::POST, "/api/v1/namespaces/a/pods/b/portforward", Err("cannot create resource")),
            (Method::GET, "/api/v1/nodes/node1/proxy/", Err("cannot get resource \"nodes/proxy\"")),
            (Method::PUT, "/api/v1/namespaces/a/services/b", Err("in API group \"\" in the namespace \"a\"")),
        ] {
            match (ask(&node, &method, path), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{path}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{path}: {found}"),
                (found, _) => panic!("{method} {path}: {found:?}"),
            }
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        let services = "/api/v1/services";
        assert!(ask(&Identity::anonymous(), &Method::GET, services).unwrap_err().contains("Unauthorized"));
        let known = Identity::new("jane", &["dev"]);
        let expected = "cannot list resource \"services\" in API group \"\" at the cluster scope";
        assert!(ask(&known, &Method::GET, services).unwrap_err().contains(expected));
        assert_eq!(ask(&Identity::control_plane("controllers"), &Method::DELETE, services), Ok(Demand::Nothing));
        let health = Target::Health { check: None };
        assert!(path(&Identity::anonymous(), &health, "/healthz").is_ok());
        assert!(path(&Identity::anonymous(), &Target::Root, "/").is_err());
        assert!(path(&known, &Target::Groups { core: true }, "/api").is_ok());
    }
}
