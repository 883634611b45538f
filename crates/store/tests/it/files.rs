//! Files as they are found: in use, foreign, damaged, half made, from another program.

use std::{fs, path::Path};

use bytes::Bytes;
use stead_model::Revision;
use stead_store::{Embedded, Lease, Op, OpenError, RangeRequest, Store as _, Txn};

use crate::subject::read_watch;

const FILE: &str = "store.redb";
const LOG: &str = "store.log";

/// A directory whose store holds a few keys.
async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    for n in 0..20 {
        store.txn(Txn::put(format!("key{n}"), vec![n; 3000])).await.unwrap();
    }
    directory
}

fn refusal(directory: &Path) -> String {
    Embedded::open(directory).expect_err("refused").to_string()
}

#[tokio::test]
async fn a_directory_is_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = Embedded::open(directory.path()).unwrap();
    let second = Embedded::open(directory.path());
    assert!(matches!(&second, Err(OpenError::InUse { path }) if path == directory.path()), "{second:?}");
    first.txn(Txn::put("a", "1")).await.unwrap();
    drop(first);
    let third = Embedded::open(directory.path()).unwrap();
    assert_eq!(third.revision().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_foreign_file_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    for text in [&b""[..], b"not a store", &[7; 100_000]] {
        fs::write(&path, text).unwrap();
        let refusal = refusal(directory.path());
        assert!(refusal.contains(path.to_str().unwrap()) && refusal.contains("no Stead store"), "{refusal}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn another_database_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(redb::Database::create(&path).unwrap());
    let refusal = refusal(directory.path());
    assert!(refusal.contains(path.to_str().unwrap()) && refusal.contains("no Stead store"), "{refusal}");
}

#[tokio::test]
async fn a_newer_format_asks_for_a_newer_program() {
    let directory = filled().await;
    let database = redb::Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 4).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refusal = refusal(directory.path());
    assert!(refusal.contains("has store format 4") && refusal.contains("newer program"), "{refusal}");
}

#[tokio::test]
async fn a_file_cut_short_is_refused() {
    let directory = filled().await;
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for length in [1, 64, 4096, whole.len() / 2] {
        fs::write(&path, &whole[..length]).unwrap();
        let refusal = refusal(directory.path());
        assert!(refusal.contains(path.to_str().unwrap()), "{refusal}");
    }
}

#[tokio::test]
async fn what_a_cut_creation_leaves_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("store.redb.new"), b"half a fi").unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    store.txn(Txn::put("a", "1")).await.unwrap();
    assert!(!directory.path().join("store.redb.new").exists());
}

#[tokio::test]
async fn what_cannot_be_made_or_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(refusal(&path.join("store")).contains("file/store"));
    fs::create_dir(directory.path().join(FILE)).unwrap();
    let refusal = refusal(directory.path());
    assert!(refusal.starts_with("cannot open") && refusal.contains(FILE), "{refusal}");
}

#[tokio::test]
async fn space_of_dead_revisions_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        for _ in 0..20 {
            let success = (0..50).map(|key| Op::put(format!("{key}"), vec![0; 2000])).collect();
            store.txn(Txn { success, ..Txn::default() }).await.unwrap();
        }
        store.compact(store.revision().await.unwrap()).await.unwrap();
        sizes.push(fs::metadata(directory.path().join(FILE)).unwrap().len());
    }
    assert!(sizes[5] <= 2 * sizes[1], "the file grows without end: {sizes:?}");
}

