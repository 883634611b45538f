//! When a lab is ready, and what is said of it then.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use stead_client::{Change, Query};

use super::prepare::Prepared;

/// Returns once every node is Ready. The caller bounds the time.
pub(super) async fn wait(client: &Client, prepared: &Prepared) -> Result<()> {
    let mut waiting: Vec<&str> = prepared.topology.nodes.iter().map(|node| node.name.as_str()).collect();
    let mut nodes = Box::pin(stead_client::watch::<Node>(client.clone(), Query::all("/api/v1/nodes")));
    while !waiting.is_empty() {
        match nodes.next().await {
            Some(Change::InitApply(node) | Change::Apply(node)) if is_ready(&node) => {
                waiting.retain(|name| Some(*name) != node.metadata.name.as_deref());
            }
            Some(_) => {}
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|list| list.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

/// What a person wants to know of a lab that has just become ready.
pub(super) fn describe(prepared: &Prepared, pids: &[(String, u32)]) -> String {
    let mut text = format!("Lab {} is ready.\n\n", prepared.topology.name);
    for (name, pid) in pids {
        let address = prepared.topology.node(name).map_or(&prepared.topology.server, |node| &node.addresses);
        let address = address.first().map(|address| address.addr().to_string()).unwrap_or_default();
        let _ = writeln!(text, "  {name:<8} {address:<16} pid {pid}");
    }
    let name = &prepared.topology.name;
    let flag = if name == "stead" { String::new() } else { format!("--name {name} ") };
    let _ = write!(
        text,
        "\n  export KUBECONFIG={}\n\n\
         Try:  kubectl get nodes -o wide\n      \
         kubectl run web --image=stead.local/hello-app:1.0 --port=8080\n      \
         kubectl expose pod web --port=80 --target-port=8080\n      \
         stead exec-node {flag}node1 -- curl -s -m 2 http://CLUSTER-IP\n      \
         stead exec-node {flag}outside -- ping -c 1 192.168.56.101\n\n\
         Logs are in {}. Ctrl-C or `stead down` ends it.\n",
        prepared.kubeconfig.display(),
        prepared.claim.directory().join("log").display(),
    );
    text
}
