//! Namespaces: only their metadata were flat.

use serde_json::{Value, json};

use super::{carry::put, meta};
use crate::kinds::value::{at, text};

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = meta::to_v1(old);
    put(&mut new, "spec", at(old, "/spec").clone());
    put(&mut new, "status", at(old, "/status").clone());
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    put(&mut old, "spec", at(new, "/spec").clone());
    let mut status = json!({});
    put(&mut status, "phase", text(new, "/status/phase"));
    put(&mut old, "status", status);
    old
}
