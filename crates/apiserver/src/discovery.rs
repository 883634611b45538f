//! Discovery over HTTP: which form a client asks for. The documents are `stead_api`'s.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::json;
use stead_api::{
    discovery::{self, AGGREGATED_CONTENT_TYPE, Root},
    kinds,
    legacy::Version,
    status::ApiError,
};

use crate::{document::Document, legacy, path::Target, refusal::Refusal, server::Inner};

const JSON: &str = "application/json";

/// `/`: some of the paths there are.
pub(crate) fn root() -> Bytes {
    let versions = kinds::ALL.iter().filter(|kind| !kind.group.is_empty());
    let mut paths = versions
        .flat_map(|kind| [format!("/apis/{}", kind.group), format!("/apis/{}/{}", kind.group, kind.version)])
        .chain(
            [
                "/api",
                "/api/v1",
                "/api/v1beta1",
                "/api/v1beta3",
                "/apis",
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ]
            .map(str::to_owned),
        )
        .collect::<Vec<_>>();
    paths.sort_unstable();
    paths.dedup();
    json!({"paths": paths}).to_string().into()
}

/// The list of kinds that users have defined: nobody can.
pub(crate) fn custom_kinds() -> Bytes {
    let list = json!({
        "kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"resourceVersion": "1"}, "items": [],
    });
    list.to_string().into()
}

pub(crate) fn answer(server: &Inner, target: &Target<'_>, headers: &HeaderMap) -> Result<Response, Refusal> {
    let document = match target {
        Target::Groups { core } if wants_aggregated(headers) => {
            let root = if *core { Root::Core } else { Root::Groups };
            Document::json(&discovery::aggregated(root, legacy::shown()), AGGREGATED_CONTENT_TYPE)
        }
        Target::Groups { core: true } => {
            Document::json(&discovery::api_versions(legacy::shown(), &server.config.advertise.to_string()), JSON)
        }
        Target::Groups { core: false } => Document::json(&discovery::api_group_list(kinds::ALL), JSON),
        // Where clients before 1.27 look for versions of the core group other than v1.
        Target::Group(version) if Version::parse(version).is_some() => {
            let found = discovery::api_resource_list(legacy::shown(), "", version);
            Document::json(&found.ok_or_else(ApiError::no_such_path)?, JSON)
        }
        Target::Group(group) => {
            let found = discovery::api_group(kinds::ALL, group);
            Document::json(&found.ok_or_else(ApiError::no_such_path)?, JSON)
        }
        Target::GroupVersion { group, version } => {
            let found = discovery::api_resource_list(legacy::shown(), group, version);
            Document::json(&found.ok_or_else(ApiError::no_such_path)?, JSON)
        }
        _ => return Err(ApiError::no_such_path().into()),
    };
    Ok(document.answer(headers))
}

/// The client names the aggregated form, at the version that servers still answer.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|range| {
        let parameters = range.split(';').map(str::trim).collect::<Vec<_>>();
        ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|wanted| parameters.contains(wanted))
    })
}
