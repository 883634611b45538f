//! Histories of concurrent clients with power cuts in between: each key behaves as one register with compare-and-set, that is,
//! each operation seems to happen at one moment between its call and its answer.
//!
//! The check is Wing and Gong's search with Lowe's memory of what was tried. What a cut leaves unanswered happened before the
//! cut or never. `STEAD_HISTORIES` sets how many histories are judged.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stead_model::Revision;
use stead_store::{Embedded, KeyValue, Op, Options, RangeRequest, Store as _, Txn};

use crate::disk::{Disk, Sync};

const CLIENTS: usize = 4;
const KEYS: usize = 2;
const LIVES: usize = 3;
const CALLS_PER_LIFE: usize = 8;

/// What a register holds; every write writes another.
type Held = Option<u64>;

/// What was done to a register, and what was answered.
#[derive(Clone, Copy, Debug)]
enum Call {
    Read(Held),
    Write(Held),
    /// Writes where `seen` is held.
    Swap {
        seen: Held,
        new: Held,
    },
    /// Another than `seen` was held, and nothing written.
    Refused {
        seen: Held,
        held: Held,
    },
}

impl Call {
    /// What is held afterwards; `None`: this cannot happen now.
    fn apply(self, held: Held) -> Option<Held> {
        match self {
            Self::Read(found) => (found == held).then_some(held),
            Self::Write(new) => Some(new),
            Self::Swap { seen, new } => (seen == held).then_some(new),
            Self::Refused { seen, held: found } => (found == held && seen != held).then_some(held),
        }
    }
}

/// A call on one register between two moments. Without an answer it may never have happened; `end` is the cut then.
#[derive(Clone, Copy, Debug)]
struct Span {
    call: Call,
    start: u64,
    end: u64,
    answered: bool,
}

/// Whether some order of these spans explains all answers.
fn is_linearizable(spans: &[Span]) -> bool {
    assert!(spans.len() <= 128, "the set of those that happened is one number");
    let answered = spans.iter().enumerate().filter(|(_, span)| span.answered).fold(0_u128, |set, (n, _)| set | 1 << n);
    let (mut tried, mut open) = (HashSet::new(), vec![(0_u128, None)]);
    while let Some((happened, held)) = open.pop() {
        if happened & answered == answered {
            return true;
        }
        if !tried.insert((happened, held)) {
            continue;
        }
        let is_done = |n: usize| happened & (1 << n) != 0;
        let left = || spans.iter().enumerate().filter(|(n, _)| !is_done(*n));
        let first_end = left().filter(|(_, span)| span.answered).map(|(_, span)| span.end).min().unwrap_or(u64::MAX);
        let last_start = spans.iter().enumerate().filter(|(n, _)| is_done(*n)).map(|(_, span)| span.start).max();
        for (n, span) in left() {
            if span.start < first_end && last_start.is_none_or(|start| start < span.end) {
                open.extend(span.call.apply(held).map(|held| (happened | 1 << n, held)));
            }
        }
    }
    false
}

#[test]
fn the_check_knows_good_histories_from_bad_ones() {
    let span = |call, start, end| Span { call, start, end, answered: true };
    let lost = |call, start, end| Span { call, start, end, answered: false };
    let (write, read) = (|value| Call::Write(Some(value)), |value| Call::Read(Some(value)));
    let swap = |seen, new| Call::Swap { seen, new: Some(new) };
    for (good, spans) in [
        (true, vec![span(write(1), 1, 2), span(read(1), 3, 4)]),
        (true, vec![span(write(1), 1, 4), span(Call::Read(None), 2, 3)]),
        (true, vec![span(write(1), 1, 6), span(write(2), 2, 5), span(read(1), 7, 8)]),
        (true, vec![lost(write(1), 1, 2), span(Call::Read(None), 3, 4)]),
        (true, vec![lost(write(1), 1, 2), span(read(1), 3, 4)]),
        (true, vec![span(swap(None, 1), 1, 4), span(Call::Refused { seen: None, held: Some(1) }, 2, 3)]),
        (false, vec![span(write(1), 1, 2), span(Call::Read(None), 3, 4)]),
        (false, vec![span(write(1), 1, 6), span(read(1), 2, 3), span(Call::Read(None), 4, 5)]),
        (false, vec![span(swap(None, 1), 1, 4), span(swap(None, 2), 2, 3)]),
        (false, vec![span(Call::Refused { seen: None, held: None }, 1, 2)]),
        (false, vec![lost(write(1), 1, 2), span(Call::Read(None), 3, 4), span(read(1), 5, 6)]),
    ] {
        assert_eq!(is_linearizable(&spans), good, "{spans:?}");
    }
}

