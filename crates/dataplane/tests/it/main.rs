//! What every data plane must do to real packets, in labs of network namespaces.
#![expect(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

mod balance;
mod behaviour;
mod bench;
mod egress;
mod faults;
mod guest;
mod iptables;
mod ipvs;
mod limits;
mod matrix;
mod nftables;
mod scaling;
mod sockets;
mod survey;
mod traffic;
mod userspace;
