//! Where a request of an older version goes in v1: its path, and its query with the parameters of that time renamed.

use http::{Method, Uri};
use serde_json::Value;
use stead_api::{
    legacy::{self, Kind, Version, field_to_v1},
    meta,
    status::ApiError,
};

use crate::{query::Query, refusal::Refusal};

const DEFAULT: &str = "default";
/// Subresources that take and answer whole objects.
const OBJECTS: [&str; 3] = ["", "status", "finalize"];

/// A path of an older version, cut into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Older<'a> {
    version: Version,
    watch: bool,
    /// `proxy/` stands before the collection.
    proxied: bool,
    namespace: Option<&'a str>,
    plural: &'a str,
    name: Option<&'a str>,
    /// What follows the name.
    rest: Vec<&'a str>,
}

/// Where the request goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// `None` for what passes through as it is.
    pub(super) kind: Option<&'static Kind>,
    plural: &'static str,
    namespace: Option<String>,
    namespaced: bool,
    name: Option<String>,
    /// Empty, or the subresource and what follows it.
    rest: String,
    pub(super) watch: bool,
    creates: bool,
    /// The query of what passes through, as it was sent but for the namespace.
    passed_on: String,
}

impl<'a> Older<'a> {
    /// `None` for paths of v1 and others, and for the roots of older versions, which discovery answers.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/api/")?;
        let (version, rest) = rest.split_once('/')?;
        let version = Version::parse(version)?;
        let trimmed = rest.trim_start_matches('/');
        let mut parts = trimmed.split('/').collect::<Vec<_>>();
        // What a proxy is asked for may end with a slash; nothing else does.
        while parts.last() == Some(&"") && !parts.contains(&"proxy") {
            parts.pop();
        }
        let (mut watch, mut proxied) = (false, false);
        let mut parts = parts.as_slice();
        if let [first @ ("watch" | "proxy"), others @ ..] = parts {
            (watch, proxied) = (*first == "watch", *first == "proxy");
            parts = others;
        }
        let (namespace, parts) = match parts {
            ["namespaces" | "ns", namespace, plural, others @ ..] if !matches!(*plural, "status" | "finalize") => {
                (Some(*namespace), [&[*plural], others].concat())
            }
            parts => (None, parts.to_vec()),
        };
        let (plural, rest) = parts.split_first()?;
        let (name, rest) = match rest {
            [] => (None, Vec::new()),
            [name, rest @ ..] => (Some(*name), rest.to_vec()),
        };
        (!plural.is_empty()).then_some(Self { version, watch, proxied, namespace, plural, name, rest })
    }

    /// `/proxy/…` without a slash behind the name: 2015 sent every method on to the path that has it.
    pub(super) fn is_bare_proxy(&self) -> bool {
        self.proxied && self.name.is_some() && self.rest.is_empty()
    }
}

impl Route {
    /// `raw` is the query as it was sent.
    pub(super) fn of(older: &Older<'_>, method: &Method, query: &Query, raw: &str) -> Result<Self, Refusal> {
        let kind = legacy::find(older.version, older.plural).ok_or_else(ApiError::no_such_path)?;
        let namespaced = kind.resource.namespaced;
        let stated = older.namespace.or_else(|| query.get("namespace").filter(|namespace| !namespace.is_empty()));
        if older.namespace.is_some() && !namespaced {
            return Err(ApiError::no_such_path().into());
        }
        let creates = method == Method::POST;
        // What has a name, or is about to, is in the default namespace unless it is said where it is.
        let namespace = match stated {
            Some(namespace) => Some(namespace.to_owned()),
            None if older.name.is_some() => Some(DEFAULT.to_owned()),
            None => None,
        };
        let mut rest = older.rest.join("/");
        if older.proxied {
            rest = format!("proxy/{rest}");
        }
        let passes = older.proxied || !OBJECTS.contains(&rest.as_str()) && rest != "binding";
        if passes && older.name.is_none() {
            return Err(ApiError::no_such_path().into());
        }
        Ok(Self {
            kind: (!passes).then_some(kind),
            plural: kind.modern.map_or("bindings", |modern| modern.plural),
            namespace: namespace.filter(|_| namespaced),
            namespaced,
            name: older.name.map(str::to_owned),
            rest,
            watch: older.watch,
            creates,
            passed_on: without_namespace(raw),
        })
    }

