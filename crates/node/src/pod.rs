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
mod volumes;

pub(crate) use command::{ContainerPlace, InvalidContainer, container};
pub(crate) use environment::{Addresses, ConfigMaps, InvalidEnvironment, config_maps_of, environment};
pub(crate) use files::{hostname, hosts_file};
pub(crate) use observed::{
    Container, Finished, Image, Input, MissingReason, Network, Note, Observed, Outcome, Run, Severity, Unattached,
    Unstarted,
};
pub(crate) use probe::{Probe, ProbeAction};
pub(crate) use status::{StatusContext, status};
pub(crate) use sync::{Action, step};
pub(crate) use volumes::{HostCheck, InvalidVolume, Source, Volume, volumes};

#[cfg(test)]
mod tests;
