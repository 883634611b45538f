//! Requests of the server to itself: through the API, so that they obey its rules.

use std::sync::Arc;

use axum::{body::Body, extract::Request};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::{auth::Identity, dispatch, server::Inner};

/// Sends `body` as JSON, of a PATCH as a merge patch. The error is one of the transport; refusals are answers.
pub(crate) async fn call(
    server: &Arc<Inner>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value), String> {
    let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .extension(Identity::control_plane("system:apiserver"))
        .body(body)
        .map_err(|error| error.to_string())?;
    let response = dispatch::answer(server.clone(), request).await;
    let code = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok((code, value))
}
