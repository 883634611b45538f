//! What Stead serves: a module for each kind, with its [`Resource`] and the rules behind it.
//!
//! A kind that nothing acts on is not here. Everything is pure: addresses and node ports are chosen by the API server, which
//! asks `service::allocation` what an update must claim and release.

use crate::resource::Resource;

mod address;
mod cell;
mod column;
pub mod config_map;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
mod errors;
pub mod event;
mod generation;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod replica_set;
pub mod service;
pub mod service_account;
mod unhonoured;
mod value;
pub mod workload;

/// Every kind at every version it is served at, core first.
pub static ALL: &[&Resource] = &[
    &config_map::RESOURCE,
    &endpoints::RESOURCE,
    &event::RESOURCE,
    &namespace::RESOURCE,
    &node::RESOURCE,
    &pod::RESOURCE,
    &service_account::RESOURCE,
    &service::RESOURCE,
    &deployment::RESOURCE,
    &replica_set::RESOURCE,
    &lease::RESOURCE,
    &endpoint_slice::RESOURCE,
    &event::RESOURCE_EVENTS_V1,
];

/// All that can be done to a collection and its objects.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The kind with this plural, if it is served at this group and version.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The kind of this name, if it is served at this group and version.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|served| served.group == group && served.version == version && served.kind == kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_object_has_a_cell_for_each_column_and_harms_nobody() {
        for kind in ALL {
            let mut object = json!({"metadata": {"name": "x"}});
            kind.strategy.default(&mut object);
            kind.strategy.prepare_create(&mut object);
            let old = object.clone();
            kind.strategy.prepare_update(&mut object, &old);
            assert_eq!(object, old, "{}: an update that changes nothing", kind.kind);
            let cells = kind.strategy.cells(&object, Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
            kind.strategy.validate_create(&object);
            kind.strategy.validate_update(&object, &old);
            kind.strategy.warnings(&object, Some(&old));
        }
    }

    #[test]
    fn defaults_taken_twice_are_defaults_taken_once() {
        for kind in ALL {
            let mut object = json!({"metadata": {"name": "x"}});
            kind.strategy.default(&mut object);
            let once = object.clone();
            kind.strategy.default(&mut object);
            assert_eq!(object, once, "{}", kind.kind);
        }
    }

    #[test]
    fn kinds_answer_to_the_fields_they_name() {
        for kind in ALL {
            for path in kind.strategy.selectable_fields() {
                assert!(kind.strategy.selectable_field(&json!({}), path).is_some(), "{} {path}", kind.kind);
            }
            assert_eq!(kind.strategy.selectable_field(&json!({}), "spec.other"), None, "{}", kind.kind);
        }
    }

    #[test]
    fn paths_and_keys_are_unique() {
        let paths: BTreeSet<_> = ALL.iter().map(|kind| (kind.group, kind.version, kind.plural)).collect();
        assert_eq!(paths.len(), ALL.len());
        let keys: BTreeSet<_> = ALL.iter().map(|kind| kind.registry).collect();
        assert_eq!(keys.len(), ALL.len() - 1, "only Events share a key");
        assert_eq!(find("", "v1", "services").map(|kind| kind.kind), Some("Service"));
        assert_eq!(find_kind("apps", "v1", "Deployment").map(|kind| kind.plural), Some("deployments"));
    }
}
