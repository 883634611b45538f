//! Refusals of requests with bodies, over connections as clients make them: they arrive, whatever the version of HTTP, the size
//! of the body and the time it takes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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

use crate::support::{Cluster, DEADLINE, client_tls};

const PIECE: usize = 64 << 10;

async fn dial(config: &ClientConfig, address: SocketAddr, protocol: &[u8]) -> TokioIo<TlsStream<TcpStream>> {
    let mut config = config.clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// A request with a body of `pieces` pieces, each sent after `pause`.
struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    pieces: usize,
    pause: Duration,
}

/// Sends it and answers the code, the Status and how many pieces were taken.
async fn send(config: &ClientConfig, address: SocketAddr, version: &str, sent: &Sent<'_>) -> (u16, Value, usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let (counted, pause) = (taken.clone(), sent.pause);
    let pieces = futures::stream::iter(0..sent.pieces).then(move |_| {
        let counted = counted.clone();
        async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b' '; PIECE])))
        }
    });
    let path = sent.path;
    let request = |target: String| {
        let request = Request::builder().method(sent.method).uri(target).header(header::HOST, address.to_string());
        request.header(header::CONTENT_TYPE, "application/json")
    };
    let body = StreamBody::new(Box::pin(pieces));
    let answer = if version == "h2" {
        let stream = dial(config, address, b"h2").await;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request(format!("https://{address}{path}")).body(body).unwrap()).await.unwrap()
    } else {
        let stream = dial(config, address, b"http/1.1").await;
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request(path.to_owned()).body(body).unwrap()).await.unwrap()
    };
    let code = answer.status().as_u16();
    let status = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    (code, status, taken.load(Ordering::Relaxed))
}

/// Serves on a port of its own until the task is ended.
async fn serve(cluster: &Cluster) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, serving) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], serving, std::future::pending()).await });
    (address, serving)
}

#[tokio::test]
async fn cve_2020_8552_a_client_that_sent_too_much_is_told_so() {
    let cluster = Cluster::new().await;
    let (address, serving) = serve(&cluster).await;
    let config = tls::agent_client_config(&cluster.pki).unwrap();
    let path = "/api/v1/namespaces/default/configmaps";
    for version in ["http/1.1", "h2"] {
        for pieces in [52, 128] {
            let sent = Sent { method: "POST", path, pieces, pause: Duration::ZERO };
            let sent = tokio::time::timeout(DEADLINE, send(&config, address, version, &sent));
            let (code, status, taken) = sent.await.unwrap();
            assert_eq!(code, StatusCode::PAYLOAD_TOO_LARGE.as_u16(), "{version}: {status}");
            assert_eq!(status["reason"], "RequestEntityTooLarge", "{version}");
            assert_eq!(taken, pieces, "{version}: the answer waits for the whole body");
        }
    }
    serving.abort();
}

#[tokio::test]
async fn a_refused_write_is_answered_once_its_body_came() {
    let cluster = Cluster::new().await;
    let (address, serving) = serve(&cluster).await;
    let admin = tls::agent_client_config(&cluster.pki).unwrap();
    let node = cluster.pki.issue_client("system:node:node1", &["system:nodes"]).unwrap();
    let node = client_tls(&cluster.pki, &node);
    let jane = cluster.pki.issue_client("jane", &[]).unwrap();
    let jane = client_tls(&cluster.pki, &jane);
    let cases = [
        (&*admin, "PUT", "/api/v1/nothing/x", 404),
        (&*admin, "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", 404),
        (&*admin, "POST", "/api/v1/services", 405),
        (&*jane, "PUT", "/api/v1/namespaces/default/configmaps/x", 403),
        (&*node, "PATCH", "/api/v1/nodes/other", 403),
        (&*node, "PATCH", "/api/v1/namespaces/default/pods/x/status", 415),
    ];
    for (config, method, path, expected) in cases {
        for version in ["http/1.1", "h2"] {
            for round in 0..5 {
                let sent = Sent { method, path, pieces: 2, pause: Duration::from_millis(5) };
                let sent = tokio::time::timeout(DEADLINE, send(config, address, version, &sent));
                let (code, status, taken) = sent.await.unwrap();
                let what = format!("{method} {path} over {version}, {round}: {status}");
                assert_eq!((code, taken), (expected, 2), "{what}");
                assert_eq!(status["code"], expected, "{what}");
            }
        }
    }
    serving.abort();
}
