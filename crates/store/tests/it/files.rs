//! Files as they are found: in use, foreign, damaged, half made, from another program.

use std::{fs, path::Path};

use bytes::Bytes;
use stead_model::Revision;
use stead_store::{Embedded, Lease, Op, OpenError, RangeRequest, Store as _, Txn};

use crate::subject::read_watch;

const FILE: &str = "store.redb";

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
    transaction.open_table(meta).unwrap().insert("format", 3).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refusal = refusal(directory.path());
    assert!(refusal.contains("has store format 3") && refusal.contains("newer program"), "{refusal}");
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
