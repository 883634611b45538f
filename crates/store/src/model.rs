//! A plain model of a store: everything in memory, no file, no cleverness.
//!
//! It is the oracle that the engines are compared with, and a fast store for the tests of other crates. It keeps the state at
//! the compacted revision and every event since; an old revision is read by playing events onto that state. Nothing here is
//! durable, and no watcher is ever cut off for being slow: that is [`crate::Embedded`]'s business.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use stead_model::Revision;
use tokio::{sync::watch, time::Instant};

use crate::{
    Compare, Event, EventKind, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, Store, StoreError, Txn, TxnOutcome,
    WatchBatch, WatchStream, span::Span,
};

/// The model. Must be used inside a tokio runtime (leases run out by its timer).
#[derive(Debug)]
pub struct Model {
    state: Arc<Mutex<State>>,
}

type Keys = BTreeMap<Bytes, KeyValue>;

#[derive(Debug)]
struct State {
    /// The keys as of `compacted`.
    base: Keys,
    compacted: Revision,
    /// Every event with a revision above `compacted`, in order.
    log: Vec<Arc<Event>>,
    /// The keys as of `*revision`: `base` with all of `log` played onto it.
    newest: Keys,
    revision: watch::Sender<Revision>,
    leases: BTreeMap<Lease, Granted>,
    last_lease: u64,
}

