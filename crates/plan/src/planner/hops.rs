//! Endpoints that are another Service's virtual IP: in their place stand the endpoints that this IP leads to, one hop and no more. The kernel
//! looks a packet up once, so an address that is left standing would lead nowhere. Node ports and external addresses are places of their
//! own, which answer to who comes there.
//!
//! Owns which Services have such endpoints, so that they are planned again when the other one changes. Who has a virtual IP is
//! [`Claims`]' to say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use stead_api::service_snapshot::{ServiceSnapshot, TrafficPolicy};
use stead_model::{Frontend, ObjectKey};

use super::claims::Claims;
use crate::{
    desired::{NodeContext, plan_service},
    problem::Cause,
    table::{
        Backend, FrontendKind, FrontendRule, List, Lists, MAX_BACKENDS, MAX_BACKENDS_OF_SERVICE, ServicePlan,
        ServicePortPlan,
    },
};

/// What Services have asked about.
///
/// Invariant: `users[f]` holds `s` exactly if `uses[s]` holds `f`.
#[derive(Debug, Default)]
pub(super) struct Hops {
    users: HashMap<Frontend, BTreeSet<Arc<ObjectKey>>>,
    uses: BTreeMap<Arc<ObjectKey>, BTreeSet<Frontend>>,
    prefixes: Prefixes,
}

/// Leading bits of all addresses that are virtual IPs, and how many are: says cheaply of most endpoints that they are none.
#[derive(Debug, Default)]
struct Prefixes(HashMap<u128, usize>);

/// What a plan is made from.
pub(super) struct Surroundings<'s> {
    pub(super) snapshot: &'s ServiceSnapshot,
    pub(super) context: &'s NodeContext,
    pub(super) claims: &'s Claims,
}

impl Hops {
    /// A frontend has one more claimant. True where no virtual IP was like its address: every endpoint may be of interest now.
    pub(super) fn on_claimed(&mut self, rule: &FrontendRule) -> bool {
        if rule.kind != FrontendKind::ClusterIp {
            return false;
        }
        let count = self.prefixes.0.entry(prefix(rule.frontend.address)).or_default();
        *count += 1;
        *count == 1
    }

    pub(super) fn on_released(&mut self, rule: &FrontendRule) {
        if rule.kind != FrontendKind::ClusterIp {
            return;
        }
        let prefix = prefix(rule.frontend.address);
        if let Some(count) = self.prefixes.0.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.prefixes.0.remove(&prefix);
            }
        }
    }

    /// Those whose plan depends on who has a frontend and what is behind it.
    pub(super) fn users<'h>(&'h self, frontend: &Frontend) -> impl Iterator<Item = &'h Arc<ObjectKey>> + use<'h> {
        // Most clusters have none, and hashing is most of what asking costs.
        let users = if self.users.is_empty() { None } else { self.users.get(frontend) };
        users.into_iter().flatten()
    }

    /// Puts other Services' endpoints in the place of their virtual IPs. Returns what is wrong with some of these.
    pub(super) fn follow(
        &mut self,
        around: &Surroundings<'_>,
        key: &Arc<ObjectKey>,
        draft: &mut ServicePlan,
    ) -> Vec<Cause> {
        let mut walk = Walk {
            around,
            prefixes: &self.prefixes,
            key,
            others: HashMap::new(),
            room: MAX_BACKENDS_OF_SERVICE,
            uses: BTreeSet::new(),
            causes: Vec::new(),
        };
        draft.ports.iter_mut().for_each(|port| walk.port(port));
        let Walk { uses, causes, .. } = walk;
        self.register(key, uses);
        causes
    }

    fn register(&mut self, key: &Arc<ObjectKey>, uses: BTreeSet<Frontend>) {
        let old = self.uses.remove(&**key).unwrap_or_default();
        for frontend in old.difference(&uses) {
            if let Some(users) = self.users.get_mut(frontend) {
                users.remove(&**key);
                if users.is_empty() {
                    self.users.remove(frontend);
                }
            }
        }
        for frontend in uses.difference(&old) {
            self.users.entry(*frontend).or_default().insert(Arc::clone(key));
        }
        if !uses.is_empty() {
            self.uses.insert(Arc::clone(key), uses);
        }
    }
}

