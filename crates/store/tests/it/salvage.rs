//! What is read of files that are whole, and of damaged ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use bytes::Bytes;
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};
use stead_store::{Embedded, Op, OpenError, Salvage, Store as _, Txn};

const FILE: &str = "store.redb";
const KEYS: usize = 60;

/// What a store holds, and every value that its keys had.
#[derive(Default)]
struct Known {
    now: BTreeMap<Bytes, Bytes>,
    ever: BTreeSet<(Bytes, Bytes)>,
}

async fn filled(directory: &Path) -> Known {
    let store = Embedded::open(directory).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut known = Known::default();
    for round in 0..300 {
        let key = Bytes::from(format!("/registry/things/default/key{:02}", random.random_range(0..KEYS)));
        if random.random_range(0..6) == 0 {
            known.now.remove(&key);
            store.txn(Txn { success: vec![Op::Delete { key }], ..Txn::default() }).await.unwrap();
        } else {
            let text = format!("{{\"round\":{round}}}{}", "x".repeat(random.random_range(0..6_000)));
            let value = Bytes::from(text);
            known.now.insert(key.clone(), value.clone());
            known.ever.insert((key.clone(), value.clone()));
            store.txn(Txn::put(key, value)).await.unwrap();
        }
        if round == 200 {
            store.compact(store.revision().await.unwrap()).await.unwrap();
        }
    }
    known
}

fn contents(salvage: &Salvage) -> BTreeMap<Bytes, Bytes> {
    salvage.items.iter().map(|item| (item.key.clone(), item.value.clone())).collect()
}

#[tokio::test]
async fn a_whole_file_is_read_as_it_is_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let known = filled(directory.path()).await;
    let file = fs::read(directory.path().join(FILE)).unwrap();
    let salvage = Embedded::salvage(directory.path()).unwrap();
    assert!(salvage.refusal.is_none() && salvage.damaged.is_empty());
    assert_eq!(contents(&salvage), known.now);
    assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), file);
    let open = Embedded::open(directory.path()).unwrap();
    assert!(matches!(Embedded::salvage(directory.path()), Err(OpenError::InUse { .. })));
    drop(open);
    fs::remove_file(directory.path().join(FILE)).unwrap();
    assert!(matches!(Embedded::salvage(directory.path()), Err(OpenError::File { .. })));
}

#[tokio::test]
async fn of_a_damaged_file_is_read_what_is_left_and_never_what_was_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let known = filled(directory.path()).await;
    let path = directory.path().join(FILE);
    let file = fs::read(&path).unwrap();
    let first_seed = rand::random::<u64>();
    let (mut right, mut refused) = (0, 0);
    for seed in (0..40).map(|nth| first_seed.wrapping_add(nth)) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut damaged = file.clone();
        // The second half of it is room for later.
        let at = random.random_range(0..damaged.len() / 2);
        random.fill_bytes(&mut damaged[at..at + 300]);
        fs::write(&path, damaged).unwrap();
        let salvage = Embedded::salvage(directory.path()).unwrap();
        let found = contents(&salvage);
        for (key, value) in &found {
            assert!(known.ever.contains(&(key.clone(), value.clone())), "seed {seed}: {key:?} was never that");
        }
        if salvage.refusal.is_none() {
            assert_eq!(found, known.now, "seed {seed}");
            continue;
        }
        refused += 1;
        right += known.now.iter().filter(|(key, value)| found.get(*key) == Some(value)).count();
    }
    assert!(refused > 5, "of 40 files {refused} were refused: the test tests little");
    let all = refused * known.now.len();
    assert!(right * 10 > all * 9, "seed {first_seed}: of {all} values {right} were read");
}

#[tokio::test]
async fn a_file_that_has_lost_its_beginning_is_read_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let known = filled(directory.path()).await;
    let path = directory.path().join(FILE);
    let mut file = fs::read(&path).unwrap();
    file[..4096].fill(0);
    fs::write(&path, &file).unwrap();
    let salvage = Embedded::salvage(directory.path()).unwrap();
    assert!(salvage.refusal.unwrap().to_string().contains("restore a copy"));
    let found: BTreeMap<Bytes, Bytes> = salvage.items.into_iter().map(|item| (item.key, item.value)).collect();
    for (key, value) in &known.now {
        assert_eq!(found.get(key), Some(value), "{key:?}");
    }
}
