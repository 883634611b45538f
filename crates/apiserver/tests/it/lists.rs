//! Lists: pages, revisions, selectors, views.

use std::io::Read as _;

use axum::body::Body;
use flate2::read::GzDecoder;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Client, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn fill(admin: &Client, names: &[&str]) {
    for name in names {
        let map = json!({"metadata": {"name": name, "labels": {"odd": (name.len() % 2).to_string()}}});
        admin.post(MAPS, &map).await.expect(201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_one_revision_and_count_what_remains() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    fill(&admin, &["a", "b", "c", "d", "e"]).await;
    let first = admin.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    fill(&admin, &["bb"]).await;
    admin.delete(&format!("{MAPS}/d")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = admin.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["c", "d"], "as of the first page");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = admin.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&last), ["e"]);
    assert_eq!(last["metadata"]["continue"], Value::Null);
    let whole = admin.get(&format!("{MAPS}?limit=2&resourceVersion=0")).await.expect(200);
    assert_eq!(names(&whole).len(), 5);
}

#[tokio::test]
async fn an_expired_page_can_be_gone_on_with() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    fill(&admin, &["a", "b", "c"]).await;
    let first = admin.get(&format!("{MAPS}?limit=1")).await.expect(200);
    fill(&admin, &["d"]).await;
    cluster.store.compact(cluster.store.revision().await.unwrap()).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = admin.get(&format!("{MAPS}?limit=1&continue={token}")).await.expect(410);
    assert_eq!(gone["reason"], "Expired");
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let rest = admin.get(&format!("{MAPS}?continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["b", "c", "d"]);
}

#[tokio::test]
async fn lists_are_at_the_revision_asked_for() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    fill(&admin, &["a"]).await;
    let then = admin.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    fill(&admin, &["b"]).await;
    let exact = admin.get(&format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!(names(&exact), ["a"]);
    let now = admin.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let newer = format!("{MAPS}?resourceVersion={now}&resourceVersionMatch=NotOlderThan");
    let newer = admin.get(&newer).await.expect(200);
    assert_eq!(names(&newer), ["a", "b"]);
    admin.get(&format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Nearly")).await.expect(422);
    admin.get(&format!("{MAPS}?resourceVersion=999999")).await.expect(504);
}

#[tokio::test]
async fn selectors_choose_and_unknown_fields_are_refused() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    fill(&admin, &["a", "bb", "ccc"]).await;
    for (query, expected) in [
        ("labelSelector=odd%3D1", &["a", "ccc"][..]),
        ("labelSelector=odd%20notin%20(1)", &["bb"]),
        ("labelSelector=other", &[]),
        ("fieldSelector=metadata.name%3Dbb", &["bb"]),
        ("fieldSelector=metadata.name!%3Dbb", &["a", "ccc"]),
        ("labelSelector=odd%3D1&limit=1", &["a"]),
    ] {
        let list = admin.get(&format!("{MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
        assert_eq!(list["metadata"]["remainingItemCount"], Value::Null, "not with selectors");
    }
    let unknown = admin.get(&format!("{MAPS}?fieldSelector=spec.color%3Dred")).await.expect(400);
    let expected = "\"spec.color\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(unknown["message"], expected);
    assert_eq!(admin.get(&format!("{MAPS}?timeoutSeconds=soon")).await.expect(400)["reason"], "BadRequest");
    admin.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db")).await.expect(400);
    let all = admin.get("/api/v1/services?fieldSelector=spec.clusterIP!%3DNone").await.expect(200);
    assert_eq!(names(&all), ["kubernetes"]);
    let empty = admin.get("/api/v1/namespaces/nowhere/configmaps").await.expect(200);
    assert_eq!(empty["items"], json!([]));
}

/// Which fields of each kind select, as the API server of 1.36 answers.
#[tokio::test]
async fn field_selectors_of_every_kind() {
    const EVENT: &[&str] = &["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let check = async |path: &str, fields: &[String], code: u16| {
        for field in fields {
            let answer = admin.get(&format!("{path}?fieldSelector={field}%3Dx")).await;
            assert_eq!(answer.code, code, "{path} {field}: {}", answer.text);
            if code == 400 {
                assert_eq!(answer.message(), format!("field label not supported: {field}"), "{path}");
            }
        }
    };
    let texts = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
    let of = |start: &str| EVENT.iter().map(|field| format!("{start}.{field}")).collect::<Vec<_>>();
    for (path, known, unknown) in [
        ("/api/v1/services", &["spec.type", "spec.clusterIP"][..], &["spec.ports"][..]),
        (
            "/api/v1/pods",
            &[
                "metadata.namespace",
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.podIPs",
                "status.nominatedNodeName",
            ],
            &["spec.nope"],
        ),
        ("/api/v1/nodes", &["metadata.name", "spec.unschedulable"], &["metadata.namespace"]),
        ("/api/v1/namespaces", &["status.phase"], &["name", "metadata.namespace"]),
        ("/api/v1/secrets", &["type"], &["data"]),
        ("/api/v1/replicationcontrollers", &["status.replicas"], &["status.nope"]),
        ("/apis/networking.k8s.io/v1/ipaddresses", &["metadata.name", "metadata.namespace"], &[]),
        ("/apis/networking.k8s.io/v1/servicecidrs", &["metadata.namespace"], &[]),
        (
            "/api/v1/events",
            &["reason", "reportingComponent", "source", "type"],
            &["reportingController", "regarding.name"],
        ),
        (
            "/apis/events.k8s.io/v1/events",
            &["reason", "reportingController", "type"],
            &["reportingComponent", "source"],
        ),
    ] {
        check(path, &texts(known), 200).await;
        check(path, &texts(unknown), 400).await;
    }
    check("/api/v1/events", &of("involvedObject"), 200).await;
    check("/apis/events.k8s.io/v1/events", &of("regarding"), 200).await;
    check("/apis/events.k8s.io/v1/events", &of("involvedObject"), 400).await;
    for path in ["/apis/apps/v1/replicasets", "/apis/apps/v1/deployments", "/api/v1/endpoints"] {
        let refused = admin.get(&format!("{path}?fieldSelector=status.replicas%3D0")).await.expect(400);
        assert!(refused["message"].as_str().unwrap().contains("is not a known field selector: only"), "{refused}");
    }
}

#[tokio::test]
async fn events_are_selected_by_either_versions_fields() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for (name, kind) in [("a", "Pod"), ("b", "Service")] {
        let event = json!({
            "metadata": {"name": name}, "reason": "R", "message": "m", "type": "Normal", "reportingComponent": kind,
            "involvedObject": {"kind": kind, "namespace": "default", "name": "x"}, "reportingInstance": "i",
        });
        admin.post("/api/v1/namespaces/default/events", &event).await.expect(201);
    }
    for (path, expected) in [
        ("/api/v1/events?fieldSelector=involvedObject.kind%3DPod", "a"),
        ("/api/v1/events?fieldSelector=reportingComponent%3DService,type%3DNormal", "b"),
        ("/apis/events.k8s.io/v1/events?fieldSelector=regarding.kind%3DService", "b"),
        ("/apis/events.k8s.io/v1/events?fieldSelector=reportingController%3DPod,type%3DNormal", "a"),
    ] {
        assert_eq!(names(&admin.get(path).await.expect(200)), [expected], "{path}");
    }
}

#[tokio::test]
async fn answers_come_in_yaml_where_that_is_wanted() {
    const YAML: &str = "application/yaml";
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"t": "yes\n", "u": "no"}})).await.expect(201);
    let table = "application/yaml;as=Table;v=v1;g=meta.k8s.io";
    let aggregated = "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (path, accept, code, kind) in [
        ("/api/v1/namespaces/default/configmaps/a", YAML, 200, "ConfigMap"),
        (MAPS, YAML, 200, "ConfigMapList"),
        (MAPS, table, 200, "Table"),
        ("/api/v1/namespaces/nope", YAML, 404, "Status"),
        ("/api", YAML, 200, "APIVersions"),
        ("/apis", aggregated, 200, "APIGroupDiscoveryList"),
        ("/api/v1beta1/services", YAML, 200, "ServiceList"),
    ] {
        let answer = admin.get_as(path, accept).await;
        assert_eq!(answer.code, code, "{path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], if accept == aggregated { aggregated } else { YAML }, "{path}");
        let value: Value = serde_saphyr::from_str(&answer.text).unwrap();
        assert_eq!(value["kind"], kind, "{path}: {}", answer.text);
        assert!(!answer.text.starts_with('{'), "{}", answer.text);
        let json = admin.get_as(path, &accept.replace("yaml", "json")).await.body;
        assert_eq!((&value["items"], &value["data"]), (&json["items"], &json["data"]), "{path}");
    }
    let known = admin.get_as("/apis", aggregated).await.headers["etag"].to_str().unwrap().to_owned();
    let again = admin.clone().with_header("if-none-match", &known).get_as("/apis", aggregated).await;
    assert_eq!((again.code.as_u16(), &again.text[..]), (304, ""), "who has it is not sent it");
    let preferred = admin.get_as(MAPS, "application/json,application/yaml;q=0.9").await;
    assert_eq!(preferred.headers["content-type"], "application/json");
    let refused = admin.get_as(&format!("{MAPS}?watch=1"), YAML).await;
    assert_eq!(refused.code, 406, "{}", refused.text);
    let text = "only the following media types are accepted: application/json;stream=watch";
    assert!(refused.text.contains(text), "{}", refused.text);
}

