//! What Stead serves: a module for each kind, with its [`Resource`] and the rules behind it.
//!
//! A kind that nothing acts on is not here. Everything is pure: addresses and node ports are chosen by the API server, which
//! asks `service::allocation` what an update must claim and release.

use crate::resource::Resource;

mod address;
pub(crate) mod cell;
mod column;
pub mod config_map;
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
pub mod replica_set;
pub mod replication_controller;
pub mod review;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod service_cidr;
mod unhonoured;
pub(crate) mod value;
pub mod workload;

/// Every kind at every version it is served at, core first.
pub static ALL: &[&Resource] = &[
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
    &ip_address::RESOURCE_V1BETA1,
    &service_cidr::RESOURCE_V1BETA1,
    &review::SELF_SUBJECT_REVIEW,
    &review::TOKEN_REVIEW,
    &review::LOCAL_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_RULES_REVIEW,
    &review::SUBJECT_ACCESS_REVIEW,
];

/// All that can be done to a collection and its objects.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The kind with this plural, if it is served at this group and version.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

#[cfg(test)]
mod tests;
