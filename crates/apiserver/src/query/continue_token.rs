//! Continue tokens: where a list in pages goes on. Opaque to clients, who may send anything; what refuses one says it in upstream's words,
//! but for those of a JSON parser.

use base64::{DecodeError, Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stead_model::Revision;

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list in pages goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    /// The revision all pages show; `None`: it was compacted away, go on with the newest.
    pub(crate) revision: Option<Revision>,
    /// The path behind which the next page starts.
    pub(crate) after: String,
}

/// What is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidToken {
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    #[error("{0}")]
    Json(String),
    #[error("server does not recognize this encoded version {0}")]
    Version(String),
    #[error("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")]
    Revision,
    #[error("encoded start key empty (version meta.k8s.io/v1)")]
    Empty,
    /// Its parts lead elsewhere.
    #[error("{0}")]
    Path(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

impl Continue {
    /// A token as the client gets it.
    pub(crate) fn token(&self) -> String {
        let revision = self.revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
        BASE64_URL_SAFE_NO_PAD.encode(json!({"v": VERSION, "rv": revision, "start": self.after}).to_string())
    }

    pub(super) fn parse(token: &str) -> Result<Self, InvalidToken> {
        let json = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|error| match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => InvalidToken::Base64(at),
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => InvalidToken::Base64(token.len() - 1),
        })?;
        let wrong = |error: serde_json::Error| InvalidToken::Json(error.to_string());
        let fields: Option<Map<String, Value>> = serde_json::from_slice(&json).map_err(wrong)?;
        let wire = serde_json::from_value(Value::Object(fields.unwrap_or_default()));
        let Wire { v, rv, start } = wire.map_err(wrong)?;
        if v != VERSION {
            return Err(InvalidToken::Version(v));
        }
        if rv == 0 {
            return Err(InvalidToken::Revision);
        }
        let after = start.strip_prefix('/').unwrap_or(&start);
        if after.is_empty() {
            return Err(InvalidToken::Empty);
        }
        if after.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(InvalidToken::Path(start));
        }
        Ok(Self { revision: u64::try_from(rv).ok().map(Revision), after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_round() {
        for revision in [None, Some(Revision(7))] {
            let token = Continue { revision, after: "default/web".into() };
            assert_eq!(Continue::parse(&token.token()), Ok(token));
        }
    }

    #[test]
    fn what_is_no_token_is_told_in_upstreams_words() {
        let check = |token: &str, expected: &str| {
            assert_eq!(Continue::parse(token).unwrap_err().to_string(), expected, "{token}");
        };
        check("x", "illegal base64 data at input byte 0");
        check("ab!d", "illegal base64 data at input byte 2");
        check("abcde", "illegal base64 data at input byte 4");
        check("e30=", "illegal base64 data at input byte 3");
        let check = |json: &str, expected: Result<&str, &str>| {
            let parsed = Continue::parse(&BASE64_URL_SAFE_NO_PAD.encode(json));
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(parsed.map(|token| token.after).map_err(|error| error.to_string()), expected, "{json}");
        };
        let unknown = |version: &str| format!("server does not recognize this encoded version {version}");
        check("{}", Err(&unknown("")));
        check("null", Err(&unknown("")));
        check(r#"{"v": "meta.k8s.io/v2", "rv": 5, "start": "x"}"#, Err(&unknown("meta.k8s.io/v2")));
        let revision = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
        check(r#"{"v": "meta.k8s.io/v1"}"#, Err(revision));
        check(r#"{"v": "meta.k8s.io/v1", "rv": 0, "start": "x"}"#, Err(revision));
        let empty = "encoded start key empty (version meta.k8s.io/v1)";
        check(r#"{"v": "meta.k8s.io/v1", "rv": 5, "start": ""}"#, Err(empty));
        for start in ["../x", "a/", "a//b", "a/./b"] {
            check(&json!({"v": VERSION, "rv": 5, "start": start}).to_string(), Err(start));
        }
        check(r#"{"v": "meta.k8s.io/v1", "rv": -5, "start": "/a"}"#, Ok("a"));
        for json in ["", "{", "[]", r#"{"v": 1}"#, r#"{"v": "meta.k8s.io/v1", "rv": 5.5}"#] {
            let error = Continue::parse(&BASE64_URL_SAFE_NO_PAD.encode(json)).unwrap_err();
            assert!(matches!(error, InvalidToken::Json(_)), "{json}: {error}");
        }
    }

    #[test]
    fn any_continue_token_is_read_or_refused() {
        stead_fuzz::run("continue_token", |input| {
            let _ = Continue::parse(&String::from_utf8_lossy(input));
            match Continue::parse(&BASE64_URL_SAFE_NO_PAD.encode(input)) {
                Err(error) => error.to_string(),
                Ok(token) => {
                    assert_eq!(Continue::parse(&token.token()).as_ref(), Ok(&token), "it goes round");
                    format!("{token:?}")
                }
            }
        });
    }
}
