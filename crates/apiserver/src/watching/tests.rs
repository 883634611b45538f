use futures::StreamExt as _;
use stead_api::kinds::config_map::RESOURCE;
use stead_store::{Event, EventKind, KeyValue};

use super::*;
use crate::query::Query;

fn put(cache: &KindCache, revisions: std::ops::Range<u64>) {
    for revision in revisions {
        let key_value = KeyValue {
            key: "/registry/configmaps/default/a".into(),
            value: r#"{"metadata":{"name":"a","namespace":"default"}}"#.into(),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            version: 1,
            lease: None,
        };
        cache.apply([Event { kind: EventKind::Put, key_value, previous: None }].iter(), Revision(revision));
    }
}

fn watch(cache: &Arc<KindCache>, stop: &watch::Sender<bool>) -> Watch {
    Watch {
        cache: cache.clone(),
        filter: Filter::new(&RESOURCE, None, None, &Query::default()).unwrap(),
        shown: Shown::new(&RESOURCE, View::Object),
        bookmarks: true,
        timeout: Duration::from_secs(600),
        stop: stop.subscribe(),
        share: None,
        watched: Watched::default(),
    }
}

fn events(frame: Option<Result<Bytes, Infallible>>) -> Vec<Value> {
    let frame = frame.expect("a frame").unwrap();
    let lines = frame.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test]
async fn waiting_events_come_in_one_frame_and_the_too_slow_are_told_410() {
    let cache = Arc::new(KindCache::new(&RESOURCE));
    let stop = watch::Sender::new(false);
    put(&cache, 1..2);
    let start = Start::At { position: cache.position_after(Revision(1)).unwrap(), after: Revision(1) };
    let mut stream = Box::pin(frames(watch(&cache, &stop), start));
    put(&cache, 2..12);
    assert_eq!(events(stream.next().await).len(), 10);
    put(&cache, 12..40_000);
    let last = events(stream.next().await);
    assert_eq!((&last[0]["type"], &last[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_at_the_end() {
    let cache = Arc::new(KindCache::new(&RESOURCE));
    let stop = watch::Sender::new(false);
    put(&cache, 1..2);
    let mut stream = Box::pin(frames(watch(&cache, &stop), Start::Objects(cache.list(None, None))));
    assert_eq!(events(stream.next().await)[0]["type"], "ADDED");
    cache.apply([].iter(), Revision(30));
    let bookmark = &events(stream.next().await)[0];
    assert_eq!(
        (&bookmark["type"], &bookmark["object"]["metadata"]["resourceVersion"]),
        (&json!("BOOKMARK"), &json!("30"))
    );
    stop.send_replace(true);
    assert_eq!(events(stream.next().await)[0]["type"], "BOOKMARK");
    assert!(stream.next().await.is_none());
}
