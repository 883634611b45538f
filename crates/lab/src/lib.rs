//! `stead up`: a whole cluster on one machine, in namespaces of its own.
//!
//! Owns the topology (who has which address), the fabric (namespaces, bridge, links), the PID namespace everything lives and dies
//! in, and the supervision of its processes. Knows nothing of objects: which programs run, and with what arguments, is told by
//! the binary. The host's network, firewall and sysctls are never touched.

pub mod anchor;
mod fabric;
mod leftovers;
mod spawner;
mod state;
mod supervisor;
mod topology;

pub use fabric::{Fabric, FabricError};
pub use leftovers::remove_leftovers;
pub use spawner::{Program, SpawnError, Spawner};
pub use state::{Claim, ProcessState, State, StateError, directory, find, running};
pub use supervisor::{Supervisor, SupervisorEvent};
pub use topology::{InvalidTopology, NodeAddresses, Ranges, Topology};
