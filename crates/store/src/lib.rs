//! A revisioned key space with watch, in etcd's semantics: the trait [`Store`], the `embedded` engine, and the plain `model`
//! that both are tested against.
//!
//! Keys and values are bytes; what they mean is the API server's business. One counter for the whole store; see the trait.

mod store;

pub use store::{
    Compare, Event, EventKind, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome,
    WatchBatch, WatchStream, prefix_end,
};
