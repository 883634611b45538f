//! The file that tells kubectl where the API is and who its user is.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::CertKey;

/// A kubeconfig (YAML) with one cluster, user and context, all named `stead`. `server_url` such as `https://127.0.0.1:6443`.
/// It holds the client's private key: write it with [`super::write_private`].
pub fn kubeconfig(server_url: &str, ca_pem: &str, client: &CertKey) -> String {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: stead
  cluster:
    server: {server_url}
    certificate-authority-data: {ca}
users:
- name: stead
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: stead
  context:
    cluster: stead
    user: stead
current-context: stead
",
        ca = encode(ca_pem),
        certificate = encode(&client.cert_pem),
        key = encode(&client.key_pem),
    )
}
