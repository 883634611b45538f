//! Answers of v1, as an older version gives them: objects, lists, the events of a watch, and Status.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use stead_api::{
    legacy::{self, Kind},
    status::ApiError,
};

use super::route::Route;
use crate::{
    dispatch::{Form, json, pretty},
    query::Query,
    refusal::Refusal,
};

/// One line of a watch is not longer than an object may be, twice.
const MAX_LINE: usize = 8 << 20;

/// The refusal of a request before v1 was asked.
pub(super) async fn refused(refusal: Refusal) -> Response {
    let response = refusal.into_response();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(status) => Body::from(legacy::status_from_v1(&status).to_string()),
        Err(_) => Body::from(bytes),
    };
    Response::from_parts(parts, body)
}

pub(super) async fn turned(
    kind: &'static Kind,
    route: &Route,
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
    response: Response,
) -> Result<Response, Refusal> {
    if !is_json(&response) {
        return Ok(response);
    }
    let watches = method == Method::GET && (route.watch || query.watches());
    if watches && response.status() == StatusCode::OK {
        return Ok(turn_events(kind, response));
    }
    let (parts, body) = response.into_parts();
    let bytes =
        body.collect().await.map_err(|error| ApiError::internal("an answer cannot be read", error.to_string()))?;
    let bytes = bytes.to_bytes();
    let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    };
    let value = match method {
        &Method::DELETE if is_object(kind, &value) => legacy::deleted(&value, kind.resource.plural),
        _ => turn(kind, value),
    };
    let mut response = json(parts.status, value.to_string().into(), &[], pretty(query, headers));
    for name in [header::WARNING, header::RETRY_AFTER] {
        for value in parts.headers.get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(response)
}

/// The same answer with more warnings.
pub(super) fn with_warnings(mut response: Response, warnings: &[String]) -> Result<Response, Refusal> {
    let carrier = json(StatusCode::OK, Bytes::new(), warnings, Form::Compact);
    for value in carrier.headers().get_all(header::WARNING) {
        response.headers_mut().append(header::WARNING, value.clone());
    }
    Ok(response)
}

fn is_json(response: &Response) -> bool {
    let json = HeaderValue::from_static("application/json");
    response.headers().get(header::CONTENT_TYPE) == Some(&json)
}

fn is_object(kind: &Kind, value: &Value) -> bool {
    value["apiVersion"] == "v1" && kind.modern.is_some_and(|modern| value["kind"] == modern.kind)
}

/// Whatever is no object, list or Status of ours, as a Table, stays as it is.
fn turn(kind: &Kind, value: Value) -> Value {
    if is_object(kind, &value) {
        return kind.from_v1(&value);
    }
    match value["kind"].as_str().unwrap_or_default() {
        "Status" => legacy::status_from_v1(&value),
        list if value["apiVersion"] == "v1"
            && kind.modern.is_some_and(|modern| list.strip_suffix("List") == Some(modern.kind)) =>
        {
            kind.list_from_v1(&value)
        }
        _ => value,
    }
}

/// Turns each line as it comes.
fn turn_events(kind: &'static Kind, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let state = (body.into_data_stream(), BytesMut::new());
    let lines = stream::unfold(state, move |(mut frames, mut waiting)| async move {
        loop {
            let mut turned = Vec::new();
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line = waiting.split_to(end + 1);
                turn_event(kind, &line, &mut turned);
            }
            if !turned.is_empty() {
                return Some((Ok::<_, Infallible>(Bytes::from(turned)), (frames, waiting)));
            }
            match frames.next().await {
                Some(Ok(frame)) if waiting.len() + frame.len() <= MAX_LINE => waiting.extend_from_slice(&frame),
                _ => return None,
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(lines))
}

fn turn_event(kind: &Kind, line: &[u8], turned: &mut Vec<u8>) {
    match serde_json::from_slice::<Value>(line) {
        Ok(mut event) => {
            event["object"] = turn(kind, event["object"].take());
            turned.extend_from_slice(event.to_string().as_bytes());
            turned.push(b'\n');
        }
        Err(_) => turned.extend_from_slice(line),
    }
}
