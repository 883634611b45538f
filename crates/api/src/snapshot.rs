//! What a reader of the API knows: objects of each kind, indexed, and whether the kind's first full list is complete.
//!
//! [`Objects`] is filled by the [`Change`]s of one watch (`stead-client`) and tells its caller what each of them really changed.
//! It keeps no history and asks nobody for anything.

mod objects;

pub use objects::{Change, Delta, Objects};
