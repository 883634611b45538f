//! What has come apart between Services and their claims is put together when a server starts.

use std::sync::Arc;

use serde_json::{Value, json};
use stead_store::{Model, Op, Store, Txn};

use crate::support::{Cluster, eventually};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

async fn put(store: &dyn Store, key: &str, value: &Value) {
    let put = Op::Put { key: key.to_owned().into(), value: value.to_string().into(), lease: None };
    store.txn(Txn { success: vec![put], ..Txn::default() }).await.unwrap();
}

#[tokio::test]
async fn claims_are_made_again_and_leaks_removed_with_events() {
    let store: Arc<dyn Store> = Arc::new(Model::new());
    let first = Cluster::with(store.clone(), |_| {}).await;
    let admin = first.admin();
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let web = admin.post(SERVICES, &service).await.expect(201);
    let address = web["spec"]["clusterIP"].as_str().unwrap();
    let node_port = web["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    admin.delete(&format!("{ADDRESSES}/{address}")).await.expect(200);
    let delete = Op::Delete { key: format!("/registry/ranges/servicenodeports/{node_port}").into() };
    store.txn(Txn { success: vec![delete], ..Txn::default() }).await.unwrap();
    let leaked = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "10.96.9.9", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "gone"}},
    });
    put(&*store, "/registry/ipaddresses/10.96.9.9", &leaked).await;

    let second = Cluster::with(store, |_| {}).await;
    let admin = second.admin();
    // From the first request on, before anything was seen to be repaired.
    let mut thief = service.clone();
    thief["metadata"]["name"] = "thief".into();
    thief["spec"]["clusterIP"] = address.into();
    admin.post(SERVICES, &thief).await.expect(422);
    thief["spec"] = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]});
    admin.post(SERVICES, &thief).await.expect(422);
    eventually("claim", async || (admin.get(&format!("{ADDRESSES}/{address}")).await.code == 200).then_some(())).await;
    eventually("removal", async || (admin.get(&format!("{ADDRESSES}/10.96.9.9")).await.code == 404).then_some(()))
        .await;
    let expect = ["ClusterIPNotAllocated", "PortNotAllocated", "IPAddressNotAllocated"];
    eventually("event of each kind", async || {
        let events = admin.get("/api/v1/namespaces/default/events").await.expect(200).to_string();
        expect.iter().all(|reason| events.contains(reason)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_whose_claim_is_deleted_by_hand_stays_its_services() {
    let cluster = Cluster::with(Arc::new(Model::new()), |_| {}).await;
    let admin = cluster.admin();
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let web = admin.post(SERVICES, &service("web")).await.expect(201);
    let address = web["spec"]["clusterIP"].as_str().unwrap();
    for _ in 0..3 {
        admin.delete(&format!("{ADDRESSES}/{address}")).await.expect(200);
        let mut thief = service("thief");
        thief["spec"]["clusterIP"] = address.into();
        let refused = admin.post(SERVICES, &thief).await;
        assert!(refused.message().contains("provided IP is already allocated"), "{}", refused.text);
        let claim = admin.get(&format!("{ADDRESSES}/{address}")).await.expect(200);
        assert_eq!(claim["spec"]["parentRef"]["name"], "web");
    }
    admin.delete(&format!("{SERVICES}/web")).await.expect(200);
    let mut heir = service("heir");
    heir["spec"]["clusterIP"] = address.into();
    admin.post(SERVICES, &heir).await.expect(201);
}
