//! What can go wrong with one request, and whether trying again can help.

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// What a loop does with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same request may succeed later: connection, overload, a server that starts.
    Transient,
    /// The world is not as the request assumed: look again, decide again.
    Conflict,
    /// The same request will fail again until somebody changes the object or the permissions.
    Permanent,
}

/// Why a request did not do what it was to do. The request itself is in the text.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{request}: no answer")]
    Transport { request: String, source: kube::Error },
    #[error("{request}: no answer within {seconds} s")]
    Timeout { request: String, seconds: u64 },
    #[error("{request}: body ended early")]
    Body { request: String, source: kube::Error },
    #[error("{request}: not a valid request")]
    Request { request: String, source: http::Error },
    #[error("{request}: cannot be written as JSON")]
    Encode { request: String, source: serde_json::Error },
    #[error("{request}: answer is not the JSON expected")]
    Decode { request: String, source: serde_json::Error },
    /// The server's own refusal, in its words.
    #[error("{request}: {message} ({code} {reason})")]
    Refused { request: String, code: u16, reason: String, message: String },
}

impl CallError {
    /// Reads the server's Status, or makes up for one that is not there.
    pub(crate) fn refused(request: &str, code: StatusCode, body: &[u8]) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let message = status.message.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(200)]).into());
        Self::Refused {
            request: request.to_owned(),
            code: status.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(code.as_u16()),
            reason: status.reason.unwrap_or_else(|| code.canonical_reason().unwrap_or_default().to_owned()),
            message,
        }
    }

    /// The HTTP status and reason of a refusal by the server.
    pub fn status(&self) -> Option<(u16, &str)> {
        match self {
            Self::Refused { code, reason, .. } => Some((*code, reason)),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self.status(), Some((404, _)))
    }

    pub fn is_already_exists(&self) -> bool {
        matches!(self.status(), Some((409, "AlreadyExists")))
    }

    /// The object is at another revision, or has another uid, than the request said.
    pub fn is_conflict(&self) -> bool {
        matches!(self.status(), Some((409, "Conflict")))
    }

    /// What was asked for is compacted: list again.
    pub fn is_gone(&self) -> bool {
        matches!(self.status(), Some((410, _)))
    }

    pub fn class(&self) -> Class {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } | Self::Body { .. } => Class::Transient,
            Self::Request { .. } | Self::Encode { .. } | Self::Decode { .. } => Class::Permanent,
            Self::Refused { code, .. } => match code {
                404 | 409 | 410 => Class::Conflict,
                408 | 425 | 429 | 500..=599 => Class::Transient,
                _ => Class::Permanent,
            },
        }
    }
}

/// An error with all its sources, in one line. Errors of other crates repeat their source; it is said once.
pub fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_classed_by_their_status() {
        let check = |code: u16, body: &str, class: Class, text: &str| {
            let error = CallError::refused("GET /x", StatusCode::from_u16(code).unwrap(), body.as_bytes());
            assert_eq!((error.class(), error.to_string().as_str()), (class, text));
        };
        let status = r#"{"kind":"Status","code":409,"reason":"AlreadyExists","message":"pods \"a\" already exists"}"#;
        check(409, status, Class::Conflict, "GET /x: pods \"a\" already exists (409 AlreadyExists)");
        check(503, "starting", Class::Transient, "GET /x: starting (503 Service Unavailable)");
        check(422, "{}", Class::Permanent, "GET /x: {} (422 Unprocessable Entity)");
        assert!(CallError::refused("", StatusCode::CONFLICT, status.as_bytes()).is_already_exists());
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Because {
        text: &'static str,
        source: Option<Box<Because>>,
    }

    #[test]
    fn each_cause_is_told_once() {
        let check = |texts: &[&'static str], expect: &str| {
            let chain = texts.iter().rev().fold(None, |source, text| Some(Box::new(Because { text, source })));
            assert_eq!(error_text(&*chain.unwrap()), expect);
        };
        check(&["alone"], "alone");
        check(&["list", "connect", "refused"], "list: connect: refused");
        check(&["list: connect", "connect", "refused"], "list: connect: refused");
    }
}
