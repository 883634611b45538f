//! A watch as the body of an answer: a cursor over a kind's window, waiting events joined into one frame.
//!
//! Nothing is queued for a client: it is asked for the next frame when its socket has room, and who is too slow for the
//! window is told 410 and ended. A watch ends by its timeout or with the server, which is no error.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use stead_api::{status::ApiError, table::Columns};
use stead_model::Revision;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    cache::{Change, ChangeKind, Entry, KindCache, Listing, Position},
    filter::Filter,
    metrics::Watched,
    shares::Share,
    view::{Shown, View},
};

/// A frame is sent once it has grown to this many bytes: what one record of TLS takes. A client that does not read has some of them
/// waiting.
const FRAME: usize = 16 << 10;
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What a watch shows before the changes.
#[derive(Debug)]
pub(crate) enum Start {
    /// Changes from a position on that are newer than a revision, which may still be to come.
    At { position: Position, after: Revision },
    /// Each object as ADDED.
    Objects(Listing),
    /// The same, then a bookmark that says they are complete.
    MarkedObjects(Listing),
}

/// What a watch needs to know.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) cache: Arc<KindCache>,
    pub(crate) filter: Filter,
    pub(crate) shown: Shown,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    pub(crate) stop: watch::Receiver<bool>,
    /// Held as long as the watch goes on.
    #[expect(dead_code, reason = "what counts is when it is dropped")]
    pub(crate) share: Option<Share>,
    pub(crate) watched: Watched,
}

struct Watcher {
    watch: Watch,
    head: watch::Receiver<u64>,
    initial: Option<Initial>,
    position: Position,
    /// Everything up to here has been sent.
    seen: Revision,
    /// Changes up to here are the client's already.
    after: Revision,
    columns: Columns,
    /// Ready when the watch has lived its time or the server ends. One future for all waits: watchers that enlist anew after each
    /// event wait for each other.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    tick: tokio::time::Interval,
    ended: bool,
}

struct Initial {
    entries: std::vec::IntoIter<Arc<Entry>>,
    marked: bool,
}

/// The frames of a watch; ends by itself.
pub(crate) fn frames(watch: Watch, start: Start) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let initial = |listing: Listing, marked| {
        let Listing { entries, revision, position } = listing;
        (Some(Initial { entries: entries.into_iter(), marked }), position, revision)
    };
    let after = match &start {
        Start::At { after, .. } => *after,
        Start::Objects(_) | Start::MarkedObjects(_) => Revision::ZERO,
    };
    let (initial, position, seen) = match start {
        Start::At { position, after } => (None, position, after),
        Start::Objects(listing) => initial(listing, false),
        Start::MarkedObjects(listing) => initial(listing, true),
    };
    let mut tick = tokio::time::interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        head: watch.cache.subscribe(),
        initial,
        position,
        seen,
        after,
        columns: Columns::Defined,
        end: Box::pin(end(watch.timeout, watch.stop.clone())),
        tick,
        ended: false,
        watch,
    };
    stream::unfold(watcher, |mut watcher| async {
        let frame = watcher.next().await?;
        Some((Ok(frame), watcher))
    })
}

