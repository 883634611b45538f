//! The cache of one kind.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use stead_api::resource::Resource;
use stead_model::Revision;
use stead_store::{Event, EventKind};
use tokio::sync::watch;

use super::entry::{Change, Entry, path};

/// What the window holds at most; a watcher further behind is cut off.
const WINDOW_EVENTS: usize = 32_768;
const WINDOW_BYTES: usize = 64 << 20;
/// What one read of the window yields at most.
const BATCH_EVENTS: usize = 256;

/// Current objects and latest changes of one kind, both as of one revision.
#[derive(Debug)]
pub(crate) struct KindCache {
    pub(crate) resource: &'static Resource,
    /// `/registry/PREFIX/`.
    prefix: String,
    state: RwLock<State>,
    /// Moves when there are new changes to read.
    head: watch::Sender<u64>,
    /// Moves with every write to the store.
    revision: watch::Sender<Revision>,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<Box<str>, Arc<Entry>>,
    window: VecDeque<Arc<Change>>,
    /// Number of the window's first change; numbers go up by one from the cache's start.
    first: u64,
    window_bytes: usize,
    /// The window holds every change after this revision.
    floor: Revision,
    /// `objects` are as of this revision.
    revision: Revision,
}

/// Where a watcher stands: the number of the next change to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(u64);

impl Position {
    /// Behind so many of the changes that were read at this one.
    pub(crate) fn plus(self, changes: usize) -> Self {
        Self(self.0 + changes as u64)
    }
}

/// Objects as of one revision.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) revision: Revision,
    /// Where to watch on from.
    pub(crate) position: Position,
}

/// Changes that a watcher has not seen.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Arc<Change>>,
    /// Everything up to here has been read once `changes` are.
    pub(crate) revision: Revision,
    pub(crate) position: Position,
}

/// The wanted changes are no longer in the window; the oldest revision to watch from is `floor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOld {
    pub(crate) floor: Revision,
}

/// The store has not come to the wanted revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotReached {
    pub(crate) current: Revision,
}

impl KindCache {
    pub(crate) fn new(resource: &'static Resource) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            window: VecDeque::new(),
            first: 0,
            window_bytes: 0,
            floor: Revision::ZERO,
            revision: Revision::ZERO,
        };
        Self {
            resource,
            prefix: format!("/registry/{}/", resource.registry),
            state: RwLock::new(state),
            head: watch::Sender::new(0),
            revision: watch::Sender::new(Revision::ZERO),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("no code panics while it holds a cache")
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> usize {
        self.state().objects.len()
    }

    /// The object at `NAMESPACE/NAME` or `NAME`.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Entry>> {
        self.state().objects.get(path).cloned()
    }

    /// All objects, or those of one namespace, or the one at the path `only`.
    pub(crate) fn list(&self, namespace: Option<&str>, only: Option<&str>) -> Listing {
        let state = self.state();
        let entries = match (namespace, only) {
            (_, Some(only)) => state.objects.get(only).cloned().into_iter().collect(),
            (None, None) => state.objects.values().cloned().collect(),
            (Some(namespace), None) => {
                let start = format!("{namespace}/");
                let from = (Bound::Included(start.as_str()), Bound::Unbounded);
                let range = state.objects.range::<str, _>(from);
                range.take_while(|(path, _)| path.starts_with(&start)).map(|(_, entry)| entry.clone()).collect()
            }
        };
        Listing { entries, revision: state.revision, position: state.head() }
    }

    /// Where a watch starts that wants nothing of what there is, and the revision of that.
    pub(crate) fn head(&self) -> (Position, Revision) {
        let state = self.state();
        (state.head(), state.revision)
    }

    /// Where a watch starts that has seen everything up to `seen`.
    pub(crate) fn position_after(&self, seen: Revision) -> Result<Position, TooOld> {
        let state = self.state();
        if seen < state.floor {
            return Err(TooOld { floor: state.floor });
        }
        let before = state.window.partition_point(|change| change.revision <= seen);
        Ok(Position(state.first + before as u64))
    }

