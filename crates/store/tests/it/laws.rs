//! What the trait promises, law by law, for every engine.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures::future::join_all;
use stead_model::Revision;
use stead_store::{Event, EventKind, Lease, Op, RangeRequest, StoreError, Txn, prefix_end};

use crate::subject::{DEADLINE, Subject, read_watch};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * DEADLINE, test).await.expect("the test ends in time") });
}

macro_rules! laws {
    ($($law:ident)*) => {
        mod model {
            $(#[test] fn $law() { super::run(async { super::$law(super::Subject::model().await).await }); })*
        }
        mod embedded {
            $(#[test] fn $law() { super::run(async { super::$law(super::Subject::embedded().await).await }); })*
        }
        mod embedded_without_window {
            $(#[test] fn $law() {
                super::run(async { super::$law(super::Subject::embedded_without_window().await).await });
            })*
        }
        mod embedded_with_a_small_log {
            $(#[test] fn $law() {
                super::run(async { super::$law(super::Subject::embedded_with_a_small_log().await).await });
            })*
        }
    };
}

laws! {
    revisions_and_versions_count
    guards_hold_or_tell_what_stands_there
    a_transaction_is_one_revision
    a_transaction_that_writes_nothing_leaves_the_revision
    a_key_is_written_once_in_a_transaction
    reads_in_a_transaction_see_the_state_before
    ranges_are_cut_and_count_the_rest
    ranges_read_the_past
    compaction_forgets_the_past_only
    a_watch_tells_past_and_future
    a_watch_may_begin_in_the_future
    a_watch_sees_only_its_keys
    a_transaction_comes_in_one_batch
    writers_side_by_side_lose_nothing
    keys_of_a_lease_go_with_it
    a_lease_runs_out_in_one_transaction
    a_lease_kept_alive_stays
    a_put_without_lease_detaches
    unknown_leases_are_refused
}

async fn revisions_and_versions_count(s: Subject) {
    assert_eq!(s.put("a", "1").await, s.at(1));
    assert_eq!(s.put("b", "1").await, s.at(2));
    assert_eq!(s.put("a", "2").await, s.at(3));
    let a = s.get("a").await.unwrap();
    assert_eq!((a.create_revision, a.mod_revision, a.version, &a.value[..]), (s.at(1), s.at(3), 2, &b"2"[..]));
    s.store.txn(Txn::delete("a", s.at(3))).await.unwrap();
    assert_eq!(s.get("a").await, None);
    s.put("a", "3").await;
    let a = s.get("a").await.unwrap();
    assert_eq!((a.create_revision, a.mod_revision, a.version), (s.at(5), s.at(5), 1));
    assert_eq!(s.store.revision().await.unwrap(), s.at(5));
}

async fn guards_hold_or_tell_what_stands_there(s: Subject) {
    assert!(s.store.txn(Txn::create("a", "1")).await.unwrap().succeeded);
    let refused = s.store.txn(Txn::create("a", "2")).await.unwrap();
    assert!(!refused.succeeded);
    assert_eq!(refused.found(), s.get("a").await.as_ref());
    assert_eq!(&refused.found().unwrap().value[..], b"1");
    assert!(!s.store.txn(Txn::update("a", s.at(7), "2")).await.unwrap().succeeded);
    assert!(s.store.txn(Txn::update("a", s.at(1), "2")).await.unwrap().succeeded);
    assert!(!s.store.txn(Txn::delete("a", s.at(1))).await.unwrap().succeeded);
    let deleted = s.store.txn(Txn::delete("a", s.at(2))).await.unwrap();
    assert!(deleted.succeeded);
    assert_eq!(&deleted.found().unwrap().value[..], b"2");
    let gone = s.store.txn(Txn::update("a", s.at(2), "3")).await.unwrap();
    assert_eq!((gone.succeeded, gone.found()), (false, None));
}

async fn a_transaction_is_one_revision(s: Subject) {
    s.put("old", "1").await;
    let success = vec![Op::put("a", "1"), Op::Delete { key: "old".into() }, Op::put("b", "1")];
    let outcome = s.store.txn(Txn { success, ..Txn::default() }).await.unwrap();
    assert_eq!(outcome.revision, s.at(2));
    let page = s.list(None).await.unwrap();
    assert_eq!(
        page.items.iter().map(|item| (&item.key[..], item.mod_revision)).collect::<Vec<_>>(),
        [(&b"a"[..], s.at(2)), (&b"b"[..], s.at(2))]
    );
}

