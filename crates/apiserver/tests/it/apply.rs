//! Managed fields and server-side apply over HTTP.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

async fn apply(client: &Client, path: &str, manager: &str, config: &Value) -> Answer {
    client
        .patch_raw(&format!("{path}?fieldManager={manager}"), "application/apply-patch+yaml", config.to_string())
        .await
}

/// `MANAGER OPERATION [SUBRESOURCE]` of each entry.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let name = |entry: &Value| {
        let subresource = text(entry, "subresource");
        format!("{} {} {subresource}", text(entry, "manager"), text(entry, "operation")).trim().to_owned()
    };
    entries.iter().map(name).collect()
}

#[tokio::test]
async fn what_is_applied_is_made_and_changed_and_conflicts_are_named() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{MAPS}/c");
    let made = apply(&admin, &path, "one", &config_map(json!({"a": "1", "b": "1"}))).await.expect(201);
    assert_eq!(managers(&made), ["one Apply"]);
    let same = apply(&admin, &path, "one", &config_map(json!({"a": "1", "b": "1"}))).await.expect(200);
    assert_eq!(same, made, "what changes nothing is not written");
    let conflict = apply(&admin, &path, "two", &config_map(json!({"a": "2", "c": "2"}))).await;
    assert_eq!(conflict.message(), "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let conflict = conflict.expect(409);
    assert_eq!((&conflict["reason"], &conflict["code"]), (&json!("Conflict"), &json!(409)));
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"});
    assert_eq!(conflict["details"]["causes"], json!([cause]));
    let dry = format!("{path}?dryRun=All&force=true&fieldManager=two");
    let body = config_map(json!({"a": "2"})).to_string();
    let dry = admin.patch_raw(&dry, "application/apply-patch+yaml", body.clone()).await.expect(200);
    assert_eq!(dry["data"]["a"], "2");
    assert_eq!(admin.get(&path).await.expect(200)["data"]["a"], "1");
    let by_force = format!("{path}?force=true&fieldManager=two");
    let forced = admin.patch_raw(&by_force, "application/apply-patch+yaml", body).await.expect(200);
    assert_eq!((&forced["data"], managers(&forced).len()), (&json!({"a": "2", "b": "1"}), 2));
    let less = apply(&admin, &path, "one", &config_map(json!({}))).await.expect(200);
    assert_eq!(less["data"], json!({"a": "2"}));
    // Lists and watches carry the entries too.
    let list = admin.get(MAPS).await.expect(200);
    assert!(list["items"].as_array().unwrap().iter().any(|item| !managers(item).is_empty()));
}

#[tokio::test]
async fn defaults_and_allocations_are_nobodys_who_applies() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let made = apply(&admin, &format!("{SERVICES}/web"), "one", &service).await.expect(201);
    assert!(made["spec"]["clusterIP"].is_string());
    let fields = json!({"f:spec": {
        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:selector": {},
    }});
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], fields);
    let other = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"type": "NodePort"},
    });
    let other = apply(&admin, &format!("{SERVICES}/web"), "two", &other).await.expect(200);
    assert_eq!((&other["spec"]["type"], &other["spec"]["clusterIP"]), (&json!("NodePort"), &made["spec"]["clusterIP"]));
    // Without it the type is the default again.
    let bare = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let bare = apply(&admin, &format!("{SERVICES}/web"), "two", &bare).await.expect(200);
    assert_eq!((&bare["spec"]["type"], managers(&bare)), (&json!("ClusterIP"), vec!["one Apply".to_owned()]));
}

#[tokio::test]
async fn every_write_is_noted_under_its_name() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(&format!("{MAPS}?fieldManager=maker"), &config_map(json!({"a": "1"}))).await.expect(201);
    let path = format!("{MAPS}/c");
    admin.patch(&format!("{path}?fieldManager=patcher"), "merge-patch", &json!({"data": {"b": "2"}})).await.expect(200);
    let replaced = admin.put(&path, &config_map(json!({"a": "1", "b": "2", "c": "3"}))).await.expect(200);
    assert_eq!(managers(&replaced), ["admin Update", "maker Update", "patcher Update"]);
    let long = "x".repeat(129);
    let refused = admin.post(&format!("{MAPS}?fieldManager={long}"), &config_map(json!({}))).await;
    assert!(refused.message().ends_with("fieldManager: Too long: may not be more than 128 bytes"), "{}", refused.text);
    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let reset = admin.patch(&path, "json-patch", &reset).await.expect(200);
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    admin.post(&format!("{deployments}?fieldManager=maker"), &deployment).await.expect(201);
    let two = json!({"spec": {"replicas": 2}});
    admin.patch(&format!("{deployments}/d/scale?fieldManager=scaler"), "merge-patch", &two).await.expect(200);
    let seen = json!({"status": {"replicas": 2}});
    admin.patch(&format!("{deployments}/d/status?fieldManager=watcher"), "merge-patch", &seen).await.expect(200);
    let found = admin.get(&format!("{deployments}/d")).await.expect(200);
    assert_eq!(managers(&found), ["maker Update", "scaler Update scale", "watcher Update status"]);
    let entries = found["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(entries[2]["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
}

#[tokio::test]
async fn configurations_that_say_too_much_or_too_little_are_refused() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{MAPS}/c");
    let sent = admin.patch_raw(&path, "application/apply-patch+yaml", config_map(json!({})).to_string()).await;
    assert_eq!(
        sent.message(),
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    sent.expect(422);
    let forced = admin.patch(&format!("{path}?force=true"), "merge-patch", &json!({})).await;
    assert!(forced.message().ends_with("force: Forbidden: may not be specified for non-apply patch"));
    for (config, expected) in [
        (json!({"apiVersion": "v1", "kind": "Secret"}), "invalid object type: /v1, Kind=Secret"),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            "metadata.managedFields must be nil",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}),
            "the name of the object (d) does not match the name on the URL (c)",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "foo": 1}),
            "failed to create typed patch object (/; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
    ] {
        let answer = apply(&admin, &path, "x", &config).await;
        assert_eq!((answer.code.as_u16(), answer.message()), (400, expected));
    }
    let unnamed =
        apply(&admin, &path, "x", &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})).await;
    let expected = "the name of the object (c based on URL) was undeterminable: name must be provided";
    assert_eq!((unnamed.code.as_u16(), unnamed.message()), (400, expected));
    apply(&admin, &path, "x", &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"uid": "u"}}))
        .await
        .expect(409);
}
