//! What every cluster has from its first moment: namespaces, the ServiceCIDR of its own ranges, and the Service `kubernetes` with
//! this server as its endpoint; `kubernetes-ro` too where a read-only port is wanted.
//!
//! All of it is written through the API itself, so that it obeys its rules. Made at start and kept every ten seconds: what is
//! missing is made again, the endpoints follow the advertised address, nothing else is touched.

mod ranges;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stead_api::kinds::endpoint_slice::SERVICE_NAME_LABEL;

use crate::{alloc::first_address, own::call, server::Inner};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
/// The Service whose port is for reading, where there is one.
const READ_ONLY: &str = "kubernetes-ro";
const EVERY: Duration = Duration::from_secs(10);

/// Whether the server has just started: what it cannot change is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    First,
    Again,
}

/// Makes what is missing.
pub(crate) async fn prepare(server: &Arc<Inner>, pass: Pass) -> Result<(), String> {
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(server, "/api/v1/namespaces", name, &namespace, Upkeep::Made).await?;
    }
    ranges::prepare(server, pass).await?;
    prepare_service(server, &ServerPort::secure(server)).await?;
    match ServerPort::read_only(server) {
        Some(port) => prepare_service(server, &port).await,
        None => remove_service(server, READ_ONLY).await,
    }
}

/// A Service of this server's own.
struct ServerPort {
    name: &'static str,
    /// `None`: any that is free.
    cluster_ip: Option<String>,
    port_name: &'static str,
    port: u16,
    target: SocketAddr,
}

impl ServerPort {
    fn secure(server: &Inner) -> Self {
        let address = server.config.service_ranges.first().and_then(|range| first_address(*range));
        let address = address.map(|address| address.to_string());
        let target = server.config.advertise;
        Self { name: "kubernetes", cluster_ip: address, port_name: "https", port: 443, target }
    }

    fn read_only(server: &Inner) -> Option<Self> {
        let target = server.config.read_only?;
        Some(Self { name: READ_ONLY, cluster_ip: None, port_name: "http", port: 80, target })
    }
}

async fn prepare_service(server: &Arc<Inner>, port: &ServerPort) -> Result<(), String> {
    ensure(server, SERVICES, port.name, &service(port), Upkeep::Made).await?;
    ensure(server, ENDPOINTS, port.name, &endpoints_object(port), Upkeep::Like("/subsets")).await?;
    ensure(server, SLICES, port.name, &slice(port), Upkeep::Like("/endpoints")).await
}

/// Removes what an earlier start of this server made and this one does not want. Somebody's own Service of that name stays.
async fn remove_service(server: &Arc<Inner>, name: &str) -> Result<(), String> {
    let (code, found) = call(server, Method::GET, &format!("{SERVICES}/{name}"), None).await?;
    if code != StatusCode::OK || found["metadata"]["labels"] != labels() {
        return Ok(());
    }
    for collection in [SERVICES, ENDPOINTS, SLICES] {
        call(server, Method::DELETE, &format!("{collection}/{name}"), None).await?;
    }
    Ok(())
}

fn labels() -> Value {
    json!({"component": "apiserver", "provider": "kubernetes"})
}

/// Repeats [`prepare`] as long as there is a server.
pub(crate) async fn keep(server: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(server) = server.upgrade() else { return };
        if let Err(error) = prepare(&server, Pass::Again).await {
            tracing::warn!(%error, "default objects could not be kept");
        }
    }
}

/// What is done with an object that is there already.
#[derive(Clone, Copy, Debug)]
enum Upkeep {
    Made,
    /// Replaced where this part of it differs.
    Like(&'static str),
}

async fn ensure(
    server: &Arc<Inner>,
    collection: &str,
    name: &str,
    object: &Value,
    upkeep: Upkeep,
) -> Result<(), String> {
    let path = format!("{collection}/{name}");
    let (code, found) = call(server, Method::GET, &path, None).await?;
    let (method, path) = match (code, upkeep) {
        (StatusCode::NOT_FOUND, _) => (Method::POST, collection),
        (StatusCode::OK, Upkeep::Like(part)) if found.pointer(part) != object.pointer(part) => (Method::PUT, &*path),
        (StatusCode::OK, _) => return Ok(()),
        _ => return Err(format!("GET {path}: {}", found["message"])),
    };
    match call(server, method.clone(), path, Some(object)).await? {
        (code, _) if code.is_success() || code == StatusCode::CONFLICT => Ok(()),
        (_, answer) => Err(format!("{method} {path} ({name}): {}", answer["message"])),
    }
}

fn service(port: &ServerPort) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": port.name, "namespace": "default", "labels": labels()},
        "spec": {
            "type": "ClusterIP", "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "ports": [{
                "name": port.port_name, "port": port.port, "protocol": "TCP", "targetPort": port.target.port(),
            }],
        },
    });
    if let Some(address) = &port.cluster_ip {
        service["spec"]["clusterIP"] = address.as_str().into();
    }
    service
}

fn endpoints_object(port: &ServerPort) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": port.name, "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": port.target.ip().to_string()}],
            "ports": [{"name": port.port_name, "port": port.target.port(), "protocol": "TCP"}],
        }],
    })
}

fn slice(port: &ServerPort) -> Value {
    let address = port.target.ip();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": port.name, "namespace": "default",
            "labels": {SERVICE_NAME_LABEL: port.name},
        },
        "addressType": stead_model::Family::of(address).to_string(),
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": port.port_name, "port": port.target.port(), "protocol": "TCP"}],
    })
}
