//! `stead credentials`: what lets one machine in to the cluster of this machine's `stead server`, to be carried over to it.
//!
//! It is made from the server's own CA, in files, so that it needs no API server that runs. Who may do what with it is decided in
//! `stead-apiserver`; what the administrator gets, the server writes by itself.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use kube::config::Kubeconfig;
use stead_api::names::dns1123_subdomain;
use stead_apiserver::pki::{Pki, kubeconfig, write_private};

use crate::{args::CredentialsArgs, console::say, rights};

/// The directory's layout is that of `/etc/stead`, where the units look.
pub(crate) fn run(args: &CredentialsArgs) -> Result<()> {
    if let Some(problem) = dns1123_subdomain(&args.name).first() {
        bail!("--name {:?}: {problem}", args.name);
    }
    let admin = args.data.join("admin.kubeconfig");
    let url = rights::in_directory(server_url(&admin), "--data", &args.data)?;
    let pki = rights::in_directory(Pki::load_or_create(&args.data.join("pki")), "--data", &args.data)?;
    let files =
        Files { kubeconfig: args.directory.join("node.kubeconfig"), certificates: args.directory.join("certificates") };
    private_directory(&files.certificates)?;
    write(&pki, &url, &args.name, &args.addresses, &files)?;
    say(&format!("{}\n{}\n", files.kubeconfig.display(), files.certificates.display()));
    Ok(())
}

/// Where the server says that it is reached.
fn server_url(admin: &Path) -> Result<String> {
    let without = || format!("{} cannot be used: start stead server once with this --data", admin.display());
    let read = fs::read_to_string(admin).with_context(without)?;
    let read = Kubeconfig::from_yaml(&read).with_context(without)?;
    let cluster = read.clusters.into_iter().next().and_then(|named| named.cluster);
    cluster.and_then(|cluster| cluster.server).ok_or_else(|| anyhow!(without()))
}

/// Where a machine's credentials are written.
pub(crate) struct Files {
    pub(crate) kubeconfig: PathBuf,
    /// A directory that is there: it gets the agent's `agent.crt` and `agent.key`, and the `ca.crt` by which it knows the server.
    pub(crate) certificates: PathBuf,
}

/// Writes the credentials of the node `name`, at `addresses`, for the API server at `url`. Mode 0600, valid for a year.
pub(crate) fn write(pki: &Pki, url: &str, name: &str, addresses: &[IpAddr], files: &Files) -> Result<()> {
    let client = pki.issue_client(&format!("system:node:{name}"), &["system:nodes"])?;
    let agent = pki.issue_server(&[name], addresses)?;
    write_private(&files.kubeconfig, &kubeconfig(url, pki.ca_pem(), &client))?;
    write_private(&files.certificates.join("agent.crt"), &agent.cert_pem)?;
    write_private(&files.certificates.join("agent.key"), &agent.key_pem)?;
    write_private(&files.certificates.join("ca.crt"), pki.ca_pem())?;
    Ok(())
}

/// Makes the directory, with those above it, for its owner alone.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making directory {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(directory: &Path, name: &str) -> CredentialsArgs {
        CredentialsArgs {
            data: directory.join("server"),
            name: name.to_owned(),
            addresses: vec![[192, 168, 56, 102].into()],
            directory: directory.join("etc"),
        }
    }

    #[test]
    fn a_machine_gets_the_files_that_the_units_wait_for() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("server");
        let pki = Pki::load_or_create(&data.join("pki")).unwrap();
        let admin = pki.issue_client("kubernetes-admin", &["system:masters"]).unwrap();
        write_private(&data.join("admin.kubeconfig"), &kubeconfig("https://192.168.56.101:6443", pki.ca_pem(), &admin))
            .unwrap();
        run(&args(directory.path(), "node2")).unwrap();
        let made = directory.path().join("etc");
        assert_eq!(server_url(&made.join("node.kubeconfig")).unwrap(), "https://192.168.56.101:6443");
        for name in ["agent.crt", "agent.key", "ca.crt"] {
            assert!(made.join("certificates").join(name).is_file(), "{name}");
        }
        let unit = include_str!("../../../packaging/systemd/stead-node.service");
        for name in ["node.kubeconfig", "certificates"] {
            assert!(unit.contains(&format!("ConditionPathExists=/etc/stead/{name}\n")), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |name: &str| format!("{:#}", run(&args(directory.path(), name)).unwrap_err());
        assert!(
            refused("Node 2").starts_with("--name \"Node 2\": a lowercase RFC 1123 subdomain must"),
            "{}",
            refused("Node 2")
        );
        assert!(refused("node2").contains("start stead server once with this --data"), "{}", refused("node2"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
