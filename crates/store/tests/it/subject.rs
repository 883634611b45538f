//! The engines that the suite runs against, and the few verbs that its tests are written in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use stead_model::Revision;
use stead_store::{Embedded, Event, KeyValue, Model, Options, Page, RangeRequest, Store, StoreError, Txn, WatchStream};
use tempfile::TempDir;

/// Every wait of a test ends by then.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A store under test. Revisions are counted from `base`, since an engine need not start at zero.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) base: Revision,
    directory: Option<(TempDir, Options)>,
}

impl Subject {
    pub(crate) async fn model() -> Self {
        Self::new(Arc::new(Model::new()), None).await
    }

    pub(crate) async fn embedded() -> Self {
        Self::embedded_with(Options::default()).await
    }

    /// An engine whose window is so small that watchers read history from disk.
    pub(crate) async fn embedded_without_window() -> Self {
        Self::embedded_with(Options { window_events: 2, ..Options::default() }).await
    }

    /// The same whose log is full after some writes, so that watchers read from log and tables.
    pub(crate) async fn embedded_with_a_small_log() -> Self {
        Self::embedded_with(Options { window_events: 2, log_bytes: 12 << 10, ..Options::default() }).await
    }

    pub(crate) async fn embedded_with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open_with(directory.path(), options.clone()).unwrap();
        Self::new(Arc::new(store), Some((directory, options))).await
    }

    async fn new(store: Arc<dyn Store>, directory: Option<(TempDir, Options)>) -> Self {
        let base = store.revision().await.unwrap();
        Self { store, base, directory }
    }

    /// Closes and opens an engine that is durable; does nothing to another.
    pub(crate) fn reopen(&mut self) {
        if let Some((directory, options)) = &self.directory {
            self.store = Arc::new(Model::new());
            self.store = Arc::new(Embedded::open_with(directory.path(), options.clone()).unwrap());
        }
    }

    /// The `nth` revision of this test.
    pub(crate) fn at(&self, nth: u64) -> Revision {
        Revision(self.base.0 + nth)
    }

    pub(crate) async fn put(&self, key: &'static str, value: &'static str) -> Revision {
        self.store.txn(Txn::put(key, value)).await.unwrap().revision
    }

    pub(crate) async fn get(&self, key: &'static str) -> Option<KeyValue> {
        let end = Bytes::from([key.as_bytes(), &[0]].concat());
        let request = RangeRequest { start: key.into(), end, revision: None, limit: None };
        self.store.range(request).await.unwrap().items.pop()
    }

    pub(crate) async fn list(&self, revision: Option<Revision>) -> Result<Page, StoreError> {
        self.store.range(RangeRequest { start: Bytes::new(), end: Bytes::new(), revision, limit: None }).await
    }

    pub(crate) async fn watch_all(&self, from: Revision) -> Result<WatchStream, StoreError> {
        self.store.watch(Bytes::new(), Bytes::new(), from).await
    }
}

/// Reads a watch that began at `from` until everything up to `upto` has been delivered. Checks what holds for every watch:
/// batches reach ever later revisions, and their events lie between the batch before and their own, in order.
pub(crate) async fn read_watch(
    watch: &mut WatchStream,
    from: Revision,
    upto: Revision,
) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut events = Vec::new();
    let mut delivered = Revision(from.0.saturating_sub(1));
    while delivered < upto {
        let batch = tokio::time::timeout(DEADLINE, watch.next()).await.expect("a batch in time").expect("no end")?;
        assert!(batch.revision > delivered, "batch {} after {delivered}", batch.revision);
        assert!(batch.events.is_sorted_by_key(|event| event.key_value.mod_revision));
        for event in &batch.events {
            let revision = event.key_value.mod_revision;
            assert!(
                delivered < revision && revision <= batch.revision,
                "{event:?} in {delivered}..={}",
                batch.revision
            );
        }
        delivered = batch.revision;
        events.extend(batch.events);
    }
    Ok(events)
}
