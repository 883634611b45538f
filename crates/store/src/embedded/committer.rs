//! The one thread that writes: it gathers what waits into a batch, appends it to the log with one sync, publishes it, then answers.
//!
//! Order: log, index, window, revision, answers; so nobody sees what a power cut could take back. The thread also keeps the
//! timers: leases that run out, compaction. While nobody writes it empties the log into the tables (`checkpoint`) and has holes of
//! the files filled. After an error of the disk it writes no more: what the files hold is only known when they are opened again.

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
    disk::{Pending, failed},
    engine::guarded,
    index::Position,
    leases::Leases,
    log::Log,
    prepared::Holes,
    record::Changes,
};
use crate::{Lease, StoreError, Txn, TxnOutcome};

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
    pub(super) log: Log,
    pub(super) pending: Pending,
    /// Rows of the tables that nobody can reach any more.
    pub(super) dead: VecDeque<Position>,
    pub(super) options: Options,
    pub(super) clock: CompactionClock,
    /// Of the files, where they are ours.
    pub(super) holes: Vec<Arc<Holes>>,
}

/// What there is to do.
enum Cause {
    Request(Request),
    Timer,
    /// Nobody has written for a moment.
    Rest,
    /// Nobody will write any more.
    End,
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
            let done = match self.next_cause() {
                Cause::Request(first) => {
                    let more = self.requests.try_iter().take(self.options.writes_per_commit.saturating_sub(1));
                    let requests = std::iter::once(first).chain(more).collect();
                    self.commit(requests)
                }
                Cause::Timer => self.commit(Vec::new()),
                Cause::Rest => self.rest(),
                Cause::End => return self.close(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "the store writes no more");
                return self.refuse(&error);
            }
        }
    }

    fn next_cause(&self) -> Cause {
        let until = Instant::now() + self.until_next_timer();
        let is_something_left = self.wants_checkpoint() || self.holes_left().is_some();
        let wait = until.saturating_duration_since(Instant::now());
        match self.requests.recv_timeout(if is_something_left { wait.min(IDLE) } else { wait }) {
            Ok(request) => Cause::Request(request),
            Err(RecvTimeoutError::Disconnected) => Cause::End,
            Err(RecvTimeoutError::Timeout) if is_something_left && wait > IDLE => Cause::Rest,
            Err(RecvTimeoutError::Timeout) => Cause::Timer,
        }
    }

    fn until_next_timer(&self) -> Duration {
        let due = self.leases.next_deadline().map_or(self.clock.due, |deadline| deadline.min(self.clock.due));
        due.saturating_duration_since(Instant::now())
    }

    fn holes_left(&self) -> Option<&Holes> {
        self.holes.iter().map(|holes| &**holes).find(|holes| holes.are_left())
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        match self.holes_left() {
            Some(holes) => holes.fill_some(),
            None => self.guarded_checkpoint()?,
        }
        Ok(())
    }

    fn guarded_checkpoint(&mut self) -> Result<(), StoreError> {
        guarded("moving the log to the tables", || self.checkpoint())
    }

    /// The tables of a store that was closed have everything.
    fn close(mut self) {
        if self.log.used() > 0
            && let Err(error) = self.guarded_checkpoint()
        {
            tracing::warn!(%error, "the log is left for the next start");
        }
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
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let tail = self.shared.tail.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new(&self.shared.database, &index, &tail, &mut self.leases);
        for request in requests {
            on_request(&mut batch, request, &mut self.last_lease, answers)?;
        }
        let now = Instant::now();
        batch.end_run_out_leases(now)?;
        if let Some(revision) = self.clock.tick(now, &self.options, index.revision) {
            batch.compact_automatically(revision)?;
        }
        let done = batch.finish();
        drop((index, tail));
        if !done.changes.is_empty() {
            self.store(&done.changes)?;
        }
        Ok(done)
    }

    /// Makes changes durable: in the log, or in the tables where they do not fit into it.
    fn store(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let record = self.log.fits(changes.size()).then(|| changes.encode());
        {
            let mut tail = self.shared.tail.write().unwrap_or_else(PoisonError::into_inner);
            changes.rows.iter().cloned().for_each(|row| tail.push(row));
        }
        self.pending.take_in(changes);
        match record {
            Some(record) => self.log.append(&record).map_err(failed("writing the log")),
            None => self.checkpoint(),
        }
    }

    /// Makes visible what is durable now.
    fn publish(&mut self, done: Done) {
        let Done { revision, changes, events } = done;
        if !changes.is_empty() {
            let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
            for row in changes.rows {
                index.apply(row.key, row.write);
            }
            if let Some(revision) = changes.compacted {
                let dead = index.compact(revision);
                let mut tail = self.shared.tail.write().unwrap_or_else(PoisonError::into_inner);
                self.dead.extend(dead.into_iter().filter(|at| !tail.remove(*at)));
            }
        }
        if !events.is_empty() {
            self.shared.window.write().unwrap_or_else(PoisonError::into_inner).push(events);
            self.revision.send_replace(revision);
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
            batch.grant_lease(lease, ttl_seconds, Instant::now());
            note(answers, reply, Ok(lease))
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
