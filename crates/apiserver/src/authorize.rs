//! Who may do what, in one table.
//!
//! Administrators may do everything. A node's agent may read everything but Secrets and write what is its own: its Node, its
//! Lease, the status of pods bound to it, and events. Who comes by the read-only port reads objects but Secrets. Whoever is known may discover the API and ask who he is and what he
//! may; the unknown see its health and version. Everything else is refused.

use http::Method;
use serde_json::Value;
use stead_api::{kinds, meta, status::ApiError};

use crate::{
    auth::{Identity, MASTERS, NODES, READ_ONLY},
    path::{ResourcePath, Target, Verb, subresource_name},
    refusal::Refusal,
};

mod unserved;

pub(crate) use unserved::unserved;

/// Where node agents keep their leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";
const ALL: &[&str] = &["*"];
const READ: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["update", "patch"];

/// A line of the table: who may do what to which resources.
#[derive(Debug)]
struct Right {
    who: Who,
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: Resources,
    own: Own,
}

/// Whom a right is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Masters,
    Nodes,
    /// Whoever can reach the read-only port.
    ReadOnly,
    /// Whoever has shown who he is.
    Known,
}

#[derive(Clone, Copy, Debug)]
enum Resources {
    /// Subresources are named with them: `pods/status`.
    Named(&'static [&'static str]),
    All,
    /// Those served, but for these, with their `status` and `scale`.
    AllBut(&'static [&'static str]),
}

/// Which objects of those resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Any,
    /// The Node of the agent's name.
    Node,
    Lease,
    /// Pods bound to the agent's node.
    Pod,
}

const RIGHTS: &[Right] = &[
    Right { who: Who::ReadOnly, verbs: READ, groups: ALL, resources: Resources::AllBut(&["secrets"]), own: Own::Any },
    Right { who: Who::Masters, verbs: ALL, groups: ALL, resources: Resources::All, own: Own::Any },
    Right { who: Who::Nodes, verbs: READ, groups: ALL, resources: Resources::AllBut(&["secrets"]), own: Own::Any },
    Right {
        who: Who::Nodes,
        verbs: &["get"],
        groups: &[""],
        resources: Resources::Named(&["pods/log"]),
        own: Own::Any,
    },
    Right {
        who: Who::Nodes,
        verbs: &["create"],
        groups: &[""],
        resources: Resources::Named(&["nodes"]),
        own: Own::Node,
    },
    Right {
        who: Who::Nodes,
        verbs: CHANGE,
        groups: &[""],
        resources: Resources::Named(&["nodes", "nodes/status"]),
        own: Own::Node,
    },
    Right {
        who: Who::Nodes,
        verbs: &["create", "update", "patch", "delete"],
        groups: &["coordination.k8s.io"],
        resources: Resources::Named(&["leases"]),
        own: Own::Lease,
    },
    Right {
        who: Who::Nodes,
        verbs: CHANGE,
        groups: &[""],
        resources: Resources::Named(&["pods/status"]),
        own: Own::Pod,
    },
    Right { who: Who::Nodes, verbs: &["delete"], groups: &[""], resources: Resources::Named(&["pods"]), own: Own::Pod },
    Right {
        who: Who::Nodes,
        verbs: &["create"],
        groups: &[""],
        resources: Resources::Named(&["serviceaccounts/token"]),
        own: Own::Pod,
    },
    Right {
        who: Who::Nodes,
        verbs: &["create", "update", "patch"],
        groups: &["", "events.k8s.io"],
        resources: Resources::Named(&["events"]),
        own: Own::Any,
    },
    Right {
        who: Who::Known,
        verbs: &["create"],
        groups: &["authentication.k8s.io"],
        resources: Resources::Named(&["selfsubjectreviews"]),
        own: Own::Any,
    },
    Right {
        who: Who::Known,
        verbs: &["create"],
        groups: &["authorization.k8s.io"],
        resources: Resources::Named(&["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        own: Own::Any,
    },
];

/// What the API is made of, and what checks its tokens.
const DISCOVERY: &[&str] =
    &["/", "/.well-known/openid-configuration", "/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/openid/v1/jwks"];

/// Paths that are no resources, and who may GET them. A star stands for any end.
const PATHS: &[(Option<Who>, &[&str])] = &[
    (None, &["/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/"]),
    (Some(Who::Known), DISCOVERY),
    (Some(Who::ReadOnly), DISCOVERY),
    (Some(Who::Masters), &["*"]),
];

/// What a request for an object still has to prove once that object is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    /// The pod is bound to this node.
    PodOnNode(String),
    /// The object to be created has the name of this node.
    NamedAs(String),
}

/// Something that is asked about: what would be done to which resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// May `identity` do that to this path, which is no resource?
pub(crate) fn path(identity: &Identity, method: &Method, path: &str) -> Result<(), Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if reads && may_get(identity, path) || identity.in_group(MASTERS) {
        return Ok(());
    }
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    Err(ApiError::forbidden_path(&identity.user, &method.as_str().to_ascii_lowercase(), path).into())
}

