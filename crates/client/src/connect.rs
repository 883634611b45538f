//! Transports: TLS from a kubeconfig or a service account, or a service in this process.

#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, Service};

use crate::Requests;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("kubeconfig {path} cannot be used")]
    Kubeconfig { path: PathBuf, source: KubeconfigError },
    #[error("kubeconfig cannot be used")]
    Context(#[source] KubeconfigError),
    #[error("no service account of a cluster here; give a kubeconfig")]
    InCluster(#[source] InClusterError),
    #[error("{server:?} is no address of a server such as https://10.0.0.1:6443")]
    Server { server: String, source: http::uri::InvalidUri },
    #[error("client for {url} cannot be made")]
    Client { url: String, source: kube::Error },
}

/// A client over TLS with the current context of a kubeconfig. Nothing is sent yet: a server that is not up shows in the
/// first request. Call it inside the runtime that the client lives in.
pub async fn connect(kubeconfig: &Path) -> Result<Client, ConnectError> {
    client(read(kubeconfig).await?)
}

async fn read(kubeconfig: &Path) -> Result<Config, ConnectError> {
    let failed = |source| ConnectError::Kubeconfig { path: kubeconfig.to_owned(), source };
    let read = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(failed)
}

/// As [`connect`], with a kubeconfig that is read (and merged) already, and the context that `options` choose.
pub async fn connect_with(kubeconfig: Kubeconfig, options: &KubeConfigOptions) -> Result<Client, ConnectError> {
    client(Config::from_custom_kubeconfig(kubeconfig, options).await.map_err(ConnectError::Context)?)
}

/// As [`connect`], or with the service account that Kubernetes mounts into pods where no kubeconfig is given, and to `server` instead of
/// what those name. With `server` alone there are no credentials. Also the server's address, where it is named by one, and a count of what is sent.
pub async fn connect_to(
    kubeconfig: Option<&Path>,
    server: Option<&str>,
) -> Result<(Client, Option<IpAddr>, Requests), ConnectError> {
    let mut config = match (kubeconfig, server) {
        (Some(path), _) => read(path).await?,
        (None, None) => Config::incluster().map_err(ConnectError::InCluster)?,
        (None, Some(_)) => Config::new(http::Uri::default()),
    };
    if let Some(server) = server {
        let failed = |source| ConnectError::Server { server: server.to_owned(), source };
        let uri = server.parse::<http::Uri>().map_err(failed)?;
        config.cluster_url = match uri.scheme() {
            Some(_) => uri,
            None => format!("http://{server}").parse().map_err(failed)?,
        };
    }
    let host = config.cluster_url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let requests = Requests::to(config.cluster_url.authority().map(ToString::to_string).unwrap_or_default());
    install_provider();
    let url = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config).map_err(|source| ConnectError::Client { url, source })?;
    Ok((builder.with_layer(&requests).build(), address, requests))
}

/// A client whose requests go straight into `service`, such as the API server's router: no socket, no TLS.
/// Call it inside the runtime that the client lives in.
pub fn in_process<S, B>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Client::new(service, "default")
}

fn client(config: Config) -> Result<Client, ConnectError> {
    install_provider();
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ConnectError::Client { url, source })
}

fn install_provider() {
    // Whoever was first has installed the same one: no other is in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