#[tokio::test]
async fn what_lists_and_watches_are_asked_for_makes_sense() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let refused = admin.get_as(&format!("{MAPS}?includeObject=Foo"), table).await.expect(400);
    let text = "Unable to convert to Table as requested: includeObject: Invalid value: \"Foo\": must be 'Metadata', \
                'Object', 'None', or empty";
    assert_eq!(refused["message"], text);
    let one = MAPS.replace("/v1/", "/v1/watch/") + "/a?timeoutSeconds=1&fieldSelector=metadata.";
    for wrong in ["name=b", "name!=b", "namespace=default"] {
        let refused = admin.get(&format!("{one}{wrong}")).await.expect(400);
        assert_eq!(refused["message"], "fieldSelector metadata.name doesn't match requested name", "{wrong}");
    }
    let refused = admin.get(&format!("{MAPS}?continue=x&resourceVersionMatch=Exact")).await.expect(422);
    assert_eq!(refused["details"]["causes"].as_array().unwrap().len(), 2, "{refused}");
}

#[tokio::test]
async fn metadata_alone_can_be_asked_for() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    fill(&admin, &["a"]).await;
    let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = admin.get_as(MAPS, list).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("PartialObjectMetadataList"), &json!("PartialObjectMetadata"))
    );
    let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    assert_eq!(admin.get_as(&format!("{MAPS}/a"), one).await.expect(200)["kind"], "PartialObjectMetadata");
    let refused = admin.get_as(MAPS, one).await.expect(406);
    let text = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!(refused["message"], text);
    assert_eq!(admin.get_as(MAPS, "application/*").await.expect(406)["reason"], "NotAcceptable");
    assert_eq!(admin.get_as(MAPS, "text/html").await.expect(406)["reason"], "NotAcceptable");
    let pretty = admin.get(&format!("{MAPS}?pretty=true")).await;
    assert!(pretty.text.contains("\n  \"items\""), "{}", pretty.text);
}

