//! The tables on disk and how rows are spelled in them.
//!
//! Two append-only tables, keyed by position: what was written (`heads`: key, create revision, version, lease) and the value
//! beside it. There is no table of current rows: the index in memory is that. Rows are only ever added at the end and removed
//! by compaction. Which rows those are is the committer's business. What the tables lack is in the log (`log`), whose records say it.
//!
//! Each row of both ends with a checksum of itself and its position: the engine checks its pages only when a file is opened, and
//! a bit may turn later.

use std::{collections::BTreeMap, fmt::Display};

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition};
use stead_model::Revision;

use super::{
    index::{Index, Position, Write},
    record::{Changes, LeaseChange},
    tail::Tail,
};
use crate::{Lease, StoreError};

pub(super) type Key = (u64, u32);

pub(super) const HEADS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("heads");
pub(super) const VALUES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("values");
/// Lease → its time to live in seconds.
pub(super) const LEASES: TableDefinition<'_, u64, u32> = TableDefinition::new("leases");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_COMPACTED: &str = "compacted";
pub(super) const META_LAST_LEASE: &str = "last-lease";
/// The last record of the log that the tables have.
pub(super) const META_LOGGED: &str = "logged";

/// Raised whenever older programs could not read what this one writes.
pub(super) const FORMAT: u64 = 3;
/// The same without a log.
pub(super) const FORMAT_WITHOUT_LOG: u64 = 2;

/// The engine's error at `step`.
pub(super) fn failed<E: Display>(step: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Engine { step, cause: error.to_string() }
}

pub(super) const fn row(at: Position) -> Key {
    (at.revision.0, at.order)
}

pub(super) const CHECKSUM_BYTES: usize = 4;

fn checksum((revision, order): Key, row: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.to_be_bytes());
    hasher.update(&order.to_be_bytes());
    hasher.update(row);
    hasher.finalize().to_be_bytes()
}

/// The row without its checksum, where that is right.
pub(super) fn intact(at: Key, row: &[u8]) -> Option<&[u8]> {
    let (row, found) = row.split_last_chunk()?;
    (checksum(at, row) == *found).then_some(row)
}

pub(super) fn encode_value(value: &[u8], at: Position) -> Vec<u8> {
    let mut row_of = Vec::with_capacity(value.len() + CHECKSUM_BYTES);
    row_of.extend(value);
    row_of.extend(checksum(row(at), value));
    row_of
}

/// create revision, version, lease (0: none), each 8 bytes big-endian; then the key and the checksum.
pub(super) fn encode_head(key: &[u8], write: &Write) -> Vec<u8> {
    let mut head = Vec::with_capacity(24 + key.len() + CHECKSUM_BYTES);
    head.extend(write.create_revision.0.to_be_bytes());
    head.extend(write.version.to_be_bytes());
    head.extend(write.lease.map_or(0, |lease| lease.0).to_be_bytes());
    head.extend(key);
    head.extend(checksum(row(write.at), &head));
    head
}

/// `None` where the row is damaged.
pub(super) fn parse_head((revision, order): Key, head: &[u8]) -> Option<(Bytes, Write)> {
    let head = intact((revision, order), head)?;
    let (create_revision, head) = head.split_first_chunk()?;
    let (version, head) = head.split_first_chunk()?;
    let (lease, key) = head.split_first_chunk()?;
    let write = Write {
        at: Position { revision: Revision(revision), order },
        create_revision: Revision(u64::from_be_bytes(*create_revision)),
        version: u64::from_be_bytes(*version),
        lease: Some(u64::from_be_bytes(*lease)).filter(|lease| *lease != 0).map(Lease),
    };
    Some((Bytes::copy_from_slice(key), write))
}

/// The value of `key` at a position that the index knows.
pub(super) fn read_value(
    values: &impl ReadableTable<Key, &'static [u8]>,
    key: &Bytes,
    at: Position,
) -> Result<Bytes, StoreError> {
    let value = values.get(row(at)).map_err(failed("reading a value"))?;
    let value = value.as_ref().and_then(|value| intact(row(at), value.value()));
    value.map(Bytes::copy_from_slice).ok_or_else(|| StoreError::Damaged { key: key.clone() })
}

/// Makes the tables of a new file.
pub(super) fn initialize(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(HEADS)?;
    transaction.open_table(VALUES)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    transaction.commit()?;
    Ok(())
}

/// The format a file was written in.
pub(super) fn read_format(database: &Database) -> Result<u64, redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get(META_FORMAT)?.map_or(0, |format| format.value()))
}

/// Notes that there is a log now.
pub(super) fn raise_format(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    transaction.commit()?;
    Ok(())
}

/// What stands on disk, as it is kept in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) tail: Tail,
    pub(super) pending: Pending,
    /// Rows that compaction has given up and the tables still have.
    pub(super) dead: Vec<Position>,
    /// Lease → seconds to live.
    pub(super) leases: BTreeMap<Lease, u32>,
    pub(super) last_lease: u64,
    /// The last record of the log that the tables have.
    pub(super) logged: u64,
}

/// What the log has and the tables lack, besides rows.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) leases: Vec<LeaseChange>,
    pub(super) compacted: Option<Revision>,
}

impl Pending {
    pub(super) fn take_in(&mut self, changes: &Changes) {
        self.leases.extend(&changes.leases);
        self.compacted = changes.compacted.or(self.compacted);
    }
}

impl Loaded {
    /// Takes in the next record that the tables lack.
    pub(super) fn take_in(&mut self, changes: Changes) {
        self.pending.take_in(&changes);
        for row in changes.rows {
            self.index.apply(row.key.clone(), row.write);
            self.tail.push(row);
        }
        for change in changes.leases {
            match change {
                LeaseChange::Granted(lease, ttl_seconds) => {
                    self.last_lease = self.last_lease.max(lease.0);
                    self.leases.insert(lease, ttl_seconds);
                }
                LeaseChange::Ended(lease) => drop(self.leases.remove(&lease)),
            }
        }
        if let Some(revision) = changes.compacted {
            let dead = self.index.compact(revision);
            self.dead.extend(dead.into_iter().filter(|at| !self.tail.remove(*at)));
        }
    }
}

/// Reads all that the tables have but the values.
pub(super) fn load(database: &Database) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |number| number.value()));
    let mut index = Index::default();
    for entry in transaction.open_table(HEADS)?.iter()? {
        let (position, head) = entry?;
        let (key, write) = parse_head(position.value(), head.value())
            .ok_or_else(|| redb::Error::Corrupted(format!("the head of row {:?} is damaged", position.value())))?;
        index.apply(key, write);
    }
    let dead = index.compact(Revision(number(META_COMPACTED)?));
    let mut leases = BTreeMap::new();
    for entry in transaction.open_table(LEASES)?.iter()? {
        let (lease, ttl) = entry?;
        leases.insert(Lease(lease.value()), ttl.value());
    }
    Ok(Loaded {
        index,
        tail: Tail::default(),
        pending: Pending::default(),
        dead,
        leases,
        last_lease: number(META_LAST_LEASE)?,
        logged: number(META_LOGGED)?,
    })
}

/// How many bytes of the file rows take.
pub(super) fn used_bytes(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    let used = |table| -> Result<u64, redb::Error> {
        let stats = transaction.open_table::<Key, &[u8]>(table)?.stats()?;
        Ok(stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes())
    };
    Ok(used(HEADS)? + used(VALUES)?)
}
