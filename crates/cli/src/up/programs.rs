//! Which programs a lab runs, each with its arguments and the namespace it runs in.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Context, Result};
use stead_lab::{Fabric, NodeAddresses, Program};

use super::{credentials::API_PORT, listener_fd, prepare::Prepared};

/// This very program, also after its file was replaced by a newer one.
pub(super) fn executable() -> Result<PathBuf> {
    let path = std::env::current_exe().context("finding this program's file")?;
    // The kernel appends this to the path of a file that is gone.
    Ok(match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(text) => text.into(),
        None => path,
    })
}

/// What a person types for this program: its name where the shell finds it by that, else its path.
pub(super) fn spoken() -> String {
    let Ok(own) = executable() else { return "stead".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("stead")).find(|file| file.is_file());
    let is_own = found.and_then(|file| file.canonicalize().ok()) == Some(own.clone());
    if is_own { "stead".to_owned() } else { own.display().to_string() }
}

pub(super) fn all(prepared: &Prepared, fabric: &Fabric) -> Result<Vec<Program>> {
    let mut programs = vec![server(prepared, fabric)?];
    for node in &prepared.topology.nodes {
        programs.push(self::node(prepared, fabric, node)?);
    }
    Ok(programs)
}

fn server(prepared: &Prepared, fabric: &Fabric) -> Result<Program> {
    let address = prepared.topology.server.first().context("the fabric has a range")?.addr();
    let listen = std::net::SocketAddr::new(address, API_PORT).to_string();
    let arguments: Vec<OsString> = vec![
        "server".into(),
        "--config".into(),
        prepared.config_file().into(),
        "--data".into(),
        prepared.data.clone().into(),
        "--listen".into(),
        listen.into(),
    ];
    Ok(Program {
        name: "server".to_owned(),
        executable: executable()?,
        arguments,
        namespace: fabric.fabric.try_clone().context("keeping a namespace")?,
        listener: Some(listener_fd(prepared)?),
        log: prepared.log("server"),
    })
}

fn node(prepared: &Prepared, fabric: &Fabric, node: &NodeAddresses) -> Result<Program> {
    let directory = prepared.node_directory(&node.name);
    let addresses = node.addresses.iter().map(|address| address.addr().to_string()).collect::<Vec<_>>().join(",");
    let pods = node.pods.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let cgroup = format!("stead/{}/{}", prepared.topology.name, node.name);
    let arguments: Vec<OsString> = vec![
        "node".into(),
        "--config".into(),
        prepared.config_file().into(),
        "--kubeconfig".into(),
        directory.join("kubeconfig").into(),
        "--name".into(),
        node.name.clone().into(),
        "--addresses".into(),
        addresses.into(),
        "--pod-ranges".into(),
        pods.into(),
        "--state".into(),
        directory.join("state").into(),
        "--certificates".into(),
        directory.into(),
        "--cgroup".into(),
        cgroup.into(),
    ];
    let namespace = fabric.host(&node.name).context("every node has a namespace")?;
    Ok(Program {
        name: node.name.clone(),
        executable: executable()?,
        arguments,
        namespace: namespace.try_clone().context("keeping a namespace")?,
        listener: None,
        log: prepared.log(&node.name),
    })
}
