//! `/metrics`: who may read it, and that it counts.

use serde_json::json;
use stead_apiserver::{Identity, auth::NODES};

use crate::support::{Cluster, series};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn metrics_count_what_is_asked() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for name in ["a", "b"] {
        admin.post(MAPS, &json!({"metadata": {"name": name}})).await.expect(201);
    }
    admin.post(MAPS, &json!({"metadata": {"name": "b"}})).await.expect(409);
    admin.get(&format!("{MAPS}/nobody")).await.expect(404);
    let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"]);
    let answer = admin.get("/metrics").await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text;
    for (name, labels, expected) in [
        ("apiserver_request_total", &["resource=\"configmaps\"", "verb=\"POST\"", "code=\"201\""][..], 2.0),
        ("apiserver_request_total", &["resource=\"configmaps\"", "verb=\"POST\"", "code=\"409\""], 1.0),
        (
            "apiserver_request_total",
            &["resource=\"configmaps\"", "scope=\"resource\"", "verb=\"GET\"", "code=\"404\"", "version=\"v1\""],
            1.0,
        ),
        ("apiserver_request_total", &["verb=\"WATCH\"", "code=\"200\""], 1.0),
        ("apiserver_request_duration_seconds_count", &["resource=\"configmaps\"", "verb=\"POST\""], 3.0),
        (
            "apiserver_request_duration_seconds_bucket",
            &["resource=\"configmaps\"", "verb=\"POST\"", "le=\"60.0\""],
            3.0,
        ),
        ("apiserver_current_inflight_requests", &["request_kind=\"readOnly\""], 1.0),
        ("apiserver_current_inflight_requests", &["request_kind=\"mutating\""], 0.0),
        ("apiserver_longrunning_requests", &["resource=\"configmaps\""], 1.0),
        ("apiserver_watch_events_total", &["resource=\"configmaps\""], 2.0),
        ("apiserver_storage_objects", &["resource=\"configmaps\""], 2.0),
        ("kubernetes_build_info", &["git_version=\"v1.36.2\""], 1.0),
    ] {
        assert_eq!(series(&text, name, labels), Some(expected), "{name} {labels:?}\n{text}");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
        assert!(series(&text, name, &[]).is_some(), "{name}\n{text}");
    }
    assert!(series(&text, "etcd_request_duration_seconds_count", &["operation=\"create\""]).is_some_and(|n| n >= 2.0));
    assert!(text.contains("# TYPE apiserver_request_total counter\n") && !text.contains("# EOF"), "{text}");
    let open = admin.get_as("/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert!(
        open.text.ends_with("# EOF\n") && open.text.contains("# TYPE apiserver_request counter\n"),
        "{}",
        open.text
    );
    drop(watch);
    let text = admin.get("/metrics").await.text;
    assert_eq!(series(&text, "apiserver_longrunning_requests", &["resource=\"configmaps\""]), Some(0.0));
}

#[tokio::test]
async fn metrics_are_the_administrators() {
    let cluster = Cluster::new().await;
    for (identity, code) in [
        (Identity::control_plane("admin"), 200),
        (Identity::new("system:node:node1", &[NODES]), 403),
        (Identity::new("system:serviceaccount:a:b", &[]), 403),
        (Identity::anonymous(), 401),
    ] {
        let answer = cluster.client(identity).get("/metrics").await;
        assert_eq!(answer.code, code, "{}", answer.text);
    }
    let nobody = cluster.client(Identity::anonymous()).with_header("authorization", "Bearer x.y.z");
    for path in ["/metrics", "/api/v1beta1/services"] {
        nobody.get(path).await.expect(401);
    }
    let text = cluster.admin().get("/metrics").await.text;
    assert_eq!(series(&text, "authentication_attempts", &["result=\"error\""]), Some(2.0), "{text}");
    let accepted = series(&text, "authentication_attempts", &["result=\"success\""]);
    let later = cluster.admin().get("/metrics").await.text;
    assert_eq!(series(&later, "authentication_attempts", &["result=\"success\""]), accepted.map(|count| count + 1.0));
    assert_eq!(series(&text, "apiserver_request_total", &["code=\"401\"", "verb=\"GET\""]), Some(1.0), "{text}");
}