#[tokio::test]
async fn large_answers_are_compressed_for_clients_that_take_them_so() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let letters = "0123456789abcdef".repeat(12 << 10);
    for name in ["a", "b"] {
        admin.post(MAPS, &json!({"metadata": {"name": name}, "data": {"letters": letters}})).await.expect(201);
    }
    let json = "application/json";
    for (path, accept) in [
        (MAPS, json),
        (MAPS, "application/yaml"),
        (&format!("{MAPS}/a"), json),
        (&format!("{MAPS}?pretty=true"), json),
        ("/openapi/v2", json),
        ("/openapi/v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"),
        ("/openapi/v3/api/v1", json),
        ("/openapi/v3/api/v1", "application/yaml, application/json;q=0.5"),
    ] {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let plain = admin.send(request).await;
        assert!(!plain.headers().contains_key("content-encoding"), "{path}");
        let plain = plain.into_body().collect().await.unwrap().to_bytes();
        let request = Request::get(path).header("accept", accept).header("accept-encoding", "br, gzip;q=0.5");
        let packed = admin.send(request.body(Body::empty()).unwrap()).await;
        let headers = packed.headers().clone();
        assert_eq!(
            headers.get("content-encoding").map(|coding| coding.as_bytes()),
            Some(&b"gzip"[..]),
            "{path} {accept}"
        );
        let vary = headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("Accept-Encoding"));
        assert!(vary, "{path} {headers:?}");
        let packed = packed.into_body().collect().await.unwrap().to_bytes();
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert!(packed.len() * 2 < plain.len() && unpacked == plain, "{path} {accept}");
    }
    for path in ["/api/v1/namespaces", &format!("{MAPS}?watch=1"), "/metrics"] {
        let request = Request::get(path).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
        let answer = admin.send(request).await;
        assert!(answer.status() == 200 && !answer.headers().contains_key("content-encoding"), "{path}");
    }
    let old = admin.get("/api/v1beta1/services").await.text;
    let request = Request::get("/api/v1beta1/services").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    assert_eq!(admin.call(request).await.text, old);
}
