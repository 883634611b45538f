//! kube-apiserver with an etcd of its own, both with their defaults where nothing else is said.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use stead_apiserver::pki::Pki;

use super::{ADDRESS, Process, free_address, write};

/// Writes the certificates that the server is started with.
pub(super) fn prepare(directory: &Path, pki: &Pki) {
    let names = ["localhost", "kubernetes"];
    let server = pki.issue_server(&names, &[ADDRESS.into()]).expect("a certificate");
    write(&directory.join("server.crt"), &server.cert_pem);
    write(&directory.join("server.key"), &server.key_pem);
    write(&directory.join("etcd.url"), &format!("http://{}", free_address()));
}

pub(super) fn spawn(directory: &Path, apiserver: &PathBuf, etcd: &PathBuf, address: SocketAddr) -> Vec<Process> {
    let url = std::fs::read_to_string(directory.join("etcd.url")).expect("the address of etcd");
    let peers = format!("http://{}", free_address());
    let mut store = Command::new(etcd);
    store.arg("--data-dir").arg(directory.join("etcd"));
    store.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    store.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    store.args(["--initial-cluster", &format!("default={peers}")]);
    let store = Process::spawn(store, directory, "etcd");

    let file = |flag: &str, name: &str| format!("--{flag}={}", directory.join(name).display());
    let mut server = Command::new(apiserver);
    server.args([
        format!("--etcd-servers={url}"),
        format!("--bind-address={}", address.ip()),
        format!("--advertise-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        file("client-ca-file", "pki/ca.crt"),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("service-account-key-file", "server.crt"),
        file("service-account-signing-key-file", "server.key"),
    ]);
    server.args([
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
    ]);
    vec![store, Process::spawn(server, directory, "kube-apiserver")]
}
