//! GET of `pods/NAME/log`: asked from the agent of the pod's node.

use axum::response::Response;
use stead_api::status::ApiError;

use crate::{path::ResourcePath, query::Query, refusal::Refusal, server::Inner};

pub(crate) async fn get(_server: &Inner, _path: &ResourcePath<'_>, _query: &Query) -> Result<Response, Refusal> {
    Err(ApiError::no_such_path().into())
}
