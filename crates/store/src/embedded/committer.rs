//! The one thread that writes: it gathers what waits into a batch, commits it with one fsync, publishes it, then answers.
//!
//! Order: disk, index, window, revision, answers; so nobody sees what a power cut could take back. The thread also keeps the
//! timers: leases that run out, compaction, removal of dead rows. After an error of the disk it writes no more: what the file
//! holds is only known when it is opened again. While nobody writes it has the file's holes filled.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use stead_model::Revision;
use tokio::sync::{oneshot, watch};

use super::{
    Options, Shared,
    batch::{Batch, Done},
    disk::failed,
    engine::guarded,
    index::Position,
    leases::Leases,
    prepared::Holes,
};
use crate::{Lease, StoreError, Txn, TxnOutcome};

/// How many dead rows one commit removes: bounds how long a write waits for it (about 5 ms).
const DEAD_ROWS_PER_COMMIT: usize = 1000;
/// Nobody has written for so long: time for what makes later writes quick.
const IDLE: Duration = Duration::from_millis(3);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Request {
    Txn(Txn, Reply<TxnOutcome>),
    Compact(Revision, Reply<()>),
    GrantLease(u32, Reply<Lease>),
    KeepLeaseAlive(Lease, Reply<()>),
    RevokeLease(Lease, Reply<()>),
}

/// An answer that waits for the commit: sent with its result, or with the commit's error.
type Answer = Box<dyn FnOnce(Result<(), StoreError>)>;

#[derive(Debug)]
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Receiver<Request>,
    pub(super) revision: watch::Sender<Revision>,
    pub(super) leases: Leases,
    pub(super) last_lease: u64,
    pub(super) dead: VecDeque<Position>,
    pub(super) options: Options,
    pub(super) clock: CompactionClock,
    /// Of the file, where it is ours.
    pub(super) holes: Option<Arc<Holes>>,
}

/// Remembers which revision was the newest when, so that compaction keeps a history of a given age.
#[derive(Debug)]
pub(super) struct CompactionClock {
    due: Instant,
    /// Ascending in both.
    marks: VecDeque<(Instant, Revision)>,
}

impl CompactionClock {
    pub(super) fn new(now: Instant, interval: Duration, revision: Revision) -> Self {
        Self { due: now + interval, marks: VecDeque::from([(now, revision)]) }
    }

    /// The newest revision that is older than `options.history`, when an interval has passed.
    fn tick(&mut self, now: Instant, options: &Options, revision: Revision) -> Option<Revision> {
        if now < self.due {
            return None;
        }
        self.due = now + options.compaction_interval;
        self.marks.push_back((now, revision));
        let mut compact = None;
        while let Some((_, revision)) = self.marks.pop_front_if(|(at, _)| now.duration_since(*at) >= options.history) {
            compact = Some(revision);
        }
        compact
    }
}

