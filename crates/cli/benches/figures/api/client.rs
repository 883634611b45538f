//! The generator's HTTP: one request at a time on one TLS connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_rustls::{TlsConnector, client::TlsStream};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a server is, and who asks.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
}

pub(crate) struct Connection(http1::SendRequest<Full<Bytes>>);

/// A runtime of one thread: what the generator takes of the machine is one core at most.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Target {
    pub(crate) async fn connect_tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = self.address.ip().into();
        TlsConnector::from(self.tls.clone()).connect(name, stream).await
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Connection> {
        let stream = self.connect_tls().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(driver);
        Ok(Connection(sender))
    }

    pub(crate) async fn open(&self) -> Connection {
        self.connect().await.expect("a connection")
    }
}

impl Connection {
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> hyper::Result<(StatusCode, Bytes)> {
        let response = self.0.send_request(request(method, path, body)).await?;
        Ok((response.status(), response.into_body().collect().await?.to_bytes()))
    }

    /// The body of a success; anything else is the end.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Bytes {
        let answer = tokio::time::timeout(TIMEOUT, self.send(method.clone(), path, body.into())).await;
        let (status, body) = answer.expect("an answer within a minute").expect("an answer");
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        body
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        serde_json::from_slice(&self.call(Method::GET, path, Bytes::new()).await).expect("JSON")
    }

    /// Names in a collection that begin with `prefix`.
    pub(crate) async fn names(&mut self, collection: &str, prefix: &str) -> Vec<String> {
        let list = self.get(collection).await;
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
        names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// A watch: the answer's body as it comes. The connection goes on as long as both are kept.
    pub(crate) async fn stream(&mut self, path: &str) -> Incoming {
        let response = self.0.send_request(request(Method::GET, path, Bytes::new())).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.into_body()
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "kubernetes")
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, "application/json")
        .body(Full::new(body))
        .expect("a request")
}
