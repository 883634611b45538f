//! Watch: order, resuming, selectors, bookmarks, initial events, 410.

use std::sync::Arc;

use serde_json::{Value, json};
use stead_store::{Embedded, Model, Store};

use crate::support::{Client, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

async fn relabel(client: &Client, name: &str, label: &str) -> Value {
    let patch = json!({"metadata": {"labels": {"l": label}}});
    client.patch(&format!("{MAPS}/{name}"), "merge-patch", &patch).await.expect(200)
}

#[tokio::test]
async fn changes_come_in_order_and_a_watch_resumes_where_it_ended() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let first = admin.post(MAPS, &map("a", "x")).await.expect(201);
    let mut watch = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={}", version(&first))).await;
    admin.post(MAPS, &map("b", "x")).await.expect(201);
    let changed = relabel(&admin, "a", "y").await;
    admin.delete(&format!("{MAPS}/b")).await.expect(200);
    assert_eq!(watch.take(2).await, ["ADDED b", "MODIFIED a"]);
    let deleted = watch.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("b")));
    assert!(version(&deleted["object"]).parse::<u64>().unwrap() > version(&changed).parse::<u64>().unwrap());
    let mut resumed = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={}", version(&changed))).await;
    assert_eq!(resumed.take(1).await, ["DELETED b"]);
}

#[tokio::test]
async fn objects_enter_and_leave_selectors() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let first = admin.post(MAPS, &map("a", "x")).await.expect(201);
    let from = version(&first);
    let mut labelled = admin.watch(&format!("{MAPS}?watch=1&labelSelector=l%3Dy&resourceVersion={from}")).await;
    let mut named =
        admin.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da&resourceVersion={from}")).await;
    relabel(&admin, "a", "y").await;
    let left = relabel(&admin, "a", "z").await;
    admin.post(MAPS, &map("b", "y")).await.expect(201);
    assert_eq!(labelled.take(1).await, ["ADDED a"]);
    let gone = labelled.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["l"], "y", "the state in which it last matched");
    assert_eq!(version(&gone["object"]), version(&left));
    assert_eq!(labelled.take(1).await, ["ADDED b"]);
    assert_eq!(named.take(2).await, ["MODIFIED a", "MODIFIED a"]);
}

#[tokio::test]
async fn a_watch_without_revision_begins_with_what_there_is() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for name in ["a", "b"] {
        admin.post(MAPS, &map(name, "x")).await.expect(201);
    }
    for query in ["watch=1", "watch=1&resourceVersion=0"] {
        let mut watch = admin.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(watch.take(2).await, ["ADDED a", "ADDED b"], "{query}");
    }
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(MAPS, &map("a", "x")).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = admin.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let after = format!("{MAPS}?watch=1&resourceVersion={}", version(&bookmark["object"]));
    let mut resumed = admin.watch(&after).await;
    admin.post(MAPS, &map("b", "x")).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED b"]);
    assert_eq!(resumed.take(1).await, ["ADDED b"]);
    let refused = admin.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.expect(422);
    assert_eq!(refused["reason"], "Invalid");
}

#[tokio::test]
async fn a_watch_ends_after_its_timeout_with_a_bookmark() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    let last = watch.next().await.unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(last["object"]["metadata"]["annotations"], Value::Null);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_can_do_without_what_there_is() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(MAPS, &map("a", "x")).await.expect(201);
    for (name, more) in [("b", ""), ("c", "&resourceVersion=0")] {
        let query = format!("watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan{more}");
        let mut watch = admin.watch(&format!("{MAPS}?{query}")).await;
        admin.post(MAPS, &map(name, "x")).await.expect(201);
        assert_eq!(watch.take(1).await, [format!("ADDED {name}")], "{query}");
    }
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=l%3Dy";
    let mut unmarked = admin.watch(&format!("{MAPS}?{query}")).await;
    admin.post(MAPS, &map("d", "y")).await.expect(201);
    assert_eq!(unmarked.take(1).await, ["ADDED d"], "no bookmark unless bookmarks are asked for");
}

