//! Events: the component that speaks is `source` and its host `host`, where v1 has an object of both; one `timestamp` before there
//! was a first and a last.

use serde_json::{Value, json};

use super::{
    carry::{Same, backward, forward, put},
    meta, reference,
};
use crate::kinds::value::{at, is_set, set, text};

const SAME: Same = &[
    ("reason", "reason"),
    ("message", "message"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
];

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = meta::to_v1(old);
    for (key, value) in forward(old, SAME).as_object().into_iter().flatten() {
        put(&mut new, key, value.clone());
    }
    if !is_set(old, "/firstTimestamp") && is_set(old, "/timestamp") {
        set(&mut new, "firstTimestamp", old["timestamp"].clone());
        set(&mut new, "lastTimestamp", old["timestamp"].clone());
        set(&mut new, "count", 1);
    }
    let mut source = json!({});
    put(&mut source, "component", text(old, "/source"));
    put(&mut source, "host", text(old, "/host"));
    put(&mut new, "source", source);
    set(&mut new, "involvedObject", reference::to_v1(at(old, "/involvedObject")));
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    for (key, value) in backward(new, SAME).as_object().into_iter().flatten() {
        put(&mut old, key, value.clone());
    }
    put(&mut old, "timestamp", at(new, "/firstTimestamp").clone());
    put(&mut old, "source", text(new, "/source/component"));
    put(&mut old, "host", text(new, "/source/host"));
    set(&mut old, "involvedObject", reference::from_v1(at(new, "/involvedObject")));
    old
}
