//! Slow watchers, and the memory that one may cost.

use futures::StreamExt as _;
use stead_store::{Embedded, Options, Store as _, StoreError, Txn};

use crate::subject::{Subject, read_watch};

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_may_resume() {
    let s = Subject::embedded_with(Options { window_events: 4, ..Options::default() }).await;
    let mut slow = s.watch_all(s.at(1)).await.unwrap();
    let mut quick = s.watch_all(s.at(1)).await.unwrap();
    s.put("a", "0").await;
    let seen = slow.next().await.unwrap().unwrap().revision;
    let mut quick_seen = s.at(0);
    for _ in 0..6 {
        let newest = s.put("a", "1").await;
        read_watch(&mut quick, quick_seen.next(), newest).await.unwrap();
        quick_seen = newest;
    }
    assert_eq!(slow.next().await.unwrap(), Err(StoreError::Slow));
    assert!(slow.next().await.is_none(), "a watch ends after an error");
    let mut resumed = s.watch_all(seen.next()).await.unwrap();
    let events = read_watch(&mut resumed, seen.next(), s.at(7)).await.unwrap();
    assert_eq!(events.len(), 6);
}

#[tokio::test]
async fn large_values_push_old_events_out_of_the_window() {
    let s = Subject::embedded_with(Options { window_bytes: 1000, ..Options::default() }).await;
    let mut watch = s.watch_all(s.at(1)).await.unwrap();
    s.put("a", "0").await;
    watch.next().await.unwrap().unwrap();
    for _ in 0..2 {
        s.store.txn(Txn::put("a", vec![0; 2000])).await.unwrap();
    }
    assert_eq!(watch.next().await.unwrap(), Err(StoreError::Slow));
}

#[tokio::test]
async fn watches_end_when_the_store_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path()).unwrap();
    let mut watch = store.watch("".into(), "".into(), stead_model::Revision(1)).await.unwrap();
    drop(store);
    assert_eq!(watch.next().await.unwrap(), Err(StoreError::Closed));
    Embedded::open(directory.path()).expect("a watch that was left over does not keep the file");
}

#[tokio::test]
async fn history_is_compacted_by_age() {
    let tick = std::time::Duration::from_millis(20);
    let s = Subject::embedded_with(Options { compaction_interval: tick, history: tick, ..Options::default() }).await;
    s.put("a", "1").await;
    s.put("a", "2").await;
    let deadline = std::time::Instant::now() + crate::subject::DEADLINE;
    while s.list(Some(s.at(1))).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "revision 1 is still there");
        tokio::task::yield_now().await;
    }
    let oldest = StoreError::Compacted { requested: s.at(1), oldest: s.at(2) };
    assert_eq!(s.list(Some(s.at(1))).await, Err(oldest));
    assert_eq!(&s.get("a").await.unwrap().value[..], b"2");
}