impl Prefixes {
    fn has(&self, address: IpAddr) -> bool {
        self.0.contains_key(&prefix(address))
    }
}

/// 16 bits of IPv4 and 96 of IPv6: few for all virtual IPs of a cluster.
fn prefix(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 16),
        IpAddr::V6(address) => (address.to_bits() >> 32) | 1 << 127,
    }
}

/// One Service being looked through.
struct Walk<'w> {
    around: &'w Surroundings<'w>,
    prefixes: &'w Prefixes,
    key: &'w ObjectKey,
    /// Plans of other Services as if each were alone, with every frontend's port: one of thousands of ports is planned once.
    others: HashMap<ObjectKey, Alone>,
    /// How many backends the ports that come may have: one endpoint may stand for thousands.
    room: usize,
    uses: BTreeSet<Frontend>,
    causes: Vec<Cause>,
}

/// A Service's ports, and the place among them of each frontend's.
type Alone = (Vec<Arc<ServicePortPlan>>, HashMap<Frontend, usize>);

/// What an endpoint's address is.
enum Place<'w> {
    /// An address like any other.
    Host,
    /// The virtual IP and port of a Service.
    Service(&'w ObjectKey),
    /// An address that virtual IPs come from; no Service has it with this port.
    Nobody,
}

impl<'w> Walk<'w> {
    fn port(&mut self, port: &mut ServicePortPlan) {
        let is_virtual = |backend: &Backend| self.may_be_virtual(backend.address.ip());
        if !port.backends.iter().chain(&port.draining).any(is_virtual) {
            self.room = self.room.saturating_sub(port.backends.len() + port.draining.len());
            return;
        }
        let limit = self.room.min(MAX_BACKENDS);
        let (mut backends, mut draining) = (Gathered::within(limit), Gathered::within(limit));
        for backend in std::mem::take(&mut port.backends) {
            let frontend = frontend(port, backend.address);
            match self.place(frontend) {
                Place::Host => backends.extend([backend]),
                Place::Nobody => self.causes.push(Cause::NoService { frontend }),
                Place::Service(via) if via == self.key => self.causes.push(Cause::Itself { frontend }),
                Place::Service(via) => {
                    let Some(other) = self.behind(frontend, via) else { continue };
                    let beyond = self.within_one_hop(frontend, via, &other);
                    backends.extend(beyond.into_iter().filter_map(|beyond| stand_in(port, &backend, beyond)));
                    draining.extend(other.draining.iter().filter_map(|beyond| stand_in(port, &backend, *beyond)));
                }
            }
        }
        for leaving in std::mem::take(&mut port.draining) {
            match self.place(frontend(port, leaving.address)) {
                Place::Service(via) if via != self.key => {
                    let Some(other) = self.behind(frontend(port, leaving.address), via) else { continue };
                    let all = reached(&other).chain(&other.draining);
                    draining.extend(all.filter_map(|beyond| stand_in(port, &leaving, *beyond)));
                }
                Place::Host => draining.extend([leaving]),
                Place::Service(_) | Place::Nobody => {}
            }
        }
        let (backends, surplus) = backends.finish();
        if surplus > 0 {
            let count = backends.len() + surplus;
            self.causes.push(Cause::TooManyEndpoints { port: port.name.clone(), count, limit });
        }
        self.room -= backends.len();
        let (mut draining, _) = draining.finish();
        let is_new =
            |leaving: &Backend| backends.binary_search_by_key(&leaving.address, |backend| backend.address).is_err();
        draining.retain(is_new);
        draining.truncate(self.room);
        self.room -= draining.len();
        (port.backends, port.draining) = (backends, draining);
    }

