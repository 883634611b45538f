//! Upgraded connections: what the client and the one behind say to each other is passed on as it is.

use std::{io, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
};

use super::Passage;

/// Between the answer 101 and the connection being there.
const SWITCH: Duration = Duration::from_secs(10);
/// Bytes under way in each direction.
const BUFFER: usize = 32 << 10;

/// A subprotocol by which browsers hand over a token, because they can set no other header.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// A header's value without a token, where `name` is that of the header that can have one.
pub(crate) fn without_bearer(name: &str, value: &HeaderValue) -> Option<HeaderValue> {
    if name != header::SEC_WEBSOCKET_PROTOCOL.as_str() {
        return Some(value.clone());
    }
    let list = value.to_str().ok()?.split(',').map(str::trim);
    let kept = list.filter(|protocol| !protocol.starts_with(BEARER_PROTOCOL)).collect::<Vec<_>>();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(", ")).ok() }
}

/// A client's wish to go on in another protocol.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// Such as `websocket` or `SPDY/3.1`.
    pub(crate) protocol: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// What the request asks for; `None` where it asks for nothing, or its connection cannot be upgraded.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let protocol = parts.headers.get(header::UPGRADE)?.clone();
        let client = parts.extensions.get::<OnUpgrade>()?.clone();
        has_token(&parts.headers, "upgrade").then_some(Self { protocol, client })
    }
}

/// Whether `Connection` has this word in its list.
fn has_token(headers: &HeaderMap, word: &str) -> bool {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// Passes on `answer`, which has status 101, and everything said after it, until either side or the server ends.
pub(crate) fn join(
    upgrade: Upgrade,
    answer: Response<Incoming>,
    mut stop: watch::Receiver<bool>,
    passage: Passage,
) -> Response<Body> {
    let mut passed_on = Response::new(Body::empty());
    *passed_on.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *passed_on.headers_mut() = answer.headers().clone();
    tokio::spawn(async move {
        let _passage = passage;
        let both = async { tokio::try_join!(upgrade.client, hyper::upgrade::on(answer)) };
        let (client, behind) = match tokio::time::timeout(SWITCH, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection could not be upgraded"),
            Err(_) => return tracing::debug!("a connection was not upgraded in time"),
        };
        let (client_in, client_out) = tokio::io::split(TokioIo::new(client));
        let (behind_in, behind_out) = tokio::io::split(TokioIo::new(behind));
        tokio::select! {
            _ = pass_on(client_in, behind_out) => {}
            _ = pass_on(behind_in, client_out) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    });
    passed_on
}

/// Until the source ends; what waits is bounded by the buffer, so that a slow reader slows the writer.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}
