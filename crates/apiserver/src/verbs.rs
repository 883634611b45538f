//! What is done to resources: a module for each verb, and for each subresource that is more than a view of its object.

pub(crate) mod apply;
pub(crate) mod binding;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod eviction;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod patch;
mod pod_container;
pub(crate) mod review;
pub(crate) mod scale;
pub(crate) mod stream;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod watch;