/// Whether `identity` may GET a path that is no resource.
pub(crate) fn may_get(identity: &Identity, path: &str) -> bool {
    let matches = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == *pattern,
    };
    PATHS.iter().any(|(who, paths)| who.is_none_or(|who| who.is(identity)) && paths.iter().any(matches))
}

/// May `identity` do `verb` there?
pub(crate) fn resource(identity: &Identity, verb: Verb, path: &ResourcePath<'_>) -> Result<Demand, Refusal> {
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    let attributes = Attributes::of(verb, path);
    let Some(right) = right(identity, &attributes) else { return Err(denied(identity, verb, path)) };
    let node = identity.node().unwrap_or_default();
    match right.own {
        Own::Any => Ok(Demand::Nothing),
        Own::Pod => Ok(Demand::PodOnNode(node.to_owned())),
        Own::Lease if path.namespace != Some(LEASE_NAMESPACE) => {
            let why = format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace");
            Err(ApiError::forbidden(path.resource, attributes.name, &why).into())
        }
        Own::Node | Own::Lease if attributes.name == node => Ok(Demand::Nothing),
        Own::Node | Own::Lease if verb == Verb::Create => Ok(Demand::NamedAs(node.to_owned())),
        Own::Node | Own::Lease => Err(foreign_name(path, node, attributes.name)),
    }
}

/// May a request to this target come by the read-only port? A path that is no resource is asked about with the others.
pub(crate) fn read_only(identity: &Identity, target: &Target<'_>) -> Result<(), Refusal> {
    match target {
        Target::Resource(path) if identity.in_group(READ_ONLY) => resource(identity, Verb::Get, path).map(drop),
        _ => Ok(()),
    }
}

/// May `identity` name addresses of pods, Services and nodes in Endpoints and EndpointSlices of its own making?
pub(crate) fn endpoints_restricted(identity: &Identity) -> bool {
    let attributes =
        Attributes { verb: "create", resource: "endpoints", subresource: "restricted", ..Attributes::default() };
    right(identity, &attributes).is_some()
}

/// Whether `identity` may do that, for who asks before doing. `pod_node` is the node of the pod that the attributes name.
pub(crate) fn would_allow(identity: &Identity, attributes: &Attributes<'_>, pod_node: Option<&str>) -> bool {
    let node = identity.node();
    right(identity, attributes).is_some_and(|right| match right.own {
        Own::Any => true,
        Own::Pod => pod_node.is_some() && pod_node == node,
        Own::Node => node == Some(attributes.name),
        Own::Lease => attributes.namespace == LEASE_NAMESPACE && node == Some(attributes.name),
    })
}

