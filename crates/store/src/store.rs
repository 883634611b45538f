//! The contract of a store: transactions, ranges at a revision, watch from a revision, compaction, leases.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use stead_model::Revision;

/// A key with its newest value as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    /// Revision of the transaction that created the key (anew after a deletion).
    pub create_revision: Revision,
    /// Revision of the transaction that last wrote it. `create_revision ≤ mod_revision`.
    pub mod_revision: Revision,
    /// 1 after creation, one more with each write.
    pub version: u64,
    pub lease: Option<Lease>,
}

/// A lease: keys attached to it are deleted, in one transaction, when it runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's `mod_revision` is this; `Revision::ZERO`: the key does not exist.
    ModRevision { key: Bytes, is: Revision },
}

/// A write (or read) of a transaction. No key may be written twice in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
        lease: Option<Lease>,
    },
    Delete {
        key: Bytes,
    },
    /// Sees the state before the transaction's own writes.
    Get {
        key: Bytes,
    },
}

/// If all `compare` hold, `success` happens, else `failure`: whole or not at all, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    pub succeeded: bool,
    /// The store's revision after the transaction; unchanged where it wrote nothing.
    pub revision: Revision,
    /// One for each op that ran, in order.
    pub outcomes: Vec<OpOutcome>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    Put,
    /// What was there before, `None` where nothing was (then the op wrote nothing).
    Delete(Option<KeyValue>),
    Get(Option<KeyValue>),
}

/// Keys in `start..end` (bytewise), as of `revision` (`None`: newest), at most `limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    pub start: Bytes,
    pub end: Bytes,
    pub revision: Option<Revision>,
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The store's newest revision when the range was read.
    pub revision: Revision,
    /// In ascending order of the key.
    pub items: Vec<KeyValue>,
    /// How many keys of the range lie behind `items`.
    pub remaining: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// For a deletion: the key, an empty value, and the deletion's revision as `mod_revision`.
    pub key_value: KeyValue,
    /// What the key held before; `None` on creation.
    pub previous: Option<KeyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// What a watch yields: events in order of revision; a transaction's events are never split over two batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// Everything up to and including this revision has been delivered. A batch may have no events (progress).
    pub revision: Revision,
    pub events: Vec<Arc<Event>>,
}

/// Ends after an error.
pub type WatchStream = BoxStream<'static, Result<WatchBatch, StoreError>>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("revision {requested} has been compacted, the oldest kept is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} is in the future, the newest is {newest}")]
    Future { requested: Revision, newest: Revision },
    #[error("lease {0:?} does not exist")]
    NoLease(Lease),
    #[error("key written twice in one transaction: {0:?}")]
    DuplicateKey(Bytes),
    /// A watcher that did not keep up was cut off; it may resume from the revision it has seen.
    #[error("watcher fell behind")]
    Slow,
    #[error("store is closed")]
    Closed,
    /// What a key holds cannot be read; other keys can.
    #[error("the stored value of {} is damaged: restore a copy of the store", String::from_utf8_lossy(key))]
    Damaged { key: Bytes },
    #[error("{step} failed: {cause}")]
    Engine { step: &'static str, cause: String },
}

/// A revisioned key space.
///
/// * One revision counter; each transaction that writes raises it by one, and all its writes carry that revision.
/// * A write is acknowledged after it is durable, and visible to reads and watches not before.
/// * Reads see a prefix of the history; a read without a revision sees every write acknowledged before it began.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The newest revision that is durable.
    async fn revision(&self) -> Result<Revision, StoreError>;

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError>;

    /// Every event on keys in `start..end` with a revision of `from` or later, without gap or double. Each batch reaches a later
    /// revision than the one before, and every durable revision is reached promptly, if by a batch without events.
    /// `from` may lie in the future. Fails with `Compacted` where events from `from` on have been forgotten.
    async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<WatchStream, StoreError>;

    /// Forgets what is not needed to read at `revision` or later; events up to and including `revision` are forgotten too.
    /// Fails with `Compacted` where that has been done before, with `Future` behind the newest revision.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// A new lease of `ttl_seconds` (≥ 1). Remaining time starts anew when the store is opened again.
    async fn grant_lease(&self, ttl_seconds: u32) -> Result<Lease, StoreError>;

    async fn keep_lease_alive(&self, lease: Lease) -> Result<(), StoreError>;

    /// Ends a lease now, deleting its keys in one transaction.
    async fn revoke_lease(&self, lease: Lease) -> Result<(), StoreError>;
}

/// The first key behind all keys that start with `prefix`: `start = prefix, end = prefix_end(prefix)` is "all under it".
/// Empty where there is none (prefix empty or all 0xff), which ranges and watches take as "no end".
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}
