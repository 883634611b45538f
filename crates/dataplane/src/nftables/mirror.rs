//! What the kernel holds for each Service, in our memory, and how a plan's part becomes that.
//!
//! Everything is kept per Service, so that a change costs as much as the Services it is about. What Services share (a pod that may meet
//! itself, the chain for a kind) is counted.

mod counters;
mod port;
mod slots;
mod update;

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use stead_model::{Family, Frontend, ObjectKey};
use stead_plan::{Algorithm, Backend, FrontendRule, List, MAX_BACKENDS, Plan, ServicePlan, ServicePortPlan, Settings};

use self::counters::Counters;
use self::port::{ListState, Policies, PortState, place};
pub(crate) use self::update::Update;
use super::{
    id::{Choice, Class, Clients, Cursor, ENDPOINTS, EndpointId, HashBy, Kind, LISTS, ListId, Way},
    program::Entry,
};
use crate::{
    flows::{Routes, Sender, widened},
    plane::Error,
};

/// A list and its endpoints that stand already, so that they are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Previous {
    pub(crate) list: Option<ListId>,
    pub(crate) kind: Option<Kind>,
    pub(crate) endpoints: Vec<(EndpointId, SocketAddr)>,
    /// What each slot leads to, where that is more than the endpoints in their order.
    pub(crate) slots: Vec<EndpointId>,
}

/// What the kernel holds for a frontend that this process knows nothing of yet.
pub(crate) trait Adopt {
    /// The list of the first of these frontends that has one by that way. What is given once is not given again.
    fn adopt(&mut self, ways: &mut dyn Iterator<Item = (Way, Frontend)>) -> Previous;
}

/// Nothing stands in the kernel that is not in the mirror.
pub(crate) struct Nothing;

impl Adopt for Nothing {
    fn adopt(&mut self, _: &mut dyn Iterator<Item = (Way, Frontend)>) -> Previous {
        Previous::default()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) settings: Settings,
    services: BTreeMap<Arc<ObjectKey>, Vec<PortState>>,
    owners: HashMap<Frontend, Arc<ObjectKey>>,
    /// Service ports by kind; a kind that nobody uses stays until [`Mirror::forget_idle_kinds`].
    kinds: BTreeMap<(Family, Way, Kind), usize>,
    /// How many backends or frontends ask for a [`Entry::Hairpin`] or [`Entry::Outlying`].
    shared: HashMap<Entry, usize>,
    timeouts: BTreeMap<Class, Duration>,
    counters: Counters,
    lists: Cursor,
    endpoints: Cursor,
    /// Endpoint ids up to this one may be given away; the kernel remembers it for the next process.
    reserved: u32,
}

