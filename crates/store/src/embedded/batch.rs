//! One batch of transactions on its way to disk.
//!
//! A batch sees the durable state (index and rows) and what it has itself written, one transaction after another. It writes nothing:
//! what it comes to is for the committer to make durable, and nobody else sees it before that.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadableDatabase as _};
use stead_model::Revision;

use super::{
    disk::{self, failed},
    engine::Engine,
    index::{Index, Position, Write},
    leases::Leases,
    record::{Changes, LeaseChange},
    tail::{Row, Tail},
};
use crate::{Compare, Event, EventKind, KeyValue, Lease, Op, OpOutcome, StoreError, Txn, TxnOutcome};

pub(super) struct Batch<'a> {
    index: &'a Index,
    tail: &'a Tail,
    database: &'a Engine,
    /// Opened by the first value that only the tables have.
    values: Option<ReadOnlyTable<disk::Key, &'static [u8]>>,
    leases: &'a mut Leases,
    /// The newest write of each key that this batch wrote, and what it wrote.
    written: HashMap<Bytes, (Write, Bytes)>,
    done: Done,
}

/// What a batch did.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) revision: Revision,
    pub(super) changes: Changes,
    pub(super) events: Vec<Arc<Event>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(database: &'a Engine, index: &'a Index, tail: &'a Tail, leases: &'a mut Leases) -> Self {
        let done = Done { revision: index.revision, ..Done::default() };
        Self { index, tail, database, values: None, leases, written: HashMap::new(), done }
    }

    pub(super) fn finish(self) -> Done {
        self.done
    }

    /// An `Engine` error leaves the batch half done: nothing of it may be committed. After any other error it is as before.
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
                    self.put(&mut at, key, value, lease, before);
                    OpOutcome::Put
                }
                Op::Delete { .. } => {
                    if let Some(before) = before.clone() {
                        self.delete(&mut at, before);
                    }
                    OpOutcome::Delete(before)
                }
            });
        }
        Ok(TxnOutcome { succeeded, revision: self.done.revision, outcomes })
    }

    pub(super) fn grant_lease(&mut self, lease: Lease, ttl_seconds: u32, now: Instant) {
        let ttl_seconds = ttl_seconds.max(1);
        self.leases.grant(lease, ttl_seconds, now);
        self.done.changes.leases.push(LeaseChange::Granted(lease, ttl_seconds));
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
        self.done.changes.leases.push(LeaseChange::Ended(lease));
        let mut at = Position::first(self.done.revision.next());
        for key in keys {
            if let Some(before) = self.read(&key)? {
                self.delete(&mut at, before);
            }
        }
        Ok(())
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        let newest = self.done.revision;
        if revision > newest {
            return Err(StoreError::Future { requested: revision, newest });
        }
        let oldest = self.done.changes.compacted.unwrap_or(self.index.compacted);
        if revision <= oldest {
            return Err(StoreError::Compacted { requested: revision, oldest });
        }
        self.done.changes.compacted = Some(revision);
        Ok(())
    }

    /// Compacts to `revision` where that is something to do.
    pub(super) fn compact_automatically(&mut self, revision: Revision) -> Result<(), StoreError> {
        match self.compact(revision) {
            Err(StoreError::Compacted { .. }) => Ok(()),
            result => result,
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let Compare::ModRevision { key, is } = compare;
        self.newest(key).map_or(Revision::ZERO, |write| write.at.revision) == *is
    }

    fn newest(&self, key: &Bytes) -> Option<&Write> {
        match self.written.get(key) {
            Some((write, _)) => Some(write).filter(|write| !write.is_deletion()),
            None => self.index.get(key, self.index.revision),
        }
    }

    fn read(&mut self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        let Some(write) = self.newest(key).copied() else { return Ok(None) };
        let value = match self.written.get(key) {
            Some((_, value)) => value.clone(),
            None => self.read_durable(key, write.at)?,
        };
        Ok(Some(write.key_value(key.clone(), value)))
    }

    fn read_durable(&mut self, key: &Bytes, at: Position) -> Result<Bytes, StoreError> {
        if let Some(value) = self.tail.value(at) {
            return Ok(value);
        }
        let values = match self.values.take() {
            Some(values) => values,
            None => {
                let snapshot = self.database.begin_read().map_err(failed("beginning a read"))?;
                snapshot.open_table(disk::VALUES).map_err(failed("opening the values"))?
            }
        };
        disk::read_value(self.values.insert(values), key, at)
    }

    fn put(&mut self, at: &mut Position, key: Bytes, value: Bytes, lease: Option<Lease>, before: Option<KeyValue>) {
        let write = Write {
            at: *at,
            create_revision: before.as_ref().map_or(at.revision, |before| before.create_revision),
            version: before.as_ref().map_or(1, |before| before.version + 1),
            lease,
        };
        self.append(at, EventKind::Put, Row { key, write, value }, before);
    }

    fn delete(&mut self, at: &mut Position, before: KeyValue) {
        let write = Write { at: *at, create_revision: Revision::ZERO, version: 0, lease: None };
        let row = Row { key: before.key.clone(), write, value: Bytes::new() };
        self.append(at, EventKind::Delete, row, Some(before));
    }

    fn append(&mut self, at: &mut Position, kind: EventKind, row: Row, previous: Option<KeyValue>) {
        let Row { key, write, value } = row.clone();
        self.leases.reattach(&key, previous.as_ref().and_then(|previous| previous.lease), write.lease);
        self.written.insert(key.clone(), (write, value.clone()));
        let key_value = write.key_value(key, value);
        self.done.revision = at.revision;
        self.done.changes.rows.push(row);
        self.done.events.push(Arc::new(Event { kind, key_value, previous }));
        at.order += 1;
    }
}
