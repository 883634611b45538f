//! What every cluster has from its first moment: namespaces, the ServiceCIDR of its own ranges, and the Service `kubernetes` with
//! this server as its endpoint.
//!
//! All of it is written through the API itself, so that it obeys its rules. Made at start and kept every ten seconds: what is
//! missing is made again, the endpoints follow the advertised address, nothing else is touched.

mod ranges;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stead_api::kinds::endpoint_slice::SERVICE_NAME_LABEL;

use crate::{alloc::first_address, own::call, server::Inner};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
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
    let services = "/api/v1/namespaces/default/services";
    ensure(server, services, "kubernetes", &service(server), Upkeep::Made).await?;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    ensure(server, endpoints, "kubernetes", &endpoints_object(server), Upkeep::Like("/subsets")).await?;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    ensure(server, slices, "kubernetes", &slice(server), Upkeep::Like("/endpoints")).await
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

fn service(server: &Inner) -> Value {
    let address =
        server.config.service_ranges.first().and_then(|range| first_address(*range)).map(|address| address.to_string());
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "ports": [{
                "name": "https", "port": 443, "protocol": "TCP", "targetPort": server.config.advertise.port(),
            }],
        },
    })
}

fn endpoints_object(server: &Inner) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": server.config.advertise.ip().to_string()}],
            "ports": [{"name": "https", "port": server.config.advertise.port(), "protocol": "TCP"}],
        }],
    })
}

fn slice(server: &Inner) -> Value {
    let address = server.config.advertise.ip();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {SERVICE_NAME_LABEL: "kubernetes"},
        },
        "addressType": stead_model::Family::of(address).to_string(),
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": server.config.advertise.port(), "protocol": "TCP"}],
    })
}
