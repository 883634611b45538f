//! A revisioned key space with watch, in etcd's semantics: the trait [`Store`], the durable engine [`Embedded`], and the plain
//! [`Model`] that engines are tested against.
//!
//! Keys and values are bytes; what they mean is the API server's business. One counter for the whole store; see the trait.

mod embedded;
mod model;
mod span;
mod store;
mod txn;

pub use embedded::{Embedded, OpenError, Options, Salvage};
pub use model::Model;
pub use store::{
    Compare, Event, EventKind, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome,
    WatchBatch, WatchStream, prefix_end,
};
