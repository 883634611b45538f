//! Where a datagram was sent before the firewall redirected it: the kernel's table of connections knows.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use stead_model::Protocol;
use stead_relay::Origin;
use stead_sys::conntrack::Conntrack;

/// Asks the kernel; where it does not tell, datagrams are as if they had been sent to the listening socket.
#[derive(Debug)]
pub(crate) struct KernelOrigin(Mutex<Option<Conntrack>>);

impl KernelOrigin {
    /// For the calling thread's network namespace.
    pub(crate) fn open() -> Self {
        Self(Mutex::new(Conntrack::open().ok()))
    }
}

impl Origin for KernelOrigin {
    fn of(&self, client: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        let mut conntrack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let original = conntrack.as_mut()?.find_by_reply(Protocol::Udp, local, client).ok().flatten()?;
        let to = original.original.destination;
        (to != local).then_some(to)
    }
}
