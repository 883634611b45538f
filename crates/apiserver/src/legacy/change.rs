//! PUT and PATCH by an older version: the object is read from v1, changed as that version shows it, and replaced, at the revision
//! that was read. Another's write in between means once more, unless the client named a revision.

use axum::response::Response;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use stead_api::{
    decode::prune,
    legacy::Version,
    meta,
    patch::{PatchType, apply_merge_patch, parse},
    status::ApiError,
};

use super::{Call, answer, invalid};
use crate::{
    body::{Sent, accept, media_type},
    refusal::Refusal,
};

const ATTEMPTS: usize = 5;

/// PUT.
pub(super) async fn replace(call: &Call<'_>, sent: Sent) -> Result<Response, Refusal> {
    let uri = call.route.uri(&call.query, None)?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let stored = stored(call).await?;
        let made = match &stored {
            Ok(stored) => call.kind.update_to_v1(&sent.object, stored),
            Err(_) => call.kind.to_v1(&sent.object),
        };
        let mut new = made.map_err(|errors| invalid(call.kind, &sent.object, &errors))?;
        let free = meta::resource_version(&new).is_empty();
        if let (true, Ok(stored)) = (free, &stored) {
            meta::set(&mut new, "resourceVersion", meta::resource_version(stored));
        }
        let response = call.send(Method::PUT, uri.clone(), &new).await;
        if response.status() != StatusCode::CONFLICT || !free {
            return answer::with_warnings(call.turn(response).await?, &sent.warnings);
        }
        last = Some(response);
    }
    call.turn(last.expect("there is at least one attempt")).await
}

/// PATCH. What is said of `metadata` is meant as today, all else as the older version shows it.
pub(super) async fn patch(call: &Call<'_>, bytes: &[u8]) -> Result<Response, Refusal> {
    let form = PatchType::from_media_type(media_type(&call.parts.headers)).ok_or_else(ApiError::unsupported_patch)?;
    let (mut patch, validation) = (parse(bytes)?, call.validation()?);
    let of_metadata = match call.kind.version {
        Version::V1beta1 => patch.as_object_mut().and_then(|patch| patch.remove("metadata")),
        Version::V1beta3 => None,
    };
    let uri = call.route.uri(&call.query, None)?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let stored = match stored(call).await? {
            Ok(stored) => stored,
            Err(response) => return call.turn(response).await,
        };
        let shown = call.kind.patchable(&stored, &patch);
        let definition = call.kind.resource.definition;
        let patched = form.apply(&shown, &patch, definition)?;
        let sent = accept(prune(patched, definition), call.kind.resource, validation)?;
        let made = call.kind.update_to_v1(&sent.object, &stored);
        let mut new = made.map_err(|errors| invalid(call.kind, &sent.object, &errors))?;
        if let Some(change) = &of_metadata {
            new["metadata"] = apply_merge_patch(&new["metadata"], change)?;
        }
        let response = call.send(Method::PUT, uri.clone(), &new).await;
        let named = meta::resource_version(&new) != meta::resource_version(&stored);
        if response.status() != StatusCode::CONFLICT || named {
            return answer::with_warnings(call.turn(response).await?, &sent.warnings);
        }
        last = Some(response);
    }
    call.turn(last.expect("there is at least one attempt")).await
}

/// The object as it is in v1, or v1's answer where there is none.
async fn stored(call: &Call<'_>) -> Result<Result<Value, Response>, Refusal> {
    let response = call.read().await?;
    if response.status() != StatusCode::OK {
        return Ok(Err(response));
    }
    let body = response.into_body().collect().await;
    let bytes = body.map_err(|error| ApiError::internal("an object cannot be read", error.to_string()))?.to_bytes();
    let value = serde_json::from_slice(&bytes);
    Ok(Ok(value.map_err(|error| ApiError::internal("an object cannot be read", error.to_string()))?))
}
