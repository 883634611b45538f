//! Status, scale, conflicts, events, and other ways to the same object.

use serde_json::{Value, json};
use stead_store::{RangeRequest, prefix_end};

use crate::support::{Client, Cluster};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn deployment(admin: &Client) -> Value {
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "stead.local/hello-app:1.0"}]},
            },
        },
    });
    admin.post(DEPLOYMENTS, &deployment).await.expect(201)
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let made = deployment(&admin).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 3}});
    let path = format!("{DEPLOYMENTS}/web");
    let status = admin.patch(&format!("{path}/status"), "merge-patch", &both).await.expect(200);
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(status["metadata"]["generation"], 1);
    let both = json!({"spec": {"replicas": 7}, "status": {"replicas": 9}});
    let spec = admin.patch(&path, "merge-patch", &both).await.expect(200);
    assert_eq!((&spec["spec"]["replicas"], &spec["status"]["replicas"]), (&json!(7), &json!(3)));
    assert_eq!(spec["metadata"]["generation"], 2);
    assert_eq!(admin.get(&format!("{path}/status")).await.expect(200), spec);
    let same = admin.patch(&path, "merge-patch", &json!({"spec": {"replicas": 7}})).await.expect(200);
    assert_eq!(same, spec, "a write that changes nothing is none");
}

