//! Controllers: each looks at the snapshot of all objects, at one key and at the time, and says what is to be written.
//!
//! Every controller is one pure module that returns an [`Outcome`]; nothing in it can wait, send or read a clock. One shell
//! ([`run`]) watches, decides which keys to look at, carries outcomes out and tries again. Objects are kept by the API server,
//! containers run by the node agents, packets moved by the proxies: controllers only ever write objects.

mod deployment;
mod endpoint_mirror;
mod endpoint_slices;
mod endpoints;
mod garbage;
mod namespaces;
mod nodes;
mod outcome;
mod pods;
#[cfg(test)]
mod properties;
mod replica_set;
mod scheduler;
mod selector;
mod service_cidrs;
mod service_pods;
mod shell;
#[cfg(test)]
mod transcripts;
mod trigger;
mod work;
#[cfg(test)]
mod world;

pub use outcome::{First, Note, Outcome, Source, Verb, Write};
pub use shell::{Config, run};
