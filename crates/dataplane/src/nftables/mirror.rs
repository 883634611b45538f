//! What the kernel holds for each Service, in our memory, and how a plan's part becomes that.
//!
//! Everything is kept per Service, so that a change costs as much as the Services it is about. What Services share (a pod that may meet
//! itself, the chain for a kind) is counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{Backend, FrontendKind, FrontendRule, MAX_BACKENDS, Plan, ServicePortPlan, Settings};

use super::{
    id::{Class, Cursor, ENDPOINTS, EndpointId, Kind, LISTS, ListId, slots},
    program::{Difference, Entry},
};
use crate::plane::{Departed, Error};

/// One service port as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortState {
    name: Box<str>,
    protocol: Protocol,
    family: Family,
    list: ListId,
    kind: Kind,
    frontends: Box<[FrontendRule]>,
    /// Endpoint by slot; slots beyond the last begin again at the first.
    endpoints: Box<[(EndpointId, Backend)]>,
    /// Not in the kernel's maps, but connections there go on.
    draining: Box<[SocketAddr]>,
}

/// A list and its endpoints that stand already, so that they are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Previous {
    pub(crate) list: Option<ListId>,
    pub(crate) endpoints: Vec<(EndpointId, SocketAddr)>,
}

/// What the kernel holds for a frontend that this process knows nothing of yet.
pub(crate) trait Adopt {
    /// The list of the first of these frontends that has one. What is given once is not given again.
    fn adopt(&mut self, frontends: &[FrontendRule]) -> Previous;
}

/// Nothing stands in the kernel that is not in the mirror.
pub(crate) struct Nothing;

impl Adopt for Nothing {
    fn adopt(&mut self, _: &[FrontendRule]) -> Previous {
        Previous::default()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) settings: Settings,
    services: HashMap<ObjectKey, Vec<PortState>>,
    owners: HashMap<Frontend, ObjectKey>,
    /// Service ports by kind; a kind that nobody uses stays until [`Mirror::forget_idle_kinds`].
    kinds: BTreeMap<(Family, Kind), usize>,
    /// How many backends or frontends ask for a [`Entry::Hairpin`] or [`Entry::Outlying`].
    shared: HashMap<Entry, usize>,
    timeouts: BTreeMap<Class, Duration>,
    lists: Cursor,
    endpoints: Cursor,
    /// Endpoint ids up to this one may be given away; the kernel remembers it for the next process.
    reserved: u32,
}

