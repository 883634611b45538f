//! Finding numbers for what a Service has to claim.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use stead_api::{
    field::FieldError,
    kinds::service::allocation::{AddressClaim, AllocationPlan, NodePortClaim, Refusal},
};
use stead_model::Family;
use stead_store::{RangeRequest, Store, StoreError, prefix_end};

use super::range::{ADDRESS_PREFIX, AddressRange, PORT_PREFIX, PortRange};
use crate::{config::Config, storage::Claims};

/// The ranges of one cluster.
#[derive(Debug)]
pub(crate) struct Allocator {
    store: Arc<dyn Store>,
    addresses: Vec<AddressRange>,
    ports: PortRange,
}

/// Numbers found for one write, to be claimed with it. Given back to the pools unless [`keep`](Self::keep) is called.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    allocator: &'a Allocator,
    pub(crate) claims: Claims,
    /// What the user named, by its key.
    wanted: Vec<(String, FieldError)>,
    /// What was marked in the pools for this write.
    marked: Vec<Number>,
    released: Vec<Number>,
}

/// A number of one of the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Address(IpAddr),
    Port(u16),
}

/// Why a Service cannot have what it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AllocError {
    #[error("{0}")]
    Field(FieldError),
    #[error("failed to allocate a serviceIP: range is full")]
    AddressesFull,
    #[error("failed to allocate a nodePort: range is full")]
    PortsFull,
    #[error("failed to allocate a serviceIP: no service range of family {0}")]
    NoFamily(Family),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether what is found is going to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Claim,
    /// A dry run: nothing is marked, a free address is shown as the first of its range.
    Show,
}

impl Allocator {
    pub(crate) async fn start(store: Arc<dyn Store>, config: &Config) -> Result<Self, StoreError> {
        let addresses = config.service_ranges.iter().map(|range| AddressRange::new(*range)).collect();
        let allocator = Self { store, addresses, ports: PortRange::new(config.node_ports.clone()) };
        allocator.refill().await?;
        Ok(allocator)
    }

