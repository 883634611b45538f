//! Request bodies: bounded, JSON, YAML or Protocol Buffers, and decoded against the schema of the kind that the path names.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::Value;
use stead_api::{
    decode::{DecodeError, Decoded, decode, decode_from},
    protobuf::{self, Envelope, ProtobufError},
    resource::Resource,
    status::ApiError,
};

use crate::{query::FieldValidation, refusal::Refusal};

mod held;
mod yaml;

pub(crate) use held::hold;
use yaml::yaml;

/// Bytes of a request body; upstream's limit too.
pub(crate) const MAX_BODY: usize = 3 << 20;

/// Bytes of a body that are read though the body is larger than [`MAX_BODY`] already, so that the refusal is heard.
const MAX_DISCARDED: usize = 16 << 20;

/// Until the whole body has to be there.
const PATIENCE: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// An object as a client sent it: canonical, and what was said of it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// What a body states to be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TypeMeta {
    api_version: Option<String>,
    kind: Option<String>,
}

/// The whole body, or 413. That answer waits until the client has sent everything, within bounds: one that comes earlier
/// ends the stream under a client that still sends, and is lost.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let may_send = if headers.contains_key(header::EXPECT) { MAX_BODY } else { MAX_BODY + MAX_DISCARDED };
    if stated.is_some_and(|length| length > may_send as u64) {
        return Err(ApiError::too_large(MAX_BODY).into());
    }
    read_within(PATIENCE, body).await
}

async fn read_within(patience: Duration, body: Body) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(patience, collect(body)).await;
    match collected.map_err(|_| ApiError::timeout("request body did not arrive in time", 1))? {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(ApiError::too_large(MAX_BODY).into()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY).into()),
        Err(error) => Err(ApiError::bad_request(format!("request body cannot be read: {error}")).into()),
    }
}

/// Reads the body to its end; `None` when it was larger than [`MAX_BODY`], of which nothing is kept.
async fn collect(body: Body) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let mut body = Limited::new(body, MAX_BODY + MAX_DISCARDED);
    let mut kept = Some(BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        kept = kept.filter(|kept| kept.len() + data.len() <= MAX_BODY);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&data);
        }
    }
    Ok(kept.map(BytesMut::freeze))
}

/// The media type of the body, without parameters; empty when the client states none.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

impl Encoding {
    /// Of an object; other forms are refused.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match media_type(headers) {
            "" | JSON => Ok(Self::Json),
            YAML | "application/x-yaml" | "text/yaml" => Ok(Self::Yaml),
            protobuf::MEDIA_TYPE => Ok(Self::Protobuf),
            _ => Err(ApiError::unsupported_media_type(&[JSON, YAML, protobuf::MEDIA_TYPE]).into()),
        }
    }

    /// Any value. Where numbers stand for fields, they are those of `definition`.
    pub(crate) fn value(self, bytes: &[u8], definition: &str) -> Result<Value, Refusal> {
        match self {
            Self::Protobuf => {
                let decoded = Envelope::open(bytes).and_then(|envelope| envelope.decode(definition));
                Ok(decoded.map_err(ApiError::bad_request)?.value)
            }
            Self::Json => serde_json::from_slice(bytes).map_err(|error| bad_json(&error.to_string())),
            Self::Yaml => yaml(bytes, |yaml| Value::deserialize(yaml)).map_err(|error| bad_yaml(&error.to_string())),
        }
    }

    /// The object of `resource` that `bytes` hold. Unknown and doubled fields are refused or become warnings.
    pub(crate) fn object(
        self,
        bytes: &[u8],
        resource: &Resource,
        validation: FieldValidation,
    ) -> Result<Sent, Refusal> {
        check_type(&self.type_meta(bytes)?, resource)?;
        let decoded = match self {
            Self::Protobuf => decode_protobuf(bytes, resource),
            Self::Json => decode(bytes, resource.definition),
            Self::Yaml => decode_yaml(bytes, resource)?,
        };
        accept(decoded, resource, validation)
    }

    fn type_meta(self, bytes: &[u8]) -> Result<TypeMeta, Refusal> {
        match self {
            Self::Protobuf => {
                let envelope = Envelope::open(bytes).map_err(ApiError::bad_request)?;
                Ok(TypeMeta { api_version: Some(envelope.api_version.into()), kind: Some(envelope.kind.into()) })
            }
            Self::Json => serde_json::from_slice(bytes).map_err(|error| bad_json(&error.to_string())),
            Self::Yaml => yaml(bytes, |yaml| TypeMeta::deserialize(yaml)).map_err(|error| bad_yaml(&error.to_string())),
        }
    }
}

