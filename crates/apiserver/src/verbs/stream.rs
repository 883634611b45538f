//! `pods/exec`, `pods/attach` and `pods/portforward`: checked here, then carried to the agent of the pod's node and back, byte for byte.
//!
//! What is said on the upgraded connection (SPDY/3.1, or WebSocket messages) is between the client and the agent. An answer other
//! than 101 is the agent's refusal and goes to the client as it is; it is never a tunnel.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request, StatusCode, header, request::Parts};
use serde_json::Value;
use stead_api::{kinds, resource::Subresource, status::ApiError};

use super::pod_container::{container, node_name};
use crate::{
    agent,
    outbound::{self, Passage, Upgrade, join, without_bearer},
    path::ResourcePath,
    query::Query,
    refusal::Refusal,
    server::Inner,
};

/// Until the agent has answered the request for an upgrade.
const ANSWER: Duration = Duration::from_secs(30);
/// What of the client's headers the agent chooses a protocol by.
const PASSED_ON: [&str; 4] =
    ["x-stream-protocol-version", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol"];
/// Parameters and the names by which agents know them.
const STREAMS: [(&str, &str); 4] = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

pub(crate) async fn answer(
    server: &Arc<Inner>,
    path: &ResourcePath<'_>,
    parts: &Parts,
    query: &Query,
    passage: Passage,
) -> Result<Response, Refusal> {
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    let stored = server.storage.get(&path.resource.registry_key(namespace, name)).await?;
    let pod = stored.ok_or_else(|| ApiError::not_found(path.resource, name))?.object;
    let target = target(path, &pod, query)?;
    let node_name = node_name(&pod)?;
    let upgrade = Upgrade::of(parts).ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
    let node_kind = &kinds::node::RESOURCE;
    let node = server.storage.get(&node_kind.registry_key("", node_name)).await?;
    let peer = agent::peer(&server.config, &node.ok_or_else(|| ApiError::not_found(node_kind, node_name))?.object)?;
    let mut request = Request::builder().method(parts.method.clone()).uri(target).body(Body::empty());
    let headers = request.as_mut().ok().map(Request::headers_mut);
    if let Some(headers) = headers {
        for name in PASSED_ON {
            let values = parts.headers.get_all(name).iter();
            for value in values.filter_map(|value| without_bearer(name, value)) {
                headers.append(name, value);
            }
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.protocol.clone());
        if let Ok(host) = HeaderValue::from_str(&peer.address.to_string()) {
            headers.insert(header::HOST, host);
        }
    }
    let failed = |error: &dyn std::fmt::Display| {
        let what = format!("error dialing backend: {error}");
        Refusal::from(ApiError::internal(&what, &what))
    };
    let request = request.map_err(|error| failed(&error))?;
    let answer = tokio::time::timeout(ANSWER, outbound::send(&peer, request)).await;
    let answer = answer.map_err(|_| failed(&"timed out"))?.map_err(|error| failed(&error))?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(join(upgrade, answer, server.stop.subscribe(), passage)),
        code if code.is_client_error() || code.is_server_error() => Ok(agent::said(answer).await),
        code => Err(failed(&format_args!("invalid upgrade response: status code {}", code.as_u16()))),
    }
}

/// Path and query for the agent.
fn target(path: &ResourcePath<'_>, pod: &Value, query: &Query) -> Result<String, Refusal> {
    let (namespace, name) = (path.namespace.unwrap_or_default(), path.name.unwrap_or_default());
    if path.subresource == Some(Subresource::PortForward) {
        let ports: Vec<_> = query.all("ports").map(|port| ("port", port)).collect();
        return Ok(with_query(format!("/portForward/{namespace}/{name}"), &ports));
    }
    let container = container(pod, query)?;
    let streams = STREAMS.iter().filter(|(asked, _)| query.is_true(asked)).map(|(_, known)| (*known, "1"));
    let mut pairs: Vec<_> = streams.collect();
    let word = if path.subresource == Some(Subresource::Exec) { "exec" } else { "attach" };
    if word == "exec" {
        pairs.extend(query.all("command").map(|part| ("command", part)));
    }
    Ok(with_query(format!("/{word}/{namespace}/{name}/{container}"), &pairs))
}

fn with_query(path: String, pairs: &[(&str, &str)]) -> String {
    match serde_urlencoded::to_string(pairs) {
        Ok(text) if !text.is_empty() => format!("{path}?{text}"),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::path::{Target, parse};

    #[test]
    fn agents_are_asked_in_their_own_words() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let check = |subresource: &str, text: &str, expected: Result<&str, &str>| {
            let asked = format!("/api/v1/namespaces/n/pods/p/{subresource}");
            let Target::Resource(path) = parse(&asked) else { panic!("{asked}") };
            let found = target(&path, &pod, &Query::parse(Some(text)).unwrap());
            let found = found.map_err(|refusal| refusal.0.status.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{asked}?{text}");
        };
        check(
            "exec",
            "container=a&command=sh&command=-c&command=a%26b&stdin=true&stdout=true&tty=true&stderr=false",
            Ok("/exec/n/p/a?input=1&output=1&tty=1&command=sh&command=-c&command=a%26b"),
        );
        check("attach", "container=b&stdout=1&command=sh", Ok("/attach/n/p/b?output=1"));
        check("portforward", "ports=80&ports=81", Ok("/portForward/n/p?port=80&port=81"));
        check("portforward", "", Ok("/portForward/n/p"));
        check("exec", "command=sh", Err("a container name must be specified for pod p, choose one of: [a b]"));
        check("exec", "container=c", Err("container c is not valid for pod p"));
    }
}
