//! What of the data plane a person chooses.

use ipnet::IpNet;
pub use stead_sys::ipvs::Timeouts;

/// The choices of `--ipvs-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How backends are chosen where a Service says nothing: a scheduler's name in the kernel. Where weights differ `rr` is `wrr`, and `lc`
    /// is `wlc`.
    pub scheduler: Box<str>,
    /// Virtual servers in these ranges are left alone unless a Service wants just them.
    pub excluded: Vec<IpNet>,
    pub arp: Arp,
    /// How long idle connections are remembered.
    pub timeouts: Timeouts,
}

/// When the node answers ARP on each link for that link's own addresses alone, and names no other as its own there (`arp_ignore` 1,
/// `arp_announce` 2, as `--ipvs-strict-arp` has it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arp {
    /// As soon as it holds an external IPv4 address: that is another's on its network, or is to be announced by somebody whose task it is.
    #[default]
    StrictWhereNeeded,
    Strict,
}

/// What addresses the node holds for Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Virtual,
    /// External ones over IPv4 too.
    External,
}

impl Default for Options {
    fn default() -> Self {
        Self { scheduler: "rr".into(), excluded: Vec::new(), arp: Arp::default(), timeouts: Timeouts::default() }
    }
}

impl Options {
    /// Variables of the namespace below `net`, with their values.
    ///
    /// Connections are tracked, so that they can be masqueraded; one to a destination that is gone, or has weight 0 while its client begins
    /// anew from the same port, is forgotten at once, and so is what a client stuck to.
    pub(super) fn variables(&self, holds: Holds) -> Vec<(&'static str, &'static str)> {
        let mut variables = vec![
            ("ipv4.vs.conntrack", "1"),
            ("ipv4.vs.conn_reuse_mode", "1"),
            ("ipv4.vs.expire_nodest_conn", "1"),
            ("ipv4.vs.expire_quiescent_template", "1"),
        ];
        if self.arp == Arp::Strict || holds == Holds::External {
            variables.extend([("ipv4.conf.all.arp_ignore", "1"), ("ipv4.conf.all.arp_announce", "2")]);
        }
        variables
    }
}
