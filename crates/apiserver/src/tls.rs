//! TLS of both directions: the listener's, where a client certificate is optional and ours, and the one towards node agents.
//!
//! The crypto provider is named here (`ring`), so that nothing depends on a process-wide default.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{
    auth::MASTERS,
    pki::{CertKey, Pki, PkiError},
};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} is no PEM")]
    Pem { what: &'static str, source: rustls_pki_types::pem::Error },
    #[error("{what} is not usable")]
    Unusable { what: &'static str, source: rustls::Error },
    #[error("CA certificate cannot check clients")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// For a listener: serves `server`, takes HTTP/2 and HTTP/1.1 by ALPN, and lets clients in without a certificate or with
/// one that the CA signed. Any other certificate ends the handshake.
pub fn server_config(ca_pem: &str, server: &CertKey) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "TLS version", source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&server.cert_pem)?, key(&server.key_pem)?)
        .map_err(|source| TlsError::Unusable { what: "serving certificate", source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For connections that present `client` and trust the CA alone; no protocol is asked for, so HTTP/1.1 is spoken.
pub fn client_config(ca_pem: &str, client: &CertKey) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "TLS version", source })?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(chain(&client.cert_pem)?, key(&client.key_pem)?)
        .map_err(|source| TlsError::Unusable { what: "client certificate", source })?;
    Ok(Arc::new(config))
}

/// What the server presents to node agents when it asks them for logs.
pub fn agent_client_config(pki: &Pki) -> Result<Arc<ClientConfig>, TlsError> {
    client_config(pki.ca_pem(), &pki.issue_client("kube-apiserver-kubelet-client", &[MASTERS])?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(ca_pem)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { what: "CA certificate", source })?;
    }
    Ok(roots)
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what: "certificate", source })
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| TlsError::Pem { what: "private key", source })
}
