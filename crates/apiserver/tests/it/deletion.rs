//! Deletion: grace for pods, finalizers, propagation, preconditions, namespaces, collections.

use serde_json::{Value, json};

use crate::support::{Client, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn pod(admin: &Client, name: &str) -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "stead.local/hello-app:1.0"}]},
    });
    admin.post(PODS, &pod).await.expect(201)
}

async fn bind(admin: &Client, name: &str, node: &str) {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node},
    });
    admin.post(&format!("{PODS}/{name}/binding"), &binding).await.expect(201);
}

#[tokio::test]
async fn a_pod_that_runs_is_given_time() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    pod(&admin, "idle").await;
    admin.delete(&format!("{PODS}/idle")).await.expect(200);
    admin.get(&format!("{PODS}/idle")).await.expect(404);
    pod(&admin, "busy").await;
    bind(&admin, "busy", "node1").await;
    let marked = admin.delete(&format!("{PODS}/busy")).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let first = marked["metadata"]["deletionTimestamp"].as_str().unwrap().to_owned();
    let again = admin.delete(&format!("{PODS}/busy")).await.expect(200);
    assert_eq!(again["metadata"]["deletionTimestamp"], first.as_str(), "a second deletion changes nothing");
    let shorter = admin.delete_with(&format!("{PODS}/busy"), &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(shorter["metadata"]["deletionTimestamp"].as_str().unwrap() < first.as_str());
    admin.delete_with(&format!("{PODS}/busy"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    admin.get(&format!("{PODS}/busy")).await.expect(404);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    pod(&admin, "p").await;
    bind(&admin, "p", "node1").await;
    let bound = admin.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "node1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let unnamed = admin.post(&format!("{PODS}/p/binding"), &json!({"target": {"kind": "Node", "name": "node2"}})).await;
    assert_eq!((unnamed.code.as_u16(), unnamed.message()), (400, "name in URL does not match name in Binding object"));
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node2"}});
    let refused = admin.post(&format!("{PODS}/p/binding"), &binding).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("pod p is already assigned to node \"node1\""), "{refused}");
    pod(&admin, "q").await;
    let named = json!({"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "node2"}});
    let bindings = "/api/v1/namespaces/default/bindings";
    assert_eq!(admin.post(bindings, &named).await.expect(201)["status"], "Success");
    assert_eq!(admin.get(&format!("{PODS}/q")).await.expect(200)["spec"]["nodeName"], "node2");
    let nobody = json!({"metadata": {"name": "nobody"}, "target": {"kind": "Node", "name": "node2"}});
    assert_eq!(admin.post(bindings, &nobody).await.expect(404)["message"], "pods \"nobody\" not found");
    admin.get(bindings).await.expect(405);
    let by_node = admin.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode1").await.expect(200);
    assert_eq!(by_node["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn propagation_is_asked_of_the_collector_by_finalizers() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        admin.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
        let path = format!("{MAPS}/m");
        let marked = admin.delete_with(&path, &json!({"propagationPolicy": policy})).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        assert!(marked["metadata"]["deletionTimestamp"].is_string());
        let added = json!({"metadata": {"finalizers": [finalizer, "example.com/late"]}});
        admin.patch(&path, "merge-patch", &added).await.expect(422);
        admin.patch(&path, "merge-patch", &json!({"metadata": {"finalizers": null}})).await.expect(200);
        admin.get(&path).await.expect(404);
    }
    admin.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let wrong = admin.delete_with(&format!("{MAPS}/m"), &json!({"propagationPolicy": "Somehow"})).await.expect(422);
    assert!(wrong["message"].as_str().unwrap().contains("propagationPolicy"), "{wrong}");
    admin.delete(&format!("{MAPS}/m?propagationPolicy=Background")).await.expect(200);
    admin.get(&format!("{MAPS}/m")).await.expect(404);
}

#[tokio::test]
async fn preconditions_hold_or_nothing_is_deleted() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let made = admin.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let path = format!("{MAPS}/m");
    let refused = admin.delete_with(&path, &json!({"preconditions": {"uid": "other"}})).await.expect(409);
    let expected = format!(
        "Operation cannot be fulfilled on ConfigMap \"m\": the UID in the precondition (other) does not match the UID in record ({}). The object might have been deleted and then recreated",
        made["metadata"]["uid"].as_str().unwrap()
    );
    assert_eq!(refused["message"], expected);
    assert_eq!(refused["details"], json!({"kind": "ConfigMap", "name": "m"}));
    let refused = admin.delete_with(&path, &json!({"preconditions": {"resourceVersion": "1"}})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().ends_with("The object might have been modified"), "{refused}");
    admin.delete(&format!("{path}?dryRun=All")).await.expect(200);
    let preconditions = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    admin.delete_with(&path, &preconditions).await.expect(200);
    let gone = admin.delete(&path).await.expect(404);
    assert_eq!(gone["details"]["kind"], "configmaps");
}

#[tokio::test]
async fn a_deletion_tried_dry_shows_what_would_be_left() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    let made = admin.post(services, &json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).await;
    let made = made.expect(201);
    let path = format!("{services}/s?dryRun=All");
    assert_eq!(admin.delete(&path).await.expect(200), made, "unmarked, at the revision it has");
    let waits = admin.delete(&format!("{path}&propagationPolicy=Foreground")).await.expect(200);
    assert_eq!(waits["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(waits["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(admin.get(&format!("{services}/s")).await.expect(200), made);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "extra"}})).await.expect(201);
    let maps = "/api/v1/namespaces/extra/configmaps";
    admin.post(maps, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let marked = admin.delete("/api/v1/namespaces/extra").await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let refused = admin.post(maps, &json!({"metadata": {"name": "late"}})).await.expect(403);
    let expected = "configmaps \"late\" is forbidden: unable to create new content in namespace extra because it is being terminated";
    assert_eq!(refused["message"], expected);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let deleted = admin.delete(maps).await.expect(200);
    assert_eq!((deleted["kind"].as_str(), deleted["items"].as_array().unwrap().len()), (Some("ConfigMapList"), 1));
    let mut namespace = admin.get("/api/v1/namespaces/extra").await.expect(200);
    namespace["spec"]["finalizers"] = json!([]);
    admin.put("/api/v1/namespaces/extra/finalize", &namespace).await.expect(200);
    admin.get("/api/v1/namespaces/extra").await.expect(404);
    let immortal = admin.delete("/api/v1/namespaces/default").await.expect(403);
    assert_eq!(immortal["message"], "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

/// What upstream refuses is refused before anything is deleted, by name and as a collection.
#[tokio::test]
async fn options_that_cannot_be_had_delete_nothing() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{MAPS}/m");
    let made = admin.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let dry_run = |values: &str| {
        format!(
            "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [{values}]: supported values: \"All\""
        )
    };
    let policy = "propagationPolicy: Unsupported value: \"\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
    let no_policy = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {policy}");
    let both = format!(
        "DeleteOptions.meta.k8s.io \"\" is invalid: [{policy}, {}]",
        "dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\""
    );
    let no_object = |found: &str| {
        format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )
    };
    let field = |found: &str, name: &str, ty: &str| {
        format!("json: cannot unmarshal {found} into Go struct field DeleteOptions.{name} of type {ty}")
    };
    for (code, query, body, expected) in [
        (422, "", r#"{"dryRun": ["Foo"]}"#, dry_run("\"Foo\"")),
        (422, "", r#"{"dryRun": ["All", "Foo"]}"#, dry_run("\"All\",\"Foo\"")),
        (422, "", r#"{"dryRun": [""]}"#, dry_run("\"\"")),
        (422, "?dryRun=", "", dry_run("\"\"")),
        (422, "?dryRun=Foo", "", dry_run("\"Foo\"")),
        (422, "?dryRun=Foo", "{}", dry_run("\"Foo\"")),
        (422, "", r#"{"propagationPolicy": ""}"#, no_policy.clone()),
        (422, "?propagationPolicy=", "", no_policy),
        (422, "", r#"{"propagationPolicy": "", "dryRun": ["Foo"]}"#, both),
        (400, "?gracePeriodSeconds=", "", "strconv.ParseInt: parsing \"\": invalid syntax".into()),
        (400, "", "[]", no_object("array")),
        (400, "", "5", no_object("number")),
        (400, "", r#"{"dryRun": "All"}"#, field("string", "dryRun", "[]string")),
        (400, "", r#"{"gracePeriodSeconds": "x"}"#, field("string", "gracePeriodSeconds", "int64")),
        (400, "", r#"{"preconditions": []}"#, field("array", "preconditions", "v1.Preconditions")),
    ] {
        for target in [&path[..], MAPS] {
            let answer = admin.delete_raw(&format!("{target}{query}"), body).await;
            assert_eq!((answer.code.as_u16(), answer.message()), (code, &expected[..]), "{target}{query} {body}");
        }
    }
    for (query, code) in [("continue=x", 400), ("limit=x", 400), ("resourceVersionMatch=Exact", 422)] {
        admin.delete(&format!("{MAPS}?{query}")).await.expect(code);
    }
    // A trial that either of the two asks for is one.
    admin.delete_raw(&format!("{path}?dryRun=All"), "{}").await.expect(200);
    assert_eq!(admin.get(&path).await.expect(200), made);
    admin.delete_raw(&path, "null").await.expect(200);
    admin.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_its_list_goes() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        admin.post(MAPS, &json!({"metadata": {"name": name, "labels": {"l": "x"}}})).await.expect(201);
    }
    let selected = format!("{MAPS}?labelSelector=l%3Dx");
    let first = admin.delete(&format!("{selected}&limit=1")).await.expect(200);
    assert_eq!(first["items"][0]["metadata"]["name"], "a");
    assert_eq!(first["items"].as_array().unwrap().len(), 1);
    let go_on = first["metadata"]["continue"].as_str().expect("there is more");
    let left = admin.get(&selected).await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 2);
    let second = admin.delete(&format!("{selected}&limit=1&continue={go_on}")).await.expect(200);
    assert_eq!(second["items"][0]["metadata"]["name"], "b");
    assert_eq!(admin.get(&selected).await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        admin.post(MAPS, &json!({"metadata": {"name": name, "labels": {"l": label}}})).await.expect(201);
    }
    let deleted = admin.delete(&format!("{MAPS}?labelSelector=l%3Dx")).await.expect(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = admin.get(MAPS).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}
