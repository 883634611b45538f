//! History does not grow for ever: revisions older than some minutes are dropped from the store.

use std::{sync::Arc, time::Duration};

use stead_store::{Store, StoreError};

/// How often; what is older than one period can no longer be read.
const EVERY: Duration = Duration::from_secs(300);

/// Compacts until the store is closed.
pub(crate) async fn run(store: Arc<dyn Store>) {
    let mut before = None;
    loop {
        match store.revision().await {
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "no revision to compact at"),
            Ok(newest) => {
                if let Some(before) = before.replace(newest).filter(|before| *before < newest) {
                    match store.compact(before).await {
                        Ok(()) | Err(StoreError::Compacted { .. }) => {}
                        Err(error) => tracing::warn!(%error, revision = %before, "compaction failed"),
                    }
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
