//! The one watch over the store that fills every kind's cache.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use stead_api::resource::Resource;
use stead_model::Revision;
use stead_store::{Event, RangeRequest, Store, StoreError, WatchStream, prefix_end};
use tokio::task::JoinSet;

use super::{entry::Entry, kind::KindCache};

/// How many revisions before its start a cache replays, so that clients that were connected before a restart go on
/// without listing again.
const REPLAY: u64 = 2_000;
/// The watch broke (it fell behind): how long until the cache is filled anew.
const PAUSE: Duration = Duration::from_millis(100);
/// How many objects are read from the store at a time.
const PAGE: usize = 5_000;

/// The caches of all kinds.
#[derive(Debug)]
pub(crate) struct Caches {
    store: Arc<dyn Store>,
    kinds: Vec<Arc<KindCache>>,
}

impl Caches {
    /// Fills a cache for each of `resources` and keeps them so by a task in `tasks`, until the store is closed.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        resources: impl Iterator<Item = &'static Resource>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, StoreError> {
        let kinds = resources.map(|resource| Arc::new(KindCache::new(resource))).collect();
        let caches = Arc::new(Self { store, kinds });
        let newest = caches.store.revision().await?;
        let stream = caches.load(Revision(newest.0.saturating_sub(REPLAY).max(1).min(newest.0))).await?;
        tasks.spawn(caches.clone().follow(stream));
        for kind in &caches.kinds {
            // What is replayed arrives promptly; a store that does not deliver is found by the first read.
            let _ = kind.reach(newest, Duration::from_secs(10)).await;
        }
        Ok(caches)
    }

    pub(crate) fn kind(&self, resource: &'static Resource) -> &Arc<KindCache> {
        self.kinds
            .iter()
            .find(|kind| kind.resource.registry == resource.registry)
            .expect("a cache was made for the stored form of every kind")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<KindCache>> {
        self.kinds.iter()
    }

    /// Fills all kinds as of `revision`, or of the oldest that is kept, and watches from there.
    async fn load(&self, mut revision: Revision) -> Result<WatchStream, StoreError> {
        loop {
            match self.load_at(revision).await {
                Err(StoreError::Compacted { oldest, .. }) if oldest > revision => revision = oldest,
                done => return done,
            }
        }
    }

    async fn load_at(&self, revision: Revision) -> Result<WatchStream, StoreError> {
        // A task each: reading is most of a start.
        let read = |kind: &Arc<KindCache>| tokio::spawn(entries(self.store.clone(), kind.clone(), revision));
        let reading: Vec<_> = self.kinds.iter().map(read).collect();
        let mut loaded = Vec::with_capacity(reading.len());
        for entries in reading {
            loaded.push(entries.await.map_err(|_| StoreError::Closed)??);
        }
        let stream = self.store.watch(Bytes::new(), Bytes::new(), revision.next()).await?;
        for (kind, entries) in self.kinds.iter().zip(loaded) {
            kind.reset(entries, revision);
        }
        Ok(stream)
    }

    async fn follow(self: Arc<Self>, mut stream: WatchStream) {
        loop {
            match stream.next().await {
                Some(Ok(batch)) => self.apply(&batch.events, batch.revision),
                Some(Err(StoreError::Closed)) => return,
                ended => {
                    if let Some(Err(error)) = ended {
                        tracing::warn!(%error, "watch of the store broke; reading it anew");
                    }
                    let Some(recovered) = self.recover().await else { return };
                    stream = recovered;
                }
            }
        }
    }

    /// Resumes where the caches stand, or fills them anew where that is no longer kept. `None`: the store is closed.
    async fn recover(&self) -> Option<WatchStream> {
        loop {
            let seen = self.kinds.iter().map(|kind| kind.revision()).min().unwrap_or_default();
            if let Ok(stream) = self.store.watch(Bytes::new(), Bytes::new(), seen.next()).await {
                return Some(stream);
            }
            match self.store.revision().await {
                Ok(newest) => match self.load(newest).await {
                    Ok(stream) => return Some(stream),
                    Err(error) => tracing::error!(%error, "store cannot be read"),
                },
                Err(StoreError::Closed) => return None,
                Err(error) => tracing::error!(%error, "store has no revision"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn apply(&self, events: &[Arc<Event>], revision: Revision) {
        for kind in &self.kinds {
            let prefix = kind.prefix().as_bytes();
            let mine = events.iter().map(|event| &**event).filter(|event| event.key_value.key.starts_with(prefix));
            kind.apply(mine, revision);
        }
    }
}

/// What a kind holds as of `revision`.
async fn entries(store: Arc<dyn Store>, kind: Arc<KindCache>, revision: Revision) -> Result<Vec<Entry>, StoreError> {
    let end = prefix_end(kind.prefix().as_bytes());
    let mut start = Bytes::copy_from_slice(kind.prefix().as_bytes());
    let mut entries = Vec::new();
    // An empty store has no revision to read at.
    let at = (revision > Revision::ZERO).then_some(revision);
    loop {
        let request = RangeRequest { start, end: end.clone(), revision: at, limit: Some(PAGE) };
        let page = store.range(request).await?;
        for stored in &page.items {
            match Entry::read(kind.resource, kind.prefix(), stored) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::error!(%error, "object skipped"),
            }
        }
        match page.items.last() {
            Some(last) if page.remaining > 0 => start = [&last.key[..], &[0]].concat().into(),
            _ => return Ok(entries),
        }
    }
}
