//! A store that cuts its watchers off: the caches resume, or start over and say so to their own watchers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::json;
use stead_model::Revision;
use stead_store::{Lease, Model, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome, WatchStream};

use crate::support::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Each watch ends as too slow after a few batches.
struct Flaky {
    store: Model,
    /// History is dropped before each new watch.
    forgetful: AtomicBool,
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

#[async_trait::async_trait]
impl Store for Flaky {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.store.txn(txn).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        self.store.range(request).await
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<WatchStream, StoreError> {
        if self.forgetful.load(Ordering::Relaxed) {
            // Compacting the same revision twice is refused, which is as good.
            let _ = self.store.compact(self.store.revision().await?).await;
        }
        let whole = self.store.watch(start, end, from).await?;
        Ok(whole.take(3).chain(stream::once(async { Err(StoreError::Slow) })).boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<Lease, StoreError> {
        self.store.grant_lease(ttl_seconds).await
    }

    async fn keep_lease_alive(&self, lease: Lease) -> Result<(), StoreError> {
        self.store.keep_lease_alive(lease).await
    }

    async fn revoke_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.store.revoke_lease(lease).await
    }
}

#[tokio::test]
async fn caches_go_on_where_they_were_cut_off() {
    let store = Arc::new(Flaky { store: Model::new(), forgetful: false.into() });
    let cluster = Cluster::with(store.clone(), |_| {}).await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    let mut expected = Vec::new();
    for n in 0..20 {
        let name = format!("m{n:02}");
        admin.post(MAPS, &json!({"metadata": {"name": name}})).await.expect(201);
        admin.get(&format!("{MAPS}/{name}")).await.expect(200);
        expected.push(format!("ADDED {name}"));
    }
    assert_eq!(watch.take(20).await, expected);
}

#[tokio::test]
async fn caches_start_over_where_history_is_gone() {
    let store = Arc::new(Flaky { store: Model::new(), forgetful: false.into() });
    let cluster = Cluster::with(store.clone(), |_| {}).await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1")).await;
    store.forgetful.store(true, Ordering::Relaxed);
    for n in 0..20 {
        let name = format!("m{n:02}");
        admin.post(MAPS, &json!({"metadata": {"name": name}})).await.expect(201);
        admin.get(&format!("{MAPS}/{name}")).await.expect(200);
    }
    assert_eq!(admin.get(MAPS).await.expect(200)["items"].as_array().unwrap().len(), 20);
    // What a watcher has seen is without gap; it has all, or is told that it has not.
    let mut seen = 0;
    while seen < 20 {
        let event = watch.next().await.expect("an event");
        if event["type"] == "ERROR" {
            assert_eq!(event["object"]["code"], 410);
            break;
        }
        assert_eq!(event["object"]["metadata"]["name"], format!("m{seen:02}"));
        seen += 1;
    }
}
