//! ServiceCIDR (`networking.k8s.io/v1`): ranges that the addresses of Services come from.
//!
//! The one named `kubernetes` is made from the server's own ranges; others may come and go while it runs. What is allocated is
//! the API server's; conditions, and waiting with a deletion until no address depends on it, are a controller's.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ALL_VERBS, address, cell,
    column::{AGE, NAME, shown},
    conditions,
    errors::Errors,
    value::{at, keep, list, set, text, texts},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy, Subresource},
};

pub static RESOURCE: Resource = Resource {
    group: "networking.k8s.io",
    version: "v1",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    short_names: &[],
    categories: &[],
    namespaced: false,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Status],
    definition: "io.k8s.api.networking.v1.ServiceCIDR",
    registry: "servicecidrs",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("CIDRs", "string", "Ranges that addresses come from, the family of the first first."), AGE],
    strategy: &Rules,
};

/// The object made from the ranges that the server is told.
pub const DEFAULT: &str = "kubernetes";
/// Keeps an object whose addresses are in use.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The condition that says whether addresses are given out.
pub const READY: &str = "Ready";

/// Whether addresses may be taken from these ranges: the object is not on its way out, and nobody says that it is not ready.
pub fn is_ready(object: &Value) -> bool {
    let condition = list(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == READY);
    !meta::is_being_deleted(object) && condition.is_none_or(|condition| text(condition, "/status") == "True")
}

/// The ranges, in the order in which the object names them; what is no range is left out.
pub fn ranges(object: &Value) -> Vec<ipnet::IpNet> {
    texts(object, "/spec/cidrs").into_iter().filter_map(|range| range.parse().ok()).collect()
}

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        conditions::default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    /// Upstream keeps all metadata but the managed fields as they are.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        for key in ["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp", "generation"] {
            match at(old, "/metadata").get(key) {
                Some(value) => meta::set(new, key, value.clone()),
                None => meta::unset(new, key),
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Cluster, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate_change(new, old));
        errors
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ranges = texts(object, "/spec/cidrs").join(",");
        vec![cell::name(object), ranges.into(), cell::age(object, now)]
    }
}

const CIDRS: &str = "spec.cidrs";

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let ranges = texts(object, "/spec/cidrs");
    let shown = at(object, "/spec/cidrs");
    match ranges.len() {
        0 => errors.push(FieldError::required(CIDRS, "at least one CIDR required")),
        1 | 2 => {}
        _ => {
            let shown = json!({"CIDRs": shown});
            errors.invalid(CIDRS, &shown, "may only hold up to 2 values");
            return errors.into_vec();
        }
    }
    for (index, range) in ranges.iter().enumerate() {
        let mut problems = address::canonical_cidr(range);
        if problems.is_empty() {
            problems.extend(unusable(range));
        }
        errors.invalid_text(&format!("{CIDRS}[{index}]"), range, problems);
    }
    if let [first, second] = ranges.as_slice()
        && family(first).is_some()
        && family(first) == family(second)
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(CIDRS, shown, detail);
    }
    errors.into_vec()
}

/// Upstream stores a range like this and then never allocates from it.
fn unusable(range: &str) -> Option<String> {
    match range.parse().ok()? {
        ipnet::IpNet::V6(range) if range.prefix_len() < 64 => {
            Some(format!("shortest allowed prefix length for service CIDR is 64, got {}", range.prefix_len()))
        }
        _ => None,
    }
}

fn family(range: &str) -> Option<stead_model::Family> {
    address::family(range.split_once('/')?.0)
}

