//! List and watch of one collection, for ever: [`watch`] is a stream that never ends and never fails.
//!
//! It asks for a streamed list first (`sendInitialEvents`) and falls back to LIST and WATCH where the server refuses that.
//! Bodies are cut into objects while they arrive ([`split`]), so that a large list is never in memory as a whole. A broken
//! connection resumes at the last revision; a revision that is gone brings a new list. An object that cannot be read is
//! logged and given out as its key alone, and never stops the others. What the objects mean is the caller's business.

mod backoff;
mod frame;
mod pulse;
mod query;
mod session;
mod split;
#[cfg(test)]
mod tests;

use futures::{Stream, stream};
use kube::Client;
use stead_api::{item::FromItem, snapshot::Change};

use self::session::Session;
pub use self::{backoff::Backoff, pulse::Pulse, query::Query};

/// Follows a collection. Every list arrives as `Init`, `InitApply`…, `InitDone`; between lists come `Apply` and `Delete` in the
/// server's order. A new `Init` can come at any time. Dropping the stream drops the connection.
pub fn watch<T: FromItem>(client: Client, query: Query) -> impl Stream<Item = Change<T>> + Send {
    watch_with(client, query, Pulse::default())
}

/// As [`watch`], and tells `pulse` whenever it hears from the server.
pub(crate) fn watch_with<T: FromItem>(
    client: Client,
    query: Query,
    pulse: Pulse,
) -> impl Stream<Item = Change<T>> + Send {
    stream::unfold(Session::new(client, query, pulse), |mut session| async {
        let change = session.next().await;
        Some((change, session))
    })
}
