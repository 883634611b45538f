//! Finding numbers for what a Service has to claim.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{
    kinds::{
        ip_address,
        service::allocation::{AddressClaim, AllocationPlan, Complaint, NodePortClaim, Refusal},
        service_cidr,
    },
    meta,
};
use stead_model::Family;
use stead_store::{RangeRequest, Store, StoreError, prefix_end};
use tokio::sync::watch;

use super::{
    pool::Pool,
    range::{ADDRESS_PREFIX, AddressRange, PORT_PREFIX, PortRange, address, number, usable},
};
use crate::{cache::Caches, config::Config, stamp::new_uid, storage::Claims};

/// How long a cache is waited for that has to show what the store has.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Behind this port a dry run shows those that would be chosen, as upstream does.
const SHOWN_PORT: u16 = 32_768;

/// What is given out in one cluster.
#[derive(Debug)]
pub(crate) struct Allocator {
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
    families: Vec<Family>,
    addresses_v4: Pool,
    addresses_v6: Pool,
    /// Where the changes of IPAddress objects stood when the pools were filled. While they stand there, nothing is free that
    /// the pools call used, and reading a full range again finds nothing.
    filled_at: AtomicU64,
    ports: PortRange,
    port_pool: Pool,
    /// Ports of every node that programs of the cluster itself use.
    own_ports: Vec<u16>,
    looks: watch::Sender<Looks>,
}

/// Numbers are given out while every look at the claims that was asked for is over. Before one, a number that a Service holds
/// without a claim would be given to a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Looks {
    asked: u64,
    done: u64,
}

/// Numbers found for one write, to be claimed with it. Given back to the pools unless [`keep`](Self::keep) is called.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    allocator: &'a Allocator,
    pub(crate) claims: Claims,
    /// What the user named, by its key.
    wanted: Vec<(String, Complaint)>,
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
    #[error("values that the client names cannot be had: {0:?}")]
    Named(Vec<Complaint>),
    #[error("failed to allocate a serviceIP: range is full")]
    AddressesFull,
    #[error("failed to allocate a nodePort: range is full")]
    PortsFull,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether what is found is going to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Claim,
    /// A dry run: nothing is marked, a free address is shown as the first of its range, a free port as one beyond all others.
    Show,
}

impl Allocator {
    pub(crate) async fn start(store: Arc<dyn Store>, caches: Arc<Caches>, config: &Config) -> Result<Self, StoreError> {
        let allocator = Self {
            store,
            caches,
            families: config.service_ranges.iter().map(|range| Family::of(range.addr())).collect(),
            addresses_v4: Pool::default(),
            addresses_v6: Pool::default(),
            filled_at: AtomicU64::new(0),
            ports: PortRange { ports: config.node_ports.clone() },
            port_pool: Pool::default(),
            own_ports: config.own_ports().to_vec(),
            looks: watch::Sender::default(),
        };
        allocator.refill().await?;
        Ok(allocator)
    }

    /// From now on whoever needs a number waits for a look at the claims that begins later: at start, and when somebody takes
    /// away a claim by hand.
    pub(crate) fn hold(&self) {
        self.looks.send_modify(|looks| looks.asked += 1);
    }

    /// Which looks one that begins now is for, to be given to [`open`](Self::open) when it is over.
    pub(super) fn looks_asked(&self) -> u64 {
        self.looks.borrow().asked
    }

    pub(super) fn open(&self, asked: u64) {
        self.looks.send_modify(|looks| looks.done = looks.done.max(asked));
    }

    /// Ready when there is a look to be done; does not keep the allocator.
    pub(super) fn look_asked(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut looks = self.looks.subscribe();
        async move {
            let _ = looks.wait_for(|looks| looks.done < looks.asked).await.map(|_| ());
        }
    }

    /// The cluster's families, the default first.
    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    /// Reads all claims anew.
    pub(crate) async fn refill(&self) -> Result<(), StoreError> {
        let changes = self.changes();
        let addresses = self.claimed::<IpAddr>(ADDRESS_PREFIX).await?;
        for family in Family::ALL {
            let own = addresses.iter().filter(|address| Family::of(**address) == family);
            self.pool(family).refill(own.map(|address| number(*address)));
        }
        self.filled_at.store(changes, Ordering::Relaxed);
        let ports = self.claimed::<u16>(PORT_PREFIX).await?;
        self.port_pool.refill(ports.iter().chain(&self.own_ports).map(|port| u128::from(*port)));
        Ok(())
    }

