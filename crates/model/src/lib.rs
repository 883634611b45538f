//! Plain values that every other crate speaks in: families, protocols, keys, revisions, what ranges of addresses a cluster may
//! have, and how long silence lasts.
//!
//! Nothing here knows Kubernetes JSON (that is `stead-api`) or a kernel (that is `stead-sys`); there is no I/O and no clock.

mod key;
mod net;
pub mod range;
pub mod silence;

pub use key::{ObjectKey, Revision, ServicePortKey};
pub use net::{Family, Frontend, InvalidProtocol, Protocol, is_metadata};
