//! When a lab is ready, and what is said of it then.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::Client;
use stead_client::{
    Change, Query,
    write::{self, DeleteOptions},
};

use super::{prepare::Prepared, programs};

/// Returns once the agent of every node has said that it is Ready, in this run. The caller bounds the time.
///
/// Nodes that an earlier lab had on the same data and this one has not are deleted.
pub(super) async fn wait(client: &Client, prepared: &Prepared) -> Result<()> {
    let mut waiting: Vec<&str> = prepared.topology.nodes.iter().map(|node| node.name.as_str()).collect();
    let mut nodes = Box::pin(stead_client::watch::<Node>(client.clone(), Query::all("/api/v1/nodes")));
    let mut listed = false;
    while !waiting.is_empty() || !listed {
        match nodes.next().await {
            Some(Change::InitDone) => listed = true,
            Some(Change::InitApply(node) | Change::Apply(node)) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                if prepared.topology.node(name).is_none() {
                    let path = format!("/api/v1/nodes/{name}");
                    let deleted = write::delete(client, &path, &DeleteOptions::default()).await;
                    deleted.context("deleting an earlier lab's node")?;
                } else if is_ready(&node, prepared.since) {
                    waiting.retain(|other| *other != name);
                }
            }
            Some(_) => {}
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(())
}

/// Times in the API have whole seconds.
fn is_ready(node: &Node, since: Timestamp) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        let heard = condition.last_heartbeat_time.as_ref().is_some_and(|time| time.0.as_second() >= since.as_second());
        condition.type_ == "Ready" && condition.status == "True" && heard
    })
}

/// What a person wants to know of a lab that has just become ready.
pub(super) fn describe(prepared: &Prepared, pids: &[(String, u32)], stop: &str) -> String {
    let mut text = format!("Lab {} is ready.\n\n", prepared.topology.name);
    for (name, pid) in pids {
        let address = prepared.topology.node(name).map_or(&prepared.topology.server, |node| &node.addresses);
        let address = address.first().map(|address| address.addr().to_string()).unwrap_or_default();
        let _ = writeln!(text, "  {name:<8} {address:<16} pid {pid}");
    }
    let name = &prepared.topology.name;
    let flag = if name == "stead" { String::new() } else { format!("--name {name} ") };
    let first = prepared.topology.nodes[0].addresses[0].addr();
    let stead = programs::spoken();
    let down = if flag.is_empty() { String::new() } else { format!(" --name {name}") };
    let _ = write!(
        text,
        "\n  export KUBECONFIG={}\n\n\
         Try:  kubectl get nodes -o wide\n      \
         kubectl run web --image=stead.local/hello-app:1.0 --port=8080\n      \
         kubectl expose pod web --port=80 --target-port=8080 --type=NodePort;  kubectl get svc web\n      \
         {stead} exec-node {flag}node1 -- curl -s -m 2 http://CLUSTER-IP\n      \
         {stead} exec-node {flag}outside -- curl -s -m 2 http://{first}:NODE-PORT\n\n\
         Logs are in {}. {stop}`{stead} down{down}` ends it.\n",
        prepared.kubeconfig.display(),
        prepared.claim.directory().join("log").display(),
    );
    text
}
