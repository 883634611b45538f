//! The embedded engine: a store in two files of one process, tables and a log ahead of them.
//!
//! A commit is one record at the end of the `log`, which is one sync of a few adjacent pages; what the log has goes into the tables
//! (`disk`) when nobody waits (`checkpoint`). Values lie there, or in the `tail` as long as only the log has them; an index of keys
//! is in memory (`index`). One thread writes (`committer`, a `batch` at a time) and
//! everybody reads beside it; watchers (`watch`) share a `window` of recent events. The files are written ahead of their use
//! (`prepared`), so that a sync is of nothing but data. The engine takes no part in what values mean, and
//! keeps no copy of them but the tail and the page cache: the API server has a watch cache of its own.

mod batch;
mod checkpoint;
mod committer;
mod disk;
mod engine;
mod index;
mod leases;
mod log;
mod open;
mod prepared;
mod record;
mod salvage;
mod tail;
mod watch;
mod window;

use std::{
    fs::File,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, mpsc},
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
    index::{Index, Position, Write},
    tail::Tail,
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
    /// How much the log takes on disk, and about what its rows take in memory.
    pub log_bytes: u64,
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
            log_bytes: 4 << 20,
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
    /// Locked after the index where both are.
    tail: RwLock<Tail>,
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

/// The keys of a range with the values that only the log has, and the state of the tables that still have the others.
struct Found {
    revision: Revision,
    writes: Vec<(Bytes, Write, Option<Bytes>)>,
    remaining: usize,
    snapshot: redb::ReadTransaction,
}

impl Found {
    fn read(self) -> Result<Page, StoreError> {
        guarded("reading values", || self.read_values())
    }

    fn read_values(self) -> Result<Page, StoreError> {
        let values = self.snapshot.open_table(disk::VALUES).map_err(failed("opening the values"))?;
        let items = self.writes.into_iter().map(|(key, write, value)| {
            let value = value.map_or_else(|| disk::read_value(&values, &key, write.at), Ok)?;
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
        let tail = self.tail();
        let writes =
            keys.by_ref().take(limit).map(|(key, write)| (key.clone(), *write, tail.value(write.at))).collect();
        drop(tail);
        let remaining = keys.count();
        // Taken while the index is held: rows that it points to are removed only in commits after this snapshot. And after the
        // tail was looked through: what had left it is in the tables.
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
        let (newest, snapshot, mut upto) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.check_history(next)?;
            let tail = self.tail();
            let rows = || tail.from(Position::first(next)).map(|row| (row.key.clone(), row.write));
            let last = rows().nth(limit).map_or(index.revision, |(_, write)| write.at.revision);
            let newest: Vec<_> = rows().take_while(|(_, write)| write.at.revision <= last).collect();
            drop(tail);
            (newest, self.database.begin_read().map_err(failed(step))?, index.revision)
        };
        let heads = snapshot.open_table(disk::HEADS).map_err(failed(step))?;
        // What has left the tail meanwhile is in both.
        let end = newest.first().map_or((u64::MAX, u32::MAX), |(_, write)| disk::row(write.at));
        let older = heads.range((next.0, 0)..end.max((next.0, 0))).map_err(failed(step))?.map(|row| {
            let (position, head) = row.map_err(failed(step))?;
            let head = disk::parse_head(position.value(), head.value()).ok_or("a head is damaged");
            head.map_err(failed(step))
        });
        let mut writes = Vec::new();
        for (count, head) in older.chain(newest.into_iter().map(Ok)).enumerate() {
            let (key, write) = head?;
            if write.at.revision > upto {
                break;
            }
            if count == limit {
                upto = write.at.revision;
            }
            writes.push((key, write));
        }
        writes.retain(|(key, _)| span.contains(key));
        let (found, snapshot) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            // Compaction may have run meanwhile. What stood before a revision that it keeps, it keeps too.
            index.check_history(next)?;
            let tail = self.tail();
            let found: Vec<_> = writes
                .into_iter()
                .map(|(key, write)| {
                    let before = index.before(&key, write.at.revision).map(|before| (*before, tail.value(before.at)));
                    let value = tail.value(write.at);
                    (key, write, value, before)
                })
                .collect();
            drop(tail);
            (found, self.database.begin_read().map_err(failed(step))?)
        };
        let values = snapshot.open_table(disk::VALUES).map_err(failed(step))?;
        let read = |key: &Bytes, at, value: Option<Bytes>| value.map_or_else(|| disk::read_value(&values, key, at), Ok);
        let mut events = Vec::with_capacity(found.len());
        for (key, write, value, before) in found {
            let previous = match before {
                Some((before, value)) => Some(before.key_value(key.clone(), read(&key, before.at, value)?)),
                None => None,
            };
            let (kind, value) = match write.is_deletion() {
                true => (EventKind::Delete, Bytes::new()),
                false => (EventKind::Put, read(&key, write.at, value)?),
            };
            events.push(Arc::new(Event { kind, key_value: write.key_value(key, value), previous }));
        }
        Ok((upto, events))
    }

    fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `read` where blocking does no harm.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.map_err(failed("reading on another thread"))?
}