/// Of every kind that has one. A Node alone may be made with it: its agent tells of itself as it joins.
#[tokio::test]
async fn a_status_is_not_written_with_the_object() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let spec = json!({
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "stead.local/hello-app:1.0"}]},
        },
    });
    let old_spec = json!({"replicas": 1, "selector": {"app": "web"}, "template": spec["template"]});
    let condition = |name: &str| {
        json!({"conditions": [{"type": name, "status": "True", "reason": "Because",
        "message": "Said.", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    let ingress = |name: &str| json!({"loadBalancer": {"ingress": [{"hostname": name}]}});
    let address = |name: &str| json!({"addresses": [{"type": "Hostname", "address": name}]});
    let namespaced = |plural: &str| format!("/api/v1/namespaces/default/{plural}");
    let kinds = [
        (
            namespaced("services"),
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            [ingress("one.example"), ingress("other.example")],
        ),
        (
            namespaced("pods"),
            spec["template"]["spec"].clone(),
            [json!({"message": "one"}), json!({"message": "other"})],
        ),
        (namespaced("replicationcontrollers"), old_spec, [json!({"replicas": 3}), json!({"replicas": 9})]),
        (DEPLOYMENTS.to_owned(), spec.clone(), [json!({"replicas": 3}), json!({"replicas": 9})]),
        (
            "/apis/apps/v1/namespaces/default/replicasets".to_owned(),
            spec.clone(),
            [json!({"replicas": 3}), json!({"replicas": 9})],
        ),
        ("/api/v1/nodes".to_owned(), json!({}), [address("one"), address("other")]),
        ("/api/v1/namespaces".to_owned(), json!({}), [condition("One"), condition("Other")]),
        (
            "/apis/networking.k8s.io/v1/servicecidrs".to_owned(),
            json!({"cidrs": ["10.200.0.0/24"]}),
            [condition("One"), condition("Other")],
        ),
    ];
    for (collection, spec, [told, other]) in kinds {
        let object = json!({"metadata": {"name": "kept"}, "spec": spec, "status": other});
        let made = admin.post(&collection, &object).await.expect(201);
        let is_there = |object: &Value, status: &Value| {
            let (key, value) = status.as_object().unwrap().iter().next().unwrap();
            object["status"][key] == *value
        };
        assert_eq!(is_there(&made, &other), collection.ends_with("/nodes"), "POST {collection}: {made}");
        let path = format!("{collection}/kept");
        let with = |status: &Value| json!({"status": status});
        let mut kept = admin.patch(&format!("{path}/status"), "merge-patch", &with(&told)).await.expect(200);
        assert!(is_there(&kept, &told), "PATCH {path}/status: {kept}");
        let patched = admin.patch(&path, "merge-patch", &with(&other)).await.expect(200);
        assert_eq!(patched["status"], kept["status"], "PATCH {path}");
        kept["metadata"]["labels"] = json!({"changed": "yes"});
        let mut put = kept.clone();
        put["status"] = other;
        put["metadata"]["resourceVersion"] = patched["metadata"]["resourceVersion"].clone();
        let put = admin.put(&path, &put).await.expect(200);
        assert_eq!(
            (&put["status"], &put["metadata"]["labels"]["changed"]),
            (&kept["status"], &json!("yes")),
            "PUT {path}"
        );
    }
}

#[tokio::test]
async fn scale_is_read_and_written() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    deployment(&admin).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = admin.get(&path).await.expect(200);
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("app=web")));
    let table = admin.get_as(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][1]), (&json!("Table"), &json!(2)), "{table}");
    scale["spec"]["replicas"] = 4.into();
    let written = admin.put(&path, &scale).await.expect(200);
    assert_eq!(written["spec"]["replicas"], 4);
    admin.put(&path, &scale).await.expect(409);
    let patched = admin.patch(&path, "merge-patch", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 5);
    let patched = admin.patch(&path, "strategic-merge-patch", &json!({"spec": {"replicas": 6}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 6);
    assert_eq!(admin.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 6);
    let negative = admin.patch(&path, "merge-patch", &json!({"spec": {"replicas": -1}})).await.expect(422);
    assert!(negative["message"].as_str().unwrap().contains("spec.replicas"), "{negative}");
    let mistyped = json!({"metadata": {"name": "web"}, "spec": {"replicas": "3"}});
    let refused = admin.put(&path, &mistyped).await.expect(400);
    assert!(refused["message"].as_str().unwrap().contains("of type int32"), "{refused}");
    admin.put(&path, &json!({"metadata": {"name": "other"}, "spec": {"replicas": 3}})).await.expect(400);
    let no_name = "the name of the object (web based on URL) was undeterminable: name must be provided";
    for body in [json!({}), json!({"spec": {"replicas": 3}})] {
        let unnamed = admin.put(&path, &body).await;
        assert_eq!((unnamed.code.as_u16(), unnamed.message()), (400, no_name));
    }
    for (version, kind) in [("autoscaling/v2", "Scale"), ("apps/v1", "Deployment")] {
        let body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": {"replicas": 3}});
        let other = admin.put(&path, &body).await;
        let expected =
            format!("{kind} in version {:?} cannot be handled as a Scale", version.split_once('/').unwrap().1);
        assert!(other.message().starts_with(&expected), "{}", other.text);
        other.expect(400);
    }
    assert_eq!(admin.get(&path).await.expect(200)["spec"]["replicas"], 6);
    let unnamed = admin.put(&format!("{DEPLOYMENTS}/web"), &json!({"spec": {"replicas": 3}})).await;
    assert_eq!((unnamed.code.as_u16(), unnamed.message()), (400, no_name));
    let unnamed = json!([{"op": "remove", "path": "/metadata/name"}]);
    admin.patch(&format!("{DEPLOYMENTS}/web"), "json-patch", &unnamed).await.expect(400);
    admin.get(&format!("{DEPLOYMENTS}/none/scale")).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_patches_are_all_kept() {
    let cluster = Cluster::new().await;
    let map = "/api/v1/namespaces/default/configmaps";
    cluster.admin().post(map, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let mut tasks = Vec::new();
    for n in 0..20 {
        let admin = cluster.admin();
        tasks.push(tokio::spawn(async move {
            let patch = json!({"data": {format!("k{n}"): "v"}});
            let path = format!("{map}/m");
            // The server tries five times; a client that is told of a conflict tries again.
            while admin.patch(&path, "merge-patch", &patch).await.code.as_u16() == 409 {}
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let read = cluster.admin().get(&format!("{map}/m")).await.expect(200);
    assert_eq!(read["data"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn events_are_one_object_in_two_groups() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let event = json!({
        "metadata": {"name": "web.1"},
        "involvedObject": {"kind": "Service", "namespace": "default", "name": "web"},
        "reason": "Made", "message": "it was made", "type": "Normal", "source": {"component": "test"},
    });
    admin.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events/web.1";
    let newer = admin.get(newer).await.expect(200);
    assert_eq!((&newer["apiVersion"], &newer["note"]), (&json!("events.k8s.io/v1"), &json!("it was made")));
    assert_eq!(newer["regarding"]["name"], "web");
    let query = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dweb,type%3DNormal";
    assert_eq!(admin.get(query).await.expect(200)["items"].as_array().unwrap().len(), 1);
    let patch = json!({"message": "again", "count": 2});
    let path = "/api/v1/namespaces/default/events/web.1";
    assert_eq!(admin.patch(path, "strategic-merge-patch", &patch).await.expect(200)["message"], "again");
    let newer = admin.get("/apis/events.k8s.io/v1/namespaces/default/events").await.expect(200);
    assert_eq!((&newer["items"][0]["note"], &newer["items"][0]["deprecatedCount"]), (&json!("again"), &json!(2)));
}

#[tokio::test]
async fn events_live_for_a_while_and_share_their_leases() {
    let cluster = Cluster::new().await;
    for n in 0..5 {
        let event = json!({
            "metadata": {"name": format!("e{n}")}, "reason": "R", "message": "m", "type": "Normal",
            "involvedObject": {"kind": "Service", "namespace": "default", "name": "web"}, "source": {"component": "c"},
        });
        cluster.admin().post("/api/v1/namespaces/default/events", &event).await.expect(201);
    }
    let prefix = b"/registry/events/";
    let range = RangeRequest { start: prefix.to_vec().into(), end: prefix_end(prefix), revision: None, limit: None };
    let stored = cluster.store.range(range).await.unwrap().items;
    let lease = stored[0].lease.expect("an event has a lease");
    assert!(stored.len() == 5 && stored.iter().all(|event| event.lease == Some(lease)));
    cluster.store.revoke_lease(lease).await.unwrap();
    assert_eq!(cluster.admin().get("/api/v1/events").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_put_creates_where_that_is_the_kinds_way() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let lease = json!({"metadata": {"name": "node1"}, "spec": {"holderIdentity": "node1", "leaseDurationSeconds": 40}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1";
    let made = admin.put(path, &lease).await.expect(201);
    let again = admin.put(path, &made).await.expect(200);
    assert_eq!(made, again);
    // Whoever does not say which lease it knows takes another's.
    for revision in [json!(null), json!("0")] {
        let mut blind = lease.clone();
        blind["metadata"]["resourceVersion"] = revision;
        blind["spec"]["holderIdentity"] = "node2".into();
        let refused = admin.put(path, &blind).await;
        let expected = "leases.coordination.k8s.io \"node1\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
                        specified for an update";
        assert_eq!((refused.code.as_u16(), refused.message().to_owned()), (422, expected.to_owned()));
    }
    let mut web = json!({"spec": {"ports": [{"port": 80}]}});
    let path = "/api/v1/namespaces/default/services/web";
    let unnamed = admin.put(path, &web).await;
    let expected = "the name of the object (web based on URL) was undeterminable: name must be provided";
    assert_eq!((unnamed.code.as_u16(), unnamed.message()), (400, expected));
    // Of what is not there the revision does not matter.
    web["metadata"] = json!({"name": "web", "resourceVersion": "5"});
    admin.put(path, &web).await.expect(201);
    web["apiVersion"] = "v1".into();
    web["kind"] = "Service".into();
    web["metadata"]["name"] = "applied".into();
    let applied = path.replace("/web", "/applied?fieldManager=x");
    admin.patch_raw(&applied, "application/apply-patch+yaml", web.to_string()).await.expect(201);
}

#[tokio::test]
async fn documents_are_tagged_and_sent_once() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    for (path, accept, kind) in [
        ("/api", aggregated, "APIGroupDiscoveryList"),
        ("/apis", aggregated, "APIGroupDiscoveryList"),
        ("/api", "application/json", "APIVersions"),
        ("/apis", "*/*", "APIGroupList"),
        ("/apis/apps", "*/*", "APIGroup"),
        ("/api/v1", "*/*", "APIResourceList"),
    ] {
        let answer = admin.get_as(path, accept).await;
        assert_eq!(answer.body["kind"], kind, "{path}");
        let tag = answer.headers["etag"].to_str().unwrap();
        let request = http::Request::get(path).header("accept", accept).header("if-none-match", tag);
        let known = admin.call(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(known.code.as_u16(), 304, "{path}");
    }
    let index = admin.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = admin.get(url).await;
    assert!(document.headers.contains_key("expires"));
    let document = document.expect(200);
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Service");
    assert_eq!(admin.get("/openapi/v3/api/v1?hash=old").await.code.as_u16(), 301);
}

/// Each client of v2 has the form that it reads; protobuf is answered by its present name, whichever was asked for.
#[tokio::test]
async fn openapi_v2_is_served_in_the_form_accepted() {
    const JSON: &str = "application/json";
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    const ONCE: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    assert_eq!(admin.get("/openapi/v2").await.expect(200)["swagger"], "2.0");
    for (accept, expected) in [
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (PROTOBUF, PROTOBUF),
        (ONCE, PROTOBUF),
        (&format!("{ONCE}, {JSON}"), PROTOBUF),
        (&format!("{ONCE};q=0.1, {JSON};q=0.2"), JSON),
        (&format!("text/html, {PROTOBUF}"), PROTOBUF),
    ] {
        let answer = admin.get_as("/openapi/v2", accept).await;
        assert_eq!(
            (answer.code.as_u16(), &answer.headers["content-type"]),
            (200, &expected.parse().unwrap()),
            "{accept}"
        );
        assert_eq!(answer.headers["vary"], "Accept, Accept-Encoding");
        assert_eq!(answer.body.is_object(), expected == JSON, "{accept}");
        let tag = answer.headers["etag"].to_str().unwrap();
        let request = http::Request::get("/openapi/v2").header("accept", accept).header("if-none-match", tag);
        let known = admin.call(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!((known.code.as_u16(), known.text.len()), (304, 0), "{accept}");
    }
    let refused = admin.get_as("/openapi/v2", "text/html").await;
    assert_eq!(refused.code.as_u16(), 406);
    assert!(refused.message().contains(PROTOBUF), "{}", refused.text);
    assert_eq!(admin.get_as("/openapi/v3", PROTOBUF).await.code.as_u16(), 406);
}

#[tokio::test]
async fn an_eviction_is_a_deletion_that_says_why() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    let uid = admin.post(pods, &pod).await.expect(201)["metadata"]["uid"].clone();
    let eviction = |more: Value| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": more});
    let path = format!("{pods}/a/eviction");
    let named = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b"}});
    let refused = admin.post(&path, &named).await.expect(400);
    assert_eq!(refused["message"], "name in URL does not match name in Eviction object");
    let other = admin.post(&path, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})).await;
    other.expect(400);
    admin.post(&path, &eviction(json!({"preconditions": {"uid": "another"}}))).await.expect(409);
    admin.post(&path, &eviction(json!({"dryRun": ["All"]}))).await.expect(201);
    assert_eq!(admin.get(&format!("{pods}/a")).await.expect(200)["metadata"]["deletionTimestamp"], Value::Null);
    let options = json!({"gracePeriodSeconds": 7, "preconditions": {"uid": uid}});
    assert_eq!(admin.post(&path, &eviction(options)).await.expect(201)["status"], "Success");
    let marked = admin.get(&format!("{pods}/a")).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    let condition = &marked["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("DisruptionTarget"), &json!("EvictionByEvictionAPI"))
    );
    // The older version, and without grace: gone at once.
    let older = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "a"},
        "deleteOptions": {"gracePeriodSeconds": 0}});
    admin.post(&path, &older).await.expect(201);
    admin.post(&path, &older).await.expect(404);
}
