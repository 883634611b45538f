//! Requests to the API server, one at a time, and their answers as bytes or JSON.
//!
//! Owns headers, refusals and the warnings that a server sends along, which go to standard error, each once. What is asked for,
//! and what the answer means, is each verb's.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::Value;

pub(crate) use stead_client::escape;

use crate::error::VerbError;

pub(crate) const JSON: &str = "application/json";
/// A Table where the server has one, the object itself where not.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Who writes, in `metadata.managedFields`.
pub(crate) const FIELD_MANAGER: &str = "stead";

/// A connection to one API server, and the namespace that names without one are in.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// How long an answer may take.
    patience: Option<Duration>,
    /// Warnings that have been printed.
    warned: Arc<Mutex<BTreeSet<String>>>,
}

/// One request. `path` has its query string.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: Vec<u8>,
}

impl Ask<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Api {
    pub(crate) fn new(client: Client, namespace: String, patience: Option<Duration>) -> Self {
        Self { client, namespace, patience, warned: Arc::default() }
    }

    async fn in_time<Answer>(
        &self,
        request: &str,
        asked: impl Future<Output = Result<Answer, VerbError>>,
    ) -> Result<Answer, VerbError> {
        let Some(patience) = self.patience else { return asked.await };
        let answered = tokio::time::timeout(patience, asked).await;
        answered.unwrap_or_else(|_| Err(VerbError::TimedOut(format!("the answer to {request}"))))
    }

    /// Prints the server's warnings (RFC 7234 5.5: `299 - "text"`) that it has not sent before.
    fn warn(&self, headers: &HeaderMap) {
        let mut warned = self.warned.lock().expect("no code panics while it warns");
        for text in headers.get_all(header::WARNING).iter().filter_map(|value| warning_text(value.to_str().ok()?)) {
            if !warned.contains(&text) {
                eprintln!("Warning: {text}");
                warned.insert(text);
            }
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, VerbError> {
        self.get_as(path, JSON).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Result<Value, VerbError> {
        self.json(Ask { method: Method::GET, path, accept, content_type: JSON, body: Vec::new() }).await
    }

    /// Sends `body` as JSON.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, VerbError> {
        self.json(Ask { method, path, accept: JSON, content_type: JSON, body: body.to_string().into_bytes() }).await
    }

    pub(crate) async fn patch(&self, path: &str, content_type: &str, body: &Value) -> Result<Value, VerbError> {
        let body = body.to_string().into_bytes();
        self.json(Ask { method: Method::PATCH, path, accept: JSON, content_type, body }).await
    }

    pub(crate) async fn json(&self, ask: Ask<'_>) -> Result<Value, VerbError> {
        let request = ask.name();
        let body = self.bytes(ask).await?;
        serde_json::from_slice(&body).map_err(|source| VerbError::Decode { request, source })
    }

    pub(crate) async fn bytes(&self, ask: Ask<'_>) -> Result<Bytes, VerbError> {
        let request = ask.name();
        let response = self.open(ask).await?;
        let read = async {
            let body = response.into_body().collect().await;
            body.map_err(|source| VerbError::Body { request: request.clone(), source })
        };
        Ok(self.in_time(&request, read).await?.to_bytes())
    }

    /// The answer once its head is here; a refusal is an error.
    pub(crate) async fn open(&self, ask: Ask<'_>) -> Result<Response<Body>, VerbError> {
        let name = ask.name();
        let request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(header::CONTENT_TYPE, ask.content_type)
            .header(header::ACCEPT, ask.accept)
            .body(Body::from(ask.body))
            .map_err(|source| VerbError::Request { request: name.clone(), source })?;
        let sent = async {
            let sent = self.client.send(request).await;
            sent.map_err(|source| VerbError::Transport { request: name.clone(), source })
        };
        let response = self.in_time(&name, sent).await?;
        self.warn(response.headers());
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let body = response.into_body().collect().await.map_err(|source| VerbError::Body { request: name, source })?;
        Err(VerbError::refused(code, &body.to_bytes()))
    }

    /// Calls `on_event` with each event of a watch until the server ends it or `on_event` says that it has enough.
    pub(crate) async fn watch(
        &self,
        path: &str,
        accept: &str,
        mut on_event: impl FnMut(&str, Value) -> Result<Next, VerbError>,
    ) -> Result<Ended, VerbError> {
        let ask = Ask { method: Method::GET, path, accept, content_type: JSON, body: Vec::new() };
        let request = ask.name();
        let mut chunks = self.open(ask).await?.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
        let mut waiting = Vec::new();
        while let Some(chunk) = chunks.next().await {
            waiting.extend_from_slice(&chunk?);
            while let Some(end) = waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line)
                    .map_err(|source| VerbError::Decode { request: request.clone(), source })?;
                let object = event["object"].take();
                let kind = event["type"].as_str().unwrap_or_default();
                if kind == "ERROR" {
                    return Err(VerbError::refused(http::StatusCode::GONE, object.to_string().as_bytes()));
                }
                if on_event(kind, object)? == Next::Stop {
                    return Ok(Ended::Enough);
                }
            }
        }
        Ok(Ended::ByServer)
    }
}

/// Whether a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Stop,
}

/// Who ended a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Enough,
    ByServer,
}

fn warning_text(value: &str) -> Option<String> {
    let quoted = value.splitn(3, ' ').nth(2)?.strip_prefix('"')?;
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        let check = |value: &str, expect: Option<&str>| assert_eq!(warning_text(value).as_deref(), expect);
        check(r#"299 - "spec.externalIPs is \"deprecated\"""#, Some(r#"spec.externalIPs is "deprecated""#));
        check("299 - plain", None);
        check(r#"299 - "cut off"#, None);
    }
}
