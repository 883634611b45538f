//! Power cuts: whenever the power goes, the store opens again, with everything that was acknowledged and nothing half-written.
//!
//! `STEAD_CRASH_CUTS` sets how many cuts are tried.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::StreamExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stead_model::Revision;
use stead_store::{
    Embedded, Event, EventKind, KeyValue, Lease, Op, Options, RangeRequest, Store as _, StoreError, Txn,
};

use crate::{
    disk::{Disk, Sync},
    subject::read_watch,
};

const CLIENTS: usize = 4;

const WRITES_PER_LIFE: u64 = 200;

/// How many cuts one disk goes through.
const CUTS_PER_DISK: u64 = 12;

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let cuts = std::env::var("STEAD_CRASH_CUTS").map_or(300, |cuts| cuts.parse().unwrap());
    let acknowledged = cut(Sync::Honest, cuts).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(acknowledged > cuts, "only {acknowledged} transactions in {cuts} cuts: the test tests nothing");
}

#[test]
fn a_disk_whose_sync_does_nothing_is_found_out() {
    let violation = cut(Sync::Lying, 300).expect_err("losses are seen");
    assert!(violation.contains("cut "), "{violation}");
}

#[tokio::test]
async fn a_disk_that_fails_is_told_to_everybody() {
    let disk = Disk::new(Sync::Honest);
    disk.power_on(u64::MAX);
    let store = disk.open(Options::default()).unwrap();
    store.txn(Txn::put("a", "1")).await.unwrap();
    let mut watch = store.watch(Bytes::new(), Bytes::new(), Revision(2)).await.unwrap();
    disk.power_on(0);
    for _ in 0..3 {
        let refused = store.txn(Txn::put("a", "2")).await;
        assert!(matches!(&refused, Err(StoreError::Engine { .. })), "{refused:?}");
    }
    assert_eq!(watch.next().await.unwrap(), Err(StoreError::Closed));
    assert_eq!(store.revision().await, Ok(Revision(1)));
}

/// Goes through so many cuts; returns how many transactions were acknowledged, or the first violation.
fn cut(sync: Sync, cuts: u64) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first_seed = rand::random::<u64>();
    let mut acknowledged = 0;
    let mut disk = Disk::new(sync);
    let mut known = Known::default();
    for nth in 0..cuts {
        let seed = first_seed.wrapping_add(nth);
        if nth % CUTS_PER_DISK == 0 || !known.created {
            // A power cut during creation is the business of the rename that follows it.
            acknowledged += known.history.len() as u64;
            disk = Disk::new(sync);
            known = Known::default();
        }
        let lived = runtime.block_on(life(&disk, &mut known, seed));
        lived.map_err(|violation| format!("cut {nth}, seed {seed}: {violation}"))?;
        disk = disk.survivor(seed);
    }
    Ok(acknowledged + known.history.len() as u64)
}

/// A transaction: the client's number and the transaction's number with that client, from 0.
type Id = (usize, u64);

/// What a store on this disk must remember.
#[derive(Default)]
struct Known {
    created: bool,
    /// The transaction of each revision from 1 on: acknowledged, or seen after a cut.
    history: Vec<Id>,
    compacted: Revision,
    leases: Vec<Lease>,
}

/// What was acknowledged in one life.
#[derive(Default)]
struct Acknowledged {
    transactions: BTreeMap<Revision, Id>,
    compacted: Revision,
    leases: Vec<Lease>,
}

/// What a client's transaction does: a tag that tells which it is, a key that comes and goes, and one of a few others.
fn operations((client, number): Id) -> Vec<Op> {
    let value = Bytes::from(format!("{client}:{number}:{}", "x".repeat((number % 7) as usize * 300)));
    let sometimes = format!("sometimes/{client}");
    vec![
        Op::put(format!("tag/{client}"), value.clone()),
        if number % 2 == 0 { Op::put(sometimes, value.clone()) } else { Op::Delete { key: sometimes.into() } },
        Op::put(format!("other/{client}/{}", number % 5), value),
    ]
}

