//! The key index in memory: for each key, where and when it was written since the compacted revision.
//!
//! It holds no values (those are on disk, found by position) and only what is durable: the committer applies a batch after its
//! commit. It is rebuilt from the heads on disk at open.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use bytes::Bytes;
use stead_model::Revision;

use crate::{KeyValue, Lease, StoreError, span::Span};

/// Where a write lies in the history and on disk: the `order`th write of the transaction at `revision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) revision: Revision,
    pub(super) order: u32,
}

impl Position {
    /// The first position at `revision`.
    pub(super) const fn first(revision: Revision) -> Self {
        Self { revision, order: 0 }
    }
}

/// One write of a key, without key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) at: Position,
    pub(super) create_revision: Revision,
    /// 0: the key was deleted here.
    pub(super) version: u64,
    pub(super) lease: Option<Lease>,
}

impl Write {
    pub(super) const fn is_deletion(&self) -> bool {
        self.version == 0
    }

    pub(super) fn key_value(&self, key: Bytes, value: Bytes) -> KeyValue {
        KeyValue {
            key,
            value,
            create_revision: self.create_revision,
            mod_revision: self.at.revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// The writes of each key, ascending, never empty. All but the last of those at or below `compacted` are gone.
    keys: BTreeMap<Bytes, Vec<Write>>,
    /// Keys whose older writes become dead once this revision is compacted, ascending.
    superseding: VecDeque<(Revision, Bytes)>,
    /// The newest durable revision. `compacted ≤ revision`.
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

impl Index {
    /// The key as of `revision`, `None` where it does not exist then.
    pub(super) fn get(&self, key: &Bytes, revision: Revision) -> Option<&Write> {
        newest(self.keys.get(key)?, revision)
    }

    /// What the key was right before the transaction at `revision`.
    pub(super) fn before(&self, key: &Bytes, revision: Revision) -> Option<&Write> {
        self.get(key, Revision(revision.0.checked_sub(1)?))
    }

    /// The keys of `span` that exist at `revision`, ascending.
    pub(super) fn range(&self, span: &Span, revision: Revision) -> impl Iterator<Item = (&Bytes, &Write)> {
        self.keys
            .range::<Bytes, _>(span.clone())
            .filter_map(move |(key, writes)| Some((key, newest(writes, revision)?)))
    }

    /// Every key that exists now.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&Bytes, &Write)> {
        self.keys.iter().filter_map(|(key, writes)| Some((key, newest(writes, self.revision)?)))
    }

    /// Fails where events from `from` on have been compacted: those up to and including the compacted revision are gone.
    pub(super) fn check_history(&self, from: Revision) -> Result<(), StoreError> {
        // No event has revision zero.
        if from.max(Revision(1)) > self.compacted {
            return Ok(());
        }
        Err(StoreError::Compacted { requested: from, oldest: self.compacted.next() })
    }

    /// Adds a write; must lie behind all others.
    pub(super) fn apply(&mut self, key: Bytes, write: Write) {
        self.revision = write.at.revision;
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                if write.is_deletion() {
                    self.superseding.push_back((write.at.revision, entry.key().clone()));
                }
                entry.insert(vec![write]);
            }
            Entry::Occupied(mut entry) => {
                self.superseding.push_back((write.at.revision, entry.key().clone()));
                entry.get_mut().push(write);
            }
        }
    }

    /// Forgets what is not needed to read at `revision` or later; returns where it lay on disk.
    pub(super) fn compact(&mut self, revision: Revision) -> Vec<Position> {
        self.compacted = self.compacted.max(revision);
        self.revision = self.revision.max(revision);
        let mut dead = Vec::new();
        while let Some((_, key)) = self.superseding.pop_front_if(|(superseding, _)| *superseding <= revision) {
            let Entry::Occupied(mut entry) = self.keys.entry(key) else { continue };
            let writes = entry.get_mut();
            let old = writes.partition_point(|write| write.at.revision <= revision);
            let Some(last) = old.checked_sub(1) else { continue };
            let keep_from = if writes[last].is_deletion() { old } else { last };
            dead.extend(writes.drain(..keep_from).map(|write| write.at));
            if writes.is_empty() {
                entry.remove();
            } else if writes.capacity() > 2 * writes.len() {
                writes.shrink_to_fit();
            }
        }
        dead
    }
}

fn newest(writes: &[Write], revision: Revision) -> Option<&Write> {
    let upto = writes.partition_point(|write| write.at.revision <= revision);
    writes[..upto].last().filter(|write| !write.is_deletion())
}
