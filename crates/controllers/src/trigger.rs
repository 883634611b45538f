//! Since when readers wait for a change of endpoints: the annotation `endpoints.kubernetes.io/last-change-trigger-time`, by which
//! proxies measure how late they are.
//!
//! It is read off what is written already: nothing is remembered between two looks.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};

use crate::pods;

const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The pods that were written last, by name, and whether as ready. `None`: nothing was written for this Service yet.
pub(crate) type Written<'a> = Option<HashMap<&'a str, bool>>;

/// When the oldest change happened that is not written yet: a pod turned ready or no longer ready. For a new Service, when that was
/// made. `None` where what changed has no time, such as a pod that is gone.
pub(crate) fn oldest_unwritten<'a>(
    service: &Service,
    written: &Written<'_>,
    pods: impl IntoIterator<Item = &'a Pod>,
) -> Option<Timestamp> {
    let Some(written) = written else { return service.metadata.creation_timestamp.as_ref().map(|time| time.0) };
    let is_new = |pod: &&Pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        written.get(name) != Some(&pods::is_ready(pod))
    };
    let changed_at = |pod: &Pod| pods::condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0);
    pods.into_iter().filter(is_new).filter_map(changed_at).min()
}

/// Sets the annotation, or removes it where nobody knows.
pub(crate) fn annotate(annotations: &mut Option<BTreeMap<String, String>>, trigger: Option<Timestamp>) {
    match trigger {
        Some(trigger) => {
            annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), trigger.to_string());
        }
        None => {
            if let Some(annotations) = annotations {
                annotations.remove(ANNOTATION);
            }
        }
    }
    if annotations.as_ref().is_some_and(BTreeMap::is_empty) {
        *annotations = None;
    }
}

/// Whether an annotation says what holds for one object alone and is copied to none.
pub(crate) fn is_trigger(annotation: &str) -> bool {
    annotation == ANNOTATION
}
