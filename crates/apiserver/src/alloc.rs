//! Service addresses and node ports: each in use is claimed by a key of its own, written in the transaction that stores its
//! Service, so that none is ever handed out twice, whoever else writes.
//!
//! Which claims a Service needs is decided in `stead_api::kinds::service::allocation`; here numbers are found for them.
//! Pools in memory say what is likely free; the store decides.

mod grant;
mod pool;
mod range;

use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use grant::{AllocError, Allocator, Granted, Purpose};

/// The address that the Service `kubernetes` has in a range.
pub(crate) fn first_address(range: IpNet) -> IpAddr {
    range::AddressRange::new(range).first()
}