/// What an update of the mirror asks of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub(crate) differences: [Difference; 2],
    /// Whether a kind or a setting changed, so that chains and rules do.
    pub(crate) skeleton: bool,
    pub(crate) departed: BTreeMap<ObjectKey, Departed>,
    /// Services with new frontends over UDP: a client may already be sending to them.
    pub(crate) arrived: BTreeSet<ObjectKey>,
    /// Every Service that was looked at.
    pub(crate) keys: BTreeSet<ObjectKey>,
    touched: HashMap<Entry, usize>,
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
            services: HashMap::new(),
            owners: HashMap::new(),
            kinds: BTreeMap::new(),
            shared: HashMap::new(),
            timeouts: BTreeMap::new(),
            lists,
            endpoints,
            reserved,
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.keys()
    }

    pub(crate) fn kinds(&self, family: Family) -> impl Iterator<Item = Kind> {
        self.kinds.keys().filter(move |(of, _)| *of == family).map(|(_, kind)| *kind)
    }

    pub(crate) fn timeout(&self, class: Class) -> Duration {
        self.timeouts.get(&class).copied().unwrap_or(Duration::from_secs(1))
    }

    /// Whether there is anything to do for a family.
    pub(crate) fn wants(&self, family: Family) -> bool {
        let ranges = self.settings.service_ranges.iter().chain(&self.settings.pod_ranges);
        ranges.into_iter().any(|range| Family::of(range.addr()) == family)
            || self.kinds.iter().any(|((of, _), count)| *of == family && *count > 0)
    }

    /// A kind that stands in the kernel; it is kept until it can be removed without harm to packets on their way.
    pub(crate) fn keep_kind(&mut self, family: Family, kind: Kind, timeout: Option<Duration>) {
        if let Kind::Sticky { class, .. } = kind {
            let Some(timeout) = timeout else { return };
            if *self.timeouts.entry(class).or_insert(timeout) != timeout {
                return;
            }
        }
        self.kinds.entry((family, kind)).or_insert(0);
    }

    /// Drops kinds that no list has had since the last change; whether there were any.
    pub(crate) fn forget_idle_kinds(&mut self) -> bool {
        let before = self.kinds.len();
        self.kinds.retain(|_, count| *count > 0);
        let used =
            |class| self.kinds.keys().any(|(_, kind)| matches!(kind, Kind::Sticky { class: of, .. } if *of == class));
        let unused = self.timeouts.keys().copied().filter(|class| !used(*class)).collect::<Vec<_>>();
        unused.iter().for_each(|class| {
            self.timeouts.remove(class);
        });
        self.kinds.len() < before
    }

    /// Brings these Services to what `plan` says; Services that lose a frontend to one of them are added to the keys.
    ///
    /// # Errors
    /// Checked before anything is changed.
    pub(crate) fn update(
        &mut self,
        plan: &Plan,
        keys: impl IntoIterator<Item = ObjectKey>,
        adopt: &mut dyn Adopt,
    ) -> Result<Update, Error> {
        let mut update = Update { keys: self.widen(plan, keys), ..Update::default() };
        self.check(plan, &update.keys)?;
        self.prepare(plan, &update.keys);
        let keys = std::mem::take(&mut update.keys);
        // All give up before any takes, so that a frontend may move from one to another.
        let mut old = Vec::with_capacity(keys.len());
        for key in &keys {
            let ports = self.services.remove(key).unwrap_or_default();
            for rule in ports.iter().flat_map(|port| &port.frontends) {
                self.owners.remove(&rule.frontend);
            }
            ports.iter().for_each(|port| self.count(port, &mut update, Count::Down));
            old.push(ports);
        }
        if self.settings != plan.settings {
            self.settings = plan.settings.clone();
            update.skeleton = true;
        }
        for (key, old) in keys.iter().zip(old) {
            let new = self.lower_service(plan, key, &old, adopt);
            new.iter().for_each(|port| self.count(port, &mut update, Count::Up));
            update.compare(key, &old, &new);
            if !new.is_empty() {
                self.services.insert(key.clone(), new);
            }
        }
        update.keys = keys;
        self.reserve(&mut update);
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

    /// The keys, and those Services outside that own a frontend which the plan gives to one of them, and not to the owner any more.
    fn widen(&self, plan: &Plan, keys: impl IntoIterator<Item = ObjectKey>) -> BTreeSet<ObjectKey> {
        let mut wide: BTreeSet<ObjectKey> = keys.into_iter().collect();
        let mut open = wide.iter().cloned().collect::<Vec<_>>();
        while let Some(key) = open.pop() {
            for rule in frontends_of(plan, &key) {
                let Some(owner) = self.owners.get(&rule.frontend) else { continue };
                if !wide.contains(owner) && !frontends_of(plan, owner).any(|own| own.frontend == rule.frontend) {
                    wide.insert(owner.clone());
                    open.push(owner.clone());
                }
            }
        }
        wide
    }

    fn check(&self, plan: &Plan, keys: &BTreeSet<ObjectKey>) -> Result<(), Error> {
        for (service, part) in keys.iter().filter_map(|key| plan.services.get_key_value(key)) {
            if let Some(port) = part.ports.iter().find(|port| port.backends.len() > MAX_BACKENDS) {
                return Err(Error::TooManyBackends { service: service.clone(), count: port.backends.len() });
            }
        }
        Ok(())
    }

    /// Makes sure that there are ids enough for the parts of these Services.
    fn prepare(&mut self, plan: &Plan, keys: &BTreeSet<ObjectKey>) {
        let ports = || keys.iter().filter_map(|key| plan.services.get(key)).flat_map(|service| &service.ports);
        let (lists, endpoints) = (ports().count(), ports().map(|port| port.backends.len()).sum::<usize>());
        let all = || self.services.values().flatten();
        self.lists.prepare(lists, || all().map(|port| port.list.0).collect());
        let in_use = || all().flat_map(|port| &port.endpoints).map(|(id, _)| id.0).collect::<HashSet<_>>();
        self.endpoints.prepare(endpoints, in_use);
    }

    /// Lets the kernel know how far endpoint ids may have been given away, a block ahead so that it is seldom told.
    fn reserve(&mut self, update: &mut Update) {
        let given = self.endpoints.next() - 1;
        let began_anew = given.saturating_add(2 * BLOCK) < self.reserved;
        if given > self.reserved || began_anew {
            let reserved = given.saturating_add(BLOCK).min(ENDPOINTS.last);
            for difference in &mut update.differences {
                difference.remove(Entry::Reserved(self.reserved));
                difference.add(Entry::Reserved(reserved));
            }
            self.reserved = reserved;
        }
    }

    fn lower_service(
        &mut self,
        plan: &Plan,
        key: &ObjectKey,
        old: &[PortState],
        adopt: &mut dyn Adopt,
    ) -> Vec<PortState> {
        let ports = plan.services.get(key).map_or(&[][..], |service| &service.ports);
        let mut states = Vec::with_capacity(ports.len());
        for port in ports {
            // A frontend that stands twice in a plan belongs to the first.
            let frontends = port.frontends.iter().filter(|rule| match self.owners.entry(rule.frontend) {
                hash_map::Entry::Occupied(_) => false,
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(key.clone());
                    true
                }
            });
            let frontends: Box<[FrontendRule]> = frontends.copied().collect();
            let Some(first) = frontends.first() else { continue };
            let family = first.frontend.family();
            let same = |state: &&PortState| {
                state.name == port.name && state.protocol == port.protocol && state.family == family
            };
            let previous = match old.iter().find(same) {
                Some(state) => Previous {
                    list: Some(state.list),
                    endpoints: state.endpoints.iter().map(|(id, backend)| (*id, backend.address)).collect(),
                },
                None => adopt.adopt(&frontends),
            };
            states.push(self.lower_port(port, family, frontends, previous));
        }
        states
    }

    fn lower_port(
        &mut self,
        port: &ServicePortPlan,
        family: Family,
        frontends: Box<[FrontendRule]>,
        previous: Previous,
    ) -> PortState {
        let list = previous.list.unwrap_or_else(|| ListId(self.lists.allocate()));
        let backends = port.backends.iter().filter(|backend| Family::of(backend.address.ip()) == family).copied();
        let backends: Vec<Backend> = backends.collect();
        let endpoints = place(&previous.endpoints, &backends, || EndpointId(self.endpoints.allocate()));
        let kind = match (slots(endpoints.len()), port.affinity) {
            (0, _) => Kind::Reject,
            (slots, None) => Kind::Spread { slots },
            (slots, Some(timeout)) => Kind::Sticky { class: self.class(timeout), slots },
        };
        let draining = port.draining.iter().copied().collect();
        PortState {
            name: port.name.clone(),
            protocol: port.protocol,
            family,
            list,
            kind,
            frontends,
            endpoints,
            draining,
        }
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
        let kind = (port.family, port.kind);
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
        for entry in shared(port, &self.settings) {
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

    /// Everything that the kernel should hold for a family.
    pub(crate) fn entries(&self, family: Family) -> Vec<Entry> {
        let mut entries = vec![Entry::Reserved(self.reserved)];
        let ports = self.services.values().flatten().filter(|port| port.family == family);
        ports.for_each(|port| port.entries(&mut entries));
        entries.extend(self.shared.keys().filter(|entry| shared_family(entry) == family));
        entries
    }

    /// Calls `each` with every frontend of a Service and the addresses that its connections may go to.
    pub(crate) fn each_frontend(&self, key: &ObjectKey, mut each: impl FnMut(Frontend, Vec<SocketAddr>)) {
        for port in self.services.get(key).into_iter().flatten() {
            for rule in &port.frontends {
                each(rule.frontend, port.addresses().collect());
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Count {
    Up,
    Down,
}

impl PortState {
    /// Where connections may go, new ones or old.
    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.endpoints.iter().map(|(_, backend)| backend.address).chain(self.draining.iter().copied())
    }

    fn entries(&self, entries: &mut Vec<Entry>) {
        entries.push(Entry::List(self.list, self.kind));
        for rule in &self.frontends {
            entries.push(Entry::Frontend(rule.frontend, self.list));
            if rule.kind == FrontendKind::NodePort {
                entries.push(Entry::External(rule.frontend));
            }
        }
        let ids = self.endpoints.iter().map(|(id, _)| *id);
        let slots = (0..slots(self.endpoints.len())).zip(ids.cycle());
        entries.extend(slots.map(|(slot, id)| Entry::Slot(self.list, slot, id)));
        entries.extend(self.endpoints.iter().map(|(id, backend)| Entry::Backend(*id, backend.address)));
    }
}

/// What a port asks for that others may ask for too.
fn shared(port: &PortState, settings: &Settings) -> Vec<Entry> {
    let local = port.endpoints.iter().filter(|(_, backend)| backend.local);
    let outside = |address: IpAddr| !settings.service_ranges.iter().any(|range| range.contains(&address));
    let virtual_ips = port.frontends.iter().filter(|rule| rule.kind == FrontendKind::ClusterIp);
    local
        .map(|(_, backend)| Entry::Hairpin(backend.address.ip()))
        .chain(virtual_ips.map(|rule| rule.frontend.address).filter(|address| outside(*address)).map(Entry::Outlying))
        .collect()
}

fn shared_family(entry: &Entry) -> Family {
    match entry {
        Entry::Hairpin(IpAddr::V6(_)) | Entry::Outlying(IpAddr::V6(_)) => Family::V6,
        _ => Family::V4,
    }
}

fn frontends_of<'a>(plan: &'a Plan, key: &ObjectKey) -> impl Iterator<Item = &'a FrontendRule> {
    plan.services.get(key).into_iter().flat_map(|service| &service.ports).flat_map(|port| &port.frontends)
}

/// Slots for `backends`: who has one keeps it where he can, so that a change of one backend touches few slots.
fn place(
    previous: &[(EndpointId, SocketAddr)],
    backends: &[Backend],
    mut allocate: impl FnMut() -> EndpointId,
) -> Box<[(EndpointId, Backend)]> {
    let mut wanted: HashMap<SocketAddr, Backend> = backends.iter().map(|backend| (backend.address, *backend)).collect();
    let mut slots: Vec<Option<(EndpointId, Backend)>> =
        previous.iter().map(|(id, address)| wanted.remove(address).map(|backend| (*id, backend))).collect();
    let arrived = backends.iter().filter(|backend| wanted.remove(&backend.address).is_some());
    let mut arrived = arrived.map(|backend| (allocate(), *backend)).collect::<Vec<_>>().into_iter();
    for slot in &mut slots {
        if slot.is_none() {
            *slot = arrived.next();
        }
    }
    slots.extend(arrived.map(Some));
    let mut at = 0;
    while at < slots.len() {
        match slots[at] {
            Some(_) => at += 1,
            None => {
                slots.swap_remove(at);
            }
        }
    }
    slots.into_iter().flatten().collect()
}

/// Rounds up to 1, 1.19, 1.41, 1.68, 2, … seconds, whole ones: at most 19 % (or a second) too long.
fn ladder(timeout: Duration) -> Duration {
    let seconds = timeout.as_secs() as f64;
    let step = (seconds.log2() * 4.0).ceil().clamp(0.0, 66.0);
    Duration::from_secs((2f64.powf(step / 4.0)).ceil() as u64).max(timeout.min(Duration::from_secs(86_400)))
}

impl Update {
    fn compare(&mut self, key: &ObjectKey, old: &[PortState], new: &[PortState]) {
        if old == new {
            return;
        }
        for family in Family::ALL {
            let entries = |ports: &[PortState]| {
                let mut entries = Vec::new();
                ports.iter().filter(|port| port.family == family).for_each(|port| port.entries(&mut entries));
                entries
            };
            self.differences[position(family)].extend(entries(old), entries(new));
        }
        let parts = |ports: &[PortState]| {
            let mut all = Departed::default();
            for port in ports {
                all.frontends.extend(port.frontends.iter().map(|rule| rule.frontend));
                all.backends.extend(port.addresses().map(|address| (port.protocol, address)));
            }
            all
        };
        let (before, after) = (parts(old), parts(new));
        if after
            .frontends
            .iter()
            .any(|frontend| frontend.protocol != Protocol::Tcp && !before.frontends.contains(frontend))
        {
            self.arrived.insert(key.clone());
        }
        let departed =
            Departed { frontends: &before.frontends - &after.frontends, backends: &before.backends - &after.backends };
        if departed != Departed::default() {
            self.departed.insert(key.clone(), departed);
        }
    }
}
