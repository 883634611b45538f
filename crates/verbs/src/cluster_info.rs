//! `stead cluster-info`: where the control plane answers, and Services of the cluster itself.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use clap::Args;
use serde_json::Value;

use crate::{chosen::items, connection::Connection, error::VerbError};

#[derive(Debug, Args)]
pub struct ClusterInfoArgs {
    #[command(flatten)]
    connection: Connection,
}

const SERVICES: &str = "/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue";
const GREEN: &str = "32";
const YELLOW: &str = "33";

pub(crate) async fn run(args: &ClusterInfoArgs) -> Result<(), VerbError> {
    let server = args.connection.address()?;
    let server = server.trim_end_matches('/');
    let api = args.connection.open().await?;
    let services = items(api.get(SERVICES).await?);
    println!("{} is running at {}", colored(GREEN, "Kubernetes control plane"), colored(YELLOW, server));
    for service in &services {
        let name = stead_api::meta::annotation(service, "kubernetes.io/name")
            .or_else(|| stead_api::meta::label(service, "kubernetes.io/name"))
            .unwrap_or_else(|| stead_api::meta::name(service));
        println!("{} is running at {}", colored(GREEN, name), colored(YELLOW, &link(server, service)));
    }
    println!("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.");
    Ok(())
}

/// The Service's path at the API server.
fn link(server: &str, service: &Value) -> String {
    let (name, namespace) = (stead_api::meta::name(service), stead_api::meta::namespace(service));
    let port = &service["spec"]["ports"][0];
    let scheme = if port["name"] == "https" || port["port"] == 443 { "https:" } else { "" };
    let port = port["name"].as_str().map(|name| format!(":{name}")).unwrap_or_default();
    let name = if scheme.is_empty() && port.is_empty() { name.to_owned() } else { format!("{scheme}{name}{port}") };
    format!("{server}/api/v1/namespaces/{namespace}/services/{name}/proxy")
}

/// In color on a terminal, unless that or the person has none.
fn colored(code: &str, text: &str) -> String {
    let has_colors = io::stdout().is_terminal()
        && env::var_os("NO_COLOR").is_none()
        && env::var_os("TERM").is_none_or(|term| term != "dumb");
    if has_colors { format!("\x1b[0;{code}m{text}\x1b[0m") } else { text.to_owned() }
}
