//! Lists: pages, revisions, selectors, views.

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
    assert_eq!(unknown["message"], "field label not supported: spec.color");
    admin.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db")).await.expect(400);
    let all = admin.get("/api/v1/services?fieldSelector=spec.clusterIP!%3DNone").await.expect(200);
    assert_eq!(names(&all), ["kubernetes"]);
    let empty = admin.get("/api/v1/namespaces/nowhere/configmaps").await.expect(200);
    assert_eq!(empty["items"], json!([]));
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
    assert_eq!(admin.get_as(MAPS, "text/html").await.expect(406)["reason"], "NotAcceptable");
    let pretty = admin.get(&format!("{MAPS}?pretty=true")).await;
    assert!(pretty.text.contains("\n  \"items\""), "{}", pretty.text);
}
