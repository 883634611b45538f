//! Documents that are the same for every client and change only with the program: discovery, OpenAPI. Made once, tagged, and
//! not sent again to who has them.

use std::sync::OnceLock;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::compression::{self, Coding};

/// A document with its content type and entity tag.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    body: Bytes,
    content_type: &'static str,
    /// Made when the first client asks for it.
    compressed: OnceLock<Bytes>,
    /// A hash of the body, hexadecimal, upper case as upstream's.
    pub(crate) hash: String,
}

impl Document {
    pub(crate) fn json(value: &Value, content_type: &'static str) -> Self {
        let body = Bytes::from(value.to_string());
        let hash = Sha256::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
        Self::tagged(body, hash, content_type)
    }

    /// A document whose hash is known.
    pub(crate) fn tagged(body: Bytes, hash: String, content_type: &'static str) -> Self {
        Self { body, content_type, hash, compressed: OnceLock::new() }
    }

    /// The document, or 304 for a client that states to have it.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.hash);
        let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let is_known = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
        let mut response = if is_known {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else if self.body.len() > compression::FROM && Coding::wanted(headers) == Coding::Gzip {
            let body = self.compressed.get_or_init(|| compression::gzip(&self.body)).clone();
            let mut response = Response::new(Body::from(body));
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        } else {
            Response::new(Body::from(self.body.clone()))
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}
