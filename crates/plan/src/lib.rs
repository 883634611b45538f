//! From the snapshot to the forwarding table of one node, and the oracle that says what must happen to a packet.
//!
//! Pure: no kernel, no clock, no I/O. Data planes (`stead-dataplane`) carry a [`Plan`] out; `decide` is what they are tested against.

mod table;

pub use table::{Backend, FrontendKind, FrontendRule, Plan, ServicePlan, ServicePortPlan, Settings};