    /// Whether the body of a write is an object of some kind.
    pub(super) fn takes_object(&self) -> bool {
        OBJECTS.contains(&self.rest.as_str()) || self.rest == "binding"
    }

    /// The kind of a write's body.
    pub(super) fn body_kind(&self, kind: &'static Kind) -> &'static Kind {
        match self.rest.as_str() {
            "binding" => legacy::find(kind.version, "bindings").unwrap_or(kind),
            _ => kind,
        }
    }

    /// The address in v1. `object` is a v1 object to be created there, which may say its namespace itself.
    pub(super) fn uri(&self, query: &Query, object: Option<&Value>) -> Result<Uri, Refusal> {
        let own = object.map(meta::namespace).filter(|namespace| !namespace.is_empty());
        let namespace = match (self.namespace.as_deref(), own) {
            (Some(namespace), _) => Some(namespace),
            (None, own) if self.creates && self.namespaced => Some(own.unwrap_or(DEFAULT)),
            (None, _) => None,
        };
        let mut path = String::from("/api/v1/");
        if self.watch {
            path.push_str("watch/");
        }
        if let Some(namespace) = namespace {
            path.push_str(&format!("namespaces/{namespace}/"));
        }
        if let (None, "bindings", Some(object)) = (&self.name, self.plural, object) {
            path.push_str(&format!("pods/{}/binding", meta::name(object)));
        } else {
            path.push_str(self.plural);
            for part in self.name.iter().chain((!self.rest.is_empty()).then_some(&self.rest)) {
                path.push('/');
                path.push_str(part);
            }
        }
        let query = if self.kind.is_none() { self.passed_on.clone() } else { self.query(query)? };
        let text = if query.is_empty() { path } else { format!("{path}?{query}") };
        text.parse().map_err(|_| ApiError::no_such_path().into())
    }

    fn query(&self, query: &Query) -> Result<String, Refusal> {
        let mut pairs = Vec::new();
        for (name, value) in query.pairs() {
            match (self.kind, name) {
                (_, "namespace" | "fieldValidation") => {}
                (_, "labels" | "label-selector") => pairs.push(("labelSelector", value.to_owned())),
                (Some(kind), "fields" | "field-selector" | "fieldSelector") => {
                    pairs.push(("fieldSelector", fields(kind, value)));
                }
                _ => pairs.push((name, value.to_owned())),
            }
        }
        serde_urlencoded::to_string(&pairs)
            .map_err(|error| ApiError::internal("a query cannot be written", error).into())
    }
}

fn without_namespace(raw: &str) -> String {
    let kept = raw.split('&').filter(|piece| piece.split('=').next() != Some("namespace"));
    kept.collect::<Vec<_>>().join("&")
}

/// A field selector with v1's fields.
fn fields(kind: &Kind, selector: &str) -> String {
    let terms = selector.split(',').map(|term| {
        let (label, operator, value) = ["!=", "==", "="]
            .into_iter()
            .find_map(|operator| term.split_once(operator).map(|(label, value)| (label, operator, value)))
            .unwrap_or((term, "", ""));
        match field_to_v1(kind, label.trim(), value) {
            Some((label, value)) => format!("{label}{operator}{value}"),
            None => term.to_owned(),
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, from: &str, expected: &str) {
        let (path, query) = from.split_once('?').unwrap_or((from, ""));
        let raw = query;
        let query = Query::parse(Some(query)).unwrap();
        let older = Older::parse(path).unwrap_or_else(|| panic!("{from} is not older"));
        let route = Route::of(&older, &method, &query, raw);
        let route = route.unwrap_or_else(|refusal| panic!("{from}: {}", refusal.0.status.message));
        assert_eq!(route.uri(&query, None).unwrap().to_string(), expected, "{from}");
    }

    #[test]
    fn paths_of_that_time_lead_to_v1() {
        let get = |from, to| check(Method::GET, from, to);
        get("/api/v1beta1/pods", "/api/v1/pods");
        get("/api/v1beta1/pods/", "/api/v1/pods");
        get("/api/v1beta1/pods?namespace=a", "/api/v1/namespaces/a/pods");
        get("/api/v1beta1/pods/p", "/api/v1/namespaces/default/pods/p");
        get("/api/v1beta1/pods/p?namespace=a", "/api/v1/namespaces/a/pods/p");
        get("/api/v1beta1/namespaces/a/services/s", "/api/v1/namespaces/a/services/s");
        get("/api/v1beta1/minions", "/api/v1/nodes");
        get("/api/v1beta1/minions/m", "/api/v1/nodes/m");
        get("/api/v1beta1/nodes/m?namespace=a", "/api/v1/nodes/m");
        get("/api/v1beta1/namespaces/a", "/api/v1/namespaces/a");
        get("/api/v1beta1/replicationControllers/r", "/api/v1/namespaces/default/replicationcontrollers/r");
        get(
            "/api/v1beta1/watch/services?namespace=a&resourceVersion=7",
            "/api/v1/watch/namespaces/a/services?resourceVersion=7",
        );
        get("/api/v1beta1/watch/services", "/api/v1/watch/services");
        get("/api/v1beta1/pods/p/log?follow=true", "/api/v1/namespaces/default/pods/p/log?follow=true");
        get("/api/v1beta3/namespaces/a/pods/p", "/api/v1/namespaces/a/pods/p");
        get("/api/v1beta3/watch/namespaces/a/pods", "/api/v1/watch/namespaces/a/pods");
        get("/api/v1beta3/nodes", "/api/v1/nodes");
        check(Method::POST, "/api/v1beta1/services", "/api/v1/namespaces/default/services");
        check(Method::POST, "/api/v1beta1/services?namespace=a", "/api/v1/namespaces/a/services");
        check(Method::POST, "/api/v1beta1/minions", "/api/v1/nodes");
    }

    #[test]
    fn proxies_are_the_subresources_of_today() {
        let get = |from, to| check(Method::GET, from, to);
        get("/api/v1beta1/proxy/services/s/a/b?namespace=n&x", "/api/v1/namespaces/n/services/s/proxy/a/b?x");
        get("/api/v1beta1/proxy/services/s", "/api/v1/namespaces/default/services/s/proxy/");
        get("/api/v1beta1/proxy/pods/p:8080/", "/api/v1/namespaces/default/pods/p:8080/proxy/");
        get("/api/v1beta1/proxy/ns/n/services/s/x/", "/api/v1/namespaces/n/services/s/proxy/x/");
        get("/api/v1beta1/proxy/minions/m/healthz", "/api/v1/nodes/m/proxy/healthz");
        get("/api/v1beta3/proxy/namespaces/n/services/s/x", "/api/v1/namespaces/n/services/s/proxy/x");
        get("/api/v1beta3/namespaces/n/pods/p/proxy/x", "/api/v1/namespaces/n/pods/p/proxy/x");
    }

    #[test]
    fn selectors_of_that_time_are_todays() {
        let get = |from, to| check(Method::GET, from, to);
        get("/api/v1beta1/pods?labels=a%3Db", "/api/v1/pods?labelSelector=a%3Db");
        get("/api/v1beta1/pods?fields=DesiredState.Host%3Dn1", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1");
        get(
            "/api/v1beta1/pods?fields=DesiredState.Status!=Waiting",
            "/api/v1/pods?fieldSelector=status.phase%21%3DPending",
        );
        get(
            "/api/v1beta1/minions?fields=unschedulable%3Dfalse",
            "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse",
        );
    }

    #[test]
    fn others_are_not_older() {
        for path in
            ["/api/v1/pods", "/api/v1beta1", "/api/v1beta1/", "/api", "/apis/apps/v1/deployments", "/api/v1beta2/pods"]
        {
            assert_eq!(Older::parse(path), None, "{path}");
        }
        let unknown = Older::parse("/api/v1beta1/widgets").unwrap();
        assert!(Route::of(&unknown, &Method::GET, &Query::default(), "").is_err());
        let secrets = Older::parse("/api/v1beta1/secrets").unwrap();
        assert!(Route::of(&secrets, &Method::GET, &Query::default(), "").is_err());
    }
}
