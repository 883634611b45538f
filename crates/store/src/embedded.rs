//! The embedded engine: a store in one file of one process.
//!
//! Values lie on disk (`disk`), an index of keys in memory (`index`); one thread writes (`committer`, a `batch` at a time) and
//! everybody reads beside it; watchers (`watch`) share a `window` of recent events. The file is written ahead of its use
//! (`prepared`), so that a commit syncs nothing but data. The engine takes no part in what values mean, and
//! keeps no copy of them but the page cache: the API server has a watch cache of its own.

mod batch;
mod committer;
mod disk;
mod engine;
mod index;
mod leases;
mod open;
mod prepared;
mod salvage;
mod watch;
mod window;

use std::{
    fs::File,
    sync::{Arc, PoisonError, RwLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use redb::ReadableDatabase as _;
use stead_model::Revision;
use tokio::sync::oneshot;

use self::{
    committer::{Reply, Request},
    disk::failed,
    engine::{Engine, guarded},
    index::{Index, Write},
    watch::{Phase, Watcher},
    window::Window,
};
pub use self::{open::OpenError, salvage::Salvage};
use crate::{Event, EventKind, Lease, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome, WatchStream, span::Span};

/// A range of more items than this is read on a thread where blocking does no harm.
const ITEMS_READ_INLINE: usize = 16;

/// Bounds of an embedded store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// How many events the window holds for watchers.
    pub window_events: usize,
    /// How much memory those events may take.
    pub window_bytes: usize,
    /// The most transactions that share one fsync. At least 1.
    pub writes_per_commit: usize,
    /// How often history is compacted.
    pub compaction_interval: Duration,
    /// The age of history that compaction keeps.
    pub history: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 20,
            window_events: 4_096,
            window_bytes: 4 << 20,
            writes_per_commit: 512,
            compaction_interval: Duration::from_secs(300),
            history: Duration::from_secs(300),
        }
    }
}

/// A durable store. Methods must be called inside a tokio runtime. Dropping it finishes what was asked for, closes the file
/// and ends its watches with [`StoreError::Closed`].
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    newest: tokio::sync::watch::Receiver<Revision>,
    /// `None` only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
}

/// What readers, watchers and the committer share. Locks are held for memory only, never over I/O that waits.
#[derive(Debug)]
struct Shared {
    database: Engine,
    /// Only what is durable.
    index: RwLock<Index>,
    window: RwLock<Window>,
    /// Locked, so that no other process opens the directory. `None` for a store without one.
    _lock: Option<File>,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the store's committer panicked");
        }
    }
}

impl Embedded {
    async fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

#[async_trait::async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(*self.newest.borrow())
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.request(|reply| Request::Txn(txn, reply)).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        let found = guarded("finding keys", || self.shared.find(&request))?;
        if found.writes.len() <= ITEMS_READ_INLINE { found.read() } else { blocking(move || found.read()).await }
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<WatchStream, StoreError> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).check_history(from)?;
        let watcher = Watcher {
            shared: Arc::downgrade(&self.shared),
            newest: self.newest.clone(),
            span: Span::new(start, end),
            next: from.max(Revision(1)),
            phase: Phase::CatchingUp,
        };
        Ok(watcher.into_stream())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.request(|reply| Request::Compact(revision, reply)).await
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<Lease, StoreError> {
        self.request(|reply| Request::GrantLease(ttl_seconds, reply)).await
    }

    async fn keep_lease_alive(&self, lease: Lease) -> Result<(), StoreError> {
        self.request(|reply| Request::KeepLeaseAlive(lease, reply)).await
    }

    async fn revoke_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.request(|reply| Request::RevokeLease(lease, reply)).await
    }
}

/// The keys of a range, and the state of the disk that still has their values.
struct Found {
    revision: Revision,
    writes: Vec<(Bytes, Write)>,
    remaining: usize,
    snapshot: redb::ReadTransaction,
}

impl Found {
    fn read(self) -> Result<Page, StoreError> {
        guarded("reading values", || self.read_values())
    }

    fn read_values(self) -> Result<Page, StoreError> {
        let values = self.snapshot.open_table(disk::VALUES).map_err(failed("opening the values"))?;
        let items = self.writes.into_iter().map(|(key, write)| {
            let value = disk::read_value(&values, &key, write.at)?;
            Ok(write.key_value(key, value))
        });
        Ok(Page {
            revision: self.revision,
            items: items.collect::<Result<_, StoreError>>()?,
            remaining: self.remaining,
        })
    }
}

impl Shared {
    fn find(&self, request: &RangeRequest) -> Result<Found, StoreError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let at = request.revision.unwrap_or(index.revision);
        if at > index.revision {
            return Err(StoreError::Future { requested: at, newest: index.revision });
        }
        if at < index.compacted {
            return Err(StoreError::Compacted { requested: at, oldest: index.compacted });
        }
        let span = Span::new(request.start.clone(), request.end.clone());
        let mut keys = index.range(&span, at);
        let limit = request.limit.unwrap_or(usize::MAX);
        let writes = keys.by_ref().take(limit).map(|(key, write)| (key.clone(), *write)).collect();
        let remaining = keys.count();
        // Taken while the index is held: rows that it points to are removed only in commits after this snapshot.
        let snapshot = self.database.begin_read().map_err(failed("beginning a read"))?;
        Ok(Found { revision: index.revision, writes, remaining, snapshot })
    }

    /// The events of `span` from `next` on, out of about `limit`, from disk; and the revision up to which that is all.
    fn history(&self, span: &Span, next: Revision, limit: usize) -> Result<(Revision, Vec<Arc<Event>>), StoreError> {
        guarded("reading history", || self.read_history(span, next, limit))
    }

    fn read_history(
        &self,
        span: &Span,
        next: Revision,
        limit: usize,
    ) -> Result<(Revision, Vec<Arc<Event>>), StoreError> {
        let step = "reading history";
        let (snapshot, mut upto) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.check_history(next)?;
            (self.database.begin_read().map_err(failed(step))?, index.revision)
        };
        let mut writes = Vec::new();
        let heads = snapshot.open_table(disk::HEADS).map_err(failed(step))?;
        for (count, row) in heads.range((next.0, 0)..).map_err(failed(step))?.enumerate() {
            let (position, head) = row.map_err(failed(step))?;
            let revision = Revision(position.value().0);
            if revision > upto {
                break;
            }
            if count == limit {
                upto = revision;
            }
            let head = disk::parse_head(position.value(), head.value()).ok_or("a head is damaged");
            writes.push(head.map_err(failed(step))?);
        }
        writes.retain(|(key, _)| span.contains(key));
        let before: Vec<_> = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            // Compaction may have run meanwhile. What stood before a revision that it keeps, it keeps too.
            index.check_history(next)?;
            writes.iter().map(|(key, write)| index.before(key, write.at.revision).copied()).collect()
        };
        let values = snapshot.open_table(disk::VALUES).map_err(failed(step))?;
        let mut events = Vec::with_capacity(writes.len());
        for ((key, write), before) in writes.into_iter().zip(before) {
            let previous = match before {
                Some(before) => Some(before.key_value(key.clone(), disk::read_value(&values, &key, before.at)?)),
                None => None,
            };
            let (kind, value) = match write.is_deletion() {
                true => (EventKind::Delete, Bytes::new()),
                false => (EventKind::Put, disk::read_value(&values, &key, write.at)?),
            };
            events.push(Arc::new(Event { kind, key_value: write.key_value(key, value), previous }));
        }
        Ok((upto, events))
    }
}

/// Runs `read` where blocking does no harm.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.map_err(failed("reading on another thread"))?
}
