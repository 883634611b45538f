//! Bindings: which host a pod goes to.

use serde_json::{Value, json};

use super::{carry::put, meta};
use crate::kinds::value::{child, set, text};

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = meta::to_v1(old);
    put(child(&mut new, "metadata"), "name", text(old, "/podID"));
    set(&mut new, "target", json!({"kind": "Node", "name": text(old, "/host")}));
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    set(&mut old, "podID", text(new, "/metadata/name"));
    set(&mut old, "host", text(new, "/target/name"));
    old
}
