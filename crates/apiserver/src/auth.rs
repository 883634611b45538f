//! Who asks: the identity of a connection or of an in-process client; bearer tokens are [`crate::authenticate`]'s.
//!
//! Over TLS the client certificate says it (common name: user, organisations: groups); rustls has checked by then that our
//! CA signed it. Without a certificate a client is anonymous. What an identity may do is decided in [`crate::authorize`].

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of node agents; their users are `system:node:NAME`.
pub const NODES: &str = "system:nodes";
/// The group of whoever comes by the read-only port.
pub const READ_ONLY: &str = "system:read-only";
/// What an identity's credential is known by.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const NODE_USER_PREFIX: &str = "system:node:";
const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// A user and its groups, as an extension of each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    /// Of a ServiceAccount; others have none.
    pub uid: String,
    pub groups: Vec<String>,
    /// What else its credential says: which one it is, what it is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("client certificate cannot be read")]
    Certificate,
    #[error("client certificate has no common name")]
    NoCommonName,
}

impl Identity {
    /// An authenticated user.
    pub fn new(user: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A part of the control plane that runs in the server's own process.
    pub fn control_plane(user: impl Into<String>) -> Self {
        Self::new(user, &[MASTERS])
    }

    /// Anybody who can reach the read-only port.
    pub fn read_only() -> Self {
        Self { user: READ_ONLY.to_owned(), groups: vec![READ_ONLY.to_owned()], ..Self::default() }
    }

    pub fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    pub fn is_anonymous(&self) -> bool {
        self.user == ANONYMOUS
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|mine| mine == group)
    }

    /// What writes are noted under where a client says nothing of itself.
    pub(crate) fn name(&self) -> &str {
        match self.node() {
            Some(_) => "kubelet",
            None => self.user.rsplit(':').next().unwrap_or_default(),
        }
    }

    /// The node whose agent this is.
    pub fn node(&self) -> Option<&str> {
        if self.in_group(NODES) { self.user.strip_prefix(NODE_USER_PREFIX) } else { None }
    }

    /// The identity a client certificate states. The caller has verified the certificate.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, AuthError> {
        let hash = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| AuthError::Certificate)?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let user = user.filter(|user| !user.is_empty()).ok_or(AuthError::NoCommonName)?;
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect::<Vec<_>>();
        let mut identity = Self::new(user, &groups);
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hash}")]);
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::pki::Pki;

    #[test]
    fn certificates_state_user_and_groups() {
        let pki = Pki::create().unwrap();
        let check = |user: &str, groups: &[&str], node: Option<&str>| {
            let issued = pki.issue_client(user, groups).unwrap();
            let der = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
            let identity = Identity::from_certificate(&der).unwrap();
            let id = identity.extra[CREDENTIAL_ID][0].strip_prefix("X509SHA256=").unwrap();
            assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert_eq!(Identity { extra: BTreeMap::new(), ..identity.clone() }, Identity::new(user, groups));
            assert_eq!(identity.node(), node);
            assert!(!identity.is_anonymous());
        };
        check("kubernetes-admin", &[MASTERS], None);
        check("system:node:node1", &[NODES], Some("node1"));
        check("system:node:node1", &["other"], None);
        assert!(Identity::from_certificate(&CertificateDer::from(vec![0x30, 0x00])).is_err());
    }
}
