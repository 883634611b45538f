//! Small HTTP/1.1 servers for health and metrics: every answer is at hand, so a request costs next to nothing.
//!
//! Owns connections: how many there may be at once, how long they may take to ask. What is answered is the handler's.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::sleep,
};

pub(crate) type Answer = Response<Full<Bytes>>;

/// Also how long a connection may idle between two requests: probes come every few seconds, or connect anew.
const HEADERS: Duration = Duration::from_secs(30);
/// No health check sends a body worth reading, nor headers longer than this.
const MAX_BUFFER: usize = 16 << 10;
/// Accepting failed (out of descriptors): how long until it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: u32 = 256;

/// Answers whoever connects, for ever, with at most as many at a time as `permits` has; others wait to be accepted.
pub(crate) async fn serve(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    answer: impl Fn(&Request<Incoming>, SocketAddr) -> Answer + Clone + Send + Sync + 'static,
) -> Infallible {
    serve_some(listener, permits, |_| true, answer).await
}

/// As [`serve`], but for clients that are not admitted, whose connections are closed.
pub(crate) async fn serve_some(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    admits: impl Fn(SocketAddr) -> bool,
    answer: impl Fn(&Request<Incoming>, SocketAddr) -> Answer + Clone + Send + Sync + 'static,
) -> Infallible {
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, client)) if admits(client) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    talk(stream, move |request| answer(request, client)).await;
                    drop(permit);
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, answer: impl Fn(&Request<Incoming>) -> Answer) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(MAX_BUFFER);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Listens there. The unspecified address of either family means both families, where the machine has both.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return listen_at(address);
    }
    let any = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), address.port());
    listen_at(any).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => listen_at(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), address.port())),
    })
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(crate) fn json(status: StatusCode, body: String) -> Answer {
    with_type(status, "application/json", body)
}

pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

pub(crate) fn with_type(status: StatusCode, media_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
