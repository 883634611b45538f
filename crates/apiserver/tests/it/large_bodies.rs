//! Bodies over the limit, over connections as clients make them: the refusal arrives, whatever the version of HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use stead_apiserver::tls;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Cluster, DEADLINE};

const PIECE: usize = 64 << 10;

async fn dial(cluster: &Cluster, address: std::net::SocketAddr, protocol: &[u8]) -> TokioIo<TlsStream<TcpStream>> {
    let mut config = ClientConfig::clone(&tls::agent_client_config(&cluster.pki).unwrap());
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// Sends a ConfigMap of `pieces` pieces and answers the code, the Status and how many pieces were taken.
async fn send(cluster: &Cluster, address: std::net::SocketAddr, version: &str, pieces: usize) -> (u16, Value, usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let pieces = futures::stream::iter(0..pieces).map(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b' '; PIECE])))
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let request = |target: String| Request::post(target).header(header::HOST, address.to_string());
    let body = StreamBody::new(pieces);
    let answer = if version == "h2" {
        let stream = dial(cluster, address, b"h2").await;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request(format!("https://{address}{path}")).body(body).unwrap()).await.unwrap()
    } else {
        let stream = dial(cluster, address, b"http/1.1").await;
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request(path.to_owned()).body(body).unwrap()).await.unwrap()
    };
    let code = answer.status().as_u16();
    let status = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    (code, status, taken.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_client_that_sent_too_much_is_told_so() {
    let cluster = Cluster::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, serving) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], serving, std::future::pending()).await });
    for version in ["http/1.1", "h2"] {
        for pieces in [52, 128] {
            let sent = tokio::time::timeout(DEADLINE, send(&cluster, address, version, pieces));
            let (code, status, taken) = sent.await.unwrap();
            assert_eq!(code, StatusCode::PAYLOAD_TOO_LARGE.as_u16(), "{version}: {status}");
            assert_eq!(status["reason"], "RequestEntityTooLarge", "{version}");
            assert_eq!(taken, pieces, "{version}: the answer waits for the whole body");
        }
    }
    serving.abort();
}
