//! The proxy subresources of Services, pods and nodes: a request passed on to whom the object stands for, and the answer back.
//!
//! Who that is says `place`: one address, checked, that nothing said later can change. Redirects go to the client with their
//! place led through the proxy, and are followed by nobody here; an upgrade is one only when the answer is 101. What a client
//! proves itself with to this server stays here. Who may ask at all is decided before, in `authorize`.

mod html;
mod link;
mod page;
mod place;

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts, uri::PathAndQuery,
};
use hyper::body::Incoming;
use stead_api::status::ApiError;

use crate::{
    outbound::{self, OutboundError, Passage, Peer, Upgrade, join, without_bearer},
    path::ResourcePath,
    refusal::Refusal,
    serve::ClientAddress,
    server::Inner,
};
use link::Page;

/// Headers that are between two neighbours only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// By which a client proves to this server who it is, or whom it acts for.
const CREDENTIALS: [&str; 3] = ["authorization", "impersonate-", "x-remote-"];

/// Answers a request for `path`, a proxy subresource, whose `tail` is what is asked for behind.
pub(crate) async fn answer(
    server: &Arc<Inner>,
    path: &ResourcePath<'_>,
    parts: &Parts,
    body: Body,
    passage: Passage,
) -> Result<Response, Refusal> {
    let id = percent_decoded(path.name.unwrap_or_default());
    let peer = place::find(server, path, &id).await?;
    if let Some(upgrade) = Upgrade::of(parts) {
        return upgraded(server, &peer, path.tail, parts, upgrade, passage).await;
    }
    if path.tail.is_empty() && matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(redirected_to_root(&parts.uri));
    }
    let page = Page {
        prefix: parts.uri.path().strip_suffix(path.tail).unwrap_or_default().to_owned(),
        behind: peer.address.to_string(),
        host: host(parts).to_owned(),
    };
    let request = request(parts, path.tail, &page, &peer, body)?;
    let answer = outbound::send(&peer, request).await.map_err(unreachable)?;
    Ok(passed_on(answer, page, passage))
}

fn unreachable(error: OutboundError) -> Refusal {
    ApiError::unavailable(format!("error trying to reach service: {error}")).into()
}

/// Relative links of a page need a path that ends with `/`.
pub(crate) fn redirected_to_root(uri: &Uri) -> Response {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(place) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// The host that the client asked, from HTTP/1.1's header or HTTP/2's pseudo-header.
fn host(parts: &Parts) -> &str {
    let stated = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    stated.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
}

fn request(parts: &Parts, tail: &str, page: &Page, peer: &Peer, body: Body) -> Result<Request<Body>, Refusal> {
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target(tail, parts.uri.query())?;
    *request.headers_mut() = headers(parts, page, peer);
    Ok(request)
}

fn target(tail: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let path = if tail.is_empty() { "/" } else { tail };
    let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let target = PathAndQuery::try_from(text).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Uri::from(target))
}

/// The client's headers, without those that are for this server alone, and with where they come from.
fn headers(parts: &Parts, page: &Page, peer: &Peer) -> HeaderMap {
    let mut headers = parts.headers.clone();
    drop_hop_by_hop(&mut headers);
    let credentials = headers.keys().filter(|name| CREDENTIALS.iter().any(|start| name.as_str().starts_with(start)));
    let credentials = credentials.cloned().collect::<Vec<_>>();
    credentials.iter().for_each(|name| drop(headers.remove(name)));
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    for protocols in parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let kept = without_bearer(header::SEC_WEBSOCKET_PROTOCOL.as_str(), protocols);
        kept.map(|kept| headers.append(header::SEC_WEBSOCKET_PROTOCOL, kept));
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("host", if page.host.is_empty() { &page.behind } else { &page.host });
    set("x-forwarded-uri", parts.uri.path());
    set("x-forwarded-host", &page.host);
    set("x-forwarded-proto", "https");
    if let Some(ClientAddress(client)) = parts.extensions.get() {
        let before = parts.headers.get_all("x-forwarded-for").iter().filter_map(|list| list.to_str().ok());
        let list = before.map(str::to_owned).chain([client.ip().to_canonical().to_string()]).collect::<Vec<_>>();
        set("x-forwarded-for", &list.join(", "));
    }
    tracing::trace!(address = %peer.address, "a request is passed on");
    headers
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let named = named.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let named = named.collect::<Vec<_>>();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

fn passed_on(answer: http::Response<Incoming>, page: Page, passage: Passage) -> Response {
    let (mut parts, body) = answer.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    let cors = parts.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned();
    cors.collect::<Vec<_>>().iter().for_each(|name| drop(parts.headers.remove(name)));
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = passage.with(Body::new(body));
    if parts.headers.contains_key(header::LOCATION) {
        let place = page.rewrite(text(header::LOCATION)).and_then(|place| HeaderValue::from_str(&place).ok());
        place.map(|place| parts.headers.insert(header::LOCATION, place));
        return Response::from_parts(parts, body);
    }
    let is_html = text(header::CONTENT_TYPE).split(';').next().is_some_and(|kind| kind.trim() == "text/html");
    match page::Coding::named(text(header::CONTENT_ENCODING)).filter(|_| is_html) {
        Some(coding) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, page::rewritten(body, coding, page))
        }
        None => Response::from_parts(parts, body),
    }
}

/// An upgrade is one only when the one behind says so; an error is passed on, and anything else is none that it may give.
async fn upgraded(
    server: &Inner,
    peer: &Peer,
    tail: &str,
    parts: &Parts,
    upgrade: Upgrade,
    passage: Passage,
) -> Result<Response, Refusal> {
    let page = Page { prefix: String::new(), behind: peer.address.to_string(), host: host(parts).to_owned() };
    let mut request = request(parts, tail, &page, peer, Body::empty())?;
    request.headers_mut().remove(header::CONTENT_LENGTH);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(header::UPGRADE, upgrade.protocol.clone());
    let answer = outbound::send(peer, request).await.map_err(|error| {
        let what = format!("error dialing backend: {error}");
        ApiError::internal(&what, &what)
    })?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(join(upgrade, answer, server.stop.subscribe(), passage)),
        code if code.is_client_error() || code.is_server_error() => Ok(passed_on(answer, page, passage)),
        code => {
            let what = format!("invalid upgrade response: status code {}", code.as_u16());
            Err(ApiError::internal(&what, &what).into())
        }
    }
}

/// Text as it was before it was percent-encoded; what is no encoding stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