impl Committer {
    /// Runs until the last sender of requests is gone and all that it sent is done.
    pub(super) fn run(mut self) {
        loop {
            let first = match self.next_request() {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = self.requests.try_iter().take(self.options.writes_per_commit.saturating_sub(1));
            let requests: Vec<_> = first.into_iter().chain(more).collect();
            if let Err(error) = self.commit(requests) {
                tracing::error!(%error, "the store writes no more");
                return self.refuse(&error);
            }
        }
    }

    /// The next request; a timeout when a timer is due first. Holes of the file are filled while there is none.
    fn next_request(&self) -> Result<Request, RecvTimeoutError> {
        let until = Instant::now() + self.until_next_timer();
        while let Some(holes) = self.holes.as_ref().filter(|holes| holes.are_left()) {
            let wait = until.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(wait.min(IDLE)) {
                Err(RecvTimeoutError::Timeout) if wait > IDLE => holes.fill_some(),
                answered => return answered,
            }
        }
        self.requests.recv_timeout(until.saturating_duration_since(Instant::now()))
    }

    fn until_next_timer(&self) -> Duration {
        if !self.dead.is_empty() {
            return Duration::ZERO;
        }
        let due = self.leases.next_deadline().map_or(self.clock.due, |deadline| deadline.min(self.clock.due));
        due.saturating_duration_since(Instant::now())
    }

    /// Answers everything with `error` until nobody asks any more. Watches end: the revision's sender goes first.
    fn refuse(self, error: &StoreError) {
        let Self { requests, revision, .. } = self;
        drop(revision);
        for request in requests {
            request.refuse(error);
        }
    }

    /// After an error the disk holds all of the batch or nothing, and all its requests have been answered with the error.
    fn commit(&mut self, requests: Vec<Request>) -> Result<(), StoreError> {
        let mut answers = Vec::with_capacity(requests.len());
        let written = self.write(requests, &mut answers).map(|done| self.publish(done));
        for answer in answers {
            answer(written.clone());
        }
        written
    }

    /// Everything up to and including the commit.
    fn write(&mut self, requests: Vec<Request>, answers: &mut Vec<Answer>) -> Result<Done, StoreError> {
        let mut requests = requests.into_iter();
        let result = guarded("committing", || self.write_batch(&mut requests, answers));
        if let Err(error) = &result {
            requests.for_each(|request| request.refuse(error));
        }
        result
    }

    fn write_batch(
        &mut self,
        requests: &mut std::vec::IntoIter<Request>,
        answers: &mut Vec<Answer>,
    ) -> Result<Done, StoreError> {
        let transaction = self.shared.database.begin_write().map_err(failed("beginning a commit"))?;
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new(&transaction, &index, &mut self.leases)?;
        for request in requests {
            on_request(&mut batch, request, &mut self.last_lease, answers)?;
        }
        let now = Instant::now();
        batch.end_run_out_leases(now)?;
        if let Some(revision) = self.clock.tick(now, &self.options, index.revision) {
            batch.compact_automatically(revision)?;
        }
        batch.remove_dead(self.dead.drain(..self.dead.len().min(DEAD_ROWS_PER_COMMIT)))?;
        let done = batch.finish();
        drop(index);
        if done.dirty {
            transaction.commit().map_err(failed("committing"))?;
        } else {
            transaction.abort().map_err(failed("ending an empty commit"))?;
        }
        Ok(done)
    }

    /// Makes visible what is durable now.
    fn publish(&mut self, done: Done) {
        if !done.writes.is_empty() || done.compacted.is_some() {
            let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
            for (key, write) in done.writes {
                index.apply(key, write);
            }
            if let Some(revision) = done.compacted {
                self.dead.extend(index.compact(revision));
            }
        }
        if !done.events.is_empty() {
            self.shared.window.write().unwrap_or_else(PoisonError::into_inner).push(done.events);
            self.revision.send_replace(done.revision);
        }
    }
}

/// Does a request and notes its answer. Fails only where the batch must not be committed.
fn on_request(
    batch: &mut Batch<'_>,
    request: Request,
    last_lease: &mut u64,
    answers: &mut Vec<Answer>,
) -> Result<(), StoreError> {
    match request {
        Request::Txn(txn, reply) => note(answers, reply, batch.txn(txn)),
        Request::Compact(revision, reply) => note(answers, reply, batch.compact(revision)),
        Request::GrantLease(ttl_seconds, reply) => {
            *last_lease += 1;
            let lease = Lease(*last_lease);
            note(answers, reply, batch.grant_lease(lease, ttl_seconds, Instant::now()).map(|()| lease))
        }
        Request::KeepLeaseAlive(lease, reply) => note(answers, reply, batch.keep_lease_alive(lease, Instant::now())),
        Request::RevokeLease(lease, reply) => note(answers, reply, batch.end_lease(lease)),
    }
}

fn note<T: Send + 'static>(
    answers: &mut Vec<Answer>,
    reply: Reply<T>,
    result: Result<T, StoreError>,
) -> Result<(), StoreError> {
    let fatal = match &result {
        Err(error @ StoreError::Engine { .. }) => Err(error.clone()),
        _ => Ok(()),
    };
    answers.push(Box::new(move |committed| {
        // The one who asked may have gone; what was written stays.
        let _ = reply.send(committed.and(result));
    }));
    fatal
}

impl Request {
    fn refuse(self, error: &StoreError) {
        let error = error.clone();
        // Nobody to tell where the one who asked has gone.
        let _ = match self {
            Self::Txn(_, reply) => reply.send(Err(error)).is_ok(),
            Self::GrantLease(_, reply) => reply.send(Err(error)).is_ok(),
            Self::Compact(_, reply) | Self::KeepLeaseAlive(_, reply) | Self::RevokeLease(_, reply) => {
                reply.send(Err(error)).is_ok()
            }
        };
    }
}