async fn end(timeout: Duration, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(timeout) => {}
        // An error means that the server is gone.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Why a watcher woke.
enum Woken {
    Changes,
    Tick,
    End,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut frame = BytesMut::new();
        if let Some(initial) = self.initial.take() {
            self.initial(initial, &mut frame);
            if !frame.is_empty() {
                return Some(frame.freeze());
            }
        }
        loop {
            self.head.borrow_and_update();
            let unread = self.changes(&mut frame);
            if !frame.is_empty() {
                return Some(frame.freeze());
            }
            if unread {
                tokio::task::yield_now().await;
                continue;
            }
            match self.wait().await {
                Woken::Changes => {}
                Woken::Tick => {
                    if self.watch.bookmarks {
                        self.bookmark(&mut frame, &json!({}));
                        return Some(frame.freeze());
                    }
                }
                Woken::End => {
                    self.ended = true;
                    if self.watch.bookmarks {
                        self.bookmark(&mut frame, &json!({}));
                        return Some(frame.freeze());
                    }
                    return None;
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        tokio::select! {
            biased;
            () = &mut self.end => Woken::End,
            changed = self.head.changed() => if changed.is_ok() { Woken::Changes } else { Woken::End },
            _ = self.tick.tick() => Woken::Tick,
        }
    }

    fn initial(&mut self, mut initial: Initial, frame: &mut BytesMut) {
        for entry in initial.entries.by_ref() {
            if self.watch.filter.matches(&entry) {
                self.event("ADDED", &entry.json, frame);
            }
            if frame.len() >= FRAME {
                self.initial = Some(initial);
                return;
            }
        }
        if initial.marked {
            self.bookmark(frame, &json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    /// Reads what waits; true if there may be more.
    fn changes(&mut self, frame: &mut BytesMut) -> bool {
        let Ok(batch) = self.watch.cache.read(self.position) else {
            self.expired(frame);
            return true;
        };
        let full = !batch.changes.is_empty();
        for (index, change) in batch.changes.iter().enumerate() {
            if frame.len() >= FRAME {
                // The rest is read again once this is on its way.
                self.position = self.position.plus(index);
                return true;
            }
            if change.revision > self.after {
                self.change(change, frame);
            }
            self.seen = self.seen.max(change.revision);
        }
        self.position = batch.position;
        self.seen = self.seen.max(batch.revision);
        full
    }

    fn change(&mut self, change: &Change, frame: &mut BytesMut) {
        let filter = &self.watch.filter;
        let before = change.previous.as_ref().is_some_and(|previous| filter.matches(previous));
        let after = change.kind != ChangeKind::Deleted && filter.matches(&change.entry);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.event("ADDED", &change.entry.json, frame),
            (true, true) => self.event("MODIFIED", &change.entry.json, frame),
            (true, false) if change.kind == ChangeKind::Deleted => self.event("DELETED", &change.entry.json, frame),
            (true, false) => self.event("DELETED", change.left(), frame),
        }
    }

    fn event(&mut self, kind: &str, json: &Bytes, frame: &mut BytesMut) {
        let object = self.watch.shown.event_object(json, Timestamp::now(), self.columns);
        self.columns = Columns::Omitted;
        self.watch.watched.events.inc();
        put(frame, kind, &object);
    }

    fn bookmark(&mut self, frame: &mut BytesMut, annotations: &Value) {
        let resource = self.watch.shown.resource;
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
            metadata["annotations"] = annotations.clone();
        }
        let (kind, api_version) = match self.watch.shown.view {
            View::Object => (resource.kind, resource.api_version()),
            View::PartialMetadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            View::Table(_) => ("Table", "meta.k8s.io/v1".to_owned()),
        };
        let mut object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if let View::Table(_) = self.watch.shown.view {
            object["rows"] = json!([]);
        }
        put(frame, "BOOKMARK", object.to_string().as_bytes());
    }

    fn expired(&mut self, frame: &mut BytesMut) {
        self.ended = true;
        let error = ApiError::expired("The resourceVersion for the provided watch is too old.");
        frame.extend_from_slice(&error_event(&error));
    }
}

/// The event by which a watch ends that cannot go on.
pub(crate) fn error_event(error: &ApiError) -> Bytes {
    let mut frame = BytesMut::new();
    put(&mut frame, "ERROR", error.status.to_value().to_string().as_bytes());
    frame.freeze()
}

fn put(frame: &mut BytesMut, kind: &str, object: &[u8]) {
    frame.reserve(object.len() + 40);
    frame.put_slice(br#"{"type":""#);
    frame.put_slice(kind.as_bytes());
    frame.put_slice(br#"","object":"#);
    frame.put_slice(object);
    frame.put_slice(b"}\n");
}

#[cfg(test)]
mod tests;
