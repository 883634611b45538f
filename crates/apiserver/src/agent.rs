//! Requests to node agents over TLS, with a certificate of our CA on both sides.
//!
//! The address is that of the Node object, taken once, checked, and connected to as it is: no name is resolved and no redirect
//! followed, so that a node cannot send the server elsewhere.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use stead_api::{
    meta,
    status::{ApiError, StatusReason},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{config::Config, refusal::Refusal};

/// Where agents listen that say nothing else in their Node.
const DEFAULT_PORT: u16 = 10250;
const CONNECT: Duration = Duration::from_secs(5);
/// Until the headers of the answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How much of an error text is passed on.
const ERROR_TEXT: usize = 16 << 10;

/// GET of `target` (path and query) from the agent of `node`. The body arrives as it is sent.
pub(crate) async fn get(config: &Config, node: &Value, target: &str) -> Result<Response, Refusal> {
    let name = meta::name(node);
    let address = address(node)?;
    let failed = |error: &dyn std::fmt::Display| {
        let what = format!("error dialing backend: agent of node {name} at {address}: {error}");
        Refusal::from(ApiError::internal(&what, &what))
    };
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(config.agent_tls.clone());
        connector.connect(ServerName::IpAddress(address.ip().into()), stream).await
    };
    let stream = tokio::time::timeout(CONNECT, connect).await;
    let stream = stream.map_err(|_| failed(&"timed out"))?.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Ends with the body, or when the body is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a node agent ended");
        }
    });
    let request = Request::get(target)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
    let response = response.map_err(|_| failed(&"timed out"))?.map_err(|error| failed(&error))?;
    if response.status().is_redirection() {
        return Err(failed(&"it answered with a redirect, which is not followed"));
    }
    Ok(response.map(Body::new))
}

/// An agent's error as ours: its text with its code.
pub(crate) async fn refusal(response: Response) -> Refusal {
    let code = response.status();
    let body = Limited::new(response.into_body(), ERROR_TEXT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    ApiError::new(reason(code), if text.is_empty() { code.to_string() } else { text }).into()
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

/// Not this machine itself, and nothing that only looks like a machine's address.
fn is_reachable(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
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
