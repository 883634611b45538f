//! What the log holds, put into the tables in one commit, after which the log begins anew.
//!
//! It takes as long as some writes do, so it is done while nobody waits, or when the log is full. Rows that nobody can
//! reach any more leave the tables with it.

use std::sync::PoisonError;

use super::{
    committer::Committer,
    disk::{self, failed},
    record::LeaseChange,
};
use crate::StoreError;

/// How many dead rows one commit removes besides as many as it adds: bounds how long a write waits for it (about 5 ms).
const DEAD_ROWS_PER_COMMIT: usize = 1000;
/// The part of the log from which on it is emptied while nobody writes.
const EMPTIED_FROM: usize = 4;

impl Committer {
    /// Whether there is a use in one though the log has room.
    pub(super) fn wants_checkpoint(&self) -> bool {
        !self.dead.is_empty() || self.log.used() * EMPTIED_FROM >= self.log.room()
    }

    /// After an error the tables have all of it or nothing.
    pub(super) fn checkpoint(&mut self) -> Result<(), StoreError> {
        let step = "moving the log to the tables";
        let transaction = self.shared.database.begin_write().map_err(failed(step))?;
        {
            let mut heads = transaction.open_table(disk::HEADS).map_err(failed(step))?;
            let mut values = transaction.open_table(disk::VALUES).map_err(failed(step))?;
            let tail = self.shared.tail.read().unwrap_or_else(PoisonError::into_inner);
            for row in tail.rows() {
                let at = row.write.at;
                heads.insert(disk::row(at), &*disk::encode_head(&row.key, &row.write)).map_err(failed(step))?;
                if !row.write.is_deletion() {
                    values.insert(disk::row(at), &*disk::encode_value(&row.value, at)).map_err(failed(step))?;
                }
            }
            let dead = self.dead.len().min(DEAD_ROWS_PER_COMMIT + tail.len());
            for at in self.dead.drain(..dead) {
                heads.remove(disk::row(at)).map_err(failed(step))?;
                values.remove(disk::row(at)).map_err(failed(step))?;
            }
            let mut leases = transaction.open_table(disk::LEASES).map_err(failed(step))?;
            for change in self.pending.leases.drain(..) {
                match change {
                    LeaseChange::Granted(lease, ttl_seconds) => leases.insert(lease.0, ttl_seconds),
                    LeaseChange::Ended(lease) => leases.remove(lease.0),
                }
                .map_err(failed(step))?;
            }
            let mut meta = transaction.open_table(disk::META).map_err(failed(step))?;
            let mut note = |name, number| meta.insert(name, number).map(drop).map_err(failed(step));
            note(disk::META_LOGGED, self.log.number())?;
            note(disk::META_LAST_LEASE, self.last_lease)?;
            if let Some(revision) = self.pending.compacted.take() {
                note(disk::META_COMPACTED, revision.0)?;
            }
        }
        transaction.commit().map_err(failed(step))?;
        // Whoever did not find a row here any more begins to read the tables after this commit.
        self.shared.tail.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.log.begin_anew();
        Ok(())
    }
}
