//! What a batch did, and how it is spelled in a record of the log.
//!
//! Rows stand there as they do in the tables, each with its checksum, so that they prove themselves wherever they are found. That a
//! record is whole is the log's business.

use bytes::Bytes;
use stead_model::Revision;

use super::{disk, index::Position, tail::Row};
use crate::Lease;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseChange {
    /// For so many seconds.
    Granted(Lease, u32),
    Ended(Lease),
}

/// In the order in which it is taken in: rows (ascending), leases, compaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) rows: Vec<Row>,
    pub(super) leases: Vec<LeaseChange>,
    /// The revision to compact to.
    pub(super) compacted: Option<Revision>,
}

/// What a row takes besides key and value: kind, position, two lengths, a head's three numbers, two checksums.
const ROW_BYTES: usize = 1 + 12 + 16 + 24 + 2 * disk::CHECKSUM_BYTES;
/// What anything else takes at most.
const OTHER_BYTES: usize = 1 + 8 + 4;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const GRANTED: u8 = 3;
const ENDED: u8 = 4;
const COMPACTED: u8 = 5;

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.leases.is_empty() && self.compacted.is_none()
    }

    /// No less than what they take encoded.
    pub(super) fn size(&self) -> usize {
        let rows = self.rows.iter().map(|row| ROW_BYTES + row.key.len() + row.value.len()).sum::<usize>();
        rows + OTHER_BYTES * (self.leases.len() + 1)
    }

    /// Numbers are big-endian; a row is its position, its head and, unless it deletes, its value, these two each behind their length.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = Vec::new();
        for row in &self.rows {
            let at = row.write.at;
            record.push(if row.write.is_deletion() { DELETE } else { PUT });
            record.extend(at.revision.0.to_be_bytes());
            record.extend(at.order.to_be_bytes());
            put(&mut record, &disk::encode_head(&row.key, &row.write));
            if !row.write.is_deletion() {
                put(&mut record, &disk::encode_value(&row.value, at));
            }
        }
        for lease in &self.leases {
            match lease {
                LeaseChange::Granted(lease, ttl_seconds) => {
                    record.push(GRANTED);
                    record.extend(lease.0.to_be_bytes());
                    record.extend(ttl_seconds.to_be_bytes());
                }
                LeaseChange::Ended(lease) => {
                    record.push(ENDED);
                    record.extend(lease.0.to_be_bytes());
                }
            }
        }
        if let Some(revision) = self.compacted {
            record.push(COMPACTED);
            record.extend(revision.0.to_be_bytes());
        }
        record
    }

    /// `None` where this is no record, or a row in it is damaged.
    pub(super) fn decode(mut record: &[u8]) -> Option<Self> {
        let mut changes = Self::default();
        while let Some(kind) = record.split_off_first() {
            match *kind {
                PUT | DELETE => changes.rows.push(row(*kind, &mut record)?),
                GRANTED => {
                    let (lease, ttl_seconds) = (Lease(number(&mut record)?), u32::from_be_bytes(take(&mut record)?));
                    changes.leases.push(LeaseChange::Granted(lease, ttl_seconds));
                }
                ENDED => changes.leases.push(LeaseChange::Ended(Lease(number(&mut record)?))),
                COMPACTED => changes.compacted = Some(Revision(number(&mut record)?)),
                _ => return None,
            }
        }
        Some(changes)
    }
}

fn row(kind: u8, record: &mut &[u8]) -> Option<Row> {
    let position = Position { revision: Revision(number(record)?), order: u32::from_be_bytes(take(record)?) };
    let at = disk::row(position);
    let (key, write) = disk::parse_head(at, bytes(record)?)?;
    let value = match kind {
        PUT => Bytes::copy_from_slice(disk::intact(at, bytes(record)?)?),
        _ => Bytes::new(),
    };
    (write.is_deletion() == (kind == DELETE)).then_some(Row { key, write, value })
}

fn put(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend((bytes.len() as u64).to_be_bytes());
    record.extend(bytes);
}

fn bytes<'a>(record: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(record)?).ok()?;
    record.split_off(..length)
}

fn number(record: &mut &[u8]) -> Option<u64> {
    take(record).map(u64::from_be_bytes)
}

fn take<const N: usize>(record: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = record.split_first_chunk()?;
    *record = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::index::Write;

    fn changes() -> Changes {
        let at = |revision, order| Position { revision: Revision(revision), order };
        let put = Write { at: at(3, 0), create_revision: Revision(2), version: 2, lease: Some(Lease(5)) };
        let delete = Write { at: at(3, 1), create_revision: Revision::ZERO, version: 0, lease: None };
        Changes {
            rows: vec![
                Row { key: "a".into(), write: put, value: "one".into() },
                Row { key: "b".into(), write: delete, value: Bytes::new() },
            ],
            leases: vec![LeaseChange::Granted(Lease(5), 60), LeaseChange::Ended(Lease(4))],
            compacted: Some(Revision(2)),
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        assert_eq!(Changes::decode(&changes().encode()), Some(changes()));
        assert!(changes().encode().len() <= changes().size());
        assert_eq!(Changes::decode(&[]), Some(Changes::default()));
        assert!(Changes::default().is_empty() && !changes().is_empty());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let record = changes().encode();
        let whole_until = |length: usize| Changes::decode(&record[..length]);
        for length in 1..record.len() {
            if let Some(part) = whole_until(length) {
                assert_ne!(part, changes(), "{length}");
            }
        }
        for byte in 0..record.len() {
            let mut turned = record.clone();
            turned[byte] ^= 1 << (byte % 8);
            assert_ne!(Changes::decode(&turned), Some(changes()), "byte {byte}");
        }
    }
}
