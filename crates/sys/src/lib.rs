//! Kernel interfaces as bytes and descriptors: netlink, nftables messages, conntrack, namespaces, links. No policy. The only home of `unsafe`.

pub mod link;
pub mod namespace;
