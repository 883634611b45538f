//! The read-only port behind the Service `kubernetes-ro`: plain HTTP/1.1 and no credentials, as pods of 2014 used it.
//!
//! What may be read is [`authorize`](crate::authorize)'s to say: objects but Secrets, and no way into a pod or node. Connections
//! are few, and no answer goes on for more than some minutes, so that watches cannot pile up.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use futures::StreamExt as _;
use http::Method;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use stead_api::status::ApiError;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::{auth::Identity, dispatch, refusal::Refusal, server::Inner};

/// More at a time wait.
const MAX_CONNECTIONS: usize = 256;
/// Also how long a connection may idle between requests.
const HEADERS: Duration = Duration::from_secs(30);
/// The longest answer: a watch ends after this, and is begun anew by who wants more.
const ANSWER: Duration = Duration::from_secs(300);
/// Accepting failed (out of descriptors): how long until it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn serve(server: Arc<Inner>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let server = server.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| answer(server.clone(), request.map(Body::new)));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(%error, "read-only connection ended");
            }
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(server: Arc<Inner>, mut request: Request) -> Result<Response, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(Refusal::from(ApiError::no_such_method()).into_response());
    }
    request.extensions_mut().insert(Identity::read_only());
    let (parts, body) = dispatch::answer(server, request).await.into_parts();
    let bounded = body.into_data_stream().take_until(tokio::time::sleep(ANSWER));
    Ok(Response::from_parts(parts, Body::from_stream(bounded)))
}
