//! The frames of a watch and the envelope of a list, as the server words them.

use std::{borrow::Cow, collections::BTreeMap};

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use stead_api::item::parse_revision;
use stead_model::{ObjectKey, Revision};

use crate::CallError;

/// On the bookmark that ends the objects of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Added(&'a [u8]),
    Modified(&'a [u8]),
    Deleted(&'a [u8]),
    Bookmark { revision: Revision, ends_list: bool },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the revision is compacted")]
    Gone,
    #[error("watch frame cannot be read")]
    Shape(#[from] serde_json::Error),
    #[error("watch frame of unknown type {0:?}")]
    Type(String),
    #[error("the server ended the watch")]
    Status(Box<[u8]>, StatusCode),
}

#[derive(Deserialize)]
struct RawFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What bookmarks, lists and unreadable objects are known by.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Code {
    code: u16,
}

impl<'a> Frame<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, FrameError> {
        if let Some(frame) = Self::parse_usual(line) {
            return Ok(frame);
        }
        let frame: RawFrame<'a> = serde_json::from_slice(line)?;
        let object = frame.object.get().as_bytes();
        match &*frame.kind {
            "ADDED" => Ok(Self::Added(object)),
            "MODIFIED" => Ok(Self::Modified(object)),
            "DELETED" => Ok(Self::Deleted(object)),
            "BOOKMARK" => {
                let envelope = Envelope::parse(object)?;
                let ends_list = envelope
                    .metadata
                    .annotations
                    .as_ref()
                    .is_some_and(|all| all.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true"));
                Ok(Self::Bookmark { revision: envelope.revision(), ends_list })
            }
            "ERROR" => {
                let Code { code } = serde_json::from_slice(object)?;
                let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Err(if code == StatusCode::GONE { FrameError::Gone } else { FrameError::Status(object.into(), code) })
            }
            other => Err(FrameError::Type(other.to_owned())),
        }
    }
}

impl<'a> Frame<'a> {
    /// A frame about an object, in the two members and the order that servers write. The object itself is not looked at: its own reader
    /// does, and a list of thousands is not read twice.
    fn parse_usual(line: &'a [u8]) -> Option<Self> {
        let rest = line.trim_ascii_end().strip_prefix(br#"{"type":""#)?.strip_suffix(b"}")?;
        let object_of = |kind: &[u8]| {
            let object = rest.strip_prefix(kind)?.strip_prefix(br#"","object":"#)?;
            object.ends_with(b"}").then_some(object)
        };
        let modified = || object_of(b"MODIFIED").map(Self::Modified);
        let deleted = || object_of(b"DELETED").map(Self::Deleted);
        object_of(b"ADDED").map(Self::Added).or_else(modified).or_else(deleted)
    }
}

impl FrameError {
    pub(super) fn into_call_error(self, request: &str) -> CallError {
        match self {
            Self::Gone => CallError::refused(request, StatusCode::GONE, b"{}"),
            Self::Status(body, code) => CallError::refused(request, code, &body),
            Self::Shape(source) => CallError::Decode { request: request.to_owned(), source },
            Self::Type(_) => CallError::Decode { request: request.to_owned(), source: serde::de::Error::custom(self) },
        }
    }
}

impl Envelope {
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub(super) fn revision(&self) -> Revision {
        parse_revision(self.metadata.resource_version.as_deref().unwrap_or_default())
    }

    pub(super) fn key(&self) -> ObjectKey {
        let Metadata { namespace, name, .. } = &self.metadata;
        ObjectKey::new(namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_however_they_are_written() {
        let check = |line: &str, expect: &str| {
            let frame = format!(
                "{:?}",
                Frame::parse(line.as_bytes())
                    .map(|frame| match frame {
                        Frame::Added(object) => format!("added {}", String::from_utf8_lossy(object)),
                        Frame::Modified(object) => format!("modified {}", String::from_utf8_lossy(object)),
                        Frame::Deleted(object) => format!("deleted {}", String::from_utf8_lossy(object)),
                        Frame::Bookmark { revision, .. } => format!("bookmark {revision}"),
                    })
                    .unwrap()
            );
            assert_eq!(frame, format!("{expect:?}"), "{line}");
        };
        check(r#"{"type":"ADDED","object":{"a":{}}}"#, r#"added {"a":{}}"#);
        check("{\"type\":\"MODIFIED\",\"object\":{}}\r", "modified {}");
        check(r#"{"type":"DELETED","object":{}}"#, "deleted {}");
        check(r#"{ "type": "ADDED", "object": {} }"#, "added {}");
        check(r#"{"object":{"a":1},"type":"DELETED"}"#, r#"deleted {"a":1}"#);
        check(r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#, "bookmark 7");
        for line in ["", "{}", r#"{"type":"ADDED"}"#, r#"{"type":"ADDED","object":"#, r#"{"type":"ADD","object":{}}"#] {
            assert!(Frame::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