/// Turns what was decoded into an object with `apiVersion` and `kind`, or the refusal that `validation` asks for.
pub(crate) fn accept(
    decoded: Result<Decoded, DecodeError>,
    resource: &Resource,
    validation: FieldValidation,
) -> Result<Sent, Refusal> {
    let decoded = decoded.map_err(|error| ApiError::undecodable(resource, &error))?;
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => decoded.problems.iter().map(ToString::to_string).collect(),
        FieldValidation::Strict => match decoded.strict_error() {
            Some(error) => return Err(strict(resource, &error)),
            None => Vec::new(),
        },
    };
    let mut object = decoded.value;
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.into();
    Ok(Sent { object, warnings })
}

fn strict(resource: &Resource, error: &str) -> Refusal {
    let Resource { kind, version, .. } = resource;
    ApiError::bad_request(format_args!("{kind} in version {version:?} cannot be handled as a {kind}: {error}")).into()
}

fn check_type(found: &TypeMeta, resource: &Resource) -> Result<(), Refusal> {
    let api_version = found.api_version.as_deref().filter(|stated| !stated.is_empty());
    let kind = found.kind.as_deref().filter(|stated| !stated.is_empty());
    let expected = resource.api_version();
    if api_version.is_some_and(|stated| stated != expected) || kind.is_some_and(|stated| stated != resource.kind) {
        let (api_version, kind) = (api_version.unwrap_or(&expected), kind.unwrap_or(resource.kind));
        return Err(ApiError::wrong_kind(resource, api_version, kind).into());
    }
    Ok(())
}

fn bad_json(problem: &str) -> Refusal {
    ApiError::bad_request(format_args!("couldn't get version/kind; json parse error: {problem}")).into()
}

fn bad_yaml(problem: &str) -> Refusal {
    ApiError::bad_request(format_args!("error converting YAML to JSON: yaml: {problem}")).into()
}

/// What is wrong with the message itself is told like what is wrong with the object in it.
fn decode_protobuf(bytes: &[u8], resource: &Resource) -> Result<Decoded, DecodeError> {
    let decoded = Envelope::open(bytes).and_then(|envelope| envelope.decode(resource.definition));
    decoded.map_err(|error| match error {
        ProtobufError::Decode(error) => error,
        error => DecodeError::Syntax { problem: error.to_string() },
    })
}

/// The walk's own error where it ends early, the parser's where the text is no YAML.
fn decode_yaml(bytes: &[u8], resource: &Resource) -> Result<Result<Decoded, DecodeError>, Refusal> {
    let mut failed = None;
    let decoded = yaml(bytes, |yaml| {
        decode_from(yaml, resource.definition).map_err(|error| {
            let problem = error.to_string();
            failed = Some(error);
            serde::de::Error::custom(problem)
        })
    });
    match (decoded, failed) {
        (Ok(decoded), _) => Ok(Ok(decoded)),
        (Err(_), Some(error @ (DecodeError::Type(_) | DecodeError::TooDeep { .. } | DecodeError::NoSchema { .. }))) => {
            Ok(Err(error))
        }
        (Err(error), _) => Err(bad_yaml(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sender_of_a_byte_at_a_time_is_cut_off_and_others_are_not() {
        let slow = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
        });
        let patience = Duration::from_millis(500);
        let began = std::time::Instant::now();
        let (slow, other) =
            tokio::join!(read_within(patience, Body::from_stream(slow)), read_within(patience, Body::from("{}")));
        assert_eq!(&other.unwrap()[..], b"{}");
        let refused = slow.unwrap_err().0.status;
        assert_eq!((refused.code, &refused.message[..]), (504, "Timeout: request body did not arrive in time"));
        assert!(began.elapsed() >= patience);
    }
}
