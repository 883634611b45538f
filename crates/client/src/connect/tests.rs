//! A kubeconfig leads over TLS to a real API server, and watches outlive it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use stead_api::{
    item::FromItem,
    snapshot::{Change, Objects},
};
use stead_apiserver::{
    Config, SealingKeys, Server, TokenKey,
    pki::{Pki, kubeconfig},
    tls,
};
use stead_model::ObjectKey;
use stead_store::{Model, Store};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{ConnectError, Query, connect, watch, write};

const DEADLINE: Duration = Duration::from_secs(60);

/// A server on its own port; it ends when `stop` is sent.
async fn serve(pki: &Pki, store: &Arc<dyn Store>, at: SocketAddr) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let config = Config {
        advertise: "192.168.56.100:6443".parse().unwrap(),
        service_ranges: vec!["10.96.0.0/16".parse().unwrap()],
        node_ports: 30000..=32767,
        external_ips: Vec::new(),
        pod_ranges: vec!["10.244.0.0/16".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        read_only: None,
        agent_tls: tls::agent_client_config(pki).unwrap(),
        token_key: Arc::new(TokenKey::create().unwrap()),
        sealing_keys: Arc::new(SealingKeys::create().unwrap()),
    };
    let server = Server::new(store.clone(), config).await.unwrap();
    let certificate = pki.issue_server(&[], &["127.0.0.1".parse().unwrap()]).unwrap();
    let tls = tls::server_config(pki.ca_pem(), &certificate).unwrap();
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or(()) };
        server.serve(vec![listener], tls, stopped).await;
    });
    (address, stop, serving)
}

/// Takes changes in until the watch has shown all it was asked for.
async fn until(
    objects: &mut Objects<ConfigMap>,
    changes: &mut (impl Stream<Item = Change<ConfigMap>> + Unpin),
    holds: impl Fn(&Objects<ConfigMap>) -> bool,
) {
    let follow = async {
        while !(objects.synced() && holds(objects)) {
            objects.apply(changes.next().await.unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, follow).await.expect("in time");
}

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "default", "name": name } })
}

#[tokio::test]
async fn a_watch_over_tls_outlives_its_server() {
    let (pki, store): (_, Arc<dyn Store>) = (Pki::create().unwrap(), Arc::new(Model::new()));
    let (address, stop, serving) = serve(&pki, &store, "127.0.0.1:0".parse().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let admin = pki.issue_client("admin", &["system:masters"]).unwrap();
    tokio::fs::write(&file, kubeconfig(&format!("https://{address}"), pki.ca_pem(), &admin)).await.unwrap();

    let client = connect(&file).await.unwrap();
    let (path, key) = ("/api/v1/namespaces/default/configmaps", |name| ObjectKey::new("default", name));
    let mut objects = Objects::default();
    let mut changes = Box::pin(watch::<ConfigMap>(client.clone(), Query::all(path)));
    let created: ConfigMap = write::create(&client, path, &config_map("one")).await.unwrap();
    until(&mut objects, &mut changes, |objects| objects.get(&key("one")).is_some()).await;
    assert!(objects.has_seen(created.revision()));
    let again = write::create::<_, Value>(&client, path, &config_map("one")).await.unwrap_err();
    assert!(again.is_already_exists(), "{again}");

    stop.send(()).unwrap();
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
    let (_, _stop, _serving) = serve(&pki, &store, address).await;
    write::delete(&client, &format!("{path}/one"), &write::DeleteOptions::default()).await.unwrap();
    write::create::<_, Value>(&client, path, &config_map("two")).await.unwrap();
    until(&mut objects, &mut changes, |objects| {
        objects.get(&key("one")).is_none() && objects.get(&key("two")).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let error = connect(&file).await.err().unwrap();
    assert!(matches!(&error, ConnectError::Kubeconfig { path, .. } if *path == file), "{error}");
}
