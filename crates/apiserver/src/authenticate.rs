//! Who sends a request: the client certificate of its connection says it, else a bearer token; an administrator may act as
//! somebody else (`kubectl --as`).

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, header, request::Parts};
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{kinds, meta, resource::Resource, status::ApiError};

use crate::{
    auth::{Identity, MASTERS},
    refusal::Refusal,
    server::Inner,
    storage::object_path,
};

const EXTRA: &str = "impersonate-extra-";
/// An object that is going keeps its tokens this long.
const GOING: i64 = 60;

/// Why a token names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Nobody(String);

/// Marks a request with who asks, instead of with whom its connection's certificate names, and takes away what said so: what
/// the request becomes on its way through the server is asked by the same.
pub(crate) async fn identify(server: &Inner, request: &mut Parts) -> Result<(), Refusal> {
    let mut identity = request.extensions.get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    if identity.is_anonymous()
        && let Some(token) = bearer(&request.headers)
    {
        let audiences = [server.config.issuer()];
        let bearer = by_token(server, token, &audiences).await.map_err(|nobody| {
            tracing::debug!(%nobody, "token refused");
            server.metrics.credentials().refused.inc();
            ApiError::unauthorized()
        });
        identity = bearer?.identity;
    }
    if !identity.is_anonymous() {
        server.metrics.credentials().accepted.inc();
    }
    let identity = impersonated(identity, &request.headers)?;
    request.headers.remove(header::AUTHORIZATION);
    let wanted = request.headers.keys().filter(|name| is_impersonation(name)).cloned().collect::<Vec<_>>();
    for name in wanted {
        request.headers.remove(name);
    }
    request.extensions.insert(identity);
    Ok(())
}

fn is_impersonation(name: &HeaderName) -> bool {
    name.as_str().starts_with("impersonate-")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Whom a token names.
#[derive(Debug)]
pub(crate) struct Bearer {
    pub(crate) identity: Identity,
    /// Those of the token that were asked for.
    pub(crate) audiences: Vec<String>,
}

/// Whom `token` names, if it is for one of `audiences`.
pub(crate) async fn by_token(server: &Inner, token: &str, audiences: &[String]) -> Result<Bearer, Nobody> {
    let nobody = |why: &dyn std::fmt::Display| Nobody(why.to_string());
    let claims = server.config.token_key.read(token, &server.config.issuer(), audiences, Timestamp::now());
    let claims = claims.map_err(|error| nobody(&error))?;
    let bound = &claims["kubernetes.io"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&bound["namespace"]);
    let account = &bound["serviceaccount"];
    present(server, &kinds::service_account::RESOURCE, &namespace, account).await?;
    let (name, uid) = (text(&account["name"]), text(&account["uid"]));
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: String| extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    add("credential-id", format!("JTI={}", text(&claims["jti"])));
    if bound["secret"].is_object() {
        present(server, &kinds::secret::RESOURCE, &namespace, &bound["secret"]).await?;
    }
    for (kind, resource) in [("pod", &kinds::pod::RESOURCE), ("node", &kinds::node::RESOURCE)] {
        let object = &bound[kind];
        if object.is_object() {
            // A node is told of, not bound to, beside a pod.
            if kind == "pod" || !bound["pod"].is_object() {
                present(server, resource, &namespace, object).await?;
            }
            add(&format!("{kind}-name"), text(&object["name"]));
            add(&format!("{kind}-uid"), text(&object["uid"]));
        }
    }
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
    let mut identity = Identity::new(format!("system:serviceaccount:{namespace}:{name}"), &groups);
    identity.uid = uid;
    identity.extra = extra;
    let stated = crate::token::token_audiences(&claims);
    let audiences = audiences.iter().filter(|audience| stated.contains(audience)).cloned().collect();
    Ok(Bearer { identity, audiences })
}

/// The object that a token names is there, is the same, and is not long on its way out.
async fn present(server: &Inner, resource: &'static Resource, namespace: &str, named: &Value) -> Result<(), Nobody> {
    let (name, uid) = (named["name"].as_str().unwrap_or_default(), named["uid"].as_str().unwrap_or_default());
    let namespace = if resource.namespaced { namespace } else { "" };
    let cached = server.cache(resource).get(&object_path(resource, namespace, name)).map(|entry| entry.object());
    let object = match cached.filter(|object| meta::uid(object) == uid) {
        Some(object) => Some(object),
        None => {
            let stored = server.storage.get(&resource.registry_key(namespace, name)).await;
            stored.ok().flatten().map(|stored| stored.object)
        }
    };
    let object = object.filter(|object| meta::uid(object) == uid && !uid.is_empty());
    let gone = || Nobody(format!("{} {name:?} of the token is gone", resource.singular));
    let object = object.ok_or_else(gone)?;
    match meta::deletion_timestamp(&object) {
        Some(end) if end.as_second() + GOING < Timestamp::now().as_second() => Err(gone()),
        _ => Ok(()),
    }
}

/// Whom the headers ask to act as; administrators alone may.
fn impersonated(identity: Identity, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !headers.keys().any(is_impersonation) {
        return Ok(identity);
    }
    let user = text("impersonate-user");
    if user.is_empty() {
        return Err(ApiError::bad_request("requested impersonation without impersonating a user").into());
    }
    if identity.is_anonymous() {
        return Err(ApiError::unauthorized().into());
    }
    if !identity.in_group(MASTERS) {
        let why = format!(
            "users {user:?} is forbidden: User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            identity.user
        );
        return Err(ApiError::new(stead_api::status::StatusReason::Forbidden, why).into());
    }
    let groups = headers.get_all("impersonate-group").iter().filter_map(|group| group.to_str().ok());
    let mut groups = groups.collect::<Vec<_>>();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let of_namespace = account.map(|(namespace, _)| format!("system:serviceaccounts:{namespace}"));
    if let (Some(of_namespace), true) = (&of_namespace, groups.is_empty()) {
        groups.extend(["system:serviceaccounts", of_namespace]);
    }
    let mut acted =
        if user == Identity::anonymous().user { Identity::anonymous() } else { Identity::new(user, &groups) };
    acted.groups.dedup();
    acted.uid = text("impersonate-uid").to_owned();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            acted.extra.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    Ok(acted)
}
