//! What is stored, kept at hand: for each kind its current objects as encoded JSON, and a window of its latest events.
//!
//! One watch over the whole store fills all kinds, so that a cache's revision moves with every write there is, and a read
//! is consistent once it has passed the store's revision of that moment. Nothing is written from here, and no client is
//! waited for: who falls out of the window has to list again.

mod entry;
mod feed;
mod kind;

pub(crate) use entry::{Change, ChangeKind, Entry, with_revision};
pub(crate) use feed::Caches;
pub(crate) use kind::{KindCache, Listing, Position};
