//! What is wrong is refused by its name and cause, in upstream's words, and disturbs nothing.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const STRICT: &str = "/api/v1/namespaces/default/services?fieldValidation=Strict";

#[track_caller]
fn check(answer: &Answer, code: u16, reason: &str, text: &str) {
    assert_eq!(answer.code.as_u16(), code, "{}", answer.text);
    assert_eq!((&answer.body["kind"], &answer.body["reason"]), (&json!("Status"), &json!(reason)), "{}", answer.text);
    assert!(answer.message().contains(text), "{:?} lacks {text:?}", answer.message());
}

async fn yaml(client: &Client, spec: &str) -> Answer {
    let body = format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec: {spec}\n");
    client.post_raw(STRICT, "application/yaml", body).await
}

#[tokio::test]
async fn wrong_objects_are_refused_by_field() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let before = cluster.store.revision().await.unwrap();
    for (spec, code, reason, text) in [
        ("{ports: [{port: 80}], foo: 1}", 400, "BadRequest", "strict decoding error: unknown field \"spec.foo\""),
        (
            "{ports: [{port: 80, port: 81}]}",
            400,
            "BadRequest",
            "strict decoding error: duplicate field \"spec.ports[0].port\"",
        ),
        (
            "{ports: [{port: 70000}]}",
            422,
            "Invalid",
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        ("{ports: [{port: 80}, {port: 81}]}", 422, "Invalid", "spec.ports[0].name: Required value"),
        (
            "{ports: [{port: eighty}]}",
            400,
            "BadRequest",
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            "{clusterIP: 1.2.3.4, ports: [{port: 80}]}",
            422,
            "Invalid",
            "spec.clusterIPs: Invalid value: [\"1.2.3.4\"]: failed to allocate IP 1.2.3.4: the provided network does not match the current range",
        ),
        ("{clusterIP: 10.96.0.1, ports: [{port: 80}]}", 422, "Invalid", "provided IP is already allocated"),
        (
            "{type: NodePort, ports: [{port: 80, nodePort: 80}]}",
            422,
            "Invalid",
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        ("{type: Nothing, ports: [{port: 80}]}", 422, "Invalid", "spec.type: Unsupported value: \"Nothing\""),
        ("{externalIPs: [1.2.3.4], ports: [{port: 80}]}", 422, "Invalid", "spec.externalIPs"),
    ] {
        check(&yaml(&admin, spec).await, code, reason, text);
    }
    assert_eq!(cluster.store.revision().await.unwrap(), before, "nothing was written");
}

#[tokio::test]
async fn patches_change_no_identity() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{SERVICES}/kubernetes");
    let patch = async |patch: Value| admin.patch(&path, "merge-patch", &patch).await;
    let name = patch(json!({"metadata": {"name": "t"}})).await;
    check(&name, 400, "BadRequest", "the name of the object (t) does not match the name on the URL (kubernetes)");
    let namespace = patch(json!({"metadata": {"namespace": "t"}})).await;
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    check(&namespace, 400, "BadRequest", text);
    let uid = patch(json!({"metadata": {"uid": "t"}})).await;
    let text = "Service \"kubernetes\" is invalid: metadata.uid: Invalid value: \"t\": field is immutable";
    check(&uid, 422, "Invalid", text);
    check(&patch(json!({"kind": "Pod"})).await, 422, "Invalid", " \"\" is invalid: patch: Invalid value:");
    check(&patch(json!({"apiVersion": "v2"})).await, 422, "Invalid", "is registered for version \"v2\"");
    let leap = admin.patch(&path, "json-patch", &json!([{"op": "leap", "path": "/spec"}])).await;
    check(&leap, 422, "Invalid", "the server rejected our request due to an error in our request");
}

/// What a patch makes has to be an object of the kind: 422 with the cause `patch`, as upstream.
#[tokio::test]
async fn patches_that_make_no_object_name_the_patch() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let wrong = "json: cannot unmarshal string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort";
    let unknown = "strict decoding error: unknown field \"spec.foo\"";
    let add = |path: &str| json!([{"op": "add", "path": path, "value": "x"}]);
    for (kind, patch, expected) in [
        ("merge-patch", json!({"spec": {"ports": "x"}}), wrong),
        ("strategic-merge-patch", json!({"spec": {"ports": "x"}}), wrong),
        ("json-patch", add("/spec/ports"), wrong),
        ("merge-patch", json!({"spec": {"foo": 1}}), unknown),
        ("strategic-merge-patch", json!({"spec": {"foo": 1}}), unknown),
        ("json-patch", add("/spec/foo"), unknown),
    ] {
        let answer = admin.patch(&format!("{SERVICES}/kubernetes?fieldValidation=Strict"), kind, &patch).await;
        check(&answer, 422, "Invalid", expected);
        assert!(answer.message().starts_with(" \"\" is invalid: patch: Invalid value: \""), "{}", answer.text);
        let cause = &answer.body["details"]["causes"][0];
        assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueInvalid"), &json!("patch")));
        if kind == "strategic-merge-patch" {
            let shown = if expected == wrong { "map[spec:map[ports:x]]" } else { "map[spec:map[foo:1]]" };
            assert!(answer.message().contains(shown), "{}", answer.text);
        }
    }
}

