//! Labs for tests: hosts in network namespaces, servers that say who they are, clients that count who answered.
//!
//! A [`Lab`] is nodes with pods behind them, `outside` on their fabric and `far` behind a router. Its namespaces are held by
//! descriptors of this process alone, so that they go with it however it ends; nothing of the machine's own network is touched.
//! No data plane is here: a virtual IP works only where a test has programmed one. A dev-dependency only.

mod address;
mod calls;
mod capture;
mod flow;
mod host;
mod lab;
mod load;
mod sctp;
mod server;

pub use address::{
    FABRIC_RANGES, FAR_RANGES, POD_RANGES, SERVICE_RANGES, fabric_address, far_address, node_address, outside_address,
    pod_address, pod_range, router_address,
};
pub use calls::{Calls, Ending, Tally};
pub use capture::{Capture, Direction, Seen};
pub use flow::{Answer, Failure, Flow, patience};
pub use host::Host;
pub use lab::{Lab, Layout};
pub use load::Load;
pub use server::Server;