/// All rights of `identity` as rules: verbs, groups, resources, names.
pub(crate) fn rules(identity: &Identity) -> Vec<Value> {
    let mine = RIGHTS.iter().filter(|right| right.who.is(identity));
    let rule = |right: &Right| {
        let resources = match right.resources {
            Resources::Named(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            Resources::All => vec!["*".to_owned()],
            Resources::AllBut(hidden) => {
                let mut names = kinds::ALL.iter().map(|kind| kind.plural).filter(|name| !hidden.contains(name));
                let mut names = names.by_ref().map(str::to_owned).collect::<Vec<_>>();
                names.dedup();
                names
            }
        };
        let mut rule = serde_json::json!({"verbs": right.verbs, "apiGroups": right.groups, "resources": resources});
        if let (Own::Node | Own::Lease, Some(node)) = (right.own, identity.node()) {
            rule["resourceNames"] = serde_json::json!([node]);
        }
        rule
    };
    mine.map(rule).collect()
}

/// The same for paths that are no resources.
pub(crate) fn path_rules(identity: &Identity) -> Vec<Value> {
    let mine = PATHS.iter().filter(|(who, _)| who.is_none_or(|who| who.is(identity)));
    mine.map(|(who, paths)| {
        let verbs = if *who == Some(Who::Masters) { ALL } else { &["get"] };
        serde_json::json!({"verbs": verbs, "nonResourceURLs": paths})
    })
    .collect()
}

fn right(identity: &Identity, attributes: &Attributes<'_>) -> Option<&'static Right> {
    RIGHTS.iter().find(|right| right.who.is(identity) && right.covers(attributes))
}

impl Who {
    fn is(self, identity: &Identity) -> bool {
        match self {
            Self::Masters => identity.in_group(MASTERS),
            Self::Nodes => identity.in_group(NODES) && identity.node().is_some(),
            Self::ReadOnly => identity.in_group(READ_ONLY),
            Self::Known => !identity.is_anonymous() && !identity.in_group(READ_ONLY),
        }
    }
}

impl Right {
    fn covers(&self, attributes: &Attributes<'_>) -> bool {
        let has = |list: &[&str], item: &str| list.contains(&"*") || list.contains(&item);
        has(self.verbs, attributes.verb) && has(self.groups, attributes.group) && self.resources.cover(attributes)
    }
}

impl Resources {
    fn cover(self, attributes: &Attributes<'_>) -> bool {
        let Attributes { resource, subresource, .. } = attributes;
        match self {
            Self::All => true,
            Self::AllBut(hidden) => {
                !matches!(*resource, "" | "*")
                    && !hidden.contains(resource)
                    && matches!(*subresource, "" | "status" | "scale")
            }
            Self::Named(names) => names.iter().any(|name| match name.split_once('/') {
                Some((of, sub)) => of == *resource && sub == *subresource,
                None => name == resource && subresource.is_empty(),
            }),
        }
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
    let attributes = Attributes::of(verb, path);
    ApiError::forbidden(path.resource, attributes.name, attributes.refusal(identity)).into()
}

impl<'a> Attributes<'a> {
    /// What a request is that does `verb` there.
    fn of(verb: Verb, path: &ResourcePath<'a>) -> Self {
        Self {
            verb: verb.as_str(),
            group: path.resource.group,
            resource: path.resource.plural,
            subresource: path.subresource.map(subresource_name).unwrap_or_default(),
            namespace: path.namespace.unwrap_or_default(),
            name: path.name.unwrap_or_default(),
        }
    }

    /// Why `identity` may not do it, in upstream's words.
    fn refusal(&self, identity: &Identity) -> String {
        let Self { verb, group, resource, subresource, namespace, .. } = self;
        let what = match *subresource {
            "" => (*resource).to_owned(),
            subresource => format!("{resource}/{subresource}"),
        };
        let place = match *namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("User {:?} cannot {verb} resource {what:?} in API group {group:?} {place}", identity.user)
    }
}

#[cfg(test)]
mod tests;