/// Values that cannot be had are told of together, each at its field, whatever is wrong with them.
#[tokio::test]
async fn values_that_cannot_be_had_come_back_together() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let port = |name: &str, port: u16, node_port: u16| json!({"name": name, "port": port, "nodePort": node_port});
    let service = |name: &str, address: &str, ports: Vec<Value>| {
        let spec = json!({"type": "NodePort", "clusterIP": address, "ports": ports});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    admin.post(SERVICES, &service("first", "10.96.0.9", vec![port("a", 80, 30_080)])).await.expect(201);
    let before = cluster.store.revision().await.unwrap();
    let ports = vec![port("a", 80, 80), port("b", 90, 90), port("c", 91, 30_080), port("d", 92, 30_092)];
    for (address, cause) in [
        ("1.2.3.4", "the provided network does not match the current range"),
        ("10.96.0.9", "provided IP is already allocated"),
    ] {
        for dry_run in ["", "?dryRun=All"] {
            let wanted = service("second", address, ports.clone());
            let answer = admin.post(&format!("{SERVICES}{dry_run}"), &wanted).await;
            let refused = answer.expect(422);
            let causes = refused["details"]["causes"].as_array().unwrap();
            let mut fields = Vec::from_iter(causes.iter().map(|cause| cause["field"].as_str().unwrap()));
            fields.sort_unstable();
            let expected =
                ["spec.clusterIPs", "spec.ports[0].nodePort", "spec.ports[1].nodePort", "spec.ports[2].nodePort"];
            assert_eq!(fields, expected, "{refused}");
            assert!(refused["message"].as_str().unwrap().contains(cause), "{refused}");
        }
    }
    assert_eq!(cluster.store.revision().await.unwrap(), before, "nothing was written");
    // What was marked for the refused ones is free.
    let third = service("third", "10.96.0.10", vec![port("d", 92, 30_092)]);
    admin.post(SERVICES, &third).await.expect(201);
}

#[tokio::test]
async fn wrong_texts_are_refused() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let broken = "apiVersion: v1\nkind: Service\n  metadata: [";
    let answer = admin.post_raw(SERVICES, "application/yaml", broken).await;
    check(&answer, 400, "BadRequest", "error converting YAML to JSON: yaml:");
    let answer = admin.post_raw(SERVICES, "application/json", "{\"a\":").await;
    check(&answer, 400, "BadRequest", "json parse error");
    let answer = admin.post_raw(SERVICES, "application/json", "[1]").await;
    assert_eq!(answer.code.as_u16(), 400, "{}", answer.text);
    let answer = admin.post_raw(SERVICES, "application/xml", "<a/>").await;
    check(&answer, 415, "UnsupportedMediaType", "application/yaml");
    let answer = admin.post_raw(SERVICES, "application/json", "x".repeat(4 << 20)).await;
    check(&answer, 413, "RequestEntityTooLarge", "limit is 3145728");
    let answer = admin.post(SERVICES, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})).await;
    check(&answer, 400, "BadRequest", "Pod in version \"v1\" cannot be handled as a Service");
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let answer = admin.post_raw(SERVICES, "application/json", format!("{{\"spec\":{deep}}}")).await;
    assert_eq!(answer.code.as_u16(), 400, "{}", answer.text);
    let answer = admin.post_raw(SERVICES, "application/yaml", format!("spec: {deep}")).await;
    assert_eq!(answer.code.as_u16(), 400, "{}", answer.text);
}

