//! Netlink as this product needs it for netfilter and for generic netlink: a blocking socket, a message writer, an attribute reader.
//!
//! It knows framing, acknowledgements and dumps; what a message means is known by its users ([`crate::nft`], [`crate::conntrack`], [`crate::ipvs`]).
//! Links, addresses and routes are not here: those go over `netlink-packet-route` ([`crate::link`]).

mod message;
mod socket;

pub(crate) use message::ATTRIBUTE_MAX;
pub use message::{Attribute, Attributes, GenericHeader, Header, Writer};
pub use socket::{Bus, Error, Kernel, Message, Refusal, Socket, Wait, Wire};
