//! What each `/metrics` of ours has in common, whoever serves it: Prometheus' text, and what is said of the process and of its version.
//!
//! Owns no series of anybody's work: those stand where the work is done.

mod process;
mod text;

pub use process::{KUBERNETES_VERSION, process};
pub use text::{classic, describe, encode};