/// Position of a family in arrays.
pub(crate) const fn position(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// Endpoint ids are reserved in blocks of this many.
const BLOCK: u32 = 1 << 16;
/// Timeouts that get a class of their own; beyond, they are rounded up to a ladder of at most 67 steps.
const EXACT_CLASSES: usize = 128;

impl Mirror {
    /// An empty mirror; endpoint ids up to `reserved` and list ids up to `last_list` are not given away soon.
    pub(crate) fn new(settings: Settings, reserved: Option<u32>, last_list: Option<u32>) -> Self {
        let (mut lists, mut endpoints) = (Cursor::new(LISTS), Cursor::new(ENDPOINTS));
        last_list.into_iter().for_each(|id| lists.skip_past(id));
        reserved.into_iter().for_each(|id| endpoints.skip_past(id));
        let reserved = endpoints.next().saturating_sub(1).max(ENDPOINTS.first - 1);
        Self {
            settings,
            services: BTreeMap::new(),
            owners: HashMap::new(),
            kinds: BTreeMap::new(),
            shared: HashMap::new(),
            timeouts: BTreeMap::new(),
            counters: Counters::default(),
            lists,
            endpoints,
            reserved,
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.keys().map(|key| &**key)
    }

    pub(crate) fn kinds(&self, family: Family) -> impl Iterator<Item = (Way, Kind)> {
        self.kinds.keys().filter(move |(of, ..)| *of == family).map(|(_, way, kind)| (*way, *kind))
    }

    pub(crate) fn timeout(&self, class: Class) -> Duration {
        self.timeouts.get(&class).copied().unwrap_or(Duration::from_secs(1))
    }

    /// Whether there is anything to do for a family.
    pub(crate) fn wants(&self, family: Family) -> bool {
        self.settings.service_ranges.iter().any(|range| Family::of(range.addr()) == family)
            || self.settings.detect_local.can_tell(family)
            || self.kinds.iter().any(|((of, ..), count)| *of == family && *count > 0)
    }

    /// A kind that stands in the kernel; it is kept until it can be removed without harm to packets on their way.
    pub(crate) fn keep_kind(&mut self, family: Family, way: Way, kind: Kind, timeout: Option<Duration>) {
        if let Choice::Sticky { class, .. } = kind.choice {
            let Some(timeout) = timeout else { return };
            if *self.timeouts.entry(class).or_insert(timeout) != timeout {
                return;
            }
        }
        self.kinds.entry((family, way, kind)).or_insert(0);
    }

    /// Drops kinds that no list has had since the last change; whether there were any.
    pub(crate) fn forget_idle_kinds(&mut self) -> bool {
        let before = self.kinds.len();
        self.kinds.retain(|_, count| *count > 0);
        let is_of = |kind: &Kind, class| matches!(kind.choice, Choice::Sticky { class: of, .. } if of == class);
        let used = |class| self.kinds.keys().any(|(.., kind)| is_of(kind, class));
        let unused = self.timeouts.keys().copied().filter(|class| !used(*class)).collect::<Vec<_>>();
        unused.iter().for_each(|class| {
            self.timeouts.remove(class);
        });
        self.kinds.len() < before
    }

    /// Brings an empty mirror to what `plan` says, keeping what stands in the kernel. `each` is given every element that is one Service's alone,
    /// as soon as it is known.
    ///
    /// # Errors
    /// Checked before anything is changed.
    pub(crate) fn fill(
        &mut self,
        plan: &Plan,
        adopt: &mut dyn Adopt,
        mut each: Option<&mut dyn FnMut(Family, Entry)>,
    ) -> Result<(), Error> {
        check(&plan.services)?;
        self.prepare(plan.services.values());
        let mut services = Vec::with_capacity(plan.services.len());
        for (key, service) in &plan.services {
            let key = Arc::new(key.clone());
            let ports = self.lower_service(service, &key, &[], adopt);
            for port in &ports {
                for (way, kind) in port.kinds() {
                    *self.kinds.entry((port.family, way, kind)).or_insert(0) += 1;
                }
                port.shared(&self.settings).for_each(|entry| *self.shared.entry(entry).or_insert(0) += 1);
                if let Some(each) = &mut each {
                    port.each_entry(|entry| each(port.family, entry));
                }
            }
            if !ports.is_empty() {
                services.push((key, ports));
            }
        }
        // A tree that is made of them all at once has full nodes; one that grows at its end has them half empty.
        self.services = services.into_iter().collect();
        self.reserve();
        Ok(())
    }

    /// Brings these Services to what `plan` says; Services that lose a frontend to one of them are added to the keys.
    ///
    /// # Errors
    /// Checked before anything is changed.
    pub(crate) fn update(&mut self, plan: &Plan, keys: impl IntoIterator<Item = ObjectKey>) -> Result<Update, Error> {
        let keys = widened(plan, keys, |frontend| self.owners.get(frontend).map(|owner| &**owner));
        let parts = || keys.iter().filter_map(|key| plan.services.get_key_value(key));
        check(parts())?;
        self.prepare(parts().map(|(_, service)| service));
        let mut update = Update::default();
        // All give up before any takes, so that a frontend may move from one to another.
        let mut old = Vec::with_capacity(keys.len());
        for key in &keys {
            let ports = self.services.remove(key).unwrap_or_default();
            for rule in ports.iter().flat_map(|port| &port.frontends) {
                self.owners.remove(&rule.frontend);
            }
            ports.iter().for_each(|port| self.count(port, &mut update, Count::Down));
            for port in &ports {
                port.lists().for_each(|list| self.counters.release(port.family, list.kind.choice));
            }
            old.push(ports);
        }
        if self.settings != plan.settings {
            self.settings = plan.settings.clone();
            update.skeleton = true;
        }
        for (key, old) in keys.into_iter().map(Arc::new).zip(old) {
            let service = plan.services.get(&*key).unwrap_or(const { &ServicePlan { ports: Vec::new() } });
            let new = self.lower_service(service, &key, &old, &mut Nothing);
            new.iter().for_each(|port| self.count(port, &mut update, Count::Up));
            update.compare(&key, &old, &new);
            if !new.is_empty() {
                self.services.insert(key, new);
            }
        }
        if let Some((before, after)) = self.reserve() {
            for difference in &mut update.differences {
                difference.remove(before);
                difference.add(after);
            }
        }
        for (entry, before) in std::mem::take(&mut update.touched) {
            let after = self.shared.get(&entry).copied().unwrap_or(0);
            let difference = &mut update.differences[position(shared_family(&entry))];
            match (before, after) {
                (0, 1..) => difference.add(entry),
                (1.., 0) => difference.remove(entry),
                _ => {}
            }
        }
        Ok(update)
    }

    /// Makes sure that there are ids enough for these Services.
    fn prepare<'a>(&mut self, services: impl Iterator<Item = &'a ServicePlan> + Clone) {
        let ports = services.flat_map(|service| &service.ports);
        // Each backend may be in both lists.
        let (lists, endpoints) = (2 * ports.clone().count(), 2 * ports.map(|port| port.backends.len()).sum::<usize>());
        let all = || self.services.values().flatten().flat_map(PortState::lists);
        self.lists.prepare(lists, || all().map(|list| list.id.0).collect());
        let in_use = || all().flat_map(|list| &list.endpoints).map(|endpoint| endpoint.id.0).collect::<HashSet<_>>();
        self.endpoints.prepare(endpoints, in_use);
    }

    /// Lets the kernel know how far endpoint ids may have been given away, a block ahead so that it is seldom told. Returns what the
    /// kernel has noted and what it is to note, where that differs.
    fn reserve(&mut self) -> Option<(Entry, Entry)> {
        let given = self.endpoints.next() - 1;
        let began_anew = given.saturating_add(2 * BLOCK) < self.reserved;
        if given <= self.reserved && !began_anew {
            return None;
        }
        let before = std::mem::replace(&mut self.reserved, given.saturating_add(BLOCK).min(ENDPOINTS.last));
        Some((Entry::Reserved(before), Entry::Reserved(self.reserved)))
    }

    fn lower_service(
        &mut self,
        service: &ServicePlan,
        key: &Arc<ObjectKey>,
        old: &[PortState],
        adopt: &mut dyn Adopt,
    ) -> Vec<PortState> {
        let mut states = Vec::with_capacity(service.ports.len());
        for port in &service.ports {
            // A frontend that stands twice in a plan belongs to the first.
            let frontends = port.frontends.iter().filter(|rule| match self.owners.entry(rule.frontend) {
                hash_map::Entry::Occupied(_) => false,
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(Arc::clone(key));
                    true
                }
            });
            let frontends: Box<[FrontendRule]> = frontends.copied().collect();
            let Some(first) = frontends.first() else { continue };
            let family = first.frontend.family();
            let same = |state: &&PortState| {
                state.name == port.name && state.protocol == port.protocol && state.family == family
            };
            states.push(self.lower_port(port, family, frontends, old.iter().find(same), adopt));
        }
        states
    }

    fn lower_port(
        &mut self,
        port: &ServicePortPlan,
        family: Family,
        frontends: Box<[FrontendRule]>,
        old: Option<&PortState>,
        adopt: &mut dyn Adopt,
    ) -> PortState {
        let policies = Policies::of(port);
        // Frontends that change lists leave clients behind who are remembered for the other one's endpoints.
        let forgets = old.is_some_and(|old| old.policies != policies && port.affinity.is_some());
        let mut list = |of: List, old: Option<&ListState>, is_known: bool| {
            policies.ways(&frontends, of).next()?;
            let mut previous = match old {
                Some(state) => Previous {
                    list: Some(state.id),
                    kind: Some(state.kind),
                    endpoints: state.endpoints.iter().map(|endpoint| (endpoint.id, endpoint.address())).collect(),
                    slots: state.slots.listed().into(),
                },
                None if is_known => Previous::default(),
                None => adopt.adopt(&mut policies.ways(&frontends, of)),
            };
            if forgets {
                previous.endpoints.clear();
            }
            Some(self.lower_list(port, family, of, previous))
        };
        let cluster = list(List::Cluster, old.and_then(|old| old.cluster.as_ref()), old.is_some());
        let mut local = list(List::Local, old.and_then(|old| old.local.as_deref()), old.is_some());
        if let Some(local) = &mut local {
            if frontends.iter().any(|rule| policies.has_inside(rule.kind)) {
                local.kind.clients = Clients::Outside;
            }
            if local.endpoints.is_empty() {
                local.kind.choice = Choice::Drop;
                if port.list(List::Cluster).next().is_none() {
                    local.kind = Kind { clients: Clients::All, choice: Choice::Reject };
                }
            }
        }
        PortState {
            name: port.name.clone(),
            protocol: port.protocol,
            family,
            policies,
            frontends,
            cluster,
            local: local.map(Box::new),
            sources: port.sources.clone(),
            draining: port.draining.clone().into(),
        }
    }

    /// A list for everybody; one without endpoints refuses.
    fn lower_list(&mut self, port: &ServicePortPlan, family: Family, list: List, previous: Previous) -> ListState {
        let id = previous.list.unwrap_or_else(|| ListId(self.lists.allocate()));
        let backends = port.list(list).filter(|backend| Family::of(backend.address.ip()) == family).copied();
        let backends: Vec<Backend> = backends.collect();
        let endpoints = place(&previous.endpoints, &backends, || EndpointId(self.endpoints.allocate()));
        let slots = slots::assign(port, &endpoints, &previous.slots);
        let choice = match (slots.count(), port.affinity, port.algorithm) {
            (0, ..) => Choice::Reject,
            (slots, Some(timeout), _) => Choice::Sticky { class: self.class(timeout), slots },
            (slots, None, Algorithm::Random) => Choice::Spread { slots },
            (slots, None, Algorithm::RoundRobin) => self.counters.take(family, slots, previous.kind),
            (slots, None, Algorithm::SourceHash) => Choice::Hash { by: HashBy::Source, slots },
            (slots, None, Algorithm::Maglev) => Choice::Hash { by: HashBy::Flow, slots },
        };
        ListState { id, kind: Kind { clients: Clients::All, choice }, endpoints, slots }
    }

    /// The class of a timeout, a new one if need be.
    fn class(&mut self, timeout: Duration) -> Class {
        let exact = Duration::from_secs(timeout.as_secs().max(1));
        let find = |timeouts: &BTreeMap<Class, Duration>, wanted| {
            timeouts.iter().find(|(_, timeout)| **timeout == wanted).map(|(class, _)| *class)
        };
        let timeout = match find(&self.timeouts, exact) {
            Some(class) => return class,
            None if self.timeouts.len() < EXACT_CLASSES => exact,
            None => ladder(exact),
        };
        if let Some(class) = find(&self.timeouts, timeout) {
            return class;
        }
        let free = (1..=u8::MAX).map(Class).find(|class| !self.timeouts.contains_key(class));
        let class = free.expect("128 exact timeouts and 67 steps of the ladder are fewer than 255");
        self.timeouts.insert(class, timeout);
        class
    }

    fn count(&mut self, port: &PortState, update: &mut Update, direction: Count) {
        for (way, kind) in port.kinds() {
            let kind = (port.family, way, kind);
            match direction {
                Count::Up => {
                    let count = self.kinds.entry(kind).or_insert_with(|| {
                        update.skeleton = true;
                        0
                    });
                    *count += 1;
                }
                Count::Down => {
                    self.kinds.entry(kind).and_modify(|count| *count = count.saturating_sub(1));
                }
            }
        }
        for entry in port.shared(&self.settings) {
            let count = self.shared.entry(entry).or_insert(0);
            update.touched.entry(entry).or_insert(*count);
            match direction {
                Count::Up => *count += 1,
                Count::Down => *count = count.saturating_sub(1),
            }
            if *count == 0 {
                self.shared.remove(&entry);
            }
        }
    }

    /// Calls `each` with everything that the kernel should hold for a family.
    pub(crate) fn each_entry(&self, family: Family, mut each: impl FnMut(Entry)) {
        each(Entry::Reserved(self.reserved));
        let ports = self.services.values().flatten().filter(|port| port.family == family);
        ports.for_each(|port| port.each_entry(&mut each));
        let mut shared: Vec<Entry> =
            self.shared.keys().filter(|entry| shared_family(entry) == family).copied().collect();
        shared.sort_unstable();
        shared.into_iter().for_each(each);
    }
}

