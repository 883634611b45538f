//! What a data plane's mechanism itself cannot do, each with its reason; `docs/data-planes.md` has the same list. All else holds for every plane.

use stead_model::Protocol;

/// One thing that a plane cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A relay connects by itself: servers see the node's address, whoever asks.
    SourceIsLost,
    /// A relay needs sockets of a protocol, and kernels seldom have SCTP's: it is refused.
    NoSctp,
    /// Which link a connection came in by is not known any more when it is accepted: where pods are told by their links they are as others.
    LinksAreUnknown,
    /// By affinity a client is looked for first and noted later: of a new client's connections that come at one moment each may find another
    /// backend.
    NewcomersMayScatter,
}

/// Of a plane that can do everything.
pub(crate) const NONE: &[Limit] = &[];

/// The protocols that are served.
pub(crate) fn protocols(limits: &[Limit]) -> &'static [Protocol] {
    match limits.contains(&Limit::NoSctp) {
        true => &[Protocol::Tcp, Protocol::Udp],
        false => &Protocol::ALL,
    }
}
