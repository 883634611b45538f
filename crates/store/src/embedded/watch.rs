//! Watchers: a cursor each, first through the history on disk, then through the window.
//!
//! A watcher pulls. One that has reached the window and then falls behind it is cut off; it never holds anybody up, and it
//! keeps no file open: it ends when the engine is dropped.

use std::sync::{PoisonError, Weak};

use futures::{StreamExt as _, stream};
use stead_model::Revision;
use tokio::sync::watch;

use super::{Shared, blocking};
use crate::{StoreError, WatchBatch, WatchStream, span::Span};

/// About how many events one batch looks through.
const EVENTS_PER_BATCH: usize = 1024;

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) shared: Weak<Shared>,
    pub(super) newest: watch::Receiver<Revision>,
    pub(super) span: Span,
    /// Every revision below has been delivered.
    pub(super) next: Revision,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reads what lies before the window from disk.
    CatchingUp,
    /// Has read from the window; to be behind it is to be slow.
    Live,
}

impl Watcher {
    pub(super) fn into_stream(self) -> WatchStream {
        stream::try_unfold(self, Self::step).boxed()
    }

    /// The next batch: every one reaches a later revision than the one before, with or without events.
    async fn step(mut self) -> Result<Option<(WatchBatch, Self)>, StoreError> {
        let newest = *self.newest.wait_for(|newest| *newest >= self.next).await.map_err(|_| StoreError::Closed)?;
        let shared = self.shared.upgrade().ok_or(StoreError::Closed)?;
        let window = shared.window.read().unwrap_or_else(PoisonError::into_inner).read(
            &self.span,
            self.next,
            newest,
            EVENTS_PER_BATCH,
        );
        let (revision, events) = match (window, self.phase) {
            (Ok(read), _) => {
                self.phase = Phase::Live;
                read
            }
            (Err(_), Phase::Live) => return Err(StoreError::Slow),
            (Err(_), Phase::CatchingUp) => {
                let (span, next) = (self.span.clone(), self.next);
                blocking(move || shared.history(&span, next, EVENTS_PER_BATCH)).await?
            }
        };
        self.next = revision.next();
        Ok(Some((WatchBatch { revision, events }, self)))
    }
}
