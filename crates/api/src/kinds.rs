//! What Stead serves: a module for each kind, with its [`Resource`] and the rules behind it.
//!
//! A kind that nothing acts on is not here. Everything is pure: addresses and node ports are chosen by the API server, which
//! asks `service::allocation` what an update must claim and release.
//!
//! A kind may be served at several versions. Its objects are stored at one of them, that of the first [`Resource`] here that
//! names their place in the store; all rules see that form, and only [`become_stored`] and [`become_served`] know others.

use serde_json::Value;

use crate::resource::Resource;

mod address;
pub mod binding;
pub(crate) mod cell;
mod column;
mod conditions;
pub mod config_map;
mod data;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
mod errors;
pub mod event;
mod generation;
pub mod ip_address;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
mod pod_set;
pub mod replica_set;
pub mod replication_controller;
pub mod review;
pub mod scale;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod service_cidr;
mod unhonoured;
pub(crate) mod value;
pub mod workload;

/// Every kind at every version it is served at, core first.
pub static ALL: &[&Resource] = &[
    &binding::RESOURCE,
    &config_map::RESOURCE,
    &endpoints::RESOURCE,
    &event::RESOURCE,
    &namespace::RESOURCE,
    &node::RESOURCE,
    &pod::RESOURCE,
    &replication_controller::RESOURCE,
    &secret::RESOURCE,
    &service_account::RESOURCE,
    &service::RESOURCE,
    &deployment::RESOURCE,
    &replica_set::RESOURCE,
    &lease::RESOURCE,
    &endpoint_slice::RESOURCE,
    &event::RESOURCE_EVENTS_V1,
    &ip_address::RESOURCE,
    &service_cidr::RESOURCE,
    &IP_ADDRESS_V1BETA1,
    &SERVICE_CIDR_V1BETA1,
    &review::SELF_SUBJECT_REVIEW,
    &review::TOKEN_REVIEW,
    &review::LOCAL_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_RULES_REVIEW,
    &review::SUBJECT_ACCESS_REVIEW,
];

// What `kubectl` before 1.33 describes: the same objects, but for the version they say.
static IP_ADDRESS_V1BETA1: Resource =
    Resource { version: "v1beta1", definition: "io.k8s.api.networking.v1beta1.IPAddress", ..ip_address::RESOURCE };
static SERVICE_CIDR_V1BETA1: Resource =
    Resource { version: "v1beta1", definition: "io.k8s.api.networking.v1beta1.ServiceCIDR", ..service_cidr::RESOURCE };

/// All that can be done to a collection and its objects.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The kind with this plural, if it is served at this group and version.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// Whether objects of `resource` are stored in another form than it serves them in.
pub fn is_converted(resource: &Resource) -> bool {
    stored_elsewhere(resource).is_some()
}

/// Turns an object as `resource` serves it into the form that is stored.
pub fn become_stored(resource: &Resource, object: &mut Value) {
    if let Some(stored) = stored_elsewhere(resource) {
        resource.strategy.become_stored(object);
        value::set(object, "apiVersion", stored.api_version());
    }
}

/// The way back of [`become_stored`], before an object is answered or patched.
pub fn become_served(resource: &Resource, object: &mut Value) {
    if is_converted(resource) {
        resource.strategy.become_served(object);
        value::set(object, "apiVersion", resource.api_version());
    }
}

/// The kind at the version that is stored, where that is another one.
fn stored_elsewhere(resource: &Resource) -> Option<&'static Resource> {
    let stored = ALL.iter().copied().find(|kind| kind.registry == resource.registry)?;
    ((stored.group, stored.version) != (resource.group, resource.version)).then_some(stored)
}

#[cfg(test)]
mod tests;
