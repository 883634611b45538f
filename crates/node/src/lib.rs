//! The node agent: pods as OCI containers, their network, probes, status and logs.
//!
//! [`run`] is the agent of one node. What a pod needs next is decided in `pod`, which is pure; `agent` carries it out and tells
//! the API. Containers come from [`image`] and run under [`runtime`], each with a [`shim`] of its own that outlives the agent.
//!
//! Which node a pod runs on is the scheduler's business, what happens to traffic for Services `stead-proxy`'s.

mod agent;
mod cgroup;
mod config;
pub mod container;
pub mod image;
mod log;
mod mounts;
pub mod net;
mod pod;
pub mod runtime;
mod server;
pub mod shim;
mod volume;

pub use agent::{AgentError, run};
pub use config::{Config, DEFAULT_IMAGE_DIR, DEFAULT_PORT, ServerConfig};
