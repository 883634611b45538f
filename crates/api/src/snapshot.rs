//! What a reader of the API knows: objects of each kind, indexed, and whether the kind's first full list is complete.
//!
//! [`Objects`] is filled by the [`Change`]s of one watch (`stead-client`) and tells its caller what each of them really changed.
//! [`Snapshot`] is the set of kinds that controllers decide from. Neither keeps history nor asks anybody for anything. The
//! proxy's compact snapshot is [`crate::service_snapshot`].

mod kinds;
mod objects;
mod terms;

pub use kinds::{Kind, KindChange, KindDelta, Snapshot};
pub use objects::{Change, Delta, Objects};
pub use terms::{asks_for_shares, term};