#[test]
fn each_key_is_one_register_whenever_the_power_goes() {
    let histories = std::env::var("STEAD_HISTORIES").map_or(40, |histories| histories.parse().unwrap());
    let answered = judge(Sync::Honest, histories).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(answered > 10 * histories, "only {answered} answers in {histories} histories: the test tests nothing");
}

#[test]
fn a_disk_whose_sync_does_nothing_makes_no_registers() {
    let violation = judge(Sync::Lying, 60).expect_err("losses are seen");
    assert!(violation.contains("seed "), "{violation}");
}

/// Judges so many histories; returns how many calls were answered, or the first violation.
fn judge(sync: Sync, histories: u64) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first_seed = rand::random::<u64>();
    eprintln!("seeds from {first_seed}");
    let mut answered = 0;
    for nth in 0..histories {
        let seed = first_seed.wrapping_add(nth);
        let by_key = runtime.block_on(history(sync, seed)).map_err(|error| format!("seed {seed}: {error}"))?;
        for (key, spans) in by_key {
            answered += spans.iter().filter(|span| span.answered).count() as u64;
            if !is_linearizable(&spans) {
                return Err(format!("seed {seed}: no order explains {key}: {spans:#?}"));
            }
        }
    }
    Ok(answered)
}

/// What clients share: the store of this life, the clock, and what was done.
struct Shared {
    store: Embedded,
    clock: Arc<AtomicU64>,
    spans: Mutex<Vec<(usize, Span)>>,
}

/// Some lives on one disk.
async fn history(sync: Sync, seed: u64) -> Result<BTreeMap<usize, Vec<Span>>, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = Disk::new(sync);
    let clock = Arc::new(AtomicU64::new(1));
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    disk.power_on(u64::MAX);
    drop(disk.open(Options::default()).map_err(|error| error.to_string())?);
    for life in 0..LIVES {
        disk.power_on(u64::MAX);
        let store = disk.open(Options { log_bytes: 1 << random.random_range(13..17), ..Options::default() });
        let store = store.map_err(|error| format!("does not open: {error}"))?;
        let is_last = life == LIVES - 1;
        if !is_last {
            disk.power_on(random.random_range(1..400));
        }
        let shared = Arc::new(Shared { store, clock: Arc::clone(&clock), spans: Mutex::default() });
        let clients = (0..CLIENTS).map(|_| tokio::spawn(live(Arc::clone(&shared), random.random())));
        for client in futures::future::join_all(clients).await {
            client.unwrap();
        }
        let cut = clock.fetch_add(1, Ordering::SeqCst);
        for (key, span) in shared.spans.lock().unwrap().drain(..) {
            by_key.entry(key).or_default().push(Span { end: span.end.min(cut), ..span });
        }
        drop(shared);
        disk = disk.survivor(seed.wrapping_add(life as u64));
    }
    Ok(by_key)
}

/// One client, until it has done enough or the power is gone.
async fn live(shared: Arc<Shared>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut known = [const { None::<KeyValue> }; KEYS];
    for _ in 0..CALLS_PER_LIFE {
        let key = random.random_range(0..KEYS);
        let name = Bytes::from(format!("register/{key}"));
        let start = shared.clock.fetch_add(1, Ordering::SeqCst);
        let new = Some(start);
        let seen = known[key].as_ref().map_or(Revision::ZERO, |found| found.mod_revision);
        let (call, answer) = match random.random_range(0..6) {
            0 | 1 => {
                let end = stead_store::prefix_end(&name);
                let range = RangeRequest { start: name, end, revision: None, limit: None };
                let Ok(page) = shared.store.range(range).await else { continue };
                known[key] = page.items.into_iter().next();
                (Call::Read(held(known[key].as_ref())), Ok(()))
            }
            2 => (Call::Write(new), shared.store.txn(Txn::put(name, start.to_string())).await.map(drop)),
            3 => {
                let success = vec![Op::Delete { key: name }];
                (Call::Write(None), shared.store.txn(Txn { success, ..Txn::default() }).await.map(drop))
            }
            _ => {
                let seen_value = held(known[key].as_ref());
                match shared.store.txn(Txn::update(name, seen, start.to_string())).await {
                    Ok(done) if !done.succeeded => {
                        known[key] = done.found().cloned();
                        (Call::Refused { seen: seen_value, held: held(known[key].as_ref()) }, Ok(()))
                    }
                    done => (Call::Swap { seen: seen_value, new }, done.map(drop)),
                }
            }
        };
        let answered = answer.is_ok();
        let end = if answered { shared.clock.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
        shared.spans.lock().unwrap().push((key, Span { call, start, end, answered }));
    }
}

/// The number that a value is.
fn held(found: Option<&KeyValue>) -> Held {
    found.map(|found| str::from_utf8(&found.value).unwrap().parse().unwrap())
}
