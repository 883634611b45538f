//! One batch of transactions on its way to disk.
//!
//! A batch sees the durable state (index and rows) and what it has itself written, one transaction after another. Nobody else
//! sees it before the committer has committed it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::Bytes;
use redb::{Table, WriteTransaction};
use stead_model::Revision;

use super::{
    disk::{self, failed},
    index::{Index, Position, Write},
    leases::Leases,
};
use crate::{Compare, Event, EventKind, KeyValue, Lease, Op, OpOutcome, StoreError, Txn, TxnOutcome};

pub(super) struct Batch<'a> {
    index: &'a Index,
    leases: &'a mut Leases,
    heads: Table<'a, (u64, u32), &'static [u8]>,
    values: Table<'a, (u64, u32), &'static [u8]>,
    lease_rows: Table<'a, u64, u32>,
    meta: Table<'a, &'static str, u64>,
    /// The newest write of each key that this batch wrote.
    written: HashMap<Bytes, Write>,
    done: Done,
}

/// What a batch did.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) revision: Revision,
    /// In order of position.
    pub(super) writes: Vec<(Bytes, Write)>,
    pub(super) events: Vec<Arc<Event>>,
    /// The revision to compact to, once this is durable.
    pub(super) compacted: Option<Revision>,
    /// Whether there is anything to commit.
    pub(super) dirty: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        transaction: &'a WriteTransaction,
        index: &'a Index,
        leases: &'a mut Leases,
    ) -> Result<Self, StoreError> {
        let opening = "opening the tables";
        Ok(Self {
            heads: transaction.open_table(disk::HEADS).map_err(failed(opening))?,
            values: transaction.open_table(disk::VALUES).map_err(failed(opening))?,
            lease_rows: transaction.open_table(disk::LEASES).map_err(failed(opening))?,
            meta: transaction.open_table(disk::META).map_err(failed(opening))?,
            written: HashMap::new(),
            done: Done { revision: index.revision, ..Done::default() },
            index,
            leases,
        })
    }

    pub(super) fn finish(self) -> Done {
        self.done
    }

    /// An `Engine` error leaves the batch half-written: nothing of it may be committed. After any other error it is as before.
    pub(super) fn txn(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.validate()?;
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { txn.success } else { txn.failure };
        for op in &ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.exists(*lease)
            {
                return Err(StoreError::NoLease(*lease));
            }
        }
        let before = ops.iter().map(|op| self.read(op.key())).collect::<Result<Vec<_>, _>>()?;
        let mut at = Position::first(self.done.revision.next());
        let mut outcomes = Vec::with_capacity(ops.len());
        for (op, before) in ops.into_iter().zip(before) {
            outcomes.push(match op {
                Op::Get { .. } => OpOutcome::Get(before),
                Op::Put { key, value, lease } => {
                    self.put(&mut at, key, value, lease, before)?;
                    OpOutcome::Put
                }
                Op::Delete { .. } => {
                    if let Some(before) = before.clone() {
                        self.delete(&mut at, before)?;
                    }
                    OpOutcome::Delete(before)
                }
            });
        }
        Ok(TxnOutcome { succeeded, revision: self.done.revision, outcomes })
    }

    pub(super) fn grant_lease(&mut self, lease: Lease, ttl_seconds: u32, now: Instant) -> Result<(), StoreError> {
        let step = "granting a lease";
        let ttl_seconds = ttl_seconds.max(1);
        self.leases.grant(lease, ttl_seconds, now);
        self.done.dirty = true;
        self.lease_rows.insert(lease.0, ttl_seconds).map_err(failed(step))?;
        self.meta.insert(disk::META_LAST_LEASE, lease.0).map_err(failed(step))?;
        Ok(())
    }

    pub(super) fn keep_lease_alive(&mut self, lease: Lease, now: Instant) -> Result<(), StoreError> {
        self.leases.keep_alive(lease, now)
    }

    pub(super) fn end_run_out_leases(&mut self, now: Instant) -> Result<(), StoreError> {
        while let Some(lease) = self.leases.run_out(now) {
            self.end_lease(lease)?;
        }
        Ok(())
    }

    /// Ends the lease and deletes its keys at one revision.
    pub(super) fn end_lease(&mut self, lease: Lease) -> Result<(), StoreError> {
        let keys = self.leases.end(lease)?;
        self.done.dirty = true;
        self.lease_rows.remove(lease.0).map_err(failed("ending a lease"))?;
        let mut at = Position::first(self.done.revision.next());
        for key in keys {
            if let Some(before) = self.read(&key)? {
                self.delete(&mut at, before)?;
            }
        }
        Ok(())
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        let newest = self.done.revision;
        if revision > newest {
            return Err(StoreError::Future { requested: revision, newest });
        }
        let oldest = self.done.compacted.unwrap_or(self.index.compacted);
        if revision <= oldest {
            return Err(StoreError::Compacted { requested: revision, oldest });
        }
        self.done.dirty = true;
        self.done.compacted = Some(revision);
        self.meta.insert(disk::META_COMPACTED, revision.0).map_err(failed("compacting"))?;
        Ok(())
    }

    /// Compacts to `revision` where that is something to do.
    pub(super) fn compact_automatically(&mut self, revision: Revision) -> Result<(), StoreError> {
        match self.compact(revision) {
            Err(StoreError::Compacted { .. }) => Ok(()),
            result => result,
        }
    }

    /// Removes rows that no reader can reach any more.
    pub(super) fn remove_dead(&mut self, dead: impl Iterator<Item = Position>) -> Result<(), StoreError> {
        for at in dead {
            self.done.dirty = true;
            self.heads.remove(disk::row(at)).map_err(failed("removing dead rows"))?;
            self.values.remove(disk::row(at)).map_err(failed("removing dead rows"))?;
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let Compare::ModRevision { key, is } = compare;
        self.newest(key).map_or(Revision::ZERO, |write| write.at.revision) == *is
    }

    fn newest(&self, key: &Bytes) -> Option<&Write> {
        match self.written.get(key) {
            Some(write) => Some(write).filter(|write| !write.is_deletion()),
            None => self.index.get(key, self.index.revision),
        }
    }

    fn read(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        let Some(write) = self.newest(key) else { return Ok(None) };
        let value = disk::read_value(&self.values, key, write.at)?;
        Ok(Some(write.key_value(key.clone(), value)))
    }

    fn put(
        &mut self,
        at: &mut Position,
        key: Bytes,
        value: Bytes,
        lease: Option<Lease>,
        before: Option<KeyValue>,
    ) -> Result<(), StoreError> {
        let write = Write {
            at: *at,
            create_revision: before.as_ref().map_or(at.revision, |before| before.create_revision),
            version: before.as_ref().map_or(1, |before| before.version + 1),
            lease,
        };
        let row = disk::encode_value(&value, *at);
        self.values.insert(disk::row(*at), &*row).map_err(failed("writing a value"))?;
        self.append(at, EventKind::Put, write, write.key_value(key, value), before)
    }

    fn delete(&mut self, at: &mut Position, before: KeyValue) -> Result<(), StoreError> {
        let write = Write { at: *at, create_revision: Revision::ZERO, version: 0, lease: None };
        let key_value = write.key_value(before.key.clone(), Bytes::new());
        self.append(at, EventKind::Delete, write, key_value, Some(before))
    }

    fn append(
        &mut self,
        at: &mut Position,
        kind: EventKind,
        write: Write,
        key_value: KeyValue,
        previous: Option<KeyValue>,
    ) -> Result<(), StoreError> {
        let key = key_value.key.clone();
        let head = disk::encode_head(&key, &write);
        self.heads.insert(disk::row(*at), &*head).map_err(failed("writing a head"))?;
        self.leases.reattach(&key, previous.as_ref().and_then(|previous| previous.lease), write.lease);
        self.written.insert(key.clone(), write);
        self.done.dirty = true;
        self.done.revision = at.revision;
        self.done.writes.push((key, write));
        self.done.events.push(Arc::new(Event { kind, key_value, previous }));
        at.order += 1;
        Ok(())
    }
}
