//! Connections: accept, TLS handshake, HTTP/1.1 or HTTP/2, each request marked with its connection's [`Identity`].
//!
//! Handshakes and idle headers are timed, connections counted, what is kept for a client that does not read is bounded. A connection
//! that fails harms no other, and whoever has more than his share is told so on the next ones.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures::TryFutureExt as _;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{SockRef, TcpKeepalive};
use stead_model::silence;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use crate::{
    auth::{AuthError, Identity},
    body,
    refusal::Refusal,
    shares::Shares,
    unread::{Answering, Socket},
};

/// Connections that are not yet anybody's.
const MAX_ACCEPTED: usize = 1_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long somebody with too many connections may take to hear that on one more.
const REFUSAL: Duration = Duration::from_secs(5);
/// Also how long a connection may idle between requests; longer than clients keep theirs.
const HEADERS: Duration = Duration::from_secs(120);
/// A peer that answers no HTTP/2 ping is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 2_000;
/// What is kept of an answer that its client has not read, besides one frame and what TLS keeps of it.
const UNSENT: usize = 64 << 10;
/// The same in the kernel, which would keep megabytes.
const UNSENT_IN_KERNEL: u32 = 128 << 10;
/// The same over HTTP/1.1, where it is also what a request's head may have: the longest URI and some headers.
const HEAD: usize = UNSENT + (16 << 10);
const SILENCE: TcpKeepalive = TcpKeepalive::new()
    .with_time(silence::FIRST_PROBE)
    .with_interval(silence::PROBE_INTERVAL)
    .with_retries(silence::PROBES);
/// How often it is looked for watches over HTTP/2 that are not read, in the time they have.
const UNREAD_LOOKS: u32 = 4;
/// A connection with more streams that ended unread, whose last pieces wait for their client, is cut.
const MAX_UNREAD: usize = 16;
/// How long requests under way may go on after the shutdown began.
const GRACE: Duration = Duration::from_secs(5);
/// Accepting failed (out of descriptors): how long until it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a request's connection comes from, as an extension of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("TLS handshake timed out")]
    HandshakeTimeout,
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("the client does not read its watches")]
    Unread,
    #[error("HTTP failed: {0}")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves `router` on all `listeners` until `stop` turns true; then lets requests under way end, for some seconds. A watch is cut
/// that its client has not read for `patience`.
pub(crate) async fn serve(
    router: Router,
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    (shares, patience): (Arc<Shares>, Duration),
    stop: watch::Receiver<bool>,
) {
    let way = Way { router, acceptor: TlsAcceptor::from(tls), shares, patience, stop };
    let permits = Arc::new(Semaphore::new(MAX_ACCEPTED));
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept(listener, way.clone(), permits.clone()));
    }
    while loops.join_next().await.is_some() {}
}

/// What each connection needs.
#[derive(Clone)]
struct Way {
    router: Router,
    acceptor: TlsAcceptor,
    shares: Arc<Shares>,
    patience: Duration,
    stop: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, way: Way, permits: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    let mut stopping = way.stop.clone();
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, client) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stopped(&mut stopping) => break,
        };
        let way = way.clone();
        connections.spawn(async move {
            if let Err(error) = connection((stream, ClientAddress(client)), way, permit).await {
                tracing::debug!(%error, "connection ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left after the grace time is cut when the set is dropped.
    let _ = tokio::time::timeout(GRACE, drained).await;
}

/// `permit` is held until it is known whose connection this is.
async fn connection(
    (stream, client): (TcpStream, ClientAddress),
    way: Way,
    permit: OwnedSemaphorePermit,
) -> Result<(), ConnectionError> {
    let Way { router, acceptor, shares, patience, mut stop } = way;
    // Nagle's delay would hold back watch events.
    let _ = stream.set_nodelay(true);
    // Upgraded connections and watches over HTTP/1.1 have no pings of their own.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&SILENCE);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_IN_KERNEL);
    let answering = Answering::default();
    let watches = answering.watches.clone();
    let stream = Socket::new(stream, answering.clone(), patience);
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| ConnectionError::HandshakeTimeout)?
        .map_err(ConnectionError::Handshake)?;
    let identity = identity(&stream)?;
    // Who shows a token does so later, request by request.
    let holder = if identity.is_anonymous() { client.0.ip().to_string() } else { identity.user.clone() };
    let _share = match shares.take(&holder) {
        Ok(share) => share,
        Err(refusal) => return refused(stream, refusal).await,
    };
    drop(permit);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(identity.clone());
        request.extensions_mut().insert(client);
        let (answering, version) = (answering.clone(), request.version());
        let answer = router.clone().oneshot(request.map(Body::new));
        answer.map_ok(move |response| answering.begin(version, response))
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut looks = tokio::time::interval(patience / UNREAD_LOOKS);
    loop {
        tokio::select! {
            done = connection.as_mut() => return done.map_err(ConnectionError::Http),
            () = stopped(&mut stop) => break,
            _ = looks.tick() => {}
        }
        if watches.end_unread(patience) > MAX_UNREAD {
            return Err(ConnectionError::Unread);
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(ConnectionError::Http)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(UNSENT)
        .adaptive_window(true)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    builder
}

/// Answers whatever is asked with `refusal`, for some seconds.
async fn refused(stream: TlsStream<Socket>, refusal: Refusal) -> Result<(), ConnectionError> {
    let service = service_fn(move |request: Request<Incoming>| {
        let refusal = refusal.clone();
        async move {
            let (parts, body) = request.into_parts();
            let (_, held) = body::hold(&parts.headers, Body::new(body));
            held.discard().await;
            Ok::<_, Infallible>(refusal.into_response())
        }
    });
    let builder = builder();
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(REFUSAL, connection).await {
        Ok(done) => done.map_err(ConnectionError::Http),
        Err(_) => Ok(()),
    }
}

/// Ready when the server ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone.
    let _ = stop.wait_for(|stop| *stop).await.map(|_| ());
}

fn identity(stream: &TlsStream<Socket>) -> Result<Identity, AuthError> {
    match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Identity::from_certificate(certificate),
        None => Ok(Identity::anonymous()),
    }
}
