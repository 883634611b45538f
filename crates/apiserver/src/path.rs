//! What a request's path and method mean: which kind, namespace, object, subresource and verb.
//!
//! Nothing is looked up here but the table of kinds; whether the object exists, and who may touch it, is decided later.

use http::Method;
use stead_api::{
    kinds,
    resource::{Resource, Subresource},
};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Resource(ResourcePath<'a>),
    /// `/`
    Root,
    Version,
    /// `/healthz`, `/livez`, `/readyz`, with the name of a single check behind it.
    Health {
        check: Option<&'a str>,
    },
    /// `/api` (empty) and `/apis`.
    Groups {
        core: bool,
    },
    /// `/apis/GROUP`.
    Group(&'a str),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    GroupVersion {
        group: &'a str,
        version: &'a str,
    },
    /// `/.well-known/openid-configuration`
    TokenIssuer,
    Metrics,
    /// `/openid/v1/jwks`
    TokenKeys,
    /// The list of kinds that users define, which kubectl asks for before it creates a list of one kind. There are none.
    CustomKinds,
    OpenApiV2,
    OpenApiV3Index,
    /// `/openapi/v3/api/v1` and alike, without the leading part.
    OpenApiV3(&'a str),
    Unknown,
}

/// A collection, an object or a subresource. The text parts are as in the path, still percent-encoded text is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourcePath<'a> {
    pub(crate) resource: &'static Resource,
    /// Set for what lies in one namespace; a namespaced kind without means all namespaces.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) subresource: Option<Subresource>,
    /// The old `/api/v1/watch/…` form.
    pub(crate) watch: bool,
    /// Of a proxy subresource: what follows in the path, empty or from `/` on, as it was sent. Empty for all else.
    pub(crate) tail: &'a str,
}

impl PartialEq for ResourcePath<'_> {
    fn eq(&self, other: &Self) -> bool {
        let parts = |path: &Self| {
            (path.resource.plural, path.namespace.map(str::to_owned), path.name.map(str::to_owned), path.subresource)
        };
        parts(self) == parts(other)
            && self.resource.group == other.resource.group
            && (self.watch, self.tail) == (other.watch, other.tail)
    }
}

impl Eq for ResourcePath<'_> {}

/// What is done to a resource, as authorisation knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// What `method` does to a collection or (`named`) an object; GET of a collection is List here, whether it watches
    /// stands in the query. `None`: the method is not allowed there.
    pub(crate) fn of(method: &Method, path: &ResourcePath<'_>) -> Option<Self> {
        let named = path.name.is_some();
        Some(match (method, named) {
            (&Method::GET | &Method::HEAD, true) => Self::Get,
            (&Method::GET | &Method::HEAD, false) => Self::List,
            (&Method::POST, _) => Self::Create,
            (&Method::PUT, true) => Self::Update,
            (&Method::PATCH, true) => Self::Patch,
            (&Method::DELETE, true) => Self::Delete,
            (&Method::DELETE, false) => Self::DeleteCollection,
            (&Method::OPTIONS, true) if path.subresource == Some(Subresource::Proxy) => Self::Get,
            _ => return None,
        })
    }
}

/// Reads a path.
pub(crate) fn parse(path: &str) -> Target<'_> {
    if let Some((head, tail)) = split_proxy(path) {
        return match parse_plain(head) {
            Target::Resource(found) => Target::Resource(ResourcePath { tail, ..found }),
            other => other,
        };
    }
    parse_plain(path)
}

/// Parts a proxy subresource's path from what follows it.
fn split_proxy(path: &str) -> Option<(&str, &str)> {
    let parts = path.split('/').skip(1).take(7).collect::<Vec<_>>();
    let words = match parts.as_slice() {
        ["api", _, "namespaces", _, "services" | "pods", _, "proxy"] => 7,
        ["api", _, "nodes", _, "proxy", ..] => 5,
        _ => return None,
    };
    let end = parts[..words].iter().map(|part| part.len() + 1).sum();
    Some(path.split_at(end))
}

fn parse_plain(path: &str) -> Target<'_> {
    let trimmed = path.trim_matches('/');
    let parts = trimmed.split('/').collect::<Vec<_>>();
    match parts.as_slice() {
        [""] => Target::Root,
        ["version"] => Target::Version,
        ["metrics"] => Target::Metrics,
        [".well-known", "openid-configuration"] => Target::TokenIssuer,
        ["openid", "v1", "jwks"] => Target::TokenKeys,
        ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions"] => Target::CustomKinds,
        ["healthz" | "livez" | "readyz"] => Target::Health { check: None },
        ["healthz" | "livez" | "readyz", check] => Target::Health { check: Some(check) },
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiV3Index,
        ["openapi", "v3", ..] => Target::OpenApiV3(&trimmed["openapi/v3/".len()..]),
        ["api"] => Target::Groups { core: true },
        ["apis"] => Target::Groups { core: false },
        ["api", version] => Target::GroupVersion { group: "", version },
        ["apis", group] => Target::Group(group),
        ["apis", group, version] => Target::GroupVersion { group, version },
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Target::Unknown,
    }
}

