//! When a watch was last known to show the server's state.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Clones share one instant.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// When the watch last heard from its server with nothing missing before that; `None` before the first list is complete. An idle server sends a
    /// bookmark about once a minute, so much silence says nothing.
    pub fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
