//! Random histories: every engine answers every question as the model does.

use std::sync::Arc;

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};
use stead_model::Revision;
use stead_store::{
    Compare, Event, KeyValue, Lease, Op, OpOutcome, Page, RangeRequest, StoreError, Txn, TxnOutcome, WatchStream,
};

use crate::subject::{Subject, read_watch};

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "b/1", "c"];
const ENDS: [&str; 5] = ["", "a0", "b", "b/2", "c"];

#[derive(Clone, Debug)]
enum Step {
    Txn {
        guards: Vec<(&'static str, Guard)>,
        success: Vec<Action>,
        failure: Vec<Action>,
    },
    /// To so many revisions before the newest.
    Compact(u64),
    Grant,
    KeepAlive(usize),
    Revoke(usize),
    /// From so many revisions before the newest.
    Watch(Span, u64),
    Range(Span, u64, Option<usize>),
    Reopen,
}

type Span = (&'static str, &'static str);

#[derive(Clone, Copy, Debug)]
enum Guard {
    Holds,
    Absent,
    Stale,
}

#[derive(Clone, Debug)]
enum Action {
    Put(&'static str, u8, Option<usize>),
    Delete(&'static str),
    Get(&'static str),
}

fn action() -> impl Strategy<Value = Action> {
    let key = || select(&KEYS[..]);
    prop_oneof![
        4 => (key(), any::<u8>(), option::weighted(0.2, 0..4_usize)).prop_map(|(key, value, lease)| Action::Put(key, value, lease)),
        2 => key().prop_map(Action::Delete),
        1 => key().prop_map(Action::Get),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let guard = prop_oneof![3 => Just(Guard::Holds), 1 => Just(Guard::Absent), 1 => Just(Guard::Stale)];
    let guards = vec((select(&KEYS[..]), guard), 0..3);
    let span = || (select(&KEYS[..]), select(&ENDS[..]));
    prop_oneof![
        20 => (guards, vec(action(), 0..4), vec(action(), 0..3))
            .prop_map(|(guards, success, failure)| Step::Txn { guards, success, failure }),
        2 => (0..12_u64).prop_map(Step::Compact),
        2 => Just(Step::Grant),
        1 => (0..4_usize).prop_map(Step::KeepAlive),
        1 => (0..4_usize).prop_map(Step::Revoke),
        3 => (span(), 0..12_u64).prop_map(|(span, back)| Step::Watch(span, back)),
        4 => (span(), 0..12_u64, option::of(0..4_usize)).prop_map(|(span, back, limit)| Step::Range(span, back, limit)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_answers_as_the_model_does(steps in vec(step(), 1..60)) {
        check(Subject::embedded, &steps);
    }

    #[test]
    fn embedded_without_window_answers_as_the_model_does(steps in vec(step(), 1..60)) {
        check(Subject::embedded_without_window, &steps);
    }

    #[test]
    fn embedded_with_a_small_log_answers_as_the_model_does(steps in vec(step(), 1..60)) {
        check(Subject::embedded_with_a_small_log, &steps);
    }
}

fn check<F: Future<Output = Subject>>(subject: impl Fn() -> F, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut pair =
            Pair { model: Subject::model().await, subject: subject().await, leases: Vec::new(), watches: Vec::new() };
        for step in steps {
            pair.step(step).await;
            pair.range(("", ""), None, None).await;
        }
        pair.end().await;
    });
}

/// An engine and the model, asked the same things.
struct Pair {
    model: Subject,
    subject: Subject,
    /// The model's and the engine's name of each lease.
    leases: Vec<(Lease, Lease)>,
    watches: Vec<(Revision, WatchStream, WatchStream)>,
}

impl Pair {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Txn { guards, success, failure } => self.txn(guards, success, failure).await,
            Step::Compact(back) => {
                let revision = self.back(*back).await;
                let theirs = self.subject.store.compact(self.theirs(revision)).await;
                assert_eq!(self.model.store.compact(revision).await, theirs.map_err(|error| self.ours_error(error)));
            }
            Step::Grant => {
                let ours = self.model.store.grant_lease(3600).await.unwrap();
                self.leases.push((ours, self.subject.store.grant_lease(3600).await.unwrap()));
            }
            Step::KeepAlive(nth) => {
                let Some((ours, theirs)) = self.leases.get(*nth) else { return };
                let theirs = self.subject.store.keep_lease_alive(*theirs).await;
                assert_eq!(
                    self.model.store.keep_lease_alive(*ours).await,
                    theirs.map_err(|error| self.ours_error(error))
                );
            }
            Step::Revoke(nth) => {
                let Some((ours, theirs)) = self.leases.get(*nth) else { return };
                let theirs = self.subject.store.revoke_lease(*theirs).await;
                assert_eq!(self.model.store.revoke_lease(*ours).await, theirs.map_err(|error| self.ours_error(error)));
            }
            Step::Watch(span, back) => {
                let from = self.back(*back).await.next();
                self.watch(*span, from).await;
            }
            Step::Range(span, back, limit) => {
                let revision = self.back(*back).await;
                self.range(*span, Some(revision), *limit).await;
            }
            Step::Reopen => {
                self.watches.clear();
                self.subject.reopen();
            }
        }
    }

    async fn txn(&self, guards: &[(&'static str, Guard)], success: &[Action], failure: &[Action]) {
        let mut compare = Vec::new();
        for (key, guard) in guards {
            let newest = self.model.get(key).await.map_or(Revision::ZERO, |found| found.mod_revision);
            let is = match guard {
                Guard::Holds => newest,
                Guard::Absent => Revision::ZERO,
                Guard::Stale => Revision(newest.0 / 2 + 1),
            };
            compare.push(Compare::ModRevision { key: (*key).into(), is });
        }
        let shifted = compare.iter().map(|Compare::ModRevision { key, is }| Compare::ModRevision {
            key: key.clone(),
            is: if *is == Revision::ZERO { *is } else { self.theirs(*is) },
        });
        let theirs = Txn {
            compare: shifted.collect(),
            success: self.ops(success, |lease| lease.1),
            failure: self.ops(failure, |lease| lease.1),
        };
        let ours =
            Txn { compare, success: self.ops(success, |lease| lease.0), failure: self.ops(failure, |lease| lease.0) };
        let theirs = self.subject.store.txn(theirs).await;
        let ours = self.model.store.txn(ours).await;
        assert_eq!(ours, theirs.map(|outcome| self.ours_outcome(outcome)).map_err(|error| self.ours_error(error)));
    }

    fn ops(&self, actions: &[Action], side: impl Fn(&(Lease, Lease)) -> Lease) -> Vec<Op> {
        let op = |action: &Action| match action {
            Action::Put(key, value, lease) => Op::Put {
                key: (*key).into(),
                value: vec![*value; usize::from(*value)].into(),
                lease: lease.and_then(|nth| self.leases.get(nth)).map(&side),
            },
            Action::Delete(key) => Op::Delete { key: (*key).into() },
            Action::Get(key) => Op::Get { key: (*key).into() },
        };
        actions.iter().map(op).collect()
    }

    async fn range(&self, (start, end): Span, revision: Option<Revision>, limit: Option<usize>) {
        let ours = RangeRequest { start: start.into(), end: end.into(), revision, limit };
        let theirs = RangeRequest { revision: revision.map(|revision| self.theirs(revision)), ..ours.clone() };
        let theirs = self.subject.store.range(theirs).await;
        let ours = self.model.store.range(ours).await;
        assert_eq!(ours, theirs.map(|page| self.ours_page(page)).map_err(|error| self.ours_error(error)));
    }

    async fn watch(&mut self, (start, end): Span, from: Revision) {
        let ours = self.model.store.watch(start.into(), end.into(), from).await;
        let theirs = self.subject.store.watch(start.into(), end.into(), self.theirs(from)).await;
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => self.watches.push((from, ours, theirs)),
            (ours, theirs) => assert_eq!(ours.err(), theirs.err().map(|error| self.ours_error(error))),
        }
    }

    /// Asks for every revision, and lets every watch run to its end.
    async fn end(&mut self) {
        let newest = self.model.store.revision().await.unwrap();
        for revision in (0..=newest.0 + 1).map(Revision) {
            self.range(("", ""), Some(revision), None).await;
            self.watch(("", ""), revision).await;
        }
        for (from, mut ours, mut theirs) in std::mem::take(&mut self.watches) {
            let ours = read_watch(&mut ours, from, newest).await;
            let theirs = read_watch(&mut theirs, self.theirs(from), self.theirs(newest)).await;
            match (ours, theirs) {
                // Compacted while it ran: the model lets go at once, an engine may still have the events in memory.
                (Err(StoreError::Compacted { .. }), _) => {}
                (ours, theirs) => {
                    let theirs = theirs.map(|events| events.iter().map(|event| self.ours_event(event)).collect());
                    assert_eq!(ours, theirs, "watch from {from}");
                }
            }
        }
    }

    async fn back(&self, back: u64) -> Revision {
        Revision(self.model.store.revision().await.unwrap().0.saturating_sub(back))
    }

    fn theirs(&self, revision: Revision) -> Revision {
        self.subject.at(revision.0)
    }

    /// The model's name of the engine's revision; zero is zero everywhere.
    fn ours(&self, revision: Revision) -> Revision {
        Revision(revision.0.saturating_sub(self.subject.base.0))
    }

    fn ours_lease(&self, lease: Lease) -> Lease {
        self.leases.iter().find(|(_, theirs)| *theirs == lease).expect("a lease that was granted").0
    }

    fn ours_error(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Compacted { requested, oldest } => {
                StoreError::Compacted { requested: self.ours(requested), oldest: self.ours(oldest) }
            }
            StoreError::Future { requested, newest } => {
                StoreError::Future { requested: self.ours(requested), newest: self.ours(newest) }
            }
            StoreError::NoLease(lease) => StoreError::NoLease(self.ours_lease(lease)),
            error => error,
        }
    }

    fn ours_key_value(&self, key_value: KeyValue) -> KeyValue {
        KeyValue {
            create_revision: self.ours(key_value.create_revision),
            mod_revision: self.ours(key_value.mod_revision),
            lease: key_value.lease.map(|lease| self.ours_lease(lease)),
            ..key_value
        }
    }

    fn ours_page(&self, page: Page) -> Page {
        let items = page.items.into_iter().map(|item| self.ours_key_value(item)).collect();
        Page { revision: self.ours(page.revision), items, ..page }
    }

    fn ours_outcome(&self, outcome: TxnOutcome) -> TxnOutcome {
        let ours = |found: Option<KeyValue>| found.map(|found| self.ours_key_value(found));
        let outcomes = outcome.outcomes.into_iter().map(|outcome| match outcome {
            OpOutcome::Put => OpOutcome::Put,
            OpOutcome::Delete(found) => OpOutcome::Delete(ours(found)),
            OpOutcome::Get(found) => OpOutcome::Get(ours(found)),
        });
        TxnOutcome { revision: self.ours(outcome.revision), outcomes: outcomes.collect(), ..outcome }
    }

    fn ours_event(&self, event: &Event) -> Arc<Event> {
        let event = event.clone();
        Arc::new(Event {
            kind: event.kind,
            key_value: self.ours_key_value(event.key_value),
            previous: event.previous.map(|previous| self.ours_key_value(previous)),
        })
    }
}

#[test]
fn the_end_of_a_prefix_lies_behind_all_that_start_with_it() {
    let check = |prefix: &[u8], end: &[u8]| assert_eq!(stead_store::prefix_end(prefix), Bytes::copy_from_slice(end));
    check(b"a/", b"a0");
    check(b"a\xff", b"b");
    check(b"\xff\xff", b"");
    check(b"", b"");
}
