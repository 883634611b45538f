//! Which changes of EndpointSlices were programmed for the first time, by when their writers say that they happened.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use stead_api::service_snapshot::ServiceSnapshot;
use stead_model::ObjectKey;

/// Invariant: `known` has, for each Service that changed since the start, its slices of that time and no others.
#[derive(Debug)]
pub(crate) struct Triggers {
    start: Timestamp,
    known: HashMap<ObjectKey, Vec<(Arc<ObjectKey>, Timestamp)>>,
}

impl Triggers {
    /// What happened before `start` is nobody's delay.
    pub(crate) fn since(start: Timestamp) -> Self {
        Self { start, known: HashMap::new() }
    }

    /// The changes of these Services that were not taken before.
    pub(crate) fn take(&mut self, snapshot: &ServiceSnapshot, services: &BTreeSet<ObjectKey>) -> Vec<Timestamp> {
        let mut taken = Vec::new();
        for key in services {
            let slices = snapshot.slices_of(key).iter().filter_map(|slice| Some((&slice.key, slice.last_change?)));
            let now: Vec<_> =
                slices.filter(|(_, at)| *at > self.start).map(|(slice, at)| (Arc::clone(slice), at)).collect();
            let known = self.known.remove(key).unwrap_or_default();
            taken.extend(now.iter().filter(|each| !known.contains(each)).map(|(_, at)| *at));
            if !now.is_empty() {
                self.known.insert(key.clone(), now);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stead_api::{
        item::FromItem,
        service_snapshot::{ServiceChange, SliceView, Touched},
        snapshot::Change,
    };

    use super::*;

    #[test]
    fn each_change_after_the_start_is_taken_once() {
        let mut snapshot = ServiceSnapshot::default();
        let mut triggers = Triggers::since("2026-01-01T00:00:10Z".parse().unwrap());
        let mut take = |slice: &str, at: &str| {
            let object = json!({
                "metadata": {
                    "namespace": "a", "name": slice, "labels": {"kubernetes.io/service-name": "web"},
                    "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": at},
                },
                "addressType": "IPv4",
            });
            let view = SliceView::from_item(object.to_string().as_bytes()).unwrap();
            snapshot.apply(ServiceChange::Slice(Change::Apply(view)), &mut Touched::default());
            let taken = triggers.take(&snapshot, &[ObjectKey::new("a", "web")].into());
            taken.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(take("web-1", "2026-01-01T00:00:09Z"), [] as [&str; 0]);
        assert_eq!(take("web-1", "2026-01-01T00:00:11Z"), ["2026-01-01T00:00:11Z"]);
        assert_eq!(take("web-1", "2026-01-01T00:00:11Z"), [] as [&str; 0]);
        assert_eq!(take("web-2", "2026-01-01T00:00:11.5Z"), ["2026-01-01T00:00:11.5Z"]);
        assert_eq!(take("web-1", "unreadable"), [] as [&str; 0]);
    }
}
