//! Connections: accept, TLS handshake, HTTP/1.1 or HTTP/2, each request marked with its connection's [`Identity`].
//!
//! Handshakes and idle headers are timed, connections counted. A connection that fails harms no other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
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
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use crate::auth::{AuthError, Identity};

const MAX_CONNECTIONS: usize = 20_000;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Also how long a connection may idle between requests; longer than clients keep theirs.
const HEADERS: Duration = Duration::from_secs(120);
/// A peer that answers no HTTP/2 ping is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 2_000;
const SILENCE: TcpKeepalive = TcpKeepalive::new()
    .with_time(silence::FIRST_PROBE)
    .with_interval(silence::PROBE_INTERVAL)
    .with_retries(silence::PROBES);
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
    #[error("HTTP failed: {0}")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves `router` on all `listeners` until `stop` turns true; then lets requests under way end, for some seconds.
pub(crate) async fn serve(
    router: Router,
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept(listener, router.clone(), acceptor.clone(), permits.clone(), stop.clone()));
    }
    while loops.join_next().await.is_some() {}
}

async fn accept(
    listener: TcpListener,
    router: Router,
    acceptor: TlsAcceptor,
    permits: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
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
        let (router, acceptor, stop) = (router.clone(), acceptor.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection((stream, ClientAddress(client)), router, acceptor, stop).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left after the grace time is cut when the set is dropped.
    let _ = tokio::time::timeout(GRACE, drained).await;
}

async fn connection(
    (stream, client): (TcpStream, ClientAddress),
    router: Router,
    acceptor: TlsAcceptor,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ConnectionError> {
    // Nagle's delay would hold back watch events.
    let _ = stream.set_nodelay(true);
    // Upgraded connections and watches over HTTP/1.1 have no pings of their own.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&SILENCE);
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| ConnectionError::HandshakeTimeout)?
        .map_err(ConnectionError::Handshake)?;
    let identity = identity(&stream)?;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(identity.clone());
        request.extensions_mut().insert(client);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .adaptive_window(true)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done.map_err(ConnectionError::Http),
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(ConnectionError::Http)
}

/// Ready when the server ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone.
    let _ = stop.wait_for(|stop| *stop).await.map(|_| ());
}

fn identity(stream: &TlsStream<TcpStream>) -> Result<Identity, AuthError> {
    match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
        Some(certificate) => Identity::from_certificate(certificate),
        None => Ok(Identity::anonymous()),
    }
}
