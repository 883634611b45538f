//! The iptables data plane: kube-proxy's chains under kube-proxy's names.
//!
//! [`programs`] runs the host's own iptables, which alone know how to write what they list.

pub mod programs;
