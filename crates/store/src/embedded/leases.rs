//! Leases in memory: how long each lives, when it runs out, and which keys hang on it.
//!
//! The committer owns this. Deadlines are not durable: they start anew at open. Deleting the keys is the committer's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{Lease, StoreError};

#[derive(Debug)]
struct Granted {
    ttl: Duration,
    deadline: Instant,
    /// The keys whose newest write carries this lease.
    keys: BTreeSet<Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    granted: BTreeMap<Lease, Granted>,
    /// One entry for each lease.
    deadlines: BTreeSet<(Instant, Lease)>,
}

impl Leases {
    pub(super) fn grant(&mut self, lease: Lease, ttl_seconds: u32, now: Instant) {
        let ttl = Duration::from_secs(ttl_seconds.into());
        let deadline = now + ttl;
        self.granted.insert(lease, Granted { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, lease));
    }

    pub(super) fn keep_alive(&mut self, lease: Lease, now: Instant) -> Result<(), StoreError> {
        let granted = self.granted.get_mut(&lease).ok_or(StoreError::NoLease(lease))?;
        self.deadlines.remove(&(granted.deadline, lease));
        granted.deadline = now + granted.ttl;
        self.deadlines.insert((granted.deadline, lease));
        Ok(())
    }

    /// Ends the lease; returns the keys that are to be deleted with it.
    pub(super) fn end(&mut self, lease: Lease) -> Result<BTreeSet<Bytes>, StoreError> {
        let granted = self.granted.remove(&lease).ok_or(StoreError::NoLease(lease))?;
        self.deadlines.remove(&(granted.deadline, lease));
        Ok(granted.keys)
    }

    pub(super) fn exists(&self, lease: Lease) -> bool {
        self.granted.contains_key(&lease)
    }

    /// A key was written: from the lease it had to the lease it has.
    pub(super) fn reattach(&mut self, key: &Bytes, from: Option<Lease>, to: Option<Lease>) {
        if from == to {
            return;
        }
        if let Some(granted) = from.and_then(|lease| self.granted.get_mut(&lease)) {
            granted.keys.remove(key);
        }
        if let Some(granted) = to.and_then(|lease| self.granted.get_mut(&lease)) {
            granted.keys.insert(key.clone());
        }
    }

    /// A lease that has run out by `now`.
    pub(super) fn run_out(&self, now: Instant) -> Option<Lease> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, lease)| *lease)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