#[tokio::test]
async fn the_future_is_waited_for() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let first = admin.post(MAPS, &map("a", "x")).await.expect(201);
    let from = version(&first).parse::<u64>().unwrap() + 2;
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    for name in ["b", "c", "d"] {
        let made = admin.post(MAPS, &map(name, "x")).await.expect(201);
        if version(&made).parse::<u64>().unwrap() > from {
            assert_eq!(watch.take(1).await, [format!("ADDED {name}")]);
            return;
        }
    }
    panic!("three writes are more than two revisions");
}

#[tokio::test]
async fn objects_of_the_future_time_out_and_the_past_is_gone() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let marked = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut future = admin.watch(&format!("{MAPS}?watch=1&resourceVersion=1000000&{marked}")).await;
    let error = future.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(error["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert!(error["object"]["message"].as_str().unwrap().contains("Too large resource version: 1000000"));
    assert_eq!(future.next().await, None);
    let exact = "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact";
    let causes = admin.get(&format!("{MAPS}?{exact}")).await.expect(422)["details"]["causes"].take();
    assert_eq!(causes.as_array().map(Vec::len), Some(2), "{causes}");
    assert_eq!(admin.get(&format!("{MAPS}?watch=1&resourceVersion=x")).await.expect(400)["reason"], "BadRequest");
}

#[tokio::test]
async fn after_a_restart_watchers_resume_or_list_again() {
    let store: Arc<dyn Store> = Arc::new(Model::new());
    let cluster = Cluster::with(store.clone(), |_| {}).await;
    let first = cluster.admin().post(MAPS, &map("a", "x")).await.expect(201);
    cluster.admin().post(MAPS, &map("b", "x")).await.expect(201);
    drop(cluster);
    let again = Cluster::with(store.clone(), |_| {}).await;
    let from = format!("{MAPS}?watch=1&resourceVersion={}", version(&first));
    assert_eq!(again.admin().watch(&from).await.take(1).await, ["ADDED b"]);
    drop(again);
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let compacted = Cluster::with(store, |_| {}).await;
    let mut late = compacted.admin().watch(&from).await;
    let gone = late.next().await.unwrap();
    assert_eq!(
        (&gone["type"], &gone["object"]["reason"], &gone["object"]["code"]),
        (&json!("ERROR"), &json!("Expired"), &json!(410))
    );
    assert_eq!(late.next().await, None);
    let listed = compacted.admin().get(MAPS).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn tables_are_watched_and_name_their_columns_once() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let listed = admin.get_as("/api/v1/namespaces/default/services", accept).await.expect(200);
    assert_eq!(listed["kind"], "Table");
    assert_eq!(listed["columnDefinitions"][0]["name"], "Name");
    assert_eq!(listed["rows"][0]["cells"][0], "kubernetes");
    assert_eq!(listed["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let request = http::Request::get("/api/v1/services?watch=1").header("accept", accept);
    let mut events = crate::support::Events::of(admin.send(request.body(axum::body::Body::empty()).unwrap()).await);
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    admin.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let second = events.next().await.unwrap();
    assert_eq!(second["object"]["rows"][0]["cells"][0], "web");
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watcher_sees_every_change_under_load_on_the_durable_engine() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&directory.path().join("store")).unwrap());
    let cluster = Cluster::with(store, |_| {}).await;
    let admin = cluster.admin();
    let (writers, each) = (8, 50);
    let mut watchers = Vec::new();
    for _ in 0..4 {
        let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
        watchers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 2 * writers * each {
                let event = watch.next().await.unwrap();
                let revision: u64 = version(&event["object"]).parse().unwrap();
                seen.push((revision, event["type"].as_str().unwrap().to_owned()));
            }
            seen
        }));
    }
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let admin = admin.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..each {
                let name = format!("w{writer}-{n}");
                let created = admin.post(MAPS, &map(&name, "x")).await.expect(201);
                let read = admin.get(&format!("{MAPS}/{name}")).await.expect(200);
                assert_eq!(read, created, "a write is read at once");
                admin.delete(&format!("{MAPS}/{name}")).await.expect(200);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut all = Vec::new();
    for watcher in watchers {
        all.push(watcher.await.unwrap());
    }
    assert!(all[0].windows(2).all(|pair| pair[0].0 < pair[1].0), "revisions rise");
    assert!(all.iter().all(|seen| *seen == all[0]), "all see the same");
}
