//! The node agent: pods as OCI containers, their network, probes and logs.
//!
//! Knows nothing of Services' forwarding (that is `stead-proxy`) and decides nothing about where pods run.

pub mod agent;
pub mod cgroup;
pub mod config;
pub mod container;
pub mod image;
pub mod log;
pub mod net;
pub mod pod;
pub mod runtime;
pub mod server;
pub mod shim;

pub use agent::{AgentError, run};
pub use config::{Config, DEFAULT_IMAGE_DIR, DEFAULT_PORT, ServerConfig};

/// An error with everything that led to it, on one line.
pub(crate) fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
