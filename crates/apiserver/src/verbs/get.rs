//! GET of one object.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use stead_model::Revision;

use stead_api::status::ApiError;

use crate::{
    cache::KindCache,
    dispatch::{Answer, Call},
    query::At,
    refusal::Refusal,
    server::Inner,
    storage::object_path,
};

/// How long a read waits for the cache to come to the revision that it needs.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let cache = call.server.cache(resource);
    reach(call.server, cache, call.query.list()?.at).await?;
    let path = object_path(resource, call.namespace(), call.name());
    let entry = cache.get(&path).ok_or_else(|| ApiError::not_found(resource, call.name()))?;
    let body = call.shown.object(&entry.json, Timestamp::now());
    Ok(Answer { code: StatusCode::OK, body, warnings: Vec::new() })
}

/// Waits until `cache` may answer a read at `at`.
pub(crate) async fn reach(server: &Inner, cache: &KindCache, at: At) -> Result<(), Refusal> {
    let wanted = match at {
        At::Any => Revision::ZERO,
        At::Newest => server.storage.store.revision().await?,
        At::NotOlderThan(revision) | At::Exact(revision) => revision,
    };
    let reached = cache.reach(wanted, PATIENCE).await;
    Ok(reached.map_err(|not_reached| ApiError::resource_version_too_large(wanted.0, not_reached.current.0))?)
}
