use std::os::unix::fs::PermissionsExt as _;

use x509_parser::prelude::*;

use super::*;

fn with_certificate<T>(pem: &str, check: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    check(&pem.parse_x509().unwrap())
}

#[test]
fn authority_is_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("pki");
    let made = Pki::load_or_create(&dir).unwrap();
    let loaded = Pki::load_or_create(&dir).unwrap();
    assert_eq!(made.ca_pem(), loaded.ca_pem());
    for name in ["ca.crt", "ca.key"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let issued = loaded.issue_client("kubernetes-admin", &["system:masters"]).unwrap();
    with_certificate(made.ca_pem(), |authority| {
        with_certificate(&issued.cert_pem, |leaf| leaf.verify_signature(Some(authority.public_key())).unwrap());
    });
}

#[test]
fn broken_authority_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    Pki::load_or_create(dir.path()).unwrap();
    fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
    let error = Pki::load_or_create(dir.path()).unwrap_err();
    assert!(error.to_string().contains("remove ca.crt and ca.key"), "{error}");
}

#[test]
fn client_certificates_name_user_and_group() {
    let pki = Pki::create().unwrap();
    let client = pki.issue_client("system:node:node1", &["system:nodes"]).unwrap();
    with_certificate(&client.cert_pem, |certificate| {
        assert_eq!(certificate.subject().to_string(), "CN=system:node:node1, O=system:nodes");
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
    });
    assert!(matches!(pki.issue_client("a", &["b", "c"]), Err(PkiError::Groups { groups: 2, .. })));
    assert!(!format!("{client:?}").contains("PRIVATE"));
}

#[test]
fn server_certificates_name_hosts_and_addresses() {
    let pki = Pki::create().unwrap();
    let names = api_server_names("cluster.local");
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let server = pki.issue_server(&names, &["10.96.0.1".parse().unwrap(), "::1".parse().unwrap()]).unwrap();
    with_certificate(&server.cert_pem, |certificate| {
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        let names = names.map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert!(names.contains("kubernetes.default.svc.cluster.local"), "{names}");
        assert_eq!(names.matches("IPAddress").count(), 2, "{names}");
    });
}

#[test]
fn kubeconfig_holds_the_three_documents() {
    let pki = Pki::create().unwrap();
    let client = pki.issue_client("kubernetes-admin", &["system:masters"]).unwrap();
    let text = kubeconfig("https://127.0.0.1:6443", pki.ca_pem(), &client);
    let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(config.current_context.as_deref(), Some("stead"));
    assert_eq!(config.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:6443"));
}
