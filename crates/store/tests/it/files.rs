//! Files as they are found: in use, foreign, damaged, half made, from another program.

use std::{fs, path::Path};

use stead_store::{Embedded, OpenError, Store as _, Txn};

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
    transaction.open_table(meta).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refusal = refusal(directory.path());
    assert!(refusal.contains("has store format 2") && refusal.contains("newer program"), "{refusal}");
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
async fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(refusal(&path.join("store")).contains("file/store"));
}