/// One boot, until the power goes.
async fn life(disk: &Disk, known: &mut Known, seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let magnitude = random.random_range(4..11);
    disk.power_on(random.random_range(1..1 << magnitude));
    // Also logs that have room for a few writes, and for none.
    let options = Options { log_bytes: 1 << random.random_range(12..22), ..Options::default() };
    let store = match disk.open(options) {
        Ok(store) => Arc::new(store),
        Err(_) if disk.is_off() => return Ok(()),
        Err(error) => return Err(format!("does not open: {error}")),
    };
    known.created = true;
    match check(&store, known).await {
        Err(_) if disk.is_off() => return Ok(()),
        checked => checked?,
    }
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let clients = (0..CLIENTS).map(|client| {
        let next = known.history.iter().filter(|(of, _)| *of == client).count() as u64;
        tokio::spawn(write(Arc::clone(&store), client, next, Arc::clone(&acknowledged)))
    });
    for client in futures::future::join_all(clients).await {
        client.unwrap();
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    known.compacted = known.compacted.max(acknowledged.compacted);
    known.leases.extend(acknowledged.leases);
    for (revision, id) in acknowledged.transactions {
        known.history.push(id);
        if revision.0 != known.history.len() as u64 {
            return Err(format!("{id:?} was acknowledged at revision {revision}, after {}", known.history.len() - 1));
        }
    }
    Ok(())
}

/// Writes, and now and then compacts and takes a lease, until the store fails, or for long enough that power goes at rest.
async fn write(store: Arc<Embedded>, client: usize, next: u64, acknowledged: Arc<Mutex<Acknowledged>>) {
    for number in next..next + WRITES_PER_LIFE {
        let id = (client, number);
        let Ok(done) = store.txn(Txn { success: operations(id), ..Txn::default() }).await else { return };
        acknowledged.lock().unwrap().transactions.insert(done.revision, id);
        if number % 10 == 5 {
            let upto = Revision(done.revision.0.saturating_sub(7));
            if store.compact(upto).await.is_ok() {
                let compacted = &mut acknowledged.lock().unwrap().compacted;
                *compacted = upto.max(*compacted);
            }
        }
        if number % 10 == 7 {
            let Ok(lease) = store.grant_lease(3600).await else { return };
            acknowledged.lock().unwrap().leases.push(lease);
        }
    }
}

/// Whether the store has all that is known; learns what it has besides.
async fn check(store: &Embedded, known: &mut Known) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let newest = store.revision().await.map_err(text)?;
    if newest.0 < known.history.len() as u64 {
        return Err(format!("is at revision {newest}, {} were acknowledged", known.history.len()));
    }
    let (oldest, mut watch) = match store.watch(Bytes::new(), Bytes::new(), Revision(1)).await {
        Ok(watch) => (Revision(1), watch),
        Err(StoreError::Compacted { oldest, .. }) => {
            (oldest, store.watch(Bytes::new(), Bytes::new(), oldest).await.map_err(text)?)
        }
        Err(error) => return Err(error.to_string()),
    };
    if oldest <= known.compacted || oldest.0 > known.history.len() as u64 + 1 {
        return Err(format!("keeps events from {oldest}, was compacted to {}", known.compacted));
    }
    let events = read_watch(&mut watch, oldest, newest).await.map_err(text)?;
    let mut by_revision = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        by_revision.entry(event.key_value.mod_revision).or_default().push(event);
    }
    for revision in (oldest.0..=newest.0).map(Revision) {
        let id = by_revision.get(&revision).and_then(|events| whole(events));
        let id =
            id.ok_or_else(|| format!("revision {revision} is no whole transaction: {:?}", by_revision.get(&revision)))?;
        match known.history.get(revision.0 as usize - 1) {
            None => known.history.push(id),
            Some(known) if *known == id => {}
            Some(known) => return Err(format!("revision {revision} was {known:?} and is {id:?}")),
        }
    }
    for revision in [Revision(oldest.0 - 1), Revision((oldest.0 + newest.0) / 2), newest] {
        let all = RangeRequest { start: Bytes::new(), end: Bytes::new(), revision: Some(revision), limit: None };
        let items = store.range(all).await.map_err(text)?.items;
        if items != replay(&known.history[..revision.0 as usize]) {
            return Err(format!("differs from its history at revision {revision}: {items:?}"));
        }
    }
    for lease in &known.leases {
        store.keep_lease_alive(*lease).await.map_err(text)?;
    }
    Ok(())
}

/// The transaction that these events are, if they are one and all of it.
fn whole(events: &[Arc<Event>]) -> Option<Id> {
    let tag = str::from_utf8(&events.first()?.key_value.value).ok()?;
    let mut parts = tag.split(':');
    let id = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let expected: Vec<_> = operations(id)
        .into_iter()
        .filter_map(|op| match op {
            Op::Put { key, value, .. } => Some((EventKind::Put, key, value)),
            Op::Delete { key } => Some((EventKind::Delete, key, Bytes::new())),
            Op::Get { .. } => None,
        })
        .collect();
    let found = events.iter().map(|event| (event.kind, event.key_value.key.clone(), event.key_value.value.clone()));
    found.eq(expected).then_some(id)
}

/// What a store holds after these transactions.
fn replay(history: &[Id]) -> Vec<KeyValue> {
    let mut keys = BTreeMap::<Bytes, KeyValue>::new();
    for (revision, id) in (1..).map(Revision).zip(history) {
        for op in operations(*id) {
            match op {
                Op::Put { key, value, lease } => {
                    let before = keys.get(&key);
                    let key_value = KeyValue {
                        key: key.clone(),
                        value,
                        create_revision: before.map_or(revision, |before| before.create_revision),
                        mod_revision: revision,
                        version: before.map_or(1, |before| before.version + 1),
                        lease,
                    };
                    keys.insert(key, key_value);
                }
                Op::Delete { key } => drop(keys.remove(&key)),
                Op::Get { .. } => {}
            }
        }
    }
    keys.into_values().collect()
}
