//! Kernel interfaces as bytes and descriptors: netlink, nftables messages, conntrack, IPVS, namespaces, links. No policy. The only home of `unsafe`.

pub mod conntrack;
pub mod inherit;
pub mod ipvs;
pub mod link;
pub mod memory;
pub mod names;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod signal;
