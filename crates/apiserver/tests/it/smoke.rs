//! The first minute of a cluster.

use std::time::Instant;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Cluster, DEADLINE};

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let created = admin.post(maps, &map).await.expect(201);
    assert_eq!(created["metadata"]["namespace"], "default");
    let read = admin.get(&format!("{maps}/a")).await.expect(200);
    assert_eq!(read, created);
    let list = admin.get(maps).await.expect(200);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("ConfigMapList"), 1));
    let mut changed = read.clone();
    changed["data"]["k"] = "w".into();
    let changed = admin.put(&format!("{maps}/a"), &changed).await.expect(200);
    assert_ne!(changed["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    assert_eq!(admin.put(&format!("{maps}/a"), &read).await.expect(409)["reason"], "Conflict");
    let status = admin.delete(&format!("{maps}/a")).await.expect(200);
    assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &created["metadata"]["uid"]));
    let gone = admin.get(&format!("{maps}/a")).await.expect(404);
    assert_eq!(gone["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn a_new_cluster_has_its_default_objects() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let found = admin.get(&format!("/api/v1/namespaces/{namespace}")).await.expect(200);
        assert_eq!(found["status"]["phase"], "Active");
    }
    let service = admin.get("/api/v1/namespaces/default/services/kubernetes").await.expect(200);
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let endpoints = admin.get("/api/v1/namespaces/default/endpoints/kubernetes").await.expect(200);
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.168.56.100");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    assert_eq!(admin.get(slice).await.expect(200)["endpoints"][0]["addresses"][0], "192.168.56.100");
}

/// Also once it was told to stop: the same server may be served again.
#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let cluster = Cluster::new().await;
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, tls) = (cluster.server.clone(), cluster.serving());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving =
            tokio::spawn(async move { server.serve(vec![listener], tls, async { drop(stopped.await) }).await });
        let client = TcpStream::connect(address).await.unwrap();
        // The server's side: established, and no timer but that of keepalive.
        let local = format!(":{:04X}", address.port());
        let kept = |line: &str| {
            let mut words = line.split_whitespace();
            let (own, state) = (words.nth(1).unwrap_or_default(), words.nth(1).unwrap_or_default());
            own.ends_with(&local) && state == "01" && words.nth(1).is_some_and(|timer| timer.starts_with("02:"))
        };
        let begun = Instant::now();
        loop {
            let sockets = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            if sockets.lines().any(kept) {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "no keepalive:\n{sockets}");
            tokio::task::yield_now().await;
        }
        drop((client, stop));
        serving.await.unwrap();
    }
}