fn resource<'a>(group: &str, version: &str, rest: &[&'a str]) -> Target<'a> {
    let (watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] if !is_namespace_subresource(plural, rest) => {
            (Some(*namespace), [&[*plural], rest].concat())
        }
        rest => (None, rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
        _ => return Target::Unknown,
    };
    let Some(resource) = kinds::find(group, version, plural) else { return Target::Unknown };
    if namespace.is_some() && !resource.namespaced || name.is_some() && namespace.is_none() && resource.namespaced {
        return Target::Unknown;
    }
    let subresource = match subresource {
        None => None,
        Some(text) => match resource.subresources.iter().find(|served| subresource_name(**served) == text) {
            Some(served) => Some(*served),
            None => return Target::Unknown,
        },
    };
    // What is proxied to is named with a colon, which some clients encode.
    let may_be_encoded = |part: &str| subresource == Some(Subresource::Proxy) && Some(part) == name;
    let is_bad = |part: &str| part.is_empty() || part.contains('%') && !may_be_encoded(part);
    if [namespace, name].into_iter().flatten().any(is_bad) {
        return Target::Unknown;
    }
    Target::Resource(ResourcePath { resource, namespace, name, subresource, watch, tail: "" })
}

/// `namespaces/NAME/status` is a subresource of a Namespace, while `namespaces/NAME/pods` is a collection.
fn is_namespace_subresource(part: &str, rest: &[&str]) -> bool {
    rest.is_empty() && matches!(part, "status" | "finalize")
}

pub(crate) const fn subresource_name(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Scale => "scale",
        Subresource::Log => "log",
        Subresource::Binding => "binding",
        Subresource::Eviction => "eviction",
        Subresource::Finalize => "finalize",
        Subresource::Token => "token",
        Subresource::Proxy => "proxy",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        Subresource::PortForward => "portforward",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<Subresource>);
        let check = |path: &str, expected: Option<Parts<'_>>| {
            let found = match parse(path) {
                Target::Resource(path) => Some((path.resource.plural, path.namespace, path.name, path.subresource)),
                Target::Unknown => None,
                other => panic!("{path}: {other:?}"),
            };
            assert_eq!(found, expected, "{path}");
        };
        check("/api/v1/services", Some(("services", None, None, None)));
        check("/api/v1/namespaces/a/services", Some(("services", Some("a"), None, None)));
        check("/api/v1/namespaces/a/services/b", Some(("services", Some("a"), Some("b"), None)));
        check(
            "/api/v1/namespaces/a/services/b/status",
            Some(("services", Some("a"), Some("b"), Some(Subresource::Status))),
        );
        check("/api/v1/namespaces", Some(("namespaces", None, None, None)));
        check("/api/v1/namespaces/a", Some(("namespaces", None, Some("a"), None)));
        check("/api/v1/namespaces/a/finalize", Some(("namespaces", None, Some("a"), Some(Subresource::Finalize))));
        check("/apis/apps/v1/namespaces/a/deployments", Some(("deployments", Some("a"), None, None)));
        check("/apis/apps/v1/deployments/", Some(("deployments", None, None, None)));
        check("/api/v1/nodes/n", Some(("nodes", None, Some("n"), None)));
        check("/api/v1/namespaces/a/nodes", None);
        check("/api/v1/services/b", None);
        check("/api/v1/namespaces/a/services/b/nothing", None);
        check("/api/v1/namespaces/a/services/b/status/c", None);
        check("/api/v1/namespaces/a/services/%2e%2e", None);
        check("/api/v1/secrets", Some(("secrets", None, None, None)));
        check("/api/v1/podtemplates", None);
        check("/apis/apps/v9/deployments", None);
        check("/api/v1/watch/namespaces/a/pods", Some(("pods", Some("a"), None, None)));
    }

    #[test]
    fn what_follows_a_proxy_subresource_stays_as_it_was_sent() {
        let check = |path: &str, expected: Option<(&str, &str, &str)>| {
            let found = match parse(path) {
                Target::Resource(path) if path.subresource == Some(Subresource::Proxy) => {
                    Some((path.resource.plural, path.name.unwrap(), path.tail))
                }
                _ => None,
            };
            assert_eq!(found, expected, "{path}");
        };
        check("/api/v1/namespaces/a/services/b/proxy", Some(("services", "b", "")));
        check("/api/v1/namespaces/a/services/https:b:443/proxy/", Some(("services", "https:b:443", "/")));
        check("/api/v1/namespaces/a/pods/b%3A80/proxy//x/%2e%2e/y/", Some(("pods", "b%3A80", "//x/%2e%2e/y/")));
        check("/api/v1/nodes/n:10250/proxy/healthz", Some(("nodes", "n:10250", "/healthz")));
        check("/api/v1/namespaces/a/endpoints/b/proxy/", None);
        check("/api/v1/namespaces/%61/services/b/proxy/", None);
    }

    #[test]
    fn other_paths_are_named() {
        for (path, expected) in [
            ("/", Target::Root),
            ("/version", Target::Version),
            ("/metrics", Target::Metrics),
            ("/readyz/ping", Target::Health { check: Some("ping") }),
            ("/api", Target::Groups { core: true }),
            ("/apis", Target::Groups { core: false }),
            ("/api/v1", Target::GroupVersion { group: "", version: "v1" }),
            ("/apis/apps", Target::Group("apps")),
            ("/apis/apps/v1", Target::GroupVersion { group: "apps", version: "v1" }),
            ("/openapi/v3/apis/apps/v1", Target::OpenApiV3("apis/apps/v1")),
            ("/what", Target::Unknown),
        ] {
            assert_eq!(parse(path), expected, "{path}");
        }
    }
}
