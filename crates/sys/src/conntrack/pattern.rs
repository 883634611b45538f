//! Connections that are deleted by what they have in common: the kernel walks its table once and nothing of it is read.
//!
//! The walk takes 0.1 ms where little is tracked, and packets are handled meanwhile; a dump takes a hundred times as long and keeps them
//! waiting. Which connections may be deleted unseen is decided by the data plane.

use std::net::{SocketAddr, SocketAddrV4};

use stead_model::{Family, Protocol};

use super::{DELETE, FILTER, STATUS, STATUS_MASK, Status, TUPLE_ORIGINAL, TUPLE_REPLY};
use crate::{
    netlink::{Header, Writer},
    nft::protocol_family,
};

/// Connections with these properties in common, in whatever state they are.
///
/// Over IPv4 and TCP or UDP only: Linux (6.18 and before) takes for an IPv6 address just those entries that do not have it, and does not
/// look at SCTP's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    protocol: Protocol,
    destination: SocketAddrV4,
    backend: Option<SocketAddrV4>,
    mask: Status,
    status: Status,
}

impl Pattern {
    /// All connections whose first packet was sent to `destination`; `None` where the kernel cannot tell them from others.
    pub fn to(protocol: Protocol, destination: SocketAddr) -> Option<Self> {
        let SocketAddr::V4(destination) = destination else { return None };
        let none = Status(0);
        (protocol != Protocol::Sctp).then_some(Self { protocol, destination, backend: None, mask: none, status: none })
    }

    /// Those of them that really go to `backend`; `None` if that is of another family.
    pub fn at(self, backend: SocketAddr) -> Option<Self> {
        let SocketAddr::V4(backend) = backend else { return None };
        Some(Self { backend: Some(backend), ..self })
    }

    /// Those of them that have all these bits.
    pub fn with(self, bits: Status) -> Self {
        Self { mask: self.mask | bits, status: self.status | bits, ..self }
    }

    /// Those of them that have none of these bits.
    pub fn without(self, bits: Status) -> Self {
        Self { mask: self.mask | bits, ..self }
    }

    /// The request. A kernel that does not delete by filter (before 6.11) finds the original tuple incomplete and refuses.
    pub(super) fn write(&self, writer: &mut Writer, sequence: u32) {
        /// `CTA_FILTER_F_CTA_*`
        const SOURCE: u32 = 1 | 1 << 3 | 1 << 4;
        const DESTINATION: u32 = 1 << 1 | 1 << 3 | 1 << 5;
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let family = protocol_family(Family::V4);
        writer.message(Header { kind: DELETE, flags, sequence, family, resource: 0 }, |writer| {
            writer.nest(TUPLE_ORIGINAL, |writer| write_end(writer, self.protocol, self.destination, [2, 3]));
            if let Some(backend) = self.backend {
                writer.nest(TUPLE_REPLY, |writer| write_end(writer, self.protocol, backend, [1, 2]));
            }
            writer.nest(FILTER, |writer| {
                writer.attribute(1, &DESTINATION.to_ne_bytes());
                writer.attribute(2, &if self.backend.is_some() { SOURCE } else { 0 }.to_ne_bytes());
            });
            if self.mask != Status(0) {
                writer.number(STATUS, self.status.0);
                writer.number(STATUS_MASK, self.mask.0);
            }
        });
    }
}

/// One end of a tuple: the attributes of its address and port are of these kinds.
fn write_end(writer: &mut Writer, protocol: Protocol, end: SocketAddrV4, [address, port]: [u16; 2]) {
    writer.nest(1, |writer| writer.attribute(address, &end.ip().octets()));
    writer.nest(2, |writer| {
        writer.attribute(1, &[protocol.number()]);
        writer.attribute(port, &end.port().to_be_bytes());
    });
}
