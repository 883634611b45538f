use bytes::Bytes;
use serde_json::json;
use stead_api::kinds::config_map::RESOURCE;
use stead_store::KeyValue;

use super::*;

fn event(name: &str, revision: u64, kind: EventKind) -> Event {
    let object = json!({"metadata": {"name": name, "namespace": "default"}});
    let key = Bytes::from(format!("/registry/configmaps/default/{name}"));
    let key_value = KeyValue {
        key,
        value: Bytes::from(object.to_string()),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        version: 1,
        lease: None,
    };
    Event { kind, key_value, previous: None }
}

fn put(cache: &KindCache, name: &str, revision: u64) {
    cache.apply([event(name, revision, EventKind::Put)].iter(), Revision(revision));
}

#[test]
fn objects_and_changes_are_as_of_one_revision() {
    let cache = KindCache::new(&RESOURCE);
    put(&cache, "a", 3);
    put(&cache, "b", 4);
    cache.apply([].iter(), Revision(9));
    let listing = cache.list(Some("default"), None);
    assert_eq!((listing.entries.len(), listing.revision), (2, Revision(9)));
    assert_eq!(cache.list(Some("defaul"), None).entries.len(), 0);
    let batch = cache.read(cache.position_after(Revision(3)).unwrap()).unwrap();
    assert_eq!((batch.changes.len(), batch.revision), (1, Revision(9)));
    assert_eq!(cache.read(batch.position).unwrap().changes.len(), 0);
    cache.apply([event("a", 10, EventKind::Delete)].iter(), Revision(10));
    let batch = cache.read(batch.position).unwrap();
    assert_eq!(batch.changes[0].kind, crate::cache::ChangeKind::Deleted);
    assert_eq!(batch.changes[0].entry.object()["metadata"]["resourceVersion"], "10");
}

#[test]
fn who_falls_out_of_the_window_is_told() {
    let cache = KindCache::new(&RESOURCE);
    put(&cache, "a", 1);
    let position = cache.position_after(Revision::ZERO).unwrap();
    for revision in 2..(WINDOW_EVENTS as u64 + 3) {
        put(&cache, "a", revision);
    }
    assert!(cache.read(position).is_err());
    assert_eq!(cache.position_after(Revision(1)).unwrap_err().floor, Revision(2));
    assert!(cache.position_after(Revision(2)).is_ok());
}

#[test]
fn a_cache_that_starts_over_cuts_its_watchers_off() {
    let cache = KindCache::new(&RESOURCE);
    put(&cache, "a", 1);
    let head = cache.list(None, None).position;
    cache.reset(Vec::new(), Revision(7));
    assert!(cache.read(head).is_err());
    assert!(cache.position_after(Revision(6)).is_err());
    assert!(cache.position_after(Revision(7)).is_ok());
}
