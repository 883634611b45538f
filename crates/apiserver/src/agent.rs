//! Requests to node agents over TLS, with a certificate of our CA on both sides.
//!
//! The address is that of the Node object, taken once, checked, and connected to as it is: no name is resolved and no redirect
//! followed, so that a node cannot send the server elsewhere.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use stead_api::{
    meta,
    status::{ApiError, StatusReason},
};

use crate::{
    config::Config,
    outbound::{self, Peer, Security, is_reachable},
    refusal::Refusal,
};

/// Where agents listen that say nothing else in their Node.
pub(crate) const DEFAULT_PORT: u16 = 10250;
/// Until the headers of the answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How much of an error text is passed on.
const ERROR_TEXT: usize = 16 << 10;

/// The agent of `node`, as its object says and no name server.
pub(crate) fn peer(config: &Config, node: &Value) -> Result<Peer, Refusal> {
    Ok(Peer { address: address(node)?, security: Security::Tls(config.agent_tls.clone()) })
}

/// GET of `target` (path and query) from the agent of `node`. The body arrives as it is sent.
pub(crate) async fn get(config: &Config, node: &Value, target: &str) -> Result<Response, Refusal> {
    let peer = peer(config, node)?;
    let failed = |error: &dyn std::fmt::Display| failed(node, &peer, error);
    let request = Request::get(target).header(header::HOST, peer.address.to_string()).body(Body::empty());
    let request = request.map_err(|error| failed(&error))?;
    let response = tokio::time::timeout(ANSWER, outbound::send(&peer, request)).await;
    let response = response.map_err(|_| failed(&"timed out"))?.map_err(|error| failed(&error))?;
    if response.status().is_redirection() {
        return Err(failed(&"it answered with a redirect, which is not followed"));
    }
    Ok(response.map(Body::new))
}

fn failed(node: &Value, peer: &Peer, error: &dyn std::fmt::Display) -> Refusal {
    let what = format!("error dialing backend: agent of node {} at {}: {error}", meta::name(node), peer.address);
    ApiError::internal(&what, &what).into()
}

/// An agent's error as ours: its text with its code.
pub(crate) async fn refusal(response: Response) -> Refusal {
    let code = response.status();
    let body = Limited::new(response.into_body(), ERROR_TEXT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    ApiError::new(reason(code), if text.is_empty() { code.to_string() } else { text }).into()
}

/// An agent's refusal as it said it, which is what clients of upgrades read: they show the text.
pub(crate) async fn said(response: http::Response<hyper::body::Incoming>) -> Response {
    let code = response.status();
    let body = Limited::new(response.into_body(), ERROR_TEXT).collect().await;
    let text = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn reason(code: StatusCode) -> StatusReason {
    match code {
        StatusCode::BAD_REQUEST => StatusReason::BadRequest,
        StatusCode::NOT_FOUND => StatusReason::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => StatusReason::Forbidden,
        StatusCode::SERVICE_UNAVAILABLE => StatusReason::ServiceUnavailable,
        _ => StatusReason::InternalError,
    }
}

fn address(node: &Value) -> Result<SocketAddr, Refusal> {
    let name = meta::name(node);
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
    let internal = internal.and_then(|address| address["address"].as_str()).ok_or_else(|| {
        ApiError::internal(format_args!("node {name} has no InternalIP address"), "status.addresses of the Node")
    })?;
    let parsed = internal.parse::<IpAddr>().ok().filter(is_reachable);
    let ip = parsed.ok_or_else(|| {
        let what = format!("node {name} states the address {internal:?}, which no agent can have");
        ApiError::internal(&what, "status.addresses of the Node")
    })?;
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(DEFAULT_PORT);
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_are_where_their_node_says_within_reason() {
        let check = |address: &str, port: Value, expected: Option<&str>| {
            let node = json!({
                "metadata": {"name": "n"},
                "status": {
                    "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": address}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                },
            });
            let found = super::address(&node).ok().map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{address}");
        };
        check("192.168.56.101", Value::Null, Some("192.168.56.101:10250"));
        check("192.168.56.101", json!(4711), Some("192.168.56.101:4711"));
        check("fd56::101", json!(0), Some("[fd56::101]:10250"));
        for refused in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0", "fe80::1", "example.com"]
        {
            check(refused, Value::Null, None);
        }
        assert!(super::address(&json!({"metadata": {"name": "n"}})).is_err());
    }
}
