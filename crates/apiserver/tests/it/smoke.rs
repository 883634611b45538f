//! The first minute of a cluster.

use serde_json::json;

use crate::support::Cluster;

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
