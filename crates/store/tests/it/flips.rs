//! Bits that turn on the disk, while the store is closed and while it is open: told, or of no consequence, never a wrong value.
//!
//! `STEAD_FLIPS` says how many are tried of each sort; the seed is printed with what goes wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use stead_store::{Embedded, Op, Options, RangeRequest, Store as _, StoreError, Txn};

use crate::disk::{Disk, Sync};

type Contents = BTreeMap<Bytes, Bytes>;

/// A log that is emptied now and then.
fn small_log() -> Options {
    Options { log_bytes: 128 << 10, ..Options::default() }
}

fn flips() -> u64 {
    std::env::var("STEAD_FLIPS").map_or(25, |flips| flips.parse().unwrap())
}

/// A store that has seen writes, deletions and compaction; and what it holds before and after its last transaction.
async fn filled(disk: &Disk) -> (Embedded, [Contents; 2]) {
    disk.power_on(u64::MAX);
    let store = disk.open(small_log()).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let (mut before, mut now) = (Contents::new(), Contents::new());
    for round in 0..150 {
        before.clone_from(&now);
        let key = Bytes::from(format!("key{:02}", random.random_range(0..60)));
        if random.random_range(0..6) == 0 {
            now.remove(&key);
            store.txn(Txn { success: vec![Op::Delete { key }], ..Txn::default() }).await.unwrap();
        } else {
            let value = Bytes::from(vec![random.random::<u8>(); random.random_range(0..4_000)]);
            now.insert(key.clone(), value.clone());
            store.txn(Txn::put(key, value)).await.unwrap();
        }
        if round == 100 {
            store.compact(store.revision().await.unwrap()).await.unwrap();
        }
    }
    // The last one changes something in any case.
    before.clone_from(&now);
    now.insert("last".into(), "1".into());
    store.txn(Txn::put("last", "1")).await.unwrap();
    (store, [before, now])
}

async fn contents(store: &Embedded) -> Result<Contents, StoreError> {
    let all = RangeRequest { start: Bytes::new(), end: Bytes::new(), revision: None, limit: None };
    Ok(store.range(all).await?.items.into_iter().map(|item| (item.key, item.value)).collect())
}

/// Opens copies of `disk`, each with a bit turned. What opens has to hold one of `allowed`, and to go on. How many did.
async fn check(disk: &Disk, allowed: &[Contents]) -> u64 {
    let first_seed = rand::random::<u64>();
    let mut opened = 0;
    for seed in (0..flips()).map(|nth| first_seed.wrapping_add(nth)) {
        let turned = disk.copy();
        let bit = turned.turn_a_bit(&mut StdRng::seed_from_u64(seed));
        let what = format!("bit {bit}, seed {seed}");
        let store = match turned.open(Options::default()) {
            Err(refused) => {
                let refused = refused.to_string();
                assert!(
                    refused.starts_with("the given backend ") && refused.contains("restore a copy"),
                    "{what}: {refused}"
                );
                continue;
            }
            Ok(store) => store,
        };
        opened += 1;
        let held = contents(&store).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(allowed.contains(&held), "{what}: a wrong value, or one that is lost");
        store.txn(Txn::put("more", "1")).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(store);
        let store = turned.open(Options::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(contents(&store).await.unwrap().len(), held.len() + 1, "{what}");
    }
    opened
}

#[tokio::test]
async fn a_bit_that_turns_in_a_closed_file_is_told_or_of_no_consequence() {
    let disk = Disk::new(Sync::Honest);
    let (store, [_, now]) = filled(&disk).await;
    drop(store);
    let opened = check(&disk, &[now]).await;
    assert!(0 < opened && opened < flips(), "{opened} of {} opened: the test tests nothing", flips());
}

#[tokio::test]
async fn a_bit_that_turns_in_the_file_of_a_killed_store_is_told_or_of_no_consequence() {
    let disk = Disk::new(Sync::Honest);
    let (store, [before, now]) = filled(&disk).await;
    let killed = disk.copy();
    drop(store);
    // Damage in the last transaction alone looks like one that a power cut has torn, which nobody was told was done.
    let opened = check(&killed, &[before, now]).await;
    assert!(0 < opened && opened < flips(), "{opened} of {} opened: the test tests nothing", flips());
}

#[tokio::test]
async fn a_bit_that_turns_under_an_open_store_is_told_by_key_and_others_are_read() {
    let first_seed = rand::random::<u64>();
    let mut told = 0;
    for seed in (0..flips()).map(|nth| first_seed.wrapping_add(nth)) {
        let disk = Disk::new(Sync::Honest);
        let (store, [_, now]) = filled(&disk).await;
        drop(store);
        let uncached = Options { cache_bytes: 0, ..Options::default() };
        let store = disk.open(uncached).unwrap();
        let bit = disk.turn_a_bit(&mut StdRng::seed_from_u64(seed));
        let mut damaged = Vec::new();
        for (key, value) in &now {
            let end = [&key[..], &[0]].concat();
            let one = RangeRequest { start: key.clone(), end: end.into(), revision: None, limit: None };
            match store.range(one).await {
                Ok(page) => assert_eq!(page.items[0].value, value, "bit {bit}, seed {seed}: a wrong value"),
                Err(StoreError::Damaged { key: named }) => damaged.push(named),
                Err(StoreError::Engine { .. }) => damaged.push(key.clone()),
                Err(error) => panic!("bit {bit}, seed {seed}: {error}"),
            }
        }
        told += u64::from(!damaged.is_empty());
        for key in now.keys() {
            // Done or refused; never a panic, never silence.
            let _ = store.txn(Txn::put(key.clone(), "again")).await;
        }
    }
    assert!(told > 0, "no bit of {} was told: the test tests nothing", flips());
}