    /// What comes at and after `position`, not more than a bounded number; empty at the head.
    pub(crate) fn read(&self, position: Position) -> Result<Batch, TooOld> {
        let state = self.state();
        let skip = position.0.checked_sub(state.first).ok_or(TooOld { floor: state.floor })?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(state.window.len());
        let changes = state.window.range(skip..).take(BATCH_EVENTS).cloned().collect::<Vec<_>>();
        let position = position.plus(changes.len());
        let at_head = position == state.head();
        let revision = match changes.last() {
            Some(last) if !at_head => last.revision,
            _ => state.revision,
        };
        Ok(Batch { changes, revision, position })
    }

    /// Wakes when there may be changes to read.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    pub(crate) fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Waits until everything up to `revision` is in the cache.
    pub(crate) async fn reach(&self, revision: Revision, patience: Duration) -> Result<(), NotReached> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut seen = self.revision.subscribe();
        let reached = tokio::time::timeout(patience, seen.wait_for(|seen| *seen >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotReached { current: self.revision() }),
        }
    }

    /// Starts over with these objects as of `revision`. Watchers are cut off, since changes between are not known.
    pub(super) fn reset(&self, entries: Vec<Entry>, revision: Revision) {
        let mut state = self.state.write().expect("no code panics while it holds a cache");
        state.objects = entries.into_iter().map(|entry| (entry.path.clone(), Arc::new(entry))).collect();
        // One number is left out, so that a watcher at the old head is behind the window too.
        state.first += state.window.len() as u64 + 1;
        state.window.clear();
        state.window_bytes = 0;
        state.floor = revision;
        state.revision = revision;
        let head = state.head().0;
        drop(state);
        self.head.send_replace(head);
        self.revision.send_replace(revision);
    }

    /// Takes in the store's events up to `revision`: those of this kind, in their order.
    pub(crate) fn apply<'a>(&self, events: impl Iterator<Item = &'a Event>, revision: Revision) {
        let changes = events.filter_map(|event| self.change(event)).collect::<Vec<_>>();
        let mut state = self.state.write().expect("no code panics while it holds a cache");
        let moved = !changes.is_empty();
        for (path, change) in changes {
            state.take(path, change);
        }
        state.revision = revision;
        let head = state.head().0;
        drop(state);
        if moved {
            self.head.send_replace(head);
        }
        self.revision.send_replace(revision);
    }

    /// The new state of one key; `None` within: it is gone.
    fn change(&self, event: &Event) -> Option<(Box<str>, Result<Entry, Revision>)> {
        let stored = &event.key_value;
        match event.kind {
            EventKind::Delete => Some((path(&self.prefix, &stored.key), Err(stored.mod_revision))),
            EventKind::Put => match Entry::read(self.resource, &self.prefix, stored) {
                Ok(entry) => Some((entry.path.clone(), Ok(entry))),
                Err(error) => {
                    tracing::error!(%error, "object skipped");
                    None
                }
            },
        }
    }
}

impl State {
    fn head(&self) -> Position {
        Position(self.first + self.window.len() as u64)
    }

    fn take(&mut self, path: Box<str>, new: Result<Entry, Revision>) {
        let change = match new {
            Ok(entry) => {
                let entry = Arc::new(entry);
                Change::put(entry.clone(), self.objects.insert(path, entry))
            }
            Err(revision) => match self.objects.remove(&path) {
                Some(previous) => Change::delete(previous, revision),
                None => return,
            },
        };
        self.window_bytes += change.entry.json.len();
        self.window.push_back(Arc::new(change));
        while self.window.len() > WINDOW_EVENTS || self.window_bytes > WINDOW_BYTES {
            let Some(oldest) = self.window.pop_front() else { break };
            self.first += 1;
            self.window_bytes -= oldest.entry.json.len();
            self.floor = oldest.revision;
        }
    }
}

#[cfg(test)]
mod tests;
