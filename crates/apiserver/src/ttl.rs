//! Leases for objects that live for a while only, as Events do.
//!
//! A lease is shared by all that is written within some minutes, so that thousands of Events cost a few leases; each lives
//! a little longer than asked for, never shorter.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use stead_store::{Lease, Store, StoreError};
use tokio::sync::Mutex;

/// How long one lease is handed out; at most this much longer do objects live.
const SHARED_FOR: Duration = Duration::from_secs(60);

/// The newest lease for each time to live.
#[derive(Debug)]
pub(crate) struct EventLeases {
    store: Arc<dyn Store>,
    newest: Mutex<HashMap<u32, (Lease, Instant)>>,
}

impl EventLeases {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, newest: Mutex::new(HashMap::new()) }
    }

    /// A lease that ends in no less than `seconds`.
    pub(crate) async fn lease(&self, seconds: u32) -> Result<Lease, StoreError> {
        let mut newest = self.newest.lock().await;
        if let Some((lease, granted)) = newest.get(&seconds)
            && granted.elapsed() < SHARED_FOR
        {
            return Ok(*lease);
        }
        let shared = u32::try_from(SHARED_FOR.as_secs()).unwrap_or(u32::MAX);
        let lease = self.store.grant_lease(seconds.saturating_add(shared)).await?;
        newest.insert(seconds, (lease, Instant::now()));
        Ok(lease)
    }

    /// Forgets a lease that the store no longer knows.
    pub(crate) async fn forget(&self, lease: Lease) {
        self.newest.lock().await.retain(|_, (newest, _)| *newest != lease);
    }
}
