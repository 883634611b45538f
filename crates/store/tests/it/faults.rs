//! Disks that are full or may not be written: said clearly, and what was acknowledged stays readable.

use bytes::Bytes;
use stead_store::{Embedded, KeyValue, Options, RangeRequest, Store as _, StoreError, Txn};

use crate::disk::{Disk, Fault, Sync};

async fn everything(store: &Embedded) -> Result<Vec<KeyValue>, StoreError> {
    let all = RangeRequest { start: Bytes::new(), end: Bytes::new(), revision: None, limit: None };
    Ok(store.range(all).await?.items)
}

async fn check(fault: Fault, says: &str) {
    let disk = Disk::new(Sync::Honest);
    disk.power_on(u64::MAX);
    let store = disk.open(Options::default()).unwrap();
    let mut acknowledged = 0;
    for n in 0..20_u32 {
        store.txn(Txn::put(format!("key{n:05}"), vec![1; 30_000])).await.unwrap();
        acknowledged = n + 1;
    }
    disk.fail(Some(fault));
    let refused = loop {
        match store.txn(Txn::put(format!("key{acknowledged:05}"), vec![1; 30_000])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error.to_string(),
        }
        assert!(acknowledged < 1_000, "the disk never fails");
    };
    assert!(refused.contains(says), "{refused}");
    assert_eq!(everything(&store).await.unwrap().len(), acknowledged as usize, "reads go on");
    drop(store);
    disk.fail(None);
    let store = disk.open(Options::default()).unwrap();
    let left = everything(&store).await.unwrap();
    assert!(left.len() >= acknowledged as usize, "{} of {acknowledged} are left", left.len());
    assert!(left.iter().all(|item| item.value[..] == [1; 30_000]));
    store.txn(Txn::put("more", "1")).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_says_so_and_loses_nothing() {
    check(Fault::Full, "No space left on device").await;
}

#[tokio::test]
async fn a_read_only_disk_says_so_and_loses_nothing() {
    check(Fault::ReadOnly, "Read-only file system").await;
}

#[tokio::test]
async fn a_read_only_disk_is_told_when_the_store_opens() {
    let disk = Disk::new(Sync::Honest);
    disk.power_on(u64::MAX);
    let store = disk.open(Options::default()).unwrap();
    store.txn(Txn::put("a", "1")).await.unwrap();
    drop(store);
    disk.fail(Some(Fault::ReadOnly));
    let refused = disk.open(Options::default()).expect_err("it cannot be written");
    let source = std::error::Error::source(&refused).expect("the system's own error");
    assert!(source.to_string().contains("Read-only file system"), "{refused}: {source}");
}
