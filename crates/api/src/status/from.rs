//! Errors of this crate as answers.

use super::{ApiError, StatusReason};
use crate::decode::DecodeError;
use crate::patch::{PatchError, PatchErrorClass};
use crate::resource::Resource;
use crate::selector::SelectorError;

/// Of a body that cannot be read, this much is shown.
const SHOWN: usize = 30;

impl ApiError {
    /// The body says what it is, and is not an object of `resource`.
    pub fn undecodable(resource: &Resource, error: &DecodeError) -> Self {
        let Resource { kind, version, .. } = resource;
        Self::bad_request(format_args!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    }

    /// The body does not even say what it is.
    pub fn unrecognized(resource: &Resource, error: impl std::fmt::Display, body: &[u8]) -> Self {
        let kind = resource.kind;
        let summary = summarize(body);
        Self::bad_request(format_args!(
            "the object provided is unrecognized (must be of type {kind}): {error} ({summary})"
        ))
    }

    /// The body is of another kind or version than the path.
    pub fn wrong_kind(resource: &Resource, api_version: &str, kind: &str) -> Self {
        let wanted = resource.api_version();
        if api_version != wanted {
            return Self::bad_request(format_args!(
                "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
            ));
        }
        let Resource { version, kind: expected, .. } = resource;
        Self::bad_request(format_args!(
            "{kind} in version {version:?} cannot be handled as a {expected}: the path is of kind {expected}"
        ))
    }

    /// The object names itself otherwise than the path does.
    pub fn wrong_name(object: &str, path: &str) -> Self {
        Self::bad_request(format_args!("the name of the object ({object}) does not match the name on the URL ({path})"))
    }

    /// The object of a path that ends in `path` says no name.
    pub fn no_name(path: &str) -> Self {
        Self::bad_request(format_args!(
            "the name of the object ({path} based on URL) was undeterminable: name must be provided"
        ))
    }

    /// The object says that it is in another namespace than the path.
    pub fn wrong_namespace() -> Self {
        Self::bad_request("the namespace of the provided object does not match the namespace sent on the request")
    }
}

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::bad_request(error)
    }
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error.class() {
            PatchErrorClass::Malformed => Self::bad_request(error),
            PatchErrorClass::TooLarge => {
                Self::new(StatusReason::RequestEntityTooLarge, format!("Request entity too large: {error}"))
            }
            PatchErrorClass::Inapplicable => {
                let text = "the server rejected our request due to an error in our request";
                Self::new(StatusReason::Invalid, format!("{text}: {error}"))
            }
        }
    }
}

fn summarize(body: &[u8]) -> String {
    let start = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let digits: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}
