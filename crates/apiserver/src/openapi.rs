//! OpenAPI over HTTP. The documents are `stead_api`'s; each is made once.

use axum::response::Response;
use http::HeaderMap;
use stead_api::status::ApiError;

use crate::{path::Target, query::Query, refusal::Refusal};

pub(crate) fn answer(_target: &Target<'_>, _headers: &HeaderMap, _query: &Query) -> Result<Response, Refusal> {
    Err(ApiError::no_such_path().into())
}
