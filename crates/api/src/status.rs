//! What the API answers instead of an object: `Status`, and the errors it stands for, in upstream's words.
//!
//! An [`ApiError`] keeps apart what the client is told and what only the log is told. Constructors take what the error is
//! about and choose code, reason and message; which of them fits a request is the API server's to decide.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::field::FieldError;
use crate::resource::Resource;

mod from;
mod new;

/// A `v1` `Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// `None` for success.
    pub reason: Option<StatusReason>,
    /// May be empty for success.
    pub message: String,
    pub details: Details,
    /// `metadata.continue`: where an expired list can be taken up again, with what is there now.
    pub continue_token: Option<String>,
}

/// `Status.details`; what is empty is left out, and all of it where nothing is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The plural of the resource, or the kind where the object itself is wrong.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// Seconds; also sent as `Retry-After`.
    pub retry_after: u32,
    /// Written also where there is nothing in it.
    pub always: bool,
}

/// `Status.details.causes[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
    pub field: String,
}

/// `Status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServerTimeout,
    ServiceUnavailable,
    Timeout,
}

/// An error that a client is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What the client is told.
    pub status: Status,
    /// What only the log is told.
    pub log: Option<String>,
}

impl Status {
    /// The answer to a deletion that does not answer with the object.
    pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Self {
        Self {
            code: 200,
            reason: None,
            message: String::new(),
            details: Details { uid: uid.to_owned(), ..Details::of(resource, name) },
            continue_token: None,
        }
    }

    /// As it is sent.
    pub fn to_value(&self) -> Value {
        let mut status = Map::new();
        status.insert("kind".to_owned(), "Status".into());
        status.insert("apiVersion".to_owned(), "v1".into());
        let metadata = match &self.continue_token {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        status.insert("metadata".to_owned(), metadata);
        status.insert("status".to_owned(), if self.reason.is_some() { "Failure" } else { "Success" }.into());
        if !self.message.is_empty() {
            status.insert("message".to_owned(), self.message.as_str().into());
        }
        if let Some(reason) = self.reason {
            status.insert("reason".to_owned(), reason.as_str().into());
            status.insert("code".to_owned(), self.code.into());
        }
        let details = self.details.to_map();
        if !details.is_empty() || self.details.always || self.reason.is_some_and(StatusReason::has_details) {
            status.insert("details".to_owned(), Value::Object(details));
        }
        Value::Object(status)
    }
}

impl Details {
    fn of(resource: &Resource, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.plural.to_owned(),
            ..Self::default()
        }
    }

    fn to_map(&self) -> Map<String, Value> {
        let mut details = Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            details.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after > 0 {
            details.insert("retryAfterSeconds".to_owned(), self.retry_after.into());
        }
        details
    }
}

impl Cause {
    fn of(error: &FieldError) -> Self {
        Self { reason: error.reason.as_str(), message: error.message.clone(), field: error.field.clone() }
    }

    fn to_value(&self) -> Value {
        let texts = [("reason", self.reason), ("message", &self.message), ("field", &self.field)];
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        texts.map(|(key, text)| (key.to_owned(), Value::from(text))).collect::<Map<_, _>>().into()
    }
}

impl StatusReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServerTimeout => "ServerTimeout",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }

    /// Whether upstream's answers have `details` even where there are none to give.
    const fn has_details(self) -> bool {
        matches!(self, Self::NotFound | Self::MethodNotAllowed | Self::NotAcceptable | Self::Forbidden)
    }

    /// The HTTP status code that goes with it.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::ServerTimeout => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.status.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests;
