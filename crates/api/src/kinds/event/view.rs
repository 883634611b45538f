//! An Event as `events.k8s.io/v1` shows it, and back. Both directions lose nothing; `apiVersion` is the registry's.

use serde_json::Value;

use super::super::value::{remove, set};

/// Fields by their name in core `v1` and in `events.k8s.io/v1`; what is not here has the same name in both.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

/// Turns an event of core `v1` into one of `events.k8s.io/v1`.
pub fn become_events_v1(event: &mut Value) {
    for (core, events_v1) in NAMES {
        rename(event, core, events_v1);
    }
}

/// Turns an event of `events.k8s.io/v1` into one of core `v1`, the form that is stored.
pub fn become_core(event: &mut Value) {
    for (core, events_v1) in NAMES {
        rename(event, events_v1, core);
    }
}

fn rename(event: &mut Value, from: &str, to: &str) {
    if let Some(value) = remove(event, from) {
        set(event, to, value);
    }
}
