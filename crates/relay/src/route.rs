//! What the relay asks about a port.

use std::{fmt::Debug, net::SocketAddr};

/// Where a client sent its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the listening socket itself, at this address.
    Direct(SocketAddr),
    /// Elsewhere; a firewall redirected it.
    Redirected(SocketAddr),
}

/// Where the connections of one port go. Asked by the relay's threads, so it answers without waiting for anything.
pub trait Route: Debug + Send + Sync {
    /// Who is to be tried for a new connection, in this order. Nobody: it is refused.
    fn choose(&self, client: SocketAddr, to: Destination) -> Vec<SocketAddr>;

    /// One of the chosen has taken the connection.
    fn on_connected(&self, client: SocketAddr, to: Destination, backend: SocketAddr);

    /// Whether what was sent to this backend may go on there.
    fn keeps(&self, client: SocketAddr, to: Destination, backend: SocketAddr) -> bool;
}

/// Tells where a datagram was sent before it was redirected.
pub trait Origin: Debug + Send + Sync {
    /// `None` where it came as it was sent. `local`: where it arrived.
    fn of(&self, client: SocketAddr, local: SocketAddr) -> Option<SocketAddr>;
}
