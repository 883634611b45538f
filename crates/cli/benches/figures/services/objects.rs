//! The objects of the benches: Services without selectors, and slices that are written by hand.

use std::net::SocketAddr;

use kube::Client;
use serde_json::{Value, json};
use stead_client::write::{self, DeleteOptions};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// A Service and its slice. Returns where it is reached.
pub(crate) async fn create(client: &Client, name: &str, endpoints: &[SocketAddr]) -> SocketAddr {
    create_slice(client, name, endpoints).await;
    create_service(client, name).await
}

pub(crate) async fn create_service(client: &Client, name: &str) -> SocketAddr {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}]},
    });
    let service: Value = write::create(client, SERVICES, &service).await.expect("a Service");
    let address = service["spec"]["clusterIP"].as_str().expect("a virtual IP").parse().expect("an address");
    SocketAddr::new(address, 80)
}

pub(crate) async fn delete_service(client: &Client, name: &str) {
    let options = DeleteOptions::default();
    write::delete(client, &format!("{SERVICES}/{name}"), &options).await.expect("a deleted Service");
}

pub(crate) async fn create_slice(client: &Client, name: &str, endpoints: &[SocketAddr]) {
    let slice = slice(name, endpoints);
    let _: Value = write::create(client, SLICES, &slice).await.expect("an EndpointSlice");
}

/// Puts other endpoints in the place of a slice's.
pub(crate) async fn set_endpoints(client: &Client, name: &str, endpoints: &[SocketAddr]) {
    let slice = slice(name, endpoints);
    let patch = json!({"endpoints": slice["endpoints"], "ports": slice["ports"]});
    let _: Value = write::patch_merge(client, &format!("{SLICES}/{name}"), &patch).await.expect("a patched slice");
}

/// All endpoints of a slice have one port.
pub(crate) fn slice(name: &str, endpoints: &[SocketAddr]) -> Value {
    let addresses: Vec<_> =
        endpoints.iter().map(|endpoint| json!({"addresses": [endpoint.ip().to_string()]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": endpoints.first().map_or(80, SocketAddr::port), "protocol": "TCP"}],
        "endpoints": addresses,
    })
}
