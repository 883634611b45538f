//! The cluster's own certificate authority: made once in a directory, then used to issue serving and client certificates.
//!
//! Keys are ECDSA P-256. Private keys are written readable by their owner alone. What a certificate's names mean to the
//! API (CN is the user, O the group) is decided in `auth`; connections are the business of [`crate::tls`].

mod kubeconfig;

use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

pub use kubeconfig::kubeconfig;

const AUTHORITY_YEARS: i64 = 10;
const LEAF_YEARS: i64 = 1;
/// Certificates are valid from this long before they are made, for machines whose clocks differ.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// A certificate authority.
#[derive(Debug)]
pub struct Pki {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct CertKey {
    pub cert_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for CertKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertKey").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is no usable CA certificate and key; remove ca.crt and ca.key there to make a new one")]
    Load { path: PathBuf, source: rcgen::Error },
    #[error("cannot issue a certificate for {subject:?}")]
    Issue { subject: String, source: rcgen::Error },
    #[error("a client certificate carries one group, {user:?} was to have {groups}")]
    Groups { user: String, groups: usize },
}

impl Pki {
    /// The CA whose `ca.crt` and `ca.key` are in `dir`, made there (mode 0600, in a directory of mode 0700) where either
    /// is missing.
    pub fn load_or_create(dir: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        match (read_if_there(&certificate)?, read_if_there(&key)?) {
            (Some(certificate_pem), Some(key_pem)) => {
                Self::from_pem(certificate_pem, &key_pem).map_err(|source| PkiError::Load { path: dir.into(), source })
            }
            _ => {
                let made = Self::create().map_err(|source| PkiError::Issue { subject: "stead-ca".into(), source })?;
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(|source| PkiError::Write { path: dir.into(), source })?;
                write_private(&key, &made.issuer.key().serialize_pem())?;
                write_private(&certificate, &made.certificate_pem)?;
                Ok(made)
            }
        }
    }

    /// A CA that is kept nowhere: for tests and throw-away servers.
    pub fn create() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "stead-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        validity(&mut params, AUTHORITY_YEARS);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { certificate_pem, issuer })
    }

    /// The CA's certificate, PEM: what clients and nodes trust.
    pub fn ca_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A serving certificate for these DNS names and addresses, valid for a year.
    pub fn issue_server(&self, names: &[&str], addresses: &[IpAddr]) -> Result<CertKey, PkiError> {
        let subject = names.first().map_or_else(|| "stead".to_owned(), |name| (*name).to_owned());
        self.issue_server_inner(&subject, names, addresses).map_err(|source| PkiError::Issue { subject, source })
    }

    fn issue_server_inner(&self, subject: &str, names: &[&str], addresses: &[IpAddr]) -> Result<CertKey, rcgen::Error> {
        let mut params = leaf(subject, ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        self.sign(&params)
    }

    /// A client certificate of user `user` in `groups` (at most one), valid for a year.
    pub fn issue_client(&self, user: &str, groups: &[&str]) -> Result<CertKey, PkiError> {
        let mut params = leaf(user, ExtendedKeyUsagePurpose::ClientAuth);
        match groups {
            [] => {}
            [group] => params.distinguished_name.push(DnType::OrganizationName, *group),
            _ => return Err(PkiError::Groups { user: user.to_owned(), groups: groups.len() }),
        }
        self.sign(&params).map_err(|source| PkiError::Issue { subject: user.to_owned(), source })
    }

    fn sign(&self, params: &CertificateParams) -> Result<CertKey, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(CertKey { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// The DNS names by which pods and nodes know the API server, for its serving certificate.
pub fn api_server_names(cluster_domain: &str) -> Vec<String> {
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("kubernetes.default.svc.{cluster_domain}")])
        .collect()
}

fn leaf(subject: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, LEAF_YEARS);
    params
}

fn validity(params: &mut CertificateParams, years: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + Duration::days(365 * years);
}

fn read_if_there(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { path: path.into(), source }),
    }
}

/// Writes `text` to `path` with mode 0600; readers see either the old file or the whole new one.
pub fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let failed = |source| PkiError::Write { path: path.into(), source };
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // What matters is the first failure.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests;
