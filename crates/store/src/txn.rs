//! The transactions that most callers want: create, update, delete, each guarded by what the caller has seen.
//!
//! A guard that does not hold reads the key instead, so that the caller learns what stands there in the same step.

use std::collections::HashSet;

use bytes::Bytes;
use stead_model::Revision;

use crate::{Compare, KeyValue, Op, OpOutcome, StoreError, Txn, TxnOutcome};

impl Txn {
    /// Puts `key` where it does not exist; else reads it.
    pub fn create(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::update(key, Revision::ZERO, value)
    }

    /// Puts `key` where its `mod_revision` is `seen`; else reads it.
    pub fn update(key: impl Into<Bytes>, seen: Revision, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        Self::guarded(seen, &key, Op::put(key.clone(), value))
    }

    /// Deletes `key` where its `mod_revision` is `seen`; else reads it.
    pub fn delete(key: impl Into<Bytes>, seen: Revision) -> Self {
        let key = key.into();
        Self::guarded(seen, &key, Op::Delete { key: key.clone() })
    }

    /// Puts `key` whatever stands there.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { success: vec![Op::put(key, value)], ..Self::default() }
    }

    fn guarded(seen: Revision, key: &Bytes, op: Op) -> Self {
        Self {
            compare: vec![Compare::ModRevision { key: key.clone(), is: seen }],
            success: vec![op],
            failure: vec![Op::Get { key: key.clone() }],
        }
    }

    /// Fails where one branch writes a key twice, whether or not that branch would run.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        for branch in [&self.success, &self.failure] {
            let mut written = HashSet::new();
            for key in branch.iter().filter_map(Op::written_key) {
                if !written.insert(key) {
                    return Err(StoreError::DuplicateKey(key.clone()));
                }
            }
        }
        Ok(())
    }
}

impl Op {
    /// A put without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    pub(crate) fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Get { key } => key,
        }
    }

    fn written_key(&self) -> Option<&Bytes> {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => Some(key),
            Self::Get { .. } => None,
        }
    }
}

impl TxnOutcome {
    /// What the first `Get` or `Delete` that ran found; after a guard failed: what stands there.
    pub fn found(&self) -> Option<&KeyValue> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            OpOutcome::Get(found) | OpOutcome::Delete(found) => found.as_ref(),
            OpOutcome::Put => None,
        })
    }
}
