//! The loops that fill a snapshot by list and watch, thin typed writes, event recording, and the transports: TLS from a
//! kubeconfig, or a service in this process.
//!
//! What is done with the objects is the caller's business. Every error that leaves this crate says by `class()` whether
//! trying again can help; only the loop that sees it decides when.

mod connect;
mod error;
mod events;
mod path;
mod requests;
mod service_cache;
mod watch;
pub mod write;

pub use connect::{ConnectError, connect, connect_to, connect_with, in_process};
pub use error::{CallError, Class, error_text};
pub use events::{EventKind, Recorder, reference};
pub use path::{collection, escape, object};
pub use requests::{Counted, Requests};
pub use service_cache::{Interest, Seen, ServiceCache, Subscription};
pub use stead_api::{item::FromItem, snapshot::Change};
pub use watch::{Backoff, Pulse, Query, watch};
