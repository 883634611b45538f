//! From the snapshot to the forwarding table of one node, and the oracle that says what must happen to a packet.
//!
//! Pure: no kernel, no clock, no I/O. Data planes (`stead-dataplane`) carry a [`Plan`] out; [`decide`] is what they are tested
//! against. [`Planner`] keeps a plan up to date; [`plan_all`] makes one from nothing, by the same code.

mod decide;
mod desired;
mod jhash;
pub mod maglev;
mod planner;
mod problem;
mod table;

pub use decide::{Arrival, Balance, Masquerade, Origin, Packet, Verdict, decide};
pub use desired::{NodeContext, OpenRange, plan_service};
pub use jhash::{SEED as HASH_SEED, hash as flow_hash, jhash, scale};
pub use planner::{Outcome, Planner, plan_all};
pub use problem::{Cause, Problem};
pub use table::{
    Algorithm, Backend, DetectLocal, FrontendKind, FrontendRule, List, Lists, MAX_BACKENDS, MAX_BACKENDS_OF_SERVICE,
    MasqueradeAll, Plan, ServicePlan, ServicePortPlan, Settings, TrafficPolicy, Weights,
};