#[tokio::test]
async fn cve_2019_11254_a_bomb_of_aliases_in_yaml_is_bounded() {
    let cluster = Cluster::new().await;
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let before = format!("*a{},", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let answer = cluster.admin().post_raw(SERVICES, "application/yaml", bomb).await;
    check(&answer, 400, "BadRequest", "yaml");
}

#[tokio::test]
async fn warnings_tell_what_has_no_effect() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let unknown = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "foo": 1}});
    let warned = admin.post(SERVICES, &unknown).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"spec.foo\\\"\""]);
    let stored = warned.expect(201);
    assert_eq!(stored["spec"]["foo"], Value::Null);
    let mut ignored = unknown.clone();
    ignored["metadata"]["name"] = "other".into();
    let ignored = admin.post(&format!("{SERVICES}?fieldValidation=Ignore"), &ignored).await;
    assert_eq!((ignored.code.as_u16(), ignored.warnings().len()), (201, 0));
    let refused = admin.post(&format!("{SERVICES}?fieldValidation=Lax"), &unknown).await;
    check(&refused, 422, "Invalid", "fieldValidation");
}

#[tokio::test]
async fn names_and_namespaces_have_to_fit() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let map = |name: &str| json!({"metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    check(&admin.post(maps, &map("UPPER")).await, 422, "Invalid", "metadata.name: Invalid value: \"UPPER\"");
    check(&admin.post(maps, &json!({})).await, 422, "Invalid", "name or generateName is required");
    let answer = admin.post("/api/v1/namespaces/nowhere/configmaps", &map("a")).await;
    check(&answer, 404, "NotFound", "namespaces \"nowhere\" not found");
    let answer = admin.post(maps, &json!({"metadata": {"name": "a", "namespace": "other"}})).await;
    check(&answer, 400, "BadRequest", "does not match the namespace sent on the request");
    admin.post(maps, &map("a")).await.expect(201);
    check(&admin.post(maps, &map("a")).await, 409, "AlreadyExists", "configmaps \"a\" already exists");
    let answer = admin.put(&format!("{maps}/a"), &map("b")).await;
    check(&answer, 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)");
    check(&admin.put(&format!("{maps}/b"), &map("b")).await, 404, "NotFound", "configmaps \"b\" not found");
    let generated = admin.post(maps, &json!({"metadata": {"generateName": "gen-"}})).await.expect(201);
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    let nothing = "the server could not find the requested resource";
    check(&admin.get("/api/v1/nothings").await, 404, "NotFound", nothing);
    check(&admin.post("/apis/autoscaling/v1/namespaces/default/nothings", &json!({})).await, 404, "NotFound", nothing);
    check(&admin.post("/api/v1/namespaces/default/pods/a/nothing", &json!({})).await, 404, "NotFound", nothing);
    check(&admin.delete("/api/v1/namespaces").await, 405, "MethodNotAllowed", "");
}

#[tokio::test]
async fn wrong_patches_are_refused() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{SERVICES}/kubernetes");
    let answer = admin.patch(&path, "apply-patch", &json!({})).await;
    check(&answer, 415, "UnsupportedMediaType", "415: Unsupported Media Type");
    assert_eq!(answer.body["details"], json!({}));
    let answer = admin.patch(&path, "json-patch", &json!([{"op": "test", "path": "/kind", "value": "Pod"}])).await;
    check(&answer, 422, "Invalid", "");
    let answer = admin.patch(&path, "json-patch", &json!({"op": "test"})).await;
    check(&answer, 400, "BadRequest", "");
    let answer = admin
        .patch(&path, "merge-patch", &json!({"metadata": {"resourceVersion": "1"}, "spec": {"selector": {"a": "b"}}}))
        .await;
    check(&answer, 409, "Conflict", "the object has been modified");
    let answer =
        admin.patch(&format!("{path}?fieldValidation=Strict"), "merge-patch", &json!({"spec": {"foo": 1}})).await;
    check(&answer, 422, "Invalid", "unknown field \"spec.foo\"");
    let answer = admin.patch(&path, "merge-patch", &json!({"metadata": {"name": "other"}})).await;
    assert!(matches!(answer.code.as_u16(), 400 | 422), "{}", answer.text);
    let patched =
        admin.patch(&path, "json-patch", &json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}])).await;
    assert_eq!(patched.expect(200)["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn ten_thousand_operations_are_a_patch_and_one_more_is_none() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{SERVICES}/kubernetes");
    let patch = |operations: usize| {
        let label = |n: usize| json!({"op": "add", "path": "/metadata/labels/a", "value": n.to_string()});
        Value::Array((1..=operations).map(label).collect())
    };
    let patched = admin.patch(&path, "json-patch", &patch(10_000)).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["a"], "10000");
    let answer = admin.patch(&path, "json-patch", &patch(10_001)).await;
    check(&answer, 413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000, got 10001");
    assert_eq!(admin.get(&path).await.expect(200), patched);
}
