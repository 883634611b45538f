//! Data planes: each lowers a [`stead_plan::Plan`], reads the kernel, diffs and applies. Knows no Kubernetes JSON.
//!
//! [`DataPlane`] is the front of all of them, [`Mode`] names them; [`NfTables`] is the default and [`Fake`] keeps the plan in memory for the tests of others.
//! Beside them: [`leftovers`] removes what kube-proxy left, [`flows`] says which connections must be forgotten, [`egress`] masquerades what pods send out of the cluster, and
//! [`probe`] tells what a kernel lacks before anything is changed, and [`survey`] what else on the machine stands in the way. [`Traffic`] counts what
//! Services are asked and answer, where that is wanted.

pub mod egress;
mod fake;
pub mod flows;
pub mod iptables;
pub mod ipvs;
pub mod leftovers;
mod mode;
mod nftables;
mod plane;
mod pool;
pub mod probe;
pub mod survey;
mod traffic;
pub mod userspace;

pub use fake::Fake;
pub use iptables::IpTables;
pub use ipvs::IpvsPlane;
pub use mode::{Mode, Options, UnknownMode};
pub use nftables::{NfTables, render};
pub use plane::{Applied, CLEANING_DELAY, Class, Cleaner, DataPlane, Departed, Error, Removed, Scope, Verified};
pub use pool::Pool;
pub use traffic::{Count, Traffic, TrafficError};