async fn a_transaction_that_writes_nothing_leaves_the_revision(s: Subject) {
    s.put("a", "1").await;
    let nothing = [Op::Delete { key: "absent".into() }, Op::Get { key: "a".into() }];
    for op in nothing {
        let outcome = s.store.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap();
        assert_eq!(outcome.revision, s.at(1));
    }
    assert_eq!(s.store.txn(Txn::create("a", "2")).await.unwrap().revision, s.at(1));
    assert_eq!(s.store.txn(Txn::default()).await.unwrap().revision, s.at(1));
    assert_eq!(s.store.revision().await.unwrap(), s.at(1));
}

async fn a_key_is_written_once_in_a_transaction(s: Subject) {
    let twice = vec![Op::put("a", "1"), Op::Delete { key: "a".into() }];
    for txn in [Txn { success: twice.clone(), ..Txn::default() }, Txn { failure: twice, ..Txn::create("b", "1") }] {
        assert_eq!(s.store.txn(txn).await, Err(StoreError::DuplicateKey("a".into())));
    }
    assert_eq!(s.store.revision().await.unwrap(), s.base);
}

async fn reads_in_a_transaction_see_the_state_before(s: Subject) {
    s.put("a", "old").await;
    let success = vec![Op::put("a", "new"), Op::Get { key: "a".into() }];
    let outcome = s.store.txn(Txn { success, ..Txn::default() }).await.unwrap();
    assert_eq!(&outcome.found().unwrap().value[..], b"old");
}

async fn ranges_are_cut_and_count_the_rest(s: Subject) {
    for key in ["a", "b", "b/1", "b/2", "b0", "c"] {
        s.put(key, "").await;
    }
    type Case<'a> = (&'a str, Bytes, Option<usize>, &'a [&'a str], usize);
    let cases: [Case<'_>; 8] = [
        ("", Bytes::new(), None, &["a", "b", "b/1", "b/2", "b0", "c"], 0),
        ("", Bytes::new(), Some(2), &["a", "b"], 4),
        ("", Bytes::new(), Some(6), &["a", "b", "b/1", "b/2", "b0", "c"], 0),
        ("b/", prefix_end(b"b/"), None, &["b/1", "b/2"], 0),
        ("b/", prefix_end(b"b/"), Some(1), &["b/1"], 1),
        ("b", "b".into(), None, &[], 0),
        ("c", "a".into(), None, &[], 0),
        ("b/2", Bytes::new(), None, &["b/2", "b0", "c"], 0),
    ];
    for (start, end, limit, keys, remaining) in cases {
        let request = RangeRequest { start: start.into(), end, revision: None, limit };
        let page = s.store.range(request.clone()).await.unwrap();
        assert_eq!(
            page.items.iter().map(|item| str::from_utf8(&item.key).unwrap()).collect::<Vec<_>>(),
            keys,
            "{request:?}"
        );
        assert_eq!((page.remaining, page.revision), (remaining, s.at(6)), "{request:?}");
    }
}

async fn ranges_read_the_past(s: Subject) {
    s.put("a", "1").await;
    s.put("b", "1").await;
    s.store.txn(Txn::delete("a", s.at(1))).await.unwrap();
    s.put("b", "2").await;
    let texts: [&[(&str, &str)]; 5] = [&[], &[("a", "1")], &[("a", "1"), ("b", "1")], &[("b", "1")], &[("b", "2")]];
    for (nth, text) in texts.iter().enumerate().skip(1) {
        let page = s.list(Some(s.at(nth as u64))).await.unwrap();
        let found: Vec<_> = page.items.iter().map(|item| (&item.key[..], &item.value[..])).collect();
        assert_eq!(found, text.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect::<Vec<_>>());
        assert_eq!(page.revision, s.at(4));
    }
    let future = s.list(Some(s.at(5))).await;
    assert_eq!(future, Err(StoreError::Future { requested: s.at(5), newest: s.at(4) }));
}

async fn compaction_forgets_the_past_only(s: Subject) {
    s.put("a", "1").await;
    s.put("gone", "1").await;
    s.store.txn(Txn::delete("gone", s.at(2))).await.unwrap();
    s.put("a", "2").await;
    s.put("b", "1").await;
    let kept = [s.list(Some(s.at(3))).await, s.list(Some(s.at(4))).await, s.list(Some(s.at(5))).await];
    s.store.compact(s.at(3)).await.unwrap();
    assert_eq!(kept, [s.list(Some(s.at(3))).await, s.list(Some(s.at(4))).await, s.list(Some(s.at(5))).await]);
    let old = s.list(Some(s.at(2))).await;
    assert_eq!(old, Err(StoreError::Compacted { requested: s.at(2), oldest: s.at(3) }));
    assert!(matches!(s.watch_all(s.at(2)).await.err(), Some(StoreError::Compacted { .. })));
    let events = read_watch(&mut s.watch_all(s.at(4)).await.unwrap(), s.at(4), s.at(5)).await.unwrap();
    assert_eq!(&events[0].previous.as_ref().unwrap().value[..], b"1");
    assert!(matches!(s.store.compact(s.at(3)).await, Err(StoreError::Compacted { .. })));
    assert!(matches!(s.store.compact(s.at(6)).await, Err(StoreError::Future { .. })));
    s.store.compact(s.at(5)).await.unwrap();
    assert_eq!(kept[2], s.list(None).await);
}