    /// The cluster's families, the default first.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.addresses.iter().map(AddressRange::family).collect()
    }

    /// Reads all claims anew.
    pub(crate) async fn refill(&self) -> Result<(), StoreError> {
        let addresses = self.claimed::<IpAddr>(ADDRESS_PREFIX).await?;
        for range in &self.addresses {
            range.pool.refill(addresses.iter().filter_map(|address| range.number(*address)));
        }
        let ports = self.claimed::<u16>(PORT_PREFIX).await?;
        self.ports.pool.refill(ports.iter().filter_map(|port| self.ports.number(*port)));
        Ok(())
    }

    async fn claimed<T: std::str::FromStr>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        let start = Bytes::copy_from_slice(prefix.as_bytes());
        let end = prefix_end(prefix.as_bytes());
        let page = self.store.range(RangeRequest { start, end, revision: None, limit: None }).await?;
        let names = page.items.iter().filter_map(|item| std::str::from_utf8(item.key.get(prefix.len()..)?).ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// Finds a number for each claim of `plan` and writes it into `service`.
    pub(crate) async fn grant(
        &self,
        plan: &AllocationPlan,
        service: &mut Value,
        owner: &str,
        purpose: Purpose,
    ) -> Result<Granted<'_>, AllocError> {
        let mut granted = Granted {
            allocator: self,
            claims: Claims::default(),
            wanted: Vec::new(),
            marked: Vec::new(),
            released: Vec::new(),
        };
        for claim in &plan.addresses {
            let address = self.address(claim, service, &mut granted, purpose).await?;
            claim.grant(service, address);
            granted.claims.claim.push((address_key(address), owner.to_owned()));
        }
        for claim in &plan.node_ports {
            let port = self.port(claim, &mut granted, purpose).await?;
            claim.grant(service, port);
            granted.claims.claim.push((port_key(port), owner.to_owned()));
        }
        for address in &plan.released_addresses {
            granted.claims.release.push(address_key(*address));
            granted.released.push(Number::Address(*address));
        }
        for port in &plan.released_node_ports {
            granted.claims.release.push(port_key(*port));
            granted.released.push(Number::Port(*port));
        }
        Ok(granted)
    }

    async fn address(
        &self,
        claim: &AddressClaim,
        service: &Value,
        granted: &mut Granted<'_>,
        purpose: Purpose,
    ) -> Result<IpAddr, AllocError> {
        let range = self.addresses.iter().find(|range| range.family() == claim.family);
        let range = range.ok_or(AllocError::NoFamily(claim.family))?;
        if let Some(wanted) = claim.wanted {
            let Some(number) = range.number(wanted) else {
                let net = range.net.to_string();
                let outside = claim.refuse(service, Refusal::OutOfRange { range: &net });
                return Err(AllocError::Field(outside));
            };
            granted.wanted.push((address_key(wanted), claim.refuse(service, Refusal::Taken)));
            if purpose == Purpose::Claim && range.pool.mark(number) {
                granted.marked.push(Number::Address(wanted));
            }
            return Ok(wanted);
        }
        if purpose == Purpose::Show {
            return Ok(range.net.network());
        }
        let number = match range.pool.pick(rand::random()) {
            Some(number) => number,
            None => {
                self.refill().await?;
                range.pool.pick(rand::random()).ok_or(AllocError::AddressesFull)?
            }
        };
        let address = range.address(number);
        granted.marked.push(Number::Address(address));
        Ok(address)
    }

    async fn port(
        &self,
        claim: &NodePortClaim,
        granted: &mut Granted<'_>,
        purpose: Purpose,
    ) -> Result<u16, AllocError> {
        if let Some(wanted) = claim.wanted {
            let Some(number) = self.ports.number(wanted) else {
                let range = format!("{}-{}", self.ports.ports.start(), self.ports.ports.end());
                return Err(AllocError::Field(claim.refuse(Refusal::OutOfRange { range: &range })));
            };
            granted.wanted.push((port_key(wanted), claim.refuse(Refusal::Taken)));
            if purpose == Purpose::Claim && self.ports.pool.mark(number) {
                granted.marked.push(Number::Port(wanted));
            }
            return Ok(wanted);
        }
        let number = match self.ports.pool.pick(rand::random()) {
            Some(number) => number,
            None => {
                self.refill().await?;
                self.ports.pool.pick(rand::random()).ok_or(AllocError::PortsFull)?
            }
        };
        let port = self.ports.port(number);
        granted.marked.push(Number::Port(port));
        Ok(port)
    }

    fn unmark(&self, number: Number) {
        match number {
            Number::Address(address) => {
                for range in &self.addresses {
                    if let Some(number) = range.number(address) {
                        range.pool.release(number);
                    }
                }
            }
            Number::Port(port) => {
                if let Some(number) = self.ports.number(port) {
                    self.ports.pool.release(number);
                }
            }
        }
    }
}

impl Granted<'_> {
    /// What is to be released, nothing claimed: for a Service that goes.
    pub(crate) fn keys(plan: &AllocationPlan) -> Claims {
        let addresses = plan.released_addresses.iter().map(|address| address_key(*address));
        let ports = plan.released_node_ports.iter().map(|port| port_key(*port));
        Claims { release: addresses.chain(ports).collect(), ..Claims::default() }
    }

    /// The write is stored: what was claimed stays, what was released is free.
    pub(crate) fn keep(mut self) {
        self.marked.clear();
        for number in std::mem::take(&mut self.released) {
            self.allocator.unmark(number);
        }
    }

    /// The store says that `keys` are held: numbers nobody asked for stay marked, since they are in use, and the write may
    /// try again with others. The errors are those of values that the user named.
    pub(crate) fn taken(mut self, keys: &[String]) -> Vec<FieldError> {
        let held = |number: &Number| keys.contains(&number.key());
        self.marked.retain(|number| !held(number));
        let wanted = std::mem::take(&mut self.wanted);
        wanted.into_iter().filter(|(key, _)| keys.contains(key)).map(|(_, error)| error).collect()
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        for number in std::mem::take(&mut self.marked) {
            self.allocator.unmark(number);
        }
    }
}

impl Number {
    fn key(self) -> String {
        match self {
            Self::Address(address) => address_key(address),
            Self::Port(port) => port_key(port),
        }
    }
}

impl Allocator {
    /// A Service is gone with these claims.
    pub(crate) fn removed(&self, plan: &AllocationPlan) {
        for address in &plan.released_addresses {
            self.unmark(Number::Address(*address));
        }
        for port in &plan.released_node_ports {
            self.unmark(Number::Port(*port));
        }
    }
}

fn address_key(address: IpAddr) -> String {
    format!("{ADDRESS_PREFIX}{address}")
}

fn port_key(port: u16) -> String {
    format!("{PORT_PREFIX}{port}")
}