    /// Waits until ranges, and all that is read of caches, are those that the store has now.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let newest = self.store.revision().await?;
        for kind in [&ip_address::RESOURCE, &service_cidr::RESOURCE] {
            // A cache that stays behind is found by the claim, which states the revision it relies on.
            let _ = self.caches.kind(kind).reach(newest, PATIENCE).await;
        }
        Ok(())
    }

    /// How many changes of IPAddress objects there were, as far as the cache knows.
    fn changes(&self) -> u64 {
        *self.caches.kind(&ip_address::RESOURCE).subscribe().borrow()
    }

    /// Every range that addresses of Services are in, also those that are given out from no more.
    pub(crate) fn service_ranges(&self) -> Vec<IpNet> {
        let objects = self.caches.kind(&service_cidr::RESOURCE).list(None, None).entries;
        objects.iter().flat_map(|entry| service_cidr::ranges(&entry.object())).collect()
    }

    /// The ranges that addresses of a family come from: those of the default object first.
    fn ranges(&self, family: Family) -> Vec<AddressRange> {
        let mut objects = self.caches.kind(&service_cidr::RESOURCE).list(None, None).entries;
        objects.sort_by_key(|entry| entry.name() != service_cidr::DEFAULT);
        let mut ranges = Vec::new();
        for entry in objects {
            let object = entry.object();
            if service_cidr::is_ready(&object) {
                let key = service_cidr::RESOURCE.registry_key("", entry.name());
                let all = service_cidr::ranges(&object)
                    .into_iter()
                    .map(|net| AddressRange { net: net.trunc(), object: (key.clone(), entry.revision) });
                ranges.extend(all.filter(|range| range.family() == family));
            }
        }
        ranges
    }

    fn pool(&self, family: Family) -> &Pool {
        match family {
            Family::V4 => &self.addresses_v4,
            Family::V6 => &self.addresses_v6,
        }
    }

    async fn claimed<T: std::str::FromStr>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        let start = Bytes::copy_from_slice(prefix.as_bytes());
        let end = prefix_end(prefix.as_bytes());
        let page = self.store.range(RangeRequest { start, end, revision: None, limit: None }).await?;
        let names = page.items.iter().filter_map(|item| std::str::from_utf8(item.key.get(prefix.len()..)?).ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// Finds a number for each claim of `plan` and writes it into `service`. Waits while the allocator is held.
    pub(crate) async fn grant(
        &self,
        plan: &AllocationPlan,
        service: &mut Value,
        purpose: Purpose,
    ) -> Result<Granted<'_>, AllocError> {
        let mut granted = Granted {
            allocator: self,
            claims: Claims::default(),
            wanted: Vec::new(),
            marked: Vec::new(),
            released: Vec::new(),
        };
        if purpose == Purpose::Claim && !(plan.addresses.is_empty() && plan.node_ports.is_empty()) {
            // The sender lives as long as this value.
            let _ = self.looks.subscribe().wait_for(|looks| looks.done >= looks.asked).await;
        }
        // What the user names goes first: the rest is chosen around it, unless something named cannot be had.
        let (named, free) = plan.addresses.iter().partition::<Vec<_>, _>(|claim| claim.wanted.is_some());
        let (named_ports, free_ports) = plan.node_ports.iter().partition::<Vec<_>, _>(|claim| claim.wanted.is_some());
        let mut complaints = Vec::new();
        for claim in named {
            match self.address(claim, service, &mut granted, purpose).await {
                Ok(address) => granted.take_address(claim, service, address),
                Err(AllocError::Named(found)) => complaints.extend(found),
                Err(error) => return Err(error),
            }
        }
        for claim in named_ports {
            match self.port(claim, &mut granted, purpose).await {
                Ok(port) => granted.take_port(claim, service, port),
                Err(AllocError::Named(found)) => complaints.extend(found),
                Err(error) => return Err(error),
            }
        }
        if !complaints.is_empty() {
            let held = self.held(&granted).await?;
            complaints.extend(granted.taken(&held));
            return Err(AllocError::Named(complaints));
        }
        for claim in free {
            let address = self.address(claim, service, &mut granted, purpose).await?;
            granted.take_address(claim, service, address);
        }
        for claim in free_ports {
            let port = self.port(claim, &mut granted, purpose).await?;
            granted.take_port(claim, service, port);
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

    /// What of the named values somebody has, for a refusal that tells of everything at once.
    async fn held(&self, granted: &Granted<'_>) -> Result<Vec<String>, StoreError> {
        let mut held = Vec::new();
        for (key, _) in &granted.wanted {
            let (start, end) = (Bytes::from(key.clone()), Bytes::from(format!("{key}\0")));
            let page = self.store.range(RangeRequest { start, end, revision: None, limit: Some(1) }).await?;
            held.extend((!page.items.is_empty()).then(|| key.clone()));
        }
        Ok(held)
    }

    async fn address(
        &self,
        claim: &AddressClaim,
        service: &Value,
        granted: &mut Granted<'_>,
        purpose: Purpose,
    ) -> Result<IpAddr, AllocError> {
        if let Some(wanted) = claim.wanted {
            let refused = |refusal| AllocError::Named(vec![claim.refuse(service, refusal)]);
            let range = match self.range_of(wanted) {
                Some(range) => range,
                None => {
                    self.catch_up().await?;
                    self.range_of(wanted).ok_or_else(|| refused(Refusal::NoRange))?
                }
            };
            granted.relies_on(range);
            granted.wanted.push((address_key(wanted), claim.refuse(service, Refusal::Taken)));
            if purpose == Purpose::Claim && self.pool(claim.family).mark(number(wanted)) {
                granted.marked.push(Number::Address(wanted));
            }
            return Ok(wanted);
        }
        if purpose == Purpose::Show {
            let range = self.ranges(claim.family).into_iter().next().ok_or(AllocError::AddressesFull)?;
            return Ok(range.net.network());
        }
        let (picked, range) = match self.pick(claim.family) {
            Some(found) => found,
            None => {
                self.catch_up().await?;
                if self.changes() != self.filled_at.load(Ordering::Relaxed) {
                    self.refill().await?;
                }
                self.pick(claim.family).ok_or(AllocError::AddressesFull)?
            }
        };
        granted.relies_on(range);
        granted.marked.push(Number::Address(picked));
        Ok(picked)
    }

    /// The range that gives out this address: its first and, of IPv4, its last are nobody's.
    fn range_of(&self, wanted: IpAddr) -> Option<AddressRange> {
        let gives_out = |range: &AddressRange| usable(range.net).is_some_and(|span| span.contains(number(wanted)));
        self.ranges(Family::of(wanted)).into_iter().find(|range| range.net.contains(&wanted) && gives_out(range))
    }

    /// A free address of the first range that has one.
    fn pick(&self, family: Family) -> Option<(IpAddr, AddressRange)> {
        self.ranges(family).into_iter().find_map(|range| {
            let picked = self.pool(family).pick(usable(range.net)?, rand::random())?;
            Some((address(family, picked), range))
        })
    }

    async fn port(
        &self,
        claim: &NodePortClaim,
        granted: &mut Granted<'_>,
        purpose: Purpose,
    ) -> Result<u16, AllocError> {
        if let Some(wanted) = claim.wanted {
            if !self.ports.ports.contains(&wanted) {
                let range = format!("{}-{}", self.ports.ports.start(), self.ports.ports.end());
                return Err(AllocError::Named(vec![claim.refuse(Refusal::OutOfRange { range: &range })]));
            }
            if self.own_ports.contains(&wanted) {
                return Err(AllocError::Named(vec![claim.refuse(Refusal::Own)]));
            }
            if granted.claims.claim.iter().any(|(claimed, _)| *claimed == port_key(wanted)) {
                return Err(AllocError::Named(vec![claim.refuse(Refusal::Taken)]));
            }
            granted.wanted.push((port_key(wanted), claim.refuse(Refusal::Taken)));
            if purpose == Purpose::Claim && self.port_pool.mark(wanted.into()) {
                granted.marked.push(Number::Port(wanted));
            }
            return Ok(wanted);
        }
        if purpose == Purpose::Show {
            return Ok(granted.ports().max().unwrap_or(SHOWN_PORT).saturating_add(1));
        }
        match self.pick_port(granted) {
            Some(port) => Ok(port),
            None => {
                self.refill().await?;
                self.pick_port(granted).ok_or(AllocError::PortsFull)
            }
        }
    }

    /// A free port that the same write does not claim already: a dry run marks nothing that the user names, and a refill
    /// forgets what is not stored yet.
    fn pick_port(&self, granted: &mut Granted<'_>) -> Option<u16> {
        loop {
            let picked = self.port_pool.pick(self.ports.span(), rand::random())?;
            let port = u16::try_from(picked).expect("the span is one of ports");
            granted.marked.push(Number::Port(port));
            let key = port_key(port);
            if granted.claims.claim.iter().all(|(claimed, _)| *claimed != key) {
                return Some(port);
            }
        }
    }

    fn unmark(&self, marked: Number) {
        match marked {
            Number::Address(address) => self.pool(Family::of(address)).release(number(address)),
            Number::Port(port) if self.own_ports.contains(&port) => {}
            Number::Port(port) => self.port_pool.release(port.into()),
        }
    }

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

impl Granted<'_> {
    /// What is to be released, nothing claimed: for a Service that goes.
    pub(crate) fn keys(plan: &AllocationPlan) -> Claims {
        let addresses = plan.released_addresses.iter().map(|address| address_key(*address));
        let ports = plan.released_node_ports.iter().map(|port| port_key(*port));
        Claims { release: addresses.chain(ports).collect(), ..Claims::default() }
    }

    fn take_address(&mut self, claim: &AddressClaim, service: &mut Value, address: IpAddr) {
        claim.grant(service, address);
        self.claims.claim.push((address_key(address), claim_of(address, service)));
    }

    fn take_port(&mut self, claim: &NodePortClaim, service: &mut Value, port: u16) {
        claim.grant(service, port);
        let owner = format!("{}/{}", meta::namespace(service), meta::name(service));
        self.claims.claim.push((port_key(port), owner));
    }

    /// The node ports that the write claims so far.
    fn ports(&self) -> impl Iterator<Item = u16> {
        self.claims.claim.iter().filter_map(|(key, _)| key.strip_prefix(PORT_PREFIX)?.parse().ok())
    }

    /// The claim holds only while the range is given out from.
    fn relies_on(&mut self, range: AddressRange) {
        if !self.claims.relies_on.contains(&range.object) {
            self.claims.relies_on.push(range.object);
        }
    }

    /// The write is stored: what was claimed stays, what was released is free.
    pub(crate) fn keep(mut self) {
        self.marked.clear();
        for number in std::mem::take(&mut self.released) {
            self.allocator.unmark(number);
        }
    }

    /// The store says that `keys` are held: numbers nobody asked for stay marked, since they are in use, and the write may
    /// try again with others. The complaints are about values that the user named.
    pub(crate) fn taken(mut self, keys: &[String]) -> Vec<Complaint> {
        let held = |number: &Number| keys.contains(&number.key());
        self.marked.retain(|number| !held(number));
        let wanted = std::mem::take(&mut self.wanted);
        wanted.into_iter().filter(|(key, _)| keys.contains(key)).map(|(_, complaint)| complaint).collect()
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

/// The IPAddress object of an address of `service`, as it is stored.
pub(super) fn claim_of(address: IpAddr, service: &Value) -> String {
    let mut object = ip_address::of_service(address, meta::namespace(service), meta::name(service));
    meta::set(&mut object, "uid", new_uid());
    meta::set(&mut object, "creationTimestamp", meta::seconds(Timestamp::now()));
    object.to_string()
}

pub(super) fn address_key(address: IpAddr) -> String {
    format!("{ADDRESS_PREFIX}{address}")
}

pub(super) fn port_key(port: u16) -> String {
    format!("{PORT_PREFIX}{port}")
}
