//! One pod's life as values: what is wanted (the object), what is so ([`Observed`]), and what to do about the difference.
//!
//! Pure: no clock, no file, no kernel. The agent carries out the actions and brings back what came of them.

mod command;
mod environment;
mod files;
mod observed;
mod probe;
mod status;
mod sync;

pub use command::{ContainerPlace, InvalidContainer, container};
pub use environment::{Addresses, Environment, InvalidEnvironment, environment, expand};
pub use files::{hostname, hosts_file};
pub use observed::{
    Backoff, Container, Finished, Image, Input, MissingReason, Network, Note, Observed, Outcome, Run, Severity,
    Stopping,
};
pub use probe::{InvalidProbe, Probe, ProbeAction};
pub use status::{StatusContext, phase_of, status};
pub use sync::{Action, Decision, step};

#[cfg(test)]
mod tests;
