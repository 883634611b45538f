//! The agent's own HTTPS server: container logs, processes in containers and ports of pods for the API server, and `/healthz`.
//!
//! It speaks only to clients whose certificate comes from the cluster's authority and is the API server's or an administrator's:
//! logs are as secret as what is in them. Everybody else asks the API server, which knows who may see what.

mod attach;
mod exec;
mod logs;
mod port_forward;
mod query;
mod remote_command;
mod session;
mod spdy;
mod transport;
mod upgrade;
mod writer;

pub(crate) use logs::LogIndex;

use std::{
    io,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use socket2::{SockRef, TcpKeepalive};
use stead_model::silence;
use stead_sys::namespace::Namespace;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;

use stead_client::error_text;

use crate::{config::ServerConfig, net::Network, runtime::ContainerRuntime};

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{path}: no usable certificate or key", path = path.display())]
    Pem { path: std::path::PathBuf, source: rustls::pki_types::pem::Error },
    #[error("TLS with the given certificate and key")]
    Tls(#[from] rustls::Error),
    #[error("the authority of clients' certificates")]
    Authority(#[from] rustls::server::VerifierBuilderError),
    #[error("cannot listen on {address} port {port}; is another node agent running here?")]
    Listen { address: IpAddr, port: u16, source: io::Error },
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What requests are answered from.
#[derive(Clone, Debug)]
struct Sources {
    logs: LogIndex,
    runtime: Arc<dyn ContainerRuntime>,
    networks: Networks,
    /// One permit for each upgraded connection.
    sessions: Arc<Semaphore>,
}

/// The network namespaces of pods.
#[derive(Clone, Debug)]
pub(crate) struct Networks(pub(crate) Arc<Mutex<Network>>);

impl Networks {
    /// That of the pod with this uid; the error is for the client.
    fn open(&self, uid: &str) -> Result<Namespace, String> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).find(uid);
        let place = place.ok_or("the pod has no network")?;
        Namespace::open(&place.namespace).map_err(|error| format!("the pod's network: {error}"))
    }
}

const MAX_CONNECTIONS: usize = 256;
const MAX_SESSIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(10);
const SILENCE: TcpKeepalive = TcpKeepalive::new()
    .with_time(silence::FIRST_PROBE)
    .with_interval(silence::PROBE_INTERVAL)
    .with_retries(silence::PROBES);

/// Listens on every address; it ends when the set is dropped.
pub(crate) async fn start(
    config: &ServerConfig,
    addresses: &[IpAddr],
    logs: LogIndex,
    runtime: Arc<dyn ContainerRuntime>,
    networks: Networks,
) -> Result<JoinSet<()>, ServerError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(config)?));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let sources = Sources { logs, runtime, networks, sessions: Arc::new(Semaphore::new(MAX_SESSIONS)) };
    let mut tasks = JoinSet::new();
    for address in addresses {
        let listener = TcpListener::bind((*address, config.port)).await;
        let listener =
            listener.map_err(|source| ServerError::Listen { address: *address, port: config.port, source })?;
        tasks.spawn(accept(listener, acceptor.clone(), sources.clone(), Arc::clone(&slots)));
    }
    Ok(tasks)
}

fn tls(config: &ServerConfig) -> Result<rustls::ServerConfig, ServerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Pem { path, source }
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ServerError> {
        let file = CertificateDer::pem_file_iter(path).map_err(failed(path))?;
        file.collect::<Result<_, _>>().map_err(failed(path))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.client_authority)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(failed(&config.key))?;
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&config.certificate)?, key)?;
    Ok(server)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sources: Sources, slots: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Whoever reads a log or holds a session may vanish without a word.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&SILENCE);
        let (acceptor, sources) = (acceptor.clone(), sources.clone());
        connections.spawn(async move {
            let _slot = slot;
            let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            let may_ask = certificate.is_some_and(|certificate| is_trusted(&certificate));
            let service = service_fn(move |request| {
                let sources = sources.clone();
                async move { io::Result::Ok(answer(request, may_ask, &sources).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// Whether a certificate, known to come from the cluster's authority, is the API server's or an administrator's.
fn is_trusted(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let subject = parsed.subject();
    let named = subject.iter_common_name().any(|name| name.as_str() == Ok("system:kube-apiserver"));
    let grouped = subject.iter_organization().any(|group| group.as_str() == Ok("system:masters"));
    named || grouped
}

async fn answer(request: Request<Incoming>, may_ask: bool, sources: &Sources) -> Response<Body> {
    if !may_ask {
        return text(StatusCode::FORBIDDEN, "this certificate may not ask node agents");
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET | &Method::POST, ["exec", namespace, pod, container]) => {
            exec::answer(sources, [namespace, pod, container], request).await
        }
        (&Method::GET | &Method::POST, ["attach", namespace, pod, container]) => {
            attach::answer(sources, [namespace, pod, container], request).await
        }
        (&Method::GET | &Method::POST, ["portForward", namespace, pod]) => {
            port_forward::answer(sources, [namespace, pod], request).await
        }
        (&Method::GET, ["healthz"]) => text(StatusCode::OK, "ok"),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            let query = request.uri().query().unwrap_or_default();
            logs::answer(sources, namespace, pod, container, query).await
        }
        (&Method::GET | &Method::POST, _) => text(StatusCode::NOT_FOUND, "not found"),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are served"),
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut text = text.into();
    text.push('\n');
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}