async fn a_watch_tells_past_and_future(s: Subject) {
    s.put("a", "1").await;
    s.put("a", "2").await;
    let mut watch = s.watch_all(s.at(2)).await.unwrap();
    let past = read_watch(&mut watch, s.at(2), s.at(2)).await.unwrap();
    assert_eq!(describe(&past), ["put a=2 was 1"]);
    s.put("b", "1").await;
    s.store.txn(Txn::delete("a", s.at(2))).await.unwrap();
    let future = read_watch(&mut watch, s.at(3), s.at(4)).await.unwrap();
    assert_eq!(describe(&future), ["put b=1", "delete a= was 2"]);
    assert_eq!(future[1].key_value.mod_revision, s.at(4));
}

async fn a_watch_may_begin_in_the_future(s: Subject) {
    let mut watch = s.watch_all(s.at(3)).await.unwrap();
    for value in ["1", "2", "3", "4"] {
        s.put("a", value).await;
    }
    let events = read_watch(&mut watch, s.at(3), s.at(4)).await.unwrap();
    assert_eq!(describe(&events), ["put a=3 was 2", "put a=4 was 3"]);
}

async fn a_watch_sees_only_its_keys(s: Subject) {
    let mut watch = s.store.watch("b/".into(), prefix_end(b"b/"), s.at(1)).await.unwrap();
    for key in ["a", "b/1", "b0", "b/2", "c"] {
        s.put(key, "1").await;
    }
    let events = read_watch(&mut watch, s.at(1), s.at(5)).await.unwrap();
    assert_eq!(describe(&events), ["put b/1=1", "put b/2=1"]);
}

async fn a_transaction_comes_in_one_batch(s: Subject) {
    let key = |n: u32| Bytes::from(format!("{n:04}"));
    for _ in 0..3 {
        let success = (0..700).map(|n| Op::put(key(n), "x")).collect();
        s.store.txn(Txn { success, ..Txn::default() }).await.unwrap();
    }
    let mut watch = s.watch_all(s.at(1)).await.unwrap();
    let events = read_watch(&mut watch, s.at(1), s.at(3)).await.unwrap();
    assert_eq!(events.len(), 2100);
    let page = s.list(None).await.unwrap();
    assert_eq!((page.items.len(), page.items[699].version), (700, 3));
}

