//! Connections that the server opens itself: to node agents, and to what proxy subresources name.
//!
//! Whoever calls has an address, not a name: it was taken once from an object, checked by [`is_reachable`] and is connected to as
//! it is. A redirect is an answer like any other and followed by nobody; credentials of clients never come here.

mod tls;
mod tunnel;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{metrics::GoesOn, shares::Share};

pub(crate) use tls::unverified;
pub(crate) use tunnel::{Upgrade, join, without_bearer};

const CONNECT: Duration = Duration::from_secs(5);

/// Who is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) security: Security,
}

#[derive(Clone, Debug)]
pub(crate) enum Security {
    Plain,
    Tls(Arc<ClientConfig>),
}

/// What a request that is passed on holds as long as it goes on: a place of its client's, and that it is counted.
#[derive(Debug)]
pub(crate) struct Passage {
    _share: Share,
    _running: GoesOn,
}

impl Passage {
    pub(crate) const fn new(share: Share, running: GoesOn) -> Self {
        Self { _share: share, _running: running }
    }

    /// The body, which holds the passage until it is sent or given up.
    pub(crate) fn with(self, body: Body) -> Body {
        Body::new(body.map_frame(move |frame| {
            let _ = &self;
            frame
        }))
    }
}

/// In the words that clients of Kubernetes know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("dial tcp {address}: {}", dial_text(source))]
    Dial { address: SocketAddr, source: io::Error },
    #[error("dial tcp {0}: i/o timeout")]
    Slow(SocketAddr),
    #[error("{}", tls_text(source))]
    Tls { address: SocketAddr, source: io::Error },
    /// It takes connections, and says nothing of TLS on them.
    #[error("net/http: TLS handshake timeout")]
    SlowTls(SocketAddr),
    #[error("{address}: {source}")]
    Http { address: SocketAddr, source: hyper::Error },
}

/// Sends `request`, whose URI has path and query only, over a connection of its own, and waits for the head of the answer
/// however long that takes. The connection ends with the body of the answer, or when that is dropped; after status 101 it is the
/// upgraded connection's.
pub(crate) async fn send(peer: &Peer, request: Request<Body>) -> Result<Response<Incoming>, OutboundError> {
    let address = peer.address;
    let stream = dial(peer).await?;
    let failed = |source| OutboundError::Http { address, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, %address, "an outgoing connection ended");
        }
    });
    sender.send_request(request).await.map_err(failed)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn dial(peer: &Peer) -> Result<Box<dyn Stream>, OutboundError> {
    let address = peer.address;
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| OutboundError::Slow(address))?;
    let stream = stream.map_err(|source| OutboundError::Dial { address, source })?;
    // Nagle's delay would hold back keystrokes.
    let _ = stream.set_nodelay(true);
    match &peer.security {
        Security::Plain => Ok(Box::new(stream)),
        Security::Tls(config) => {
            let name = ServerName::IpAddress(address.ip().into());
            let greeted = TlsConnector::from(config.clone()).connect(name, stream);
            let greeted = tokio::time::timeout(CONNECT, greeted).await.map_err(|_| OutboundError::SlowTls(address))?;
            Ok(Box::new(greeted.map_err(|source| OutboundError::Tls { address, source })?))
        }
    }
}

fn tls_text(error: &io::Error) -> String {
    use rustls::{Error, InvalidMessage};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        _ => format!("tls: {error}"),
    }
}

fn dial_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

/// Not this machine itself, and nothing that only looks like a machine's address. Link-local ones are where clouds answer for
/// credentials.
pub(crate) fn is_reachable(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_without_tls_is_told_apart_from_one_that_is_not_there() {
        use tokio::{io::AsyncWriteExt as _, net::TcpListener};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        });
        let peer = Peer { address, security: Security::Tls(unverified()) };
        let refused = dial(&peer).await.err().unwrap().to_string();
        assert_eq!(refused, "http: server gave HTTP response to HTTPS client");
        drop(plain.await.unwrap());
        let refused = dial(&peer).await.err().unwrap().to_string();
        assert_eq!(refused, format!("dial tcp {address}: connect: connection refused"));
    }

    #[test]
    fn cve_2020_8562_only_checked_addresses_are_reachable() {
        for (address, expected) in [
            ("10.244.1.2", true),
            ("fd56::101", true),
            ("127.0.0.1", false),
            ("127.8.9.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(is_reachable(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
