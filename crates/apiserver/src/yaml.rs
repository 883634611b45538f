//! Answers in YAML, for clients that accept it before JSON: what a handler answered in JSON is written anew on its way out.
//!
//! Watches have no such form and are refused before they begin. Request bodies in YAML are [`body`](crate::body)'s.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use stead_api::{discovery::AGGREGATED_CONTENT_TYPE, status::ApiError};

use crate::{compression::Compressible, refusal::Refusal, view::preferred};

pub(crate) const MEDIA_TYPE: &str = "application/yaml";
const JSON: &str = "application/json";

/// In what an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Json,
    Yaml,
}

impl Writing {
    /// The better of the two for a client that sent these headers.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let mut accept = headers.get_all(header::ACCEPT).iter();
        if !accept.any(|value| value.as_bytes().windows(MEDIA_TYPE.len()).any(|part| part == MEDIA_TYPE.as_bytes())) {
            return Self::Json;
        }
        let wanted = preferred(headers, |range| match range.media_type {
            MEDIA_TYPE => Some(Self::Yaml),
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        });
        wanted.unwrap_or(Self::Json)
    }

    /// The answer as it is wanted. What is no JSON stays as it is.
    pub(crate) async fn write(self, response: Response) -> Response {
        // What is proxied may be.
        let is_compressed = response.headers().contains_key(header::CONTENT_ENCODING);
        let is_empty = response.status() == StatusCode::NOT_MODIFIED;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(yaml_instead);
        let Some(media_type) = media_type.filter(|_| self == Self::Yaml && !is_compressed && !is_empty) else {
            return response;
        };
        match in_yaml(response, media_type).await {
            Ok(response) => response,
            Err(error) => {
                Refusal::from(ApiError::internal("an answer cannot be written as YAML", error)).into_response()
            }
        }
    }
}

/// The media type of what is JSON, for the same in YAML: that of discovery has parameters, which stay.
fn yaml_instead(json: &HeaderValue) -> Option<HeaderValue> {
    let json = json.to_str().ok().filter(|json| [JSON, AGGREGATED_CONTENT_TYPE].contains(json))?;
    HeaderValue::from_str(&json.replacen(JSON, MEDIA_TYPE, 1)).ok()
}

/// Why an answer stays JSON.
#[derive(Debug, thiserror::Error)]
enum YamlError {
    #[error("the answer cannot be read: {0}")]
    Body(axum::Error),
    #[error("the answer is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer cannot be written: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

async fn in_yaml(response: Response, media_type: HeaderValue) -> Result<Response, YamlError> {
    let (mut parts, body) = response.into_parts();
    let json = body.collect().await.map_err(YamlError::Body)?.to_bytes();
    let value: Value = serde_json::from_slice(&json)?;
    let mut text = serde_saphyr::to_string(&value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    parts.headers.insert(header::CONTENT_TYPE, media_type);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.extensions.insert(Compressible);
    Ok(Response::from_parts(parts, Body::from(text)))
}
