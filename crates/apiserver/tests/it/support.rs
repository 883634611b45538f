//! A server for one test, and a client of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use stead_apiserver::{
    Config, Identity, Limits, SealingKeys, Server, TokenKey,
    pki::{CertKey, Pki, api_server_names},
    tls,
};
use stead_store::{Model, Store};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt as _;

/// Longer than anything here takes on a slow machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn config(pki: &Pki) -> Config {
    Config {
        advertise: "192.168.56.100:6443".parse().unwrap(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: 30000..=32767,
        external_ips: Vec::new(),
        pod_ranges: vec!["10.244.0.0/16".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        read_only: None,
        agent_tls: tls::agent_client_config(pki).unwrap(),
        token_key: Arc::new(TokenKey::create().unwrap()),
        sealing_keys: Arc::new(SealingKeys::create().unwrap()),
    }
}

/// The value of the series of `/metrics` whose labels hold all of `labels`.
pub(crate) fn series(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "no {what} in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server over a store, both for one test.
pub(crate) struct Cluster {
    pub(crate) pki: Pki,
    pub(crate) server: Server,
    pub(crate) store: Arc<dyn Store>,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(Model::new()), |_| {}).await
    }

    pub(crate) async fn with(store: Arc<dyn Store>, change: impl FnOnce(&mut Config)) -> Self {
        let pki = Pki::create().unwrap();
        let mut config = config(&pki);
        change(&mut config);
        let server = Server::new(store.clone(), config).await.unwrap();
        Self { pki, server, store }
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        let pki = Pki::create().unwrap();
        let store: Arc<dyn Store> = Arc::new(Model::new());
        let server = Server::limited(store.clone(), config(&pki), limits).await.unwrap();
        Self { pki, server, store }
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(Identity::control_plane("admin"))
    }

    pub(crate) fn client(&self, identity: Identity) -> Client {
        Client { router: self.server.as_identity(identity), headers: Vec::new() }
    }

    /// What a listener of this server needs.
    pub(crate) fn serving(&self) -> Arc<rustls::ServerConfig> {
        let names = api_server_names("cluster.local");
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        let issued = self.pki.issue_server(&names, &["127.0.0.1".parse().unwrap()]).unwrap();
        tls::server_config(self.pki.ca_pem(), &issued).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    /// Sent with each request.
    headers: Vec<(&'static str, String)>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) body: Value,
    pub(crate) text: String,
    pub(crate) headers: http::HeaderMap,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.text);
        self.body
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.headers.get_all(header::WARNING).iter().map(|warning| warning.to_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        tokio::time::timeout(DEADLINE, self.router.clone().oneshot(request)).await.unwrap().unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.send(request).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap().unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer {
            code: parts.status,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            text,
            headers: parts.headers,
        }
    }

    async fn with_body(&self, method: Method, path: &str, media_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, media_type);
        self.call(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call(Request::get(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::POST, path, "application/json", object.to_string()).await
    }

    pub(crate) async fn post_raw(&self, path: &str, media_type: &str, body: impl Into<Body>) -> Answer {
        self.with_body(Method::POST, path, media_type, body).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::PUT, path, "application/json", object.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        self.with_body(Method::PATCH, path, &format!("application/{kind}+json"), patch.to_string()).await
    }

    pub(crate) async fn patch_raw(&self, path: &str, media_type: &str, patch: impl Into<Body>) -> Answer {
        self.with_body(Method::PATCH, path, media_type, patch).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.with_body(Method::DELETE, path, "application/json", options.to_string()).await
    }

    pub(crate) async fn delete_raw(&self, path: &str, options: &'static str) -> Answer {
        self.with_body(Method::DELETE, path, "application/json", options).await
    }

    pub(crate) async fn watch(&self, path: &str) -> Events {
        let response = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Events::of(response)
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: BodyDataStream,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn of(response: Response<Body>) -> Self {
        Self { body: response.into_body().into_data_stream(), buffer: Vec::new() }
    }

    /// The next event; `None`: the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.drain(..=end).collect::<Vec<_>>();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece: Option<Result<Bytes, _>> =
                tokio::time::timeout(DEADLINE, self.body.next()).await.expect("an event in time");
            self.buffer.extend_from_slice(&piece?.unwrap());
        }
    }

    /// Type and name of the next `n` events.
    pub(crate) async fn take(&mut self, n: usize) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..n {
            let event = self.next().await.expect("an event");
            events.push(format!(
                "{} {}",
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap_or_default()
            ));
        }
        events
    }
}

/// For a client that shows `certificate` and trusts the cluster's authority.
pub(crate) fn client_tls(pki: &Pki, certificate: &CertKey) -> Arc<rustls::ClientConfig> {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
}

/// Sends a request for an upgrade over TLS, as kubectl would, and reads what comes until the other side ends or `until` came.
pub(crate) async fn upgrade(cluster: &Cluster, path: &str, say: &str, until: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], tls, std::future::pending()).await });
    let admin = cluster.pki.issue_client("admin", &["system:masters"]).unwrap();
    let tls = client_tls(&cluster.pki, &admin);
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n");
    stream.write_all(format!("{head}{say}").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(until) {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => text.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    serving.abort();
    String::from_utf8_lossy(&text).into_owned()
}
