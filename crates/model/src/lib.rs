//! Plain values that every other crate speaks in: families, protocols, keys, revisions.
//!
//! Nothing here knows Kubernetes JSON (that is `stead-api`) or a kernel (that is `stead-sys`); there is no I/O and no clock.

mod key;
mod net;

pub use key::{ObjectKey, Revision, ServicePortKey};
pub use net::{Family, Frontend, InvalidProtocol, Protocol, is_metadata};
