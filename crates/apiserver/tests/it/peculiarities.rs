//! Writes and answers in which Kubernetes is particular, as its own API server was seen to do them.

use serde_json::{Value, json};

use crate::support::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    service
}

#[tokio::test]
async fn node_ports_of_a_balancer_without_allocation_can_be_removed() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80, "nodePort": 30080}]});
    let path = format!("{SERVICES}/web");
    for (kind, patch) in [
        ("json-patch", json!([{"op": "remove", "path": "/spec/ports/0/nodePort"}])),
        ("merge-patch", json!({"spec": {"ports": [{"port": 80, "nodePort": 0}]}})),
    ] {
        admin.post(SERVICES, &service(spec.clone())).await.expect(201);
        let patched = admin.patch(&path, kind, &patch).await.expect(200);
        assert_eq!(patched["spec"]["ports"][0]["nodePort"], Value::Null, "{patched}");
        admin.delete(&path).await.expect(200);
    }
}

#[tokio::test]
async fn a_health_check_port_that_is_a_node_port_is_refused_by_name() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let both = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30080,
        "ports": [{"port": 80, "nodePort": 30080}]});
    let text = "failed to allocate requested HealthCheck NodePort 30080: provided port is already allocated";
    for path in [SERVICES.to_owned(), format!("{SERVICES}?dryRun=All")] {
        let refused = admin.post(&path, &service(both.clone())).await;
        assert!(refused.message().ends_with(text), "{}", refused.text);
    }
    let own = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    admin.post(SERVICES, &own).await.expect(201);
    let path = format!("{SERVICES}/web");
    let refused = admin.patch(&path, "merge-patch", &json!({"spec": both})).await;
    assert!(refused.message().ends_with(text), "{}", refused.text);
    assert_eq!(admin.get(&path).await.expect(200)["spec"]["type"], "NodePort");
}

#[tokio::test]
async fn a_patch_makes_no_other_kind_of_object() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let stored = admin.post(SERVICES, &service(json!({}))).await.expect(201);
    let path = format!("{SERVICES}/web");
    for (kind, patch) in [
        ("merge-patch", json!({"kind": "Pod"})),
        ("merge-patch", json!({"apiVersion": "v2"})),
        ("json-patch", json!([{"op": "replace", "path": "/kind", "value": "Pod"}])),
    ] {
        for path in [path.clone(), format!("{path}/status")] {
            let refused = admin.patch(&path, kind, &patch).await.expect(422);
            let cause = &refused["details"]["causes"][0];
            assert_eq!((&refused["reason"], &cause["field"]), (&json!("Invalid"), &json!("patch")), "{refused}");
            assert!(cause["message"].as_str().unwrap().contains("is registered for version"), "{refused}");
        }
    }
    for (kind, patch) in [
        ("merge-patch", json!({"kind": null})),
        ("merge-patch", json!({"kind": "Service", "apiVersion": "v1"})),
        ("strategic-merge-patch", json!({"kind": "Deployment", "apiVersion": "apps/v1"})),
    ] {
        assert_eq!(admin.patch(&path, kind, &patch).await.expect(200), stored);
    }
}

#[tokio::test]
async fn a_deletion_with_an_object_for_its_options_deletes_nothing() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(SERVICES, &service(json!({}))).await.expect(201);
    let path = format!("{SERVICES}/web");
    for (options, kind, version) in [
        (json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}), "Service", "v1"),
        (json!({"kind": "Foo"}), "Foo", "meta.k8s.io/v1"),
    ] {
        for path in [path.as_str(), SERVICES] {
            let refused = admin.delete_with(path, &options).await;
            let text = format!("no kind {kind:?} is registered for version {version:?} in scheme");
            assert!(refused.message().starts_with(&text), "{}", refused.text);
            refused.expect(400);
        }
    }
    admin.get(&path).await.expect(200);
    admin.delete_with(&path, &json!({"apiVersion": "v1", "kind": "DeleteOptions"})).await.expect(200);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_is_warned_about_and_one_of_the_status_is_not() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{SERVICES}/web");
    for (spec, warning) in [
        (json!({"trafficDistribution": "PreferClose"}), "PreferClose"),
        (json!({"externalName": "a.example"}), "spec.externalName is ignored"),
    ] {
        admin.post(SERVICES, &service(spec)).await.expect(201);
        let warned = admin.patch(&path, "merge-patch", &json!({})).await.warnings();
        assert!(warned.len() == 1 && warned[0].contains(warning), "{warned:?}");
        let labels = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(admin.patch(&format!("{path}/status"), "merge-patch", &labels).await.warnings(), [""; 0]);
        admin.delete(&path).await.expect(200);
    }
}

#[tokio::test]
async fn every_answer_about_endpoints_names_their_successor() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let deprecated = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    let endpoints = json!({"metadata": {"name": "web"}, "subsets": [{"addresses": [{"ip": "2001:DB8::1"}]}]});
    let path = format!("{ENDPOINTS}/web");
    // It comes before all else.
    let made = admin.post(ENDPOINTS, &endpoints).await;
    assert_eq!((made.warnings().len(), &*made.warnings()[0]), (2, deprecated));
    for answer in [
        admin.get(&path).await,
        admin.get(ENDPOINTS).await,
        admin.get("/api/v1/endpoints").await,
        admin.get(&format!("{ENDPOINTS}/nobody")).await,
        admin.get(&format!("{ENDPOINTS}?watch=1&timeoutSeconds=1")).await,
        admin.delete(&path).await,
    ] {
        assert_eq!(answer.warnings(), [deprecated], "{}", answer.text);
    }
    // Who asks by an older version has nothing to do with v1.
    for path in ["/api/v1beta1/endpoints?namespace=default", "/api/v1beta3/namespaces/default/endpoints"] {
        let answer = admin.get(path).await;
        assert_eq!((answer.code.as_u16(), answer.warnings().len()), (200, 0), "{}", answer.text);
    }
    assert_eq!(admin.get(SERVICES).await.warnings(), [""; 0]);
}

#[tokio::test]
async fn conditions_that_say_little_are_shown_whole() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(SERVICES, &service(json!({}))).await.expect(201);
    let patch = json!({"status": {"conditions": [{"type": "A"}]}});
    let whole = json!([{"type": "A", "status": "", "reason": "", "message": "", "lastTransitionTime": null}]);
    for path in [format!("{SERVICES}/web"), "/apis/networking.k8s.io/v1/servicecidrs/kubernetes".to_owned()] {
        let patched = admin.patch(&format!("{path}/status"), "merge-patch", &patch).await.expect(200);
        assert_eq!(patched["status"]["conditions"], whole);
        assert_eq!(admin.get(&path).await.expect(200)["status"]["conditions"], whole);
    }
}
