//! Who may talk to the lab's API server: the administrator and each node. All from the CA in the server's data directory.

use std::net::IpAddr;

use anyhow::{Context, Result};
use stead_apiserver::pki::{Pki, kubeconfig, write_private};
use stead_lab::NodeAddresses;

use super::prepare::Prepared;
use crate::credentials::{self, Files, private_directory};

/// Port of the API server on the fabric.
pub(super) const API_PORT: u16 = 6443;

/// How a kubeconfig of ours begins: with the one cluster it has.
pub(super) const KUBECONFIG_HEAD: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: stead\n";

/// Writes the administrator's kubeconfig, and for each node its kubeconfig and its agent's certificate. Mode 0600.
pub(super) fn write(prepared: &Prepared) -> Result<()> {
    let pki = Pki::load_or_create(&prepared.data.join("pki"))?;
    let admin = pki.issue_client("kubernetes-admin", &["system:masters"])?;
    write_private(&prepared.kubeconfig, &kubeconfig(&prepared.url, pki.ca_pem(), &admin))?;
    let server = prepared.topology.server.first().context("the fabric has a range")?.addr();
    for node in &prepared.topology.nodes {
        write_node(prepared, &pki, node, server)?;
    }
    Ok(())
}

fn write_node(prepared: &Prepared, pki: &Pki, node: &NodeAddresses, server: IpAddr) -> Result<()> {
    let directory = prepared.node_directory(&node.name);
    private_directory(&directory)?;
    let url = format!("https://{}", std::net::SocketAddr::new(server, API_PORT));
    let addresses: Vec<IpAddr> = node.addresses.iter().map(ipnet::IpNet::addr).collect();
    let files = Files { kubeconfig: directory.join("kubeconfig"), certificates: directory };
    credentials::write(pki, &url, &node.name, &addresses, &files)
}
