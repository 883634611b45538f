//! OpenAPI over HTTP. The documents are `stead_api`'s, made at first use and then kept: in JSON, and v2 as a message of
//! Protocol Buffers too, for clients that take nothing else.

use std::{sync::OnceLock, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use stead_api::{
    openapi::{self, OpenApi},
    status::ApiError,
};
use stead_metrics::KUBERNETES_VERSION;

use crate::{document::Document, legacy, path::Target, query::Query, refusal::Refusal, view};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// What clients ask for by the name that it had before; the sign in it is not allowed in a content type.
const PROTOBUF_ONCE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What is addressed by its hash never changes.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// The documents as they are sent.
#[derive(Debug)]
struct Documents {
    index: Document,
    v2: Document,
    /// By path below `/openapi/v3/`.
    v3: Vec<(String, Document)>,
}

fn documents() -> &'static Documents {
    static DOCUMENTS: OnceLock<Documents> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let made = OpenApi::new(legacy::shown(), KUBERNETES_VERSION);
        let document =
            |from: &openapi::Document| Document::tagged(Bytes::copy_from_slice(&from.text), from.hash.clone(), JSON);
        let paths = legacy::shown().iter().map(|kind| match kind.group {
            "" => format!("api/{}", kind.version),
            group => format!("apis/{group}/{}", kind.version),
        });
        let v3 = paths.filter_map(|path| made.document(&path).map(|found| (path, document(found)))).collect();
        Documents { index: document(made.index()), v2: document(made.v2()), v3 }
    })
}

/// v2 for readers of Protocol Buffers. Few clients are, so it is made apart from the others.
fn v2_protobuf() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let made = openapi::v2_protobuf(legacy::shown(), KUBERNETES_VERSION);
        Document::tagged(made.text.into(), made.hash, PROTOBUF)
    })
}

pub(crate) fn answer(target: &Target<'_>, headers: &HeaderMap, query: &Query) -> Result<Response, Refusal> {
    let served: &[&str] = if *target == Target::OpenApiV2 { &[JSON, PROTOBUF, PROTOBUF_ONCE] } else { &[JSON] };
    let accepted = view::preferred(headers, |range| match range.media_type {
        "application/*" | "*/*" => Some(JSON),
        exact => served.iter().find(|media_type| **media_type == exact).copied(),
    });
    let accepted = accepted.ok_or_else(|| ApiError::not_acceptable(served))?;
    match target {
        Target::OpenApiV3Index => Ok(documents().index.answer(headers)),
        Target::OpenApiV2 if accepted == JSON => Ok(documents().v2.answer(headers)),
        Target::OpenApiV2 => Ok(v2_protobuf().answer(headers)),
        Target::OpenApiV3(path) => {
            let found = documents().v3.iter().find(|(known, _)| known == path).map(|(_, document)| document);
            let document = found.ok_or_else(ApiError::no_such_path)?;
            match query.get("hash") {
                None => Ok(document.answer(headers)),
                Some(hash) if hash == document.hash => Ok(lasting(document.answer(headers))),
                Some(_) => elsewhere(path, &document.hash),
            }
        }
        _ => Err(ApiError::no_such_path().into()),
    }
}

fn lasting(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    let expires = Timestamp::now() + FOREVER;
    let expires = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&expires);
    if let Some(expires) = expires.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::EXPIRES, expires);
    }
    response
}

/// The document has changed since its address was told.
fn elsewhere(path: &str, hash: &str) -> Result<Response, Refusal> {
    let location = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={hash}"))
        .map_err(|error| ApiError::internal("an address cannot be written", error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