#[tokio::test]
async fn a_lease_starts_anew_when_the_store_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let lease = store.grant_lease(2).await.unwrap();
    let op = Op::Put { key: "a".into(), value: "1".into(), lease: Some(lease) };
    store.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap();
    drop(store);
    let store = Embedded::open(directory.path()).unwrap();
    assert_eq!(store.grant_lease(3600).await.unwrap(), Lease(lease.0 + 1), "no lease's number is given twice");
    store.keep_lease_alive(lease).await.unwrap();
    let mut watch = store.watch(Bytes::new(), Bytes::new(), Revision(2)).await.unwrap();
    let events = read_watch(&mut watch, Revision(2), Revision(2)).await.unwrap();
    assert_eq!(&events[0].key_value.key[..], b"a");
    drop(store);
    let store = Embedded::open(directory.path()).unwrap();
    let all = RangeRequest { start: Bytes::new(), end: Bytes::new(), revision: None, limit: None };
    assert_eq!(store.range(all).await.unwrap().items, []);
}

/// What a killed process leaves: the files as they are while the store is open.
fn killed(directory: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    for file in [LOG, FILE] {
        fs::copy(directory.join(file), left.path().join(file)).unwrap();
    }
    left
}

async fn count(store: &Embedded) -> usize {
    let all = RangeRequest { start: Bytes::new(), end: Bytes::new(), revision: None, limit: None };
    store.range(all).await.unwrap().items.len()
}

#[tokio::test]
async fn what_only_the_log_has_outlives_the_process() {
    let directory = filled().await;
    let store = Embedded::open(directory.path()).unwrap();
    let lease = store.grant_lease(3600).await.unwrap();
    store.txn(Txn::put("more", "1")).await.unwrap();
    store.compact(Revision(21)).await.unwrap();
    let left = killed(directory.path());
    drop(store);
    let tables = fs::read(left.path().join(FILE)).unwrap();
    let salvage = Embedded::salvage(left.path()).unwrap();
    assert!(salvage.refusal.is_none() && salvage.items.len() == 21);
    assert_eq!(fs::read(left.path().join(FILE)).unwrap(), tables);
    for _ in 0..2 {
        let store = Embedded::open(left.path()).unwrap();
        assert_eq!((count(&store).await, store.revision().await.unwrap()), (21, Revision(21)));
        store.keep_lease_alive(lease).await.unwrap();
        assert!(store.watch(Bytes::new(), Bytes::new(), Revision(21)).await.is_err(), "it was compacted");
    }
}

#[tokio::test]
async fn a_log_that_is_missing_or_anothers_is_told() {
    let directory = filled().await;
    let store = Embedded::open(directory.path()).unwrap();
    store.txn(Txn::put("more", "1")).await.unwrap();
    let (left, other) = (killed(directory.path()), killed(filled().await.path()));
    drop(store);

    let log = fs::read(left.path().join(LOG)).unwrap();
    fs::remove_file(left.path().join(LOG)).unwrap();
    let missing = refusal(left.path());
    assert!(missing.contains("store.log is missing"), "{missing}");
    assert_eq!(Embedded::salvage(left.path()).unwrap().items.len(), 20);
    fs::write(left.path().join(LOG), b"").unwrap();
    assert_eq!(count(&Embedded::open(left.path()).unwrap()).await, 20, "as it was told to");

    fs::write(other.path().join(LOG), &log[..4096]).unwrap();
    Embedded::open(other.path()).expect("an empty log is anybody's");
    fs::write(other.path().join(LOG), [&log[..4096], &[1; 4096], &log[4096..]].concat()).unwrap();
    let damaged = refusal(other.path());
    assert!(damaged.contains("store.log is damaged") && damaged.contains("restore a copy"), "{damaged}");
    fs::remove_file(other.path().join(FILE)).unwrap();
    let missing = refusal(other.path());
    assert!(missing.contains("writes of a store that is missing"), "{missing}");
}

#[tokio::test]
async fn a_store_of_before_logs_gets_one() {
    let directory = filled().await;
    let database = redb::Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap();
        meta.insert("format", 2).unwrap();
        meta.remove("logged").unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    fs::remove_file(directory.path().join(LOG)).unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    store.txn(Txn::put("more", "1")).await.unwrap();
    let left = killed(directory.path());
    assert_eq!(count(&Embedded::open(left.path()).unwrap()).await, 21);
}
