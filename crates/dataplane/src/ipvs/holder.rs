//! Addresses that the node takes packets for so that IPVS sees them: on a link of our own, or where the kernel has no such links by routes.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use stead_sys::link::{LinkError, LinkIndex, Links};

/// The link that has them; whatever address is on it is ours. It stays down, which keeps nobody from its addresses.
pub const LINK: &str = "stead-ipvs0";

#[derive(Debug)]
pub(super) struct Holder {
    links: Links,
}

/// How addresses are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Link(LinkIndex),
    /// By routes over this one, the loopback device.
    Routes(LinkIndex),
}

impl Holder {
    pub(super) fn new(links: Links) -> Self {
        Self { links }
    }

    /// The addresses that are held, in either way.
    pub(super) fn read(&mut self) -> Result<BTreeSet<IpAddr>, LinkError> {
        let mut held: BTreeSet<IpAddr> = self.links.local_routes()?.into_iter().collect();
        if let Ok(link) = self.links.index(LINK) {
            let addresses = self.links.addresses()?.into_iter().filter(|address| address.link == link);
            held.extend(addresses.map(|address| address.address.addr()));
        }
        Ok(held)
    }

    pub(super) fn hold(&mut self, addresses: &[IpAddr]) -> Result<(), LinkError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let way = self.way()?;
        for address in addresses {
            let held = match way {
                Way::Link(link) => self.links.add_address(link, IpNet::from(*address)),
                Way::Routes(loopback) => self.links.add_local_route(loopback, *address),
            };
            held.or_else(|error| if error.already_exists() { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    pub(super) fn release(&mut self, addresses: &[IpAddr]) -> Result<(), LinkError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let link = self.links.index(LINK).ok();
        let loopback = self.links.index("lo")?;
        for address in addresses {
            let by_link = link.map(|link| self.links.delete_address(link, IpNet::from(*address)));
            if !matches!(by_link, Some(Ok(()))) {
                let by_route = self.links.delete_local_route(loopback, *address);
                by_route.or_else(|error| if error.not_found() { Ok(()) } else { Err(error) })?;
            }
        }
        Ok(())
    }

    /// Releases all.
    pub(super) fn remove(&mut self) -> Result<usize, LinkError> {
        let held: Vec<IpAddr> = self.read()?.into_iter().collect();
        self.release(&held)?;
        match self.links.index(LINK) {
            Ok(link) => self.links.delete(link).map(|()| held.len() + 1),
            Err(_) => Ok(held.len()),
        }
    }

    fn way(&mut self) -> Result<Way, LinkError> {
        if let Ok(link) = self.links.index(LINK) {
            return Ok(Way::Link(link));
        }
        match self.links.create_dummy(LINK) {
            Ok(link) => Ok(Way::Link(link)),
            Err(LinkError::Refused { .. }) => Ok(Way::Routes(self.links.index("lo")?)),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::TcpStream};

    use stead_sys::namespace::Namespace;

    use super::*;

    #[test]
    fn addresses_are_held_and_released_with_a_link_or_without() {
        let namespace = Namespace::create().unwrap();
        let mut holder = Holder::new(Links::open_in(&namespace).unwrap());
        let [v4, v6]: [IpAddr; 2] = ["10.96.0.1".parse().unwrap(), "fd56:96::1".parse().unwrap()];
        // Nobody listens there; an address of others would be out of reach.
        let connect = |address: IpAddr| namespace.run(|| TcpStream::connect((address, 9)).unwrap_err().kind()).unwrap();
        let is_own = |address: IpAddr| connect(address) == ErrorKind::ConnectionRefused;
        holder.hold(&[v4, v6]).unwrap();
        holder.hold(&[v4]).unwrap();
        assert_eq!(holder.read().unwrap(), [v4, v6].into());
        assert!(is_own(v4) && is_own(v6));
        holder.release(&[v6]).unwrap();
        assert_eq!(holder.read().unwrap(), [v4].into());
        assert!(!is_own(v6));
        assert!(holder.remove().unwrap() > 0);
        assert!(holder.read().unwrap().is_empty() && !is_own(v4));
        assert_eq!(holder.remove().unwrap(), 0);
    }
}