async fn writers_side_by_side_lose_nothing(s: Subject) {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 25;
    let mut watch = s.watch_all(s.at(1)).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&s.store);
        tokio::spawn(async move {
            for _ in 0..WRITES {
                increment(&*store).await;
                let own = Bytes::from(format!("own/{writer}"));
                let revision = store.txn(Txn::put(own.clone(), "x")).await.unwrap().revision;
                let end = prefix_end(&own);
                let page = store.range(RangeRequest { start: own, end, revision: None, limit: None }).await.unwrap();
                assert_eq!(page.items[0].mod_revision, revision, "an acknowledged write is seen at once");
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let counter = s.get("counter").await.unwrap();
    assert_eq!((counter.version, &counter.value[..]), (WRITERS * WRITES, &b"200"[..]));
    let events = read_watch(&mut watch, s.at(1), s.at(2 * WRITERS * WRITES)).await;
    match events {
        Ok(events) => assert_eq!(events.len() as u64, 2 * WRITERS * WRITES),
        Err(error) => assert_eq!(error, StoreError::Slow),
    }
}

async fn increment(store: &dyn stead_store::Store) {
    let read = Txn { success: vec![Op::Get { key: "counter".into() }], ..Txn::default() };
    let mut seen = store.txn(read).await.unwrap();
    loop {
        let (revision, value) = seen.found().map_or((Revision::ZERO, 0), |found| {
            (found.mod_revision, str::from_utf8(&found.value).unwrap().parse::<u64>().unwrap())
        });
        seen = store.txn(Txn::update("counter", revision, (value + 1).to_string())).await.unwrap();
        if seen.succeeded {
            return;
        }
    }
}

fn put_with(key: &'static str, lease: Lease) -> Txn {
    Txn { success: vec![Op::Put { key: key.into(), value: "x".into(), lease: Some(lease) }], ..Txn::default() }
}

async fn keys_of_a_lease_go_with_it(s: Subject) {
    let lease = s.store.grant_lease(3600).await.unwrap();
    let other = s.store.grant_lease(3600).await.unwrap();
    assert_ne!(lease, other);
    s.store.txn(put_with("a", lease)).await.unwrap();
    s.store.txn(put_with("b", lease)).await.unwrap();
    s.store.txn(put_with("c", other)).await.unwrap();
    assert_eq!(s.get("a").await.unwrap().lease, Some(lease));
    s.store.revoke_lease(lease).await.unwrap();
    assert_eq!(s.store.revision().await.unwrap(), s.at(4));
    let events = read_watch(&mut s.watch_all(s.at(4)).await.unwrap(), s.at(4), s.at(4)).await.unwrap();
    assert_eq!(describe(&events), ["delete a= was x", "delete b= was x"]);
    assert!(s.get("c").await.is_some());
    assert_eq!(s.store.revoke_lease(lease).await, Err(StoreError::NoLease(lease)));
    let empty = s.store.grant_lease(3600).await.unwrap();
    s.store.revoke_lease(empty).await.unwrap();
    assert_eq!(s.store.revision().await.unwrap(), s.at(4));
}

async fn a_lease_runs_out_in_one_transaction(s: Subject) {
    let mut watch = s.watch_all(s.at(3)).await.unwrap();
    let lease = s.store.grant_lease(2).await.unwrap();
    s.store.txn(put_with("a", lease)).await.unwrap();
    s.store.txn(put_with("b", lease)).await.unwrap();
    let events = read_watch(&mut watch, s.at(3), s.at(3)).await.unwrap();
    assert_eq!(describe(&events), ["delete a= was x", "delete b= was x"]);
    assert_eq!(s.store.keep_lease_alive(lease).await, Err(StoreError::NoLease(lease)));
}

async fn a_lease_kept_alive_stays(s: Subject) {
    let short = s.store.grant_lease(2).await.unwrap();
    let kept = s.store.grant_lease(4).await.unwrap();
    s.store.txn(put_with("kept", kept)).await.unwrap();
    s.store.txn(put_with("short", short)).await.unwrap();
    let mut watch = s.watch_all(s.at(3)).await.unwrap();
    read_watch(&mut watch, s.at(3), s.at(3)).await.unwrap();
    s.store.keep_lease_alive(kept).await.unwrap();
    let again = s.store.grant_lease(2).await.unwrap();
    s.store.txn(put_with("again", again)).await.unwrap();
    read_watch(&mut watch, s.at(4), s.at(5)).await.unwrap();
    assert!(s.get("kept").await.is_some(), "kept from about 2 s to about 6 s, and looked at after about 4 s");
    let events = read_watch(&mut watch, s.at(6), s.at(6)).await.unwrap();
    assert_eq!(describe(&events), ["delete kept= was x"]);
}

async fn a_put_without_lease_detaches(s: Subject) {
    let lease = s.store.grant_lease(3600).await.unwrap();
    s.store.txn(put_with("a", lease)).await.unwrap();
    s.put("a", "mine").await;
    s.store.revoke_lease(lease).await.unwrap();
    let a = s.get("a").await.unwrap();
    assert_eq!((a.lease, &a.value[..]), (None, &b"mine"[..]));
}

async fn unknown_leases_are_refused(s: Subject) {
    let lease = s.store.grant_lease(3600).await.unwrap();
    s.store.revoke_lease(lease).await.unwrap();
    let refused = Err(StoreError::NoLease(lease));
    let mut txn = put_with("a", lease);
    txn.success.insert(0, Op::put("b", "x"));
    assert_eq!(s.store.txn(txn).await.map(drop), refused);
    assert_eq!(s.store.keep_lease_alive(lease).await, refused);
    assert_eq!(s.store.revision().await.unwrap(), s.base);
}

/// One line for each event.
fn describe(events: &[Arc<Event>]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let line = |event: &Arc<Event>| {
        let kind = match event.kind {
            EventKind::Put => "put",
            EventKind::Delete => "delete",
        };
        let previous =
            event.previous.as_ref().map_or(String::new(), |previous| format!(" was {}", text(&previous.value)));
        format!("{kind} {}={}{previous}", text(&event.key_value.key), text(&event.key_value.value))
    };
    events.iter().map(line).collect()
}
