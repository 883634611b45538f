//! Secrets: as clients see them, and as they lie in the store.

use std::{path::Path, sync::Arc, time::Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::json;
use stead_apiserver::{Identity, SealingKeys};
use stead_store::{Embedded, RangeRequest, Store, prefix_end};

use crate::support::{Cluster, DEADLINE};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PLAIN: &str = "correct horse battery staple";

#[tokio::test]
async fn secrets_lie_encrypted_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Arc::new(SealingKeys::load_or_create(&directory.path().join("secrets.key")).unwrap());
    let path = directory.path().join("store");
    let revision = {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&path).unwrap());
        let cluster = Cluster::with(store.clone(), |config| config.sealing_keys = keys.clone()).await;
        let admin = cluster.admin();
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": PLAIN}});
        let made = admin.post(SECRETS, &secret).await.expect(201);
        assert_eq!(made["data"]["password"], BASE64_STANDARD.encode(PLAIN));
        let more = json!({"stringData": {"second": PLAIN}});
        admin.patch(&format!("{SECRETS}/s"), "merge-patch", &more).await.expect(200);
        let mut events = admin.watch(&format!("{SECRETS}?watch=1&fieldSelector=type=Opaque")).await;
        assert_eq!(events.take(1).await, ["ADDED s"]);
        assert_eq!(
            admin.get(&format!("{SECRETS}?fieldSelector=type=kubernetes.io/tls")).await.expect(200)["items"],
            json!([])
        );
        let end = prefix_end(b"/registry/secrets/");
        let start = Bytes::from_static(b"/registry/secrets/");
        let page = store.range(RangeRequest { start, end, revision: None, limit: None }).await.unwrap();
        let stored = String::from_utf8_lossy(&page.items[0].value).into_owned();
        assert!(stored.starts_with("stead:enc:aesgcm:v1:key-"), "{stored}");
        admin.delete(&format!("{SECRETS}/s")).await.expect(200);
        admin.post(SECRETS, &secret).await.expect(201)["metadata"]["resourceVersion"].clone()
    };
    for entry in std::fs::read_dir(&path).unwrap().chain(std::fs::read_dir(directory.path()).unwrap()) {
        let entry = entry.unwrap();
        let Ok(bytes) = std::fs::read(entry.path()) else { continue };
        for hidden in [PLAIN.to_owned(), BASE64_STANDARD.encode(PLAIN)] {
            let found = bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes());
            assert!(!found, "{:?} holds the secret", entry.path());
        }
    }
    let store: Arc<dyn Store> = Arc::new(reopened(&path).await);
    let cluster = Cluster::with(store, |config| config.sealing_keys = keys).await;
    let found = cluster.admin().get(&format!("{SECRETS}/s")).await.expect(200);
    assert_eq!((&found["metadata"]["resourceVersion"], &found["type"]), (&revision, &json!("Opaque")));
    assert_eq!(found["data"]["password"], BASE64_STANDARD.encode(PLAIN));
}

/// The tasks of a server that is gone hold its store a moment longer.
async fn reopened(path: &Path) -> Embedded {
    let end = Instant::now() + DEADLINE;
    loop {
        match Embedded::open(path) {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_but_administrators_sees_secrets() {
    let cluster = Cluster::new().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": PLAIN}});
    cluster.admin().post(SECRETS, &secret).await.expect(201);
    let node = cluster.client(Identity::new("system:node:node1", &["system:nodes"]));
    for path in [SECRETS, "/api/v1/secrets", "/api/v1/watch/secrets", "/api/v1/namespaces/default/secrets/s"] {
        let refused = node.get(path).await;
        assert!(!refused.text.contains("password"), "{path}");
        refused.expect(403);
    }
    let bad = json!({"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": PLAIN}});
    let refused = cluster.admin().post(SECRETS, &bad).await;
    assert_eq!(refused.message(), "Secret \"t\" is invalid: data[tls.key]: Required value");
    assert!(!refused.text.contains(PLAIN));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = cluster.admin().get_as(SECRETS, table).await.expect(200);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("s"), json!("Opaque"), json!(1)]);
}
