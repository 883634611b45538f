//! What one client may take of something that there is a bounded number of: requests under way, watches, requests that are
//! passed on, connections.
//!
//! Whoever asks gets one as long as he has fewer than are free. So nobody takes all, however many he asks for: one client comes to
//! half, two to a third each, and there is always something left for the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use stead_api::status::ApiError;

use crate::refusal::Refusal;

/// Upstream's words where it has too much to do.
const TOO_MANY: &str = "Too many requests, please try again later.";

/// How much there is of each; more at a time come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way that end by themselves.
    pub requests: usize,
    pub watches: usize,
    /// Requests that are passed on to pods and nodes.
    pub outbound: usize,
    /// Of those that have shown whose they are.
    pub connections: usize,
    /// How long the client of a watch may read nothing while there is something to send; then it is cut.
    pub unread: Duration,
}

impl Default for Limits {
    /// Leaves one client that is alone room for 10,000 watches on a connection each, and for as many requests at a time as
    /// upstream answers for all.
    fn default() -> Self {
        Self {
            requests: 1_200,
            watches: 100_000,
            outbound: 4_000,
            connections: 40_000,
            unread: Duration::from_secs(60),
        }
    }
}

/// A number of places, given out to clients by name.
#[derive(Debug)]
pub(crate) struct Shares {
    places: usize,
    taken: Mutex<Taken>,
}

/// Invariant: `all` is the sum of `by`, and not more than there are places.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Arc<str>, usize>,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    client: Arc<str>,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, taken: Mutex::default() })
    }

    /// A place for `client`, or 429.
    pub(crate) fn take(self: &Arc<Self>, client: &str) -> Result<Share, Refusal> {
        let mut taken = self.taken();
        let own = taken.by.get(client).copied().unwrap_or_default();
        if own >= self.places - taken.all {
            return Err(ApiError::too_many_requests(TOO_MANY, 1).into());
        }
        let name = taken.by.get_key_value(client).map_or_else(|| client.into(), |(name, _)| name.clone());
        taken.all += 1;
        taken.by.insert(name.clone(), own + 1);
        Ok(Share { shares: self.clone(), client: name })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no code panics while it counts")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shares: &Arc<Shares>, client: &str) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(client).ok()).collect()
    }

    #[test]
    fn nobody_takes_all() {
        let shares = Shares::new(12);
        let first = all(&shares, "a");
        assert_eq!(first.len(), 6, "half of what there is");
        let second = all(&shares, "b");
        assert_eq!(second.len(), 3, "half of what is left");
        let refused = shares.take("a").unwrap_err();
        assert_eq!((refused.0.status.code, refused.0.status.details.retry_after), (429, 1));
        assert!(shares.take("c").is_ok());
        drop(first);
        assert_eq!(all(&shares, "b").len(), 3, "as many as are free then");
        drop(second);
        assert_eq!(all(&shares, "a").len(), 6);
        assert!(shares.taken().by.is_empty(), "nothing is kept of who is gone");
    }
}
