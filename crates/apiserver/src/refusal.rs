//! A refused request: an [`ApiError`] on its way to the client, and what of the store's errors the client is told.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use stead_api::{patch::PatchError, selector::SelectorError, status::ApiError};
use stead_store::StoreError;

use crate::query::InvalidQuery;

/// Why a request is not done.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(pub(crate) Box<ApiError>);

impl Refusal {
    pub(crate) fn into_response(self) -> Response {
        let status = &self.0.status;
        if let Some(log) = &self.0.log {
            tracing::error!(message = %status.message, %log, "request failed");
        }
        let mut response = Response::new(Body::from(status.to_value().to_string()));
        *response.status_mut() = self.code();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status.details.retry_after > 0 {
            response.headers_mut().insert(header::RETRY_AFTER, status.details.retry_after.into());
        }
        response
    }

    pub(crate) fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.0.status.code == 404
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

impl From<SelectorError> for Refusal {
    fn from(error: SelectorError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<PatchError> for Refusal {
    fn from(error: PatchError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let error = match error {
            StoreError::Compacted { requested, oldest } => ApiError::resource_version_too_old(requested.0, oldest.0),
            StoreError::Future { requested, newest } => ApiError::resource_version_too_large(requested.0, newest.0),
            StoreError::Closed => ApiError::unavailable("the store is closed").with_log(error),
            StoreError::NoLease(_)
            | StoreError::DuplicateKey(_)
            | StoreError::Slow
            | StoreError::Damaged { .. }
            | StoreError::Engine { .. } => ApiError::internal("the store failed", error),
        };
        error.into()
    }
}

impl From<InvalidQuery> for Refusal {
    fn from(error: InvalidQuery) -> Self {
        let error = match error {
            InvalidQuery::ListOptions(errors) => ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &errors),
            InvalidQuery::WriteOptions(kind, errors) => ApiError::invalid_kind("meta.k8s.io", kind, "", &errors),
            other => ApiError::bad_request(other),
        };
        error.into()
    }
}
