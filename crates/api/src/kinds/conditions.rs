//! Conditions of the general form, as upstream shows them: every field but `observedGeneration` is there, be it empty, and a
//! time that nobody gave is null.

use serde_json::Value;

use super::value::{child, fill, items_mut, set, text};
use crate::item::NEVER;

/// Fills what is missing of `status.conditions`.
pub(super) fn default(object: &mut Value) {
    if object.pointer("/status/conditions").is_none() {
        return;
    }
    for condition in items_mut(child(object, "status"), "conditions") {
        for field in ["type", "status", "reason", "message"] {
            fill(condition, field, "");
        }
        if matches!(text(condition, "/lastTransitionTime"), "" | NEVER) {
            set(condition, "lastTransitionTime", Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds::{service, service_cidr};

    #[test]
    fn conditions_show_all_their_fields() {
        let bare = json!({"type": "", "status": "", "reason": "", "message": "", "lastTransitionTime": null});
        let held = json!({"type": "A", "status": "True", "reason": "R", "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for resource in [&service::RESOURCE, &service_cidr::RESOURCE] {
            let mut object =
                json!({"status": {"conditions": [{}, {"lastTransitionTime": "0001-01-01T00:00:00Z"}, held]}});
            resource.strategy.default(&mut object);
            assert_eq!(object["status"]["conditions"], json!([bare, bare, held]));
        }
    }
}
