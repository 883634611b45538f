//! The addresses of this node that node ports answer on: all of its links', but for loopback and link-local ones, and those that the IPVS
//! data plane holds for Services.

use std::{io, net::IpAddr, time::Duration};

use futures::{Stream, stream};
use stead_dataplane::ipvs::LINK;
use stead_sys::link::{AddressWatch, LinkError, Links};
use tokio::io::{Interest, unix::AsyncFd};

/// Where the addresses are read.
pub(crate) trait Addresses: Send {
    /// In ascending order, without duplicates.
    fn read(&mut self) -> Result<Vec<IpAddr>, LinkError>;
}

/// The kernel's own list, in the namespace it was opened in.
pub(crate) struct KernelAddresses(Links);

/// Says when the kernel's list may have changed.
pub(crate) struct AddressNotices(AsyncFd<AddressWatch>);

/// After a failure of the socket; the list is read anyway, so that at most this much is missed.
const PAUSE: Duration = Duration::from_secs(1);

impl KernelAddresses {
    pub(crate) fn open() -> io::Result<Self> {
        Links::open().map(Self)
    }
}

impl Addresses for KernelAddresses {
    fn read(&mut self) -> Result<Vec<IpAddr>, LinkError> {
        let held = self.0.list()?.into_iter().find(|link| link.name == LINK).map(|link| link.index);
        let mut addresses: Vec<_> = self
            .0
            .addresses()?
            .into_iter()
            .filter(|each| Some(each.link) != held)
            .map(|each| each.address.addr())
            .filter(|address| is_served(*address))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }
}

fn is_served(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(is_link_local || address.is_loopback() || address.is_unspecified())
}

impl AddressNotices {
    pub(crate) fn open() -> io::Result<Self> {
        Self::over(AddressWatch::open()?)
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that might change their descriptor; an AddressWatch never does"
    )]
    fn over(watch: AddressWatch) -> io::Result<Self> {
        AsyncFd::with_interest(watch, Interest::READABLE).map(Self)
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = ()> {
        stream::unfold(self, |mut notices| async {
            if let Err(error) = notices.next().await {
                tracing::warn!(%error, "notices of address changes failed");
                tokio::time::sleep(PAUSE).await;
            }
            Some(((), notices))
        })
    }

    async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let any = ready.get_inner_mut().drain();
            ready.clear_ready();
            if any? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;
    use stead_sys::{link::VethEnd, namespace::Namespace};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn loopback_and_link_local_addresses_are_not_served() {
        let served = |text: &str| is_served(text.parse().unwrap());
        for address in ["192.168.56.101", "10.244.1.1", "fd56::101", "2001:db8::1"] {
            assert!(served(address), "{address}");
        }
        for address in ["127.0.0.1", "::1", "169.254.3.4", "fe80::1", "0.0.0.0"] {
            assert!(!served(address), "{address}");
        }
    }

    #[tokio::test]
    async fn a_new_address_is_noticed_and_read() {
        let namespace = Namespace::create().unwrap();
        let mut links = Links::open_in(&namespace).unwrap();
        let ends = ["a", "b"].map(|name| VethEnd { name, namespace: None });
        links.create_veth(ends[0], ends[1]).unwrap();
        let mut addresses = KernelAddresses(Links::open_in(&namespace).unwrap());
        assert_eq!(addresses.read().unwrap(), [] as [IpAddr; 0]);

        // A bridge, since not every kernel has links that lead nowhere.
        let held = links.create_bridge(LINK).unwrap();
        links.add_address(held, "10.96.0.1/32".parse().unwrap()).unwrap();
        let notices = AddressNotices::over(AddressWatch::open_in(&namespace).unwrap()).unwrap();
        let mut notices = pin!(notices.into_stream());
        let link = links.index("a").unwrap();
        links.set_up(link).unwrap();
        for address in ["192.168.56.7/24", "192.168.56.5/24", "fd56::7/64"] {
            links.add_address(link, address.parse().unwrap()).unwrap();
        }
        let expect: Vec<IpAddr> = ["192.168.56.5", "192.168.56.7", "fd56::7"].map(|text| text.parse().unwrap()).into();
        let noticed = async {
            while addresses.read().unwrap() != expect {
                notices.next().await;
            }
        };
        timeout(Duration::from_secs(20), noticed).await.expect("the change is noticed in time");
    }
}