    /// The port of another Service that has the frontend, as if that Service were alone. `None` where the snapshot is ahead of what
    /// was planned and the Service has it no more: it is about to be planned again, and its users with it.
    fn behind(&mut self, frontend: Frontend, via: &ObjectKey) -> Option<Arc<ServicePortPlan>> {
        if !self.others.contains_key(via) {
            let (plan, _) = plan_service(self.around.snapshot, self.around.context, via);
            let ports: Vec<_> = plan.ports.into_iter().map(Arc::new).collect();
            let frontends = ports
                .iter()
                .enumerate()
                .flat_map(|(place, port)| port.frontends.iter().map(move |rule| (rule.frontend, place)));
            let places = frontends.collect();
            self.others.insert(via.clone(), (ports, places));
        }
        let (ports, places) = self.others.get(via)?;
        places.get(&frontend).map(|place| Arc::clone(&ports[*place]))
    }

    /// Those of another Service's endpoints that are no Services themselves.
    fn within_one_hop(&mut self, frontend: Frontend, via: &ObjectKey, other: &ServicePortPlan) -> Vec<Backend> {
        let mut backends = Vec::with_capacity(other.backends.len());
        for backend in reached(other) {
            let beyond = self::frontend(other, backend.address);
            match self.place(beyond) {
                Place::Host => backends.push(*backend),
                // Whose endpoint it is will hear of it.
                Place::Nobody => {}
                Place::Service(next) if next == self.key => {
                    self.causes.push(Cause::Loop { frontend, via: via.clone() });
                }
                Place::Service(next) => {
                    self.causes.push(Cause::TooFar { frontend, via: via.clone(), beyond, next: next.clone() });
                }
            }
        }
        backends
    }

    fn place(&mut self, frontend: Frontend) -> Place<'w> {
        let address = frontend.address;
        if !self.may_be_virtual(address) {
            return Place::Host;
        }
        self.uses.insert(frontend);
        let settings = &self.around.context.settings;
        match self.around.claims.owner(&frontend) {
            Some((owner, FrontendKind::ClusterIp)) => Place::Service(owner),
            _ if settings.service_ranges.iter().any(|range| range.contains(&address)) => Place::Nobody,
            _ => Place::Host,
        }
    }

    fn may_be_virtual(&self, address: IpAddr) -> bool {
        self.prefixes.has(address)
            || self.around.context.settings.service_ranges.iter().any(|range| range.contains(&address))
    }
}

fn frontend(port: &ServicePortPlan, address: SocketAddr) -> Frontend {
    Frontend { address: address.ip(), protocol: port.protocol, port: address.port() }
}

/// Where a virtual IP of the port leads.
fn reached(port: &ServicePortPlan) -> impl Iterator<Item = &Backend> {
    port.list(port.internal_policy.into())
}

/// `beyond` in the place of `backend`, whose turn it takes; it is in the local list only where it is on this node itself.
fn stand_in(port: &ServicePortPlan, backend: &Backend, beyond: Backend) -> Option<Backend> {
    let has_local_list = [port.internal_policy, port.external_policy].contains(&TrafficPolicy::Local);
    let lists = Lists::of(backend.lists.has(List::Cluster), has_local_list && beyond.local)?;
    Some(Backend { lists, ..beyond })
}

/// Backends of many endpoints, never many more than may stay: those of the least addresses.
struct Gathered {
    limit: usize,
    backends: Vec<Backend>,
    surplus: usize,
}

impl Gathered {
    fn within(limit: usize) -> Self {
        Self { limit, backends: Vec::new(), surplus: 0 }
    }

    fn extend(&mut self, more: impl IntoIterator<Item = Backend>) {
        self.backends.extend(more);
        if self.backends.len() > 2 * self.limit.max(MAX_BACKENDS) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        merge(&mut self.backends);
        self.surplus += self.backends.len().saturating_sub(self.limit);
        self.backends.truncate(self.limit);
    }

    /// In order, each once, and how many more there were.
    fn finish(mut self) -> (Vec<Backend>, usize) {
        self.shrink();
        self.backends.shrink_to_fit();
        (self.backends, self.surplus)
    }
}

/// Puts them in order, each once. One may be named twice, directly and through a Service: it is in the lists, and local, that either says.
fn merge(backends: &mut Vec<Backend>) {
    backends.sort_unstable();
    backends.dedup_by(|other, backend| {
        let same = other.address == backend.address;
        if same {
            backend.local |= other.local;
            backend.lists = backend.lists.or(other.lists);
        }
        same
    });
}
