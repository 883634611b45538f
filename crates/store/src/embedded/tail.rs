//! The newest rows, which the log holds and the tables do not yet: what has to be looked at before the tables are.
//!
//! A row may be here that is not durable yet, or never will be; the index points at none of those. Rows leave when the tables
//! have them (`checkpoint`), and those that compaction gives up leave without ever having been there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::index::{Position, Write};

/// One write with its key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Bytes,
    pub(super) write: Write,
    /// Empty where the write is a deletion.
    pub(super) value: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Tail(BTreeMap<Position, Row>);

impl Tail {
    pub(super) fn push(&mut self, row: Row) {
        self.0.insert(row.write.at, row);
    }

    pub(super) fn value(&self, at: Position) -> Option<Bytes> {
        self.0.get(&at).map(|row| row.value.clone())
    }

    /// Those at and after `from`, ascending.
    pub(super) fn from(&self, from: Position) -> impl Iterator<Item = &Row> {
        self.0.range(from..).map(|(_, row)| row)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the row was here.
    pub(super) fn remove(&mut self, at: Position) -> bool {
        self.0.remove(&at).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
