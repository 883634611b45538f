//! Service addresses and node ports: each in use is claimed by a key of its own, written in the transaction that stores its
//! Service, so that none is ever handed out twice, whoever else writes.
//!
//! The claim of an address is its IPAddress object; the ranges that addresses come from are those of the ServiceCIDR objects,
//! as they are when the claim is written. Which claims a Service needs is decided in `stead_api::kinds::service::allocation`;
//! here numbers are found for them. Pools in memory say what is likely free; the store decides.

mod grant;
mod pool;
mod range;
mod repair;

use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use grant::{AllocError, Allocator, Granted, Purpose};
pub(crate) use repair::keep;

/// The address that the Service `kubernetes` has in a range; `None`: the range has none to use.
pub(crate) fn first_address(range: IpNet) -> Option<IpAddr> {
    range::usable(range).map(|span| range::address(stead_model::Family::of(range.addr()), span.first))
}
