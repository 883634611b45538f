//! Reads and writes of single objects: one function per verb, each one request, no retry and no cache.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::CallError;

/// How long a request may take until its last byte is here.
const TIMEOUT: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// What happens to the objects that name the deleted one as owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// What a deletion demands and asks for; everything unset is the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only the object that has this uid; else the answer is a conflict.
    pub uid: Option<String>,
    pub grace_seconds: Option<u32>,
    pub propagation: Option<Propagation>,
}

pub async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, CallError> {
    decode(Method::GET, path, &call(client, Method::GET, path, JSON, Bytes::new()).await?)
}

/// POST to a collection or to a subresource such as `binding`; the answer is what the server stored.
pub async fn create<B: Serialize, T: DeserializeOwned>(client: &Client, path: &str, body: &B) -> Result<T, CallError> {
    send(client, Method::POST, path, JSON, body).await
}

/// PUT to an object or to its `status`; with a `resourceVersion` in the body it holds only for that revision.
pub async fn update<B: Serialize, T: DeserializeOwned>(client: &Client, path: &str, body: &B) -> Result<T, CallError> {
    send(client, Method::PUT, path, JSON, body).await
}

/// Merge patch (RFC 7386) of an object. `metadata.resourceVersion` in the patch makes it hold only for that revision.
pub async fn patch_merge<T: DeserializeOwned>(client: &Client, path: &str, patch: &Value) -> Result<T, CallError> {
    send(client, Method::PATCH, path, MERGE_PATCH, patch).await
}

/// Merge patch of an object's status; `path` is the object's, `status` what goes below `status`.
pub async fn patch_status<T: DeserializeOwned>(client: &Client, path: &str, status: &Value) -> Result<T, CallError> {
    send(client, Method::PATCH, &format!("{path}/status"), MERGE_PATCH, &json!({ "status": status })).await
}

/// DELETE of one object. The answer is the object or a Status, as the kind has it.
pub async fn delete(client: &Client, path: &str, options: &DeleteOptions) -> Result<Value, CallError> {
    send(client, Method::DELETE, path, JSON, &options.to_json()).await
}

impl DeleteOptions {
    /// Only the object with this uid.
    pub fn of_uid(uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), ..Self::default() }
    }

    fn to_json(&self) -> Value {
        let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        if let Some(uid) = &self.uid {
            options["preconditions"] = json!({ "uid": uid });
        }
        if let Some(seconds) = self.grace_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            options["propagationPolicy"] = format!("{propagation:?}").into();
        }
        options
    }
}

async fn send<B: Serialize, T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &'static str,
    body: &B,
) -> Result<T, CallError> {
    let body =
        serde_json::to_vec(body).map_err(|source| CallError::Encode { request: format!("{method} {path}"), source })?;
    decode(method.clone(), path, &call(client, method, path, content_type, body.into()).await?)
}

/// Sends one request and returns the whole body of a success.
async fn call(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &'static str,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let name = format!("{method} {path}");
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, JSON)
        .body(Body::from(body))
        .map_err(|source| CallError::Request { request: name.clone(), source })?;
    let answer = async {
        let response =
            client.send(request).await.map_err(|source| CallError::Transport { request: name.clone(), source })?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|source| CallError::Body { request: name.clone(), source })?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(CallError::refused(&name, status, &body)) }
    };
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Timeout { request: name, seconds: TIMEOUT.as_secs() }),
    }
}

fn decode<T: DeserializeOwned>(method: Method, path: &str, body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|source| CallError::Decode { request: format!("{method} {path}"), source })
}