impl Routes for Mirror {
    fn leads(&self, frontend: &Frontend, source: Option<IpAddr>, backend: SocketAddr) -> Option<bool> {
        let Some(owner) = self.owners.get(frontend) else {
            let is_nobodys = self.settings.service_ranges.iter().any(|range| range.contains(&frontend.address));
            return is_nobodys.then_some(false);
        };
        let ports = self.services.get(owner).into_iter().flatten();
        let rules = ports.flat_map(|port| port.frontends.iter().map(move |rule| (port, rule)));
        let (port, rule) = rules.into_iter().find(|(_, rule)| rule.frontend == *frontend)?;
        let is_admitted = source.is_none_or(|source| port.admits(rule.kind, source));
        let mut senders = Sender::BOTH.into_iter();
        let is_led = |sender| port.led(rule.kind, sender).any(|address| address == backend);
        Some(is_admitted && senders.any(|sender| sender.may_be(source, &self.settings) && is_led(sender)))
    }

    fn has(&self, frontend: &Frontend) -> bool {
        self.owners.contains_key(frontend)
    }
}

#[derive(Clone, Copy)]
enum Count {
    Up,
    Down,
}

fn shared_family(entry: &Entry) -> Family {
    match entry {
        Entry::Hairpin(IpAddr::V6(_)) | Entry::Outlying(IpAddr::V6(_)) => Family::V6,
        _ => Family::V4,
    }
}

fn check<'a>(services: impl IntoIterator<Item = (&'a ObjectKey, &'a ServicePlan)>) -> Result<(), Error> {
    for (service, part) in services {
        if let Some(port) = part.ports.iter().find(|port| port.backends.len() > MAX_BACKENDS) {
            return Err(Error::TooManyBackends { service: service.clone(), count: port.backends.len() });
        }
    }
    Ok(())
}

/// Rounds up to 1, 1.19, 1.41, 1.68, 2, … seconds, whole ones: at most 19 % (or a second) too long.
fn ladder(timeout: Duration) -> Duration {
    let seconds = timeout.as_secs() as f64;
    let step = (seconds.log2() * 4.0).ceil().clamp(0.0, 66.0);
    Duration::from_secs((2f64.powf(step / 4.0)).ceil() as u64).max(timeout.min(Duration::from_secs(86_400)))
}
