//! `metadata.generation`: 1 at creation, one more with every change of what the user asks for.

use serde_json::Value;

use super::value::{at, child, count, set};

pub(crate) fn begin(object: &mut Value) {
    set(child(object, "metadata"), "generation", 1);
}

/// The generation of `old`, one higher where `changed`.
pub(crate) fn follow(new: &mut Value, old: &Value, changed: impl Fn(&Value, &Value) -> bool) {
    let generation = count(old, "/metadata/generation") + i64::from(changed(new, old));
    set(child(new, "metadata"), "generation", generation);
}

/// [`follow`] for kinds whose `spec` is what the user asks for.
pub(crate) fn follow_spec(new: &mut Value, old: &Value) {
    follow(new, old, |new, old| at(new, "/spec") != at(old, "/spec"));
}
