//! What a request asks for, in the words by which requests are counted.

use http::{Method, request::Parts};
use prometheus_client::encoding::EncodeLabelSet;

use crate::{
    body::media_type,
    path::{ResourcePath, Target, subresource_name},
    query::Query,
    verbs::apply,
};

/// Labels of a request, all of them words of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    pub(super) component: &'static str,
    pub(super) dry_run: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) scope: &'static str,
    pub(super) subresource: &'static str,
    pub(super) verb: &'static str,
    pub(super) version: &'static str,
}

impl Asked {
    /// Whether such a request ends by itself, and soon.
    pub(crate) fn ends(&self) -> bool {
        !matches!(self.verb, "WATCH" | "CONNECT") && self.subresource != "log"
    }

    pub(crate) fn of(parts: &Parts, target: &Target<'_>, query: &Query) -> Self {
        let nothing = Self {
            component: "apiserver",
            dry_run: "",
            group: "",
            resource: "",
            scope: "",
            subresource: "",
            verb: method(&parts.method),
            version: "",
        };
        match target {
            Target::Resource(path) => Self {
                dry_run: if query.get("dryRun") == Some("All") { "All" } else { "" },
                group: path.resource.group,
                resource: path.resource.plural,
                scope: scope(path),
                subresource: path.subresource.map(subresource_name).unwrap_or_default(),
                verb: verb(parts, path, query),
                version: path.resource.version,
                ..nothing
            },
            Target::Health { .. } => {
                let all = ["/healthz", "/livez", "/readyz"];
                let start = all.into_iter().find(|start| parts.uri.path().starts_with(start));
                Self { component: "", subresource: start.unwrap_or_default(), ..nothing }
            }
            Target::Metrics => Self { component: "", subresource: "/metrics", ..nothing },
            Target::Version => Self { component: "", subresource: "/version", ..nothing },
            _ => Self { component: "", ..nothing },
        }
    }
}

fn scope(path: &ResourcePath<'_>) -> &'static str {
    match (path.name, path.namespace) {
        (Some(_), _) => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    }
}

fn verb(parts: &Parts, path: &ResourcePath<'_>, query: &Query) -> &'static str {
    match (&parts.method, path.name) {
        _ if path.subresource.is_some_and(stead_api::resource::Subresource::connects) => "CONNECT",
        (&Method::GET | &Method::HEAD, _) if path.watch => "WATCH",
        (&Method::GET | &Method::HEAD, None) if query.watches() => "WATCH",
        (&Method::GET | &Method::HEAD, None) => "LIST",
        (&Method::PATCH, _) if media_type(&parts.headers) == apply::MEDIA_TYPE => "APPLY",
        (&Method::DELETE, None) => "DELETECOLLECTION",
        (other, _) => method(other),
    }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
