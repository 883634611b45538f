//! GET of a collection with `watch`.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use rand::Rng as _;

use stead_api::status::ApiError;

use crate::{
    dispatch::Call,
    filter::Filter,
    query::{At, From},
    refusal::Refusal,
    unread::EndsUnread,
    verbs::get::reach,
    watching::{Start, Watch, error_event, frames},
};

/// A watch without a timeout of its own ends after this time, and up to twice it, so that clients do not all come back at
/// once.
const TIMEOUT: Duration = Duration::from_secs(1_800);

pub(crate) async fn watch(call: &Call<'_>) -> Result<Response, Refusal> {
    let query = call.query.watch()?;
    let filter = Filter::new(call.path.resource, call.path.namespace, call.path.name, call.query)?;
    let cache = call.server.cache(call.path.resource);
    let at = match query.from {
        // A revision to come is waited for by the watch itself.
        From::After(_) => At::Any,
        From::InitialMarked(Some(revision)) => At::NotOlderThan(revision),
        From::InitialMarked(None) => At::Newest,
        From::Initial | From::Now if call.query.get("resourceVersion") == Some("0") => At::Any,
        From::Initial | From::Now => At::Newest,
    };
    match (reach(call.server, cache, at).await, query.from) {
        (Err(refusal), From::InitialMarked(Some(_))) => {
            return Ok(stream(Body::from(error_event(&refusal.0))));
        }
        (reached, _) => reached?,
    }
    let start = match query.from {
        From::Now => {
            let (position, after) = cache.head();
            Start::At { position, after }
        }
        From::InitialMarked(_) if query.bookmarks => Start::MarkedObjects(filter.list(cache)),
        From::Initial | From::InitialMarked(_) => Start::Objects(filter.list(cache)),
        From::After(revision) => match cache.position_after(revision) {
            Ok(position) => Start::At { position, after: revision },
            // As an event: some clients go back to a list for that alone, and for no other kind of answer.
            Err(too_old) => {
                let error = ApiError::resource_version_too_old(revision.0, too_old.floor.0);
                return Ok(stream(Body::from(error_event(&error))));
            }
        },
    };
    let timeout = query.timeout.unwrap_or_else(|| TIMEOUT.mul_f64(1.0 + rand::rng().random::<f64>()));
    let watch = Watch {
        share: Some(call.server.watches.take(&call.identity.user)?),
        watched: call.server.metrics.watched(call.asked),
        cache: cache.clone(),
        filter,
        shown: call.shown,
        bookmarks: query.bookmarks,
        timeout,
        stop: call.server.stop.subscribe(),
    };
    Ok(stream(Body::from_stream(frames(watch, start))))
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    response.extensions_mut().insert(EndsUnread);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