#[derive(Debug)]
struct Granted {
    ttl: Duration,
    deadline: Instant,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    pub fn new() -> Self {
        let state = State {
            base: Keys::new(),
            compacted: Revision::ZERO,
            log: Vec::new(),
            newest: Keys::new(),
            revision: watch::Sender::new(Revision::ZERO),
            leases: BTreeMap::new(),
            last_lease: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no code panics while it holds the model")
}

fn play(keys: &mut Keys, event: &Event) {
    let key_value = event.key_value.clone();
    match event.kind {
        EventKind::Put => keys.insert(key_value.key.clone(), key_value),
        EventKind::Delete => keys.remove(&key_value.key),
    };
}

impl State {
    fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    fn keys_at(&self, revision: Revision) -> Keys {
        let mut keys = self.base.clone();
        for event in self.log.iter().take_while(|event| event.key_value.mod_revision <= revision) {
            play(&mut keys, event);
        }
        keys
    }

    fn holds(&self, compare: &Compare) -> bool {
        let Compare::ModRevision { key, is } = compare;
        self.newest.get(key).map_or(Revision::ZERO, |found| found.mod_revision) == *is
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        txn.validate()?;
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let revision = self.revision().next();
        let mut events = Vec::new();
        let mut outcomes = Vec::new();
        for op in ops {
            outcomes.push(match op {
                Op::Get { key } => OpOutcome::Get(self.newest.get(key).cloned()),
                Op::Delete { key } => {
                    let previous = self.newest.get(key).cloned();
                    events.extend(previous.clone().map(|previous| deletion(previous, revision)));
                    OpOutcome::Delete(previous)
                }
                Op::Put { key, value, lease } => {
                    if let Some(lease) = lease.filter(|lease| !self.leases.contains_key(lease)) {
                        return Err(StoreError::NoLease(lease));
                    }
                    let previous = self.newest.get(key).cloned();
                    let key_value = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: previous.as_ref().map_or(revision, |previous| previous.create_revision),
                        mod_revision: revision,
                        version: previous.as_ref().map_or(1, |previous| previous.version + 1),
                        lease: *lease,
                    };
                    events.push(Event { kind: EventKind::Put, key_value, previous });
                    OpOutcome::Put
                }
            });
        }
        self.commit(events);
        Ok(TxnOutcome { succeeded, revision: self.revision(), outcomes })
    }

    /// Makes `events`, all of the next revision, visible.
    fn commit(&mut self, events: Vec<Event>) {
        let Some(revision) = events.first().map(|event| event.key_value.mod_revision) else { return };
        for event in events {
            play(&mut self.newest, &event);
            self.log.push(Arc::new(event));
        }
        self.revision.send_replace(revision);
    }

    fn end_lease(&mut self, lease: Lease) -> Result<(), StoreError> {
        self.leases.remove(&lease).ok_or(StoreError::NoLease(lease))?;
        let revision = self.revision().next();
        let attached = self.newest.values().filter(|key_value| key_value.lease == Some(lease)).cloned();
        let events = attached.map(|previous| deletion(previous, revision)).collect();
        self.commit(events);
        Ok(())
    }
}

fn deletion(previous: KeyValue, revision: Revision) -> Event {
    Event {
        kind: EventKind::Delete,
        key_value: KeyValue {
            key: previous.key.clone(),
            value: Bytes::new(),
            create_revision: Revision::ZERO,
            mod_revision: revision,
            version: 0,
            lease: None,
        },
        previous: Some(previous),
    }
}

#[async_trait::async_trait]
impl Store for Model {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.state().revision())
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.state().txn(&txn)
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        let state = self.state();
        let newest = state.revision();
        let at = request.revision.unwrap_or(newest);
        if at > newest {
            return Err(StoreError::Future { requested: at, newest });
        }
        if at < state.compacted {
            return Err(StoreError::Compacted { requested: at, oldest: state.compacted });
        }
        let span = Span::new(request.start, request.end);
        let keys = if at == newest { &state.newest } else { &state.keys_at(at) };
        let mut items: Vec<_> = keys.values().filter(|item| span.contains(&item.key)).cloned().collect();
        let remaining = items.len().saturating_sub(request.limit.unwrap_or(usize::MAX));
        items.truncate(items.len() - remaining);
        Ok(Page { revision: newest, items, remaining })
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<WatchStream, StoreError> {
        let state = self.state();
        let next = from.max(Revision(1));
        if next <= state.compacted {
            return Err(StoreError::Compacted { requested: from, oldest: state.compacted.next() });
        }
        let watcher = Watcher {
            state: Arc::downgrade(&self.state),
            revision: state.revision.subscribe(),
            span: Span::new(start, end),
            next,
        };
        Ok(stream::try_unfold(watcher, Watcher::step).boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let mut state = self.state();
        let newest = state.revision();
        if revision > newest {
            return Err(StoreError::Future { requested: revision, newest });
        }
        if revision <= state.compacted {
            return Err(StoreError::Compacted { requested: revision, oldest: state.compacted });
        }
        state.base = state.keys_at(revision);
        state.log.retain(|event| event.key_value.mod_revision > revision);
        state.compacted = revision;
        Ok(())
    }

    async fn grant_lease(&self, ttl_seconds: u32) -> Result<Lease, StoreError> {
        let mut state = self.state();
        state.last_lease += 1;
        let lease = Lease(state.last_lease);
        let ttl = Duration::from_secs(ttl_seconds.max(1).into());
        let deadline = Instant::now() + ttl;
        state.leases.insert(lease, Granted { ttl, deadline });
        tokio::spawn(expire(Arc::downgrade(&self.state), lease, deadline));
        Ok(lease)
    }

    async fn keep_lease_alive(&self, lease: Lease) -> Result<(), StoreError> {
        let mut state = self.state();
        let granted = state.leases.get_mut(&lease).ok_or(StoreError::NoLease(lease))?;
        granted.deadline = Instant::now() + granted.ttl;
        Ok(())
    }

    async fn revoke_lease(&self, lease: Lease) -> Result<(), StoreError> {
        self.state().end_lease(lease)
    }
}

/// Waits for the lease's deadline, as often as it is put off, then ends it.
async fn expire(state: Weak<Mutex<State>>, lease: Lease, mut deadline: Instant) {
    loop {
        tokio::time::sleep_until(deadline).await;
        let Some(state) = state.upgrade() else { return };
        let mut state = lock(&state);
        match state.leases.get(&lease) {
            None => return,
            Some(granted) if granted.deadline > deadline => deadline = granted.deadline,
            Some(_) => {
                state.end_lease(lease).expect("the lease was just found");
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Watcher {
    state: Weak<Mutex<State>>,
    revision: watch::Receiver<Revision>,
    span: Span,
    /// Every revision below has been delivered.
    next: Revision,
}

impl Watcher {
    async fn step(mut self) -> Result<Option<(WatchBatch, Self)>, StoreError> {
        self.revision.wait_for(|revision| *revision >= self.next).await.map_err(|_| StoreError::Closed)?;
        let state = self.state.upgrade().ok_or(StoreError::Closed)?;
        let batch = self.read(&lock(&state))?;
        self.next = batch.revision.next();
        Ok(Some((batch, self)))
    }

    fn read(&self, state: &State) -> Result<WatchBatch, StoreError> {
        if self.next <= state.compacted {
            return Err(StoreError::Compacted { requested: self.next, oldest: state.compacted.next() });
        }
        let new = state.log.iter().filter(|event| event.key_value.mod_revision >= self.next);
        let events = new.filter(|event| self.span.contains(&event.key_value.key)).cloned().collect();
        Ok(WatchBatch { revision: state.revision(), events })
    }
}