/// The ranges stay; a second family may join the first.
fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (is, was) = (list(new, "/spec/cidrs"), list(old, "/spec/cidrs"));
    let immutable = "field is immutable";
    match (was.len(), is.len()) {
        (before, now) if before == now || (before, now) == (1, 2) => {
            for (index, (new, _)) in is.iter().zip(was).enumerate().filter(|(_, (new, old))| new != old) {
                errors.invalid(format!("{CIDRS}[{index}]"), new, immutable);
            }
            if before != now {
                errors.extend(validate(new));
            }
        }
        _ => errors.invalid(CIDRS, &is.into(), immutable),
    }
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(cidrs: &[&str]) -> Value {
        json!({"metadata": {"name": "more"}, "spec": {"cidrs": cidrs}})
    }

    fn check(errors: Vec<FieldError>, expect: &[&str]) {
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn one_range_or_one_of_each_family() {
        let check = |cidrs: &[&str], expect: &[&str]| check(RESOURCE.strategy.validate_create(&object(cidrs)), expect);
        check(&["10.97.0.0/16"], &[]);
        check(&["fd00::/112", "10.97.0.0/16"], &[]);
        check(&[], &["spec.cidrs: Required value: at least one CIDR required"]);
        check(
            &["10.0.0.0/16", "10.1.0.0/16", "fd00::/112"],
            &[
                "spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/16\",\"10.1.0.0/16\",\"fd00::/112\"]}: may only hold up to 2 values",
            ],
        );
        check(
            &["10.0.0.0/16", "10.1.0.0/16"],
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/16\",\"10.1.0.0/16\"]: may specify no more than one IP for each IP \
               family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ],
        );
        check(
            &["10.0.0.1/16"],
            &["spec.cidrs[0]: Invalid value: \"10.0.0.1/16\": must not have bits set beyond the prefix length"],
        );
        check(
            &["fd00::/48"],
            &[
                "spec.cidrs[0]: Invalid value: \"fd00::/48\": shortest allowed prefix length for service CIDR is 64, got 48",
            ],
        );
    }

    #[test]
    fn ranges_stay_and_a_second_family_may_join() {
        let check = |old: &[&str], new: &[&str], expect: &[&str]| {
            check(RESOURCE.strategy.validate_update(&object(new), &object(old)), expect);
        };
        check(&["10.0.0.0/16"], &["10.0.0.0/16"], &[]);
        check(&["10.0.0.0/16"], &["10.0.0.0/16", "fd00::/112"], &[]);
        check(
            &["10.0.0.0/16"],
            &["10.1.0.0/16"],
            &["spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable"],
        );
        check(
            &["10.0.0.0/16", "fd00::/112"],
            &["10.0.0.0/16"],
            &["spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"],
        );
        check(
            &["10.0.0.0/16"],
            &["fd00::/112", "10.0.0.0/16"],
            &["spec.cidrs[0]: Invalid value: \"fd00::/112\": field is immutable"],
        );
    }

    #[test]
    fn addresses_come_from_what_is_ready_and_stays() {
        let with = |metadata: Value, status: &str| {
            let mut object = object(&["10.97.0.0/16"]);
            object["metadata"] = metadata;
            object["status"] = json!({"conditions": [{"type": "Ready", "status": status}]});
            object
        };
        assert!(is_ready(&object(&["10.97.0.0/16"])), "nobody says anything");
        assert!(is_ready(&with(json!({}), "True")));
        assert!(!is_ready(&with(json!({}), "False")));
        assert!(!is_ready(&with(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "True")));
    }

    #[test]
    fn the_status_says_nothing_about_the_rest() {
        let mut old = object(&["10.97.0.0/16"]);
        old["metadata"]["finalizers"] = json!([FINALIZER]);
        let mut new = object(&["10.98.0.0/16"]);
        new["status"] = json!({"conditions": []});
        RESOURCE.strategy.prepare_status_update(&mut new, &old);
        assert_eq!((&new["spec"], &new["metadata"]), (&old["spec"], &old["metadata"]));
        let cells = RESOURCE.strategy.cells(&object(&["10.97.0.0/16", "fd00::/112"]), Timestamp::UNIX_EPOCH);
        assert_eq!(cells, ["more", "10.97.0.0/16,fd00::/112", "<unknown>"]);
    }
}
