//! The userspace data plane: Services as they worked in 2015. A listening socket for each service port, rules that redirect clients to it, and a relay behind.
//!
//! The sockets and connections are a [`keeper`]'s, which outlives this process as rules in a kernel do; here is what it is told, and what the firewall is
//! ([`rules`], [`firewall`]): new sockets first, then rules, then sockets that nobody is sent to any more are closed. What a relay cannot do is in
//! `docs/data-planes.md`: servers see the node's address, and SCTP is refused.

mod control;
mod firewall;
mod keeper;
mod origin;
mod route;
mod rules;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{Algorithm, FrontendKind, Plan, ServicePlan, ServicePortPlan};
use stead_sys::{conntrack::Conntrack, namespace::Namespace};

use self::{
    control::Control,
    firewall::{Change, Standing, removal},
    rules::{Lowering, Rule},
    wire::{Common, PortName, Reply, Request, Wanted},
};
pub use self::{
    control::{Error as RelayError, Launch},
    keeper::run as keep,
    rules::Comments,
    wire::{Counted, Listen},
};
use crate::{
    flows::{Book, Cleaning, FlowCleaner, Leavings, Ledger, Routes},
    iptables::programs::Programs,
    plane::{Applied, Cleaner, DataPlane, Error, Removed, Scope, Verified},
};

/// How the plane is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// The socket at which the keeper of the network namespace is found.
    pub path: PathBuf,
    pub launch: Launch,
    pub listen: Listen,
    /// `None`: the firewall is left alone, and clients ask the listening sockets themselves.
    pub redirect: Option<Comments>,
    /// `None`: any number that is free.
    pub range: Option<RangeInclusive<u16>>,
}

/// As a process of this program has it: the relay is the same program, named by the network namespace of the calling thread.
impl Default for Options {
    fn default() -> Self {
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |namespace| namespace.ino());
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        Self {
            path: PathBuf::from(format!("/run/stead/relay-{namespace}.sock")),
            launch: Launch::Program(vec![program.into(), "relay".into()]),
            listen: Listen::default(),
            redirect: Some(Comments::default()),
            range: None,
        }
    }
}

/// The userspace data plane of one network namespace.
#[derive(Debug)]
pub struct UserSpace {
    core: Arc<Mutex<Core>>,
    conntrack: Arc<Mutex<Conntrack>>,
}

#[derive(Debug)]
struct Core {
    options: Options,
    programs: Option<Programs>,
    namespace: Option<Namespace>,
    control: Option<Control>,
    ledger: Ledger,
    /// `None`: what is there must be read first.
    state: Option<State>,
    leavings: Leavings,
    /// Whether the keeper has connections to judge.
    is_judging_due: bool,
    /// Connections that had been refused for want of descriptors when that was last told.
    short: u64,
}

#[derive(Debug, Default)]
struct State {
    ports: BTreeMap<ObjectKey, BTreeMap<PortName, Known>>,
    /// By family.
    rules: [BTreeMap<ObjectKey, BTreeSet<Rule>>; 2],
    leads: HashMap<Frontend, Lead>,
    service_ranges: Vec<IpNet>,
}

#[derive(Clone, Debug)]
struct Known {
    plan: ServicePortPlan,
    number: Option<u16>,
}

/// Where clients of a frontend are sent, and who they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lead {
    number: u16,
    sources: Option<Box<[IpNet]>>,
}

impl UserSpace {
    /// Of the calling thread's network namespace. Nothing is read, changed or started yet.
    pub fn open(options: Options) -> Result<Self, Error> {
        let programs = options.redirect.map(|_| Programs::find()).transpose().map_err(Error::Iptables)?;
        Ok(Self::over(options, programs, None, Conntrack::open().map_err(Error::Flows)?))
    }

    /// Of another network namespace.
    pub fn open_in(namespace: &Namespace, options: Options, programs: Option<Programs>) -> Result<Self, Error> {
        let conntrack = Conntrack::open_in(namespace).map_err(Error::Flows)?;
        let namespace = namespace.try_clone().map_err(RelayError::Start).map_err(Error::Relay)?;
        Ok(Self::over(options, programs, Some(namespace), conntrack))
    }

    fn over(options: Options, programs: Option<Programs>, namespace: Option<Namespace>, conntrack: Conntrack) -> Self {
        let core = Core {
            options,
            programs,
            namespace,
            control: None,
            ledger: Ledger::default(),
            state: None,
            leavings: Leavings::default(),
            is_judging_due: false,
            short: 0,
        };
        Self { core: Arc::new(Mutex::new(core)), conntrack: Arc::new(Mutex::new(conntrack)) }
    }

    /// What the relay has counted; `None` where there is none.
    pub fn counted(&self) -> Option<Counted> {
        match self.core().ask(&Request::Count) {
            Ok(Reply::Counted(counted)) => Some(counted),
            _ => None,
        }
    }

    /// The number that each port listens at, by `NAMESPACE/NAME:PORT/PROTOCOL/FAMILY`; none where there is no relay.
    pub fn numbers(&self) -> BTreeMap<String, u16> {
        match self.core().ask(&Request::Read) {
            Ok(Reply::State { ports, .. }) => ports.into_iter().map(|(name, held)| (name.0, held.number)).collect(),
            _ => BTreeMap::new(),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn position(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// What of a Service can be relayed.
fn ports_of<'a>(
    key: &'a ObjectKey,
    service: &'a ServicePlan,
) -> impl Iterator<Item = (PortName, ServicePortPlan)> + use<'a> {
    service.ports.iter().filter_map(move |port| {
        let mut port = port.clone();
        // In turn unless another way is asked for, as it was then.
        if port.algorithm == Algorithm::Random && port.affinity.is_none() {
            port.algorithm = Algorithm::RoundRobin;
        }
        Some((PortName::of(key, &port)?, port))
    })
}

fn is_relayed(port: &ServicePortPlan) -> bool {
    port.protocol != Protocol::Sctp
}

impl Core {
    fn ask(&mut self, request: &Request) -> Result<Reply, Error> {
        if self.control.is_none() {
            let Options { path, launch, .. } = &self.options;
            self.control = Some(Control::open(path, launch, self.namespace.as_ref()).map_err(Error::Relay)?);
        }
        let control = self.control.as_mut().expect("it was opened above");
        control.ask(request).map_err(|error| {
            self.control = None;
            Error::Relay(RelayError::Ask(error))
        })
    }

    fn common(&self) -> Common {
        Common {
            settings: self.ledger.settings().clone(),
            listen: self.options.listen,
            is_redirected: self.options.redirect.is_some(),
            range: self.options.range.clone(),
        }
    }

    /// Brings relay and firewall to what the ledger says, whatever they are. Returns how much had to be changed.
    fn bring(&mut self) -> Result<usize, Error> {
        self.state = None;
        // Whoever answered before may be gone.
        self.control = None;
        let Reply::State { common: known_common, ports: held } = self.ask(&Request::Read)? else {
            return Err(Error::Relay(RelayError::Confused));
        };
        let Reply::Checked { ports: reopened } = self.ask(&Request::Check)? else {
            return Err(Error::Relay(RelayError::Confused));
        };
        let standing = self.read_standing()?;
        let numbers: BTreeMap<_, _> = standing.iter().flatten().flat_map(Standing::numbers).collect();
        let mut state = State::default();
        let (mut wanted, mut names) = (BTreeMap::new(), BTreeSet::new());
        for (key, service) in self.ledger.services() {
            let known = state.ports.entry(key.clone()).or_default();
            for (name, plan) in ports_of(key, service) {
                let number =
                    held.get(&name).filter(|_| !matches!(reopened.get(&name), Some(Err(_)))).map(|held| held.number);
                let before = || plan.frontends.iter().find_map(|rule| numbers.get(&rule.frontend).copied());
                let number = reopened.get(&name).and_then(|number| number.as_ref().ok().copied()).or(number);
                if is_relayed(&plan) {
                    names.insert(name.clone());
                    if number.is_none() || held.get(&name).is_none_or(|held| held.plan != plan) {
                        wanted.insert(name.clone(), Wanted { plan: plan.clone(), number: number.or_else(before) });
                    }
                }
                known.insert(name, Known { plan, number });
            }
        }
        let gone: Vec<_> = held.keys().filter(|name| !names.contains(name)).cloned().collect();
        let common = Some(self.common()).filter(|common| *common != known_common);
        let mut operations = reopened.len() + wanted.len() + gone.len() + usize::from(common.is_some());
        if common.is_some() || !wanted.is_empty() {
            let numbers = self.change(common, wanted)?;
            note(state.ports.values_mut().flatten(), &numbers);
        }
        for key in self.ledger.services().keys() {
            state.lower(&self.options, self.ledger.settings(), key);
        }
        for (family, standing) in Family::ALL.into_iter().zip(standing) {
            let Some(standing) = standing else { continue };
            let mut rules: BTreeSet<_> = state.rules[position(family)].values().flatten().cloned().collect();
            rules.extend(lowering(&self.options, self.ledger.settings(), family).ranges());
            let change = Change::to(&standing, &rules);
            self.restore(family, &change)?;
            operations += change.operations();
        }
        self.close(gone)?;
        let leads: Vec<_> = state.ports.keys().flat_map(|key| state.leads_of(key)).collect();
        state.leads.extend(leads);
        state.service_ranges.clone_from(&self.ledger.settings().service_ranges);
        self.state = Some(state);
        self.is_judging_due = true;
        Ok(operations)
    }

    /// Brings what changed to the ledger.
    fn step(&mut self, mut state: State, changed: &BTreeSet<ObjectKey>) -> Result<usize, Error> {
        let (mut wanted, mut gone, mut operations) = (BTreeMap::new(), Vec::new(), 0);
        let before = rules_of(&state, changed);
        let led_before: BTreeMap<_, _> = changed.iter().flat_map(|key| state.leads_of(key)).collect();
        for key in changed {
            let old = state.ports.remove(key).unwrap_or_default();
            let mut new = BTreeMap::new();
            for (name, plan) in self.ledger.services().get(key).into_iter().flat_map(|service| ports_of(key, service)) {
                let known = old.get(&name);
                let number = known.and_then(|known| known.number);
                let is_changed = number.is_none() || known.is_none_or(|known| known.plan != plan);
                if is_relayed(&plan) && is_changed {
                    operations += known.map_or(1, |known| 1 + difference(&known.plan, &plan));
                    wanted.insert(name.clone(), Wanted { plan: plan.clone(), number });
                }
                new.insert(name, Known { plan, number });
            }
            gone.extend(
                old.into_iter()
                    .filter(|(name, known)| !new.contains_key(name) && is_relayed(&known.plan))
                    .map(|(name, _)| name),
            );
            if !new.is_empty() {
                state.ports.insert(key.clone(), new);
            }
        }
        if !wanted.is_empty() {
            let numbers = self.change(None, wanted)?;
            for key in changed {
                note(state.ports.get_mut(key).into_iter().flatten(), &numbers);
            }
        }
        for key in changed {
            state.lower(&self.options, self.ledger.settings(), key);
        }
        let after = rules_of(&state, changed);
        for (family, (before, after)) in Family::ALL.into_iter().zip(before.iter().zip(&after)) {
            let change = Change::between(before, after);
            self.restore(family, &change)?;
            operations += change.operations();
        }
        operations += gone.len();
        self.close(gone)?;
        let led_after = changed.iter().flat_map(|key| state.leads_of(key)).collect();
        self.leavings.due.merge(cleaning(&led_before, &led_after));
        led_before.keys().for_each(|frontend| drop(state.leads.remove(frontend)));
        state.leads.extend(led_after);
        self.state = Some(state);
        self.is_judging_due = true;
        Ok(operations)
    }

    /// By port the number that it has now; none where it could not be listened on.
    fn change(
        &mut self,
        common: Option<Common>,
        ports: BTreeMap<PortName, Wanted>,
    ) -> Result<BTreeMap<PortName, Option<u16>>, Error> {
        let Reply::Changed { ports } = self.ask(&Request::Change { common, ports })? else {
            return Err(Error::Relay(RelayError::Confused));
        };
        let number = |(name, number): (PortName, Result<u16, String>)| {
            let number = number.inspect(|number| tracing::info!(port = name.0, number, "a Service is relayed"));
            let number = number.inspect_err(|error| {
                tracing::warn!(
                    port = name.0,
                    error,
                    "a port of a Service cannot be listened on; it is refused until it can"
                );
            });
            (name, number.ok())
        };
        Ok(ports.into_iter().map(number).collect())
    }

    fn tell_shortage(&mut self) {
        let Ok(Reply::Counted(counted)) = self.ask(&Request::Count) else { return };
        if counted.without_descriptor > self.short {
            tracing::warn!(
                refused = counted.without_descriptor - self.short,
                open = counted.open,
                "connections are refused, as the relay has no descriptors left; raise its limit of open files"
            );
        }
        // A relay that was started anew counts anew.
        self.short = counted.without_descriptor;
    }

    fn close(&mut self, gone: Vec<PortName>) -> Result<(), Error> {
        if !gone.is_empty() {
            self.ask(&Request::Remove { ports: gone })?;
        }
        Ok(())
    }

    fn read_standing(&self) -> Result<[Option<Standing>; 2], Error> {
        let Some(programs) = &self.programs else { return Ok([None, None]) };
        let read = |family| Standing::read(programs, family).map(Some).map_err(Error::Iptables);
        Ok([read(Family::V4)?, read(Family::V6)?])
    }

    fn restore(&self, family: Family, change: &Change) -> Result<(), Error> {
        match &self.programs {
            Some(programs) if change.operations() > 0 => {
                programs.restore(family, &change.render()).map_err(Error::Iptables)
            }
            _ => Ok(()),
        }
    }
}

const fn lowering<'a>(options: &Options, settings: &'a stead_plan::Settings, family: Family) -> Lowering<'a> {
    let comments = match options.redirect {
        Some(comments) => comments,
        None => Comments::Name,
    };
    Lowering { settings, comments, family }
}

/// How many backends two tables do not have in common.
fn difference(before: &ServicePortPlan, after: &ServicePortPlan) -> usize {
    let of = |plan: &ServicePortPlan| plan.backends.iter().copied().collect::<BTreeSet<_>>();
    of(before).symmetric_difference(&of(after)).count()
}

impl State {
    /// The rules of one Service's ports as they are known now, in place of those before.
    fn lower(&mut self, options: &Options, settings: &stead_plan::Settings, key: &ObjectKey) {
        for family in Family::ALL {
            let rules = &mut self.rules[position(family)];
            let Some(ports) = self.ports.get(key) else {
                rules.remove(key);
                continue;
            };
            let lowering = lowering(options, settings, family);
            let all = ports.values().flat_map(|known| lowering.port(key, &known.plan, known.number));
            rules.insert(key.clone(), all.collect());
        }
    }

    /// Where the frontends of a Service lead, those that do.
    fn leads_of(&self, key: &ObjectKey) -> Vec<(Frontend, Lead)> {
        let ports = self.ports.get(key).into_iter().flat_map(BTreeMap::values);
        let led = ports.filter(|known| !known.plan.backends.is_empty() && is_relayed(&known.plan));
        let lead = |known: &Known, number, kind: FrontendKind| {
            let sources = known.plan.sources.clone().filter(|_| kind.is_external());
            Lead { number, sources }
        };
        let led = led.filter_map(|known| Some((known, known.number?)));
        let led = led.flat_map(|(known, number)| known.plan.frontends.iter().map(move |rule| (known, number, rule)));
        led.map(|(known, number, rule)| (rule.frontend, lead(known, number, rule.kind))).collect()
    }
}

fn note<'a>(ports: impl Iterator<Item = (&'a PortName, &'a mut Known)>, numbers: &BTreeMap<PortName, Option<u16>>) {
    for (name, known) in ports {
        if let Some(number) = numbers.get(name) {
            known.number = *number;
        }
    }
}

fn rules_of(state: &State, keys: &BTreeSet<ObjectKey>) -> [BTreeSet<Rule>; 2] {
    Family::ALL.map(|family| {
        let rules = &state.rules[position(family)];
        keys.iter().filter_map(|key| rules.get(key)).flatten().cloned().collect()
    })
}

/// Which of the kernel's connections are to be looked at.
fn cleaning(before: &BTreeMap<Frontend, Lead>, after: &BTreeMap<Frontend, Lead>) -> Cleaning {
    let mut due = Cleaning::default();
    for (frontend, lead) in before {
        match after.get(frontend) {
            Some(now) if now.number == lead.number => {
                if now.sources != lead.sources {
                    due.frontends.entry(*frontend).or_default().by_sender = true;
                }
            }
            Some(_) => {
                let suspects = due.frontends.entry(*frontend).or_default();
                (suspects.by_sender, suspects.arrived) = (true, true);
            }
            None => due.departed(*frontend),
        }
    }
    for frontend in after.keys().filter(|frontend| frontend.protocol != Protocol::Tcp && !before.contains_key(frontend))
    {
        due.frontends.entry(*frontend).or_default().arrived = true;
    }
    due
}

impl Routes for State {
    /// The backend that the kernel knows is a listening socket.
    fn leads(&self, frontend: &Frontend, source: Option<IpAddr>, backend: SocketAddr) -> Option<bool> {
        let Some(lead) = self.leads.get(frontend) else {
            let is_nobodys = self.service_ranges.iter().any(|range| range.contains(&frontend.address));
            return is_nobodys.then_some(false);
        };
        let is_among = |ranges: &[IpNet], source| ranges.iter().any(|range| range.contains(&source));
        let is_let_in = match (&lead.sources, source) {
            (Some(ranges), Some(source)) => is_among(ranges, source),
            _ => true,
        };
        Some(is_let_in && backend.port() == lead.number)
    }

    fn has(&self, frontend: &Frontend) -> bool {
        self.leads.contains_key(frontend)
    }
}

impl Book for Core {
    type Routes = State;

    fn routes(&self) -> Option<&State> {
        // Where nothing is redirected the kernel's connections are none of ours.
        self.state.as_ref().filter(|_| self.programs.is_some())
    }

    fn leavings(&mut self) -> &mut Leavings {
        &mut self.leavings
    }
}

impl DataPlane for UserSpace {
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let core = &mut *self.core();
        let is_other = core.ledger.settings() != &plan.settings;
        let step = core.ledger.step(plan, scope);
        let (changed, departed): (BTreeSet<ObjectKey>, _) = (step.before.into_keys().collect(), step.departed);
        let state = core.state.take().filter(|_| !is_other);
        let stepped = state.and_then(|state| core.step(state, &changed).ok());
        let operations = match stepped {
            Some(operations) => operations,
            // Nothing is known, or it is not as it was known.
            None => {
                core.leavings.due.merge(Cleaning::everything());
                core.bring()?
            }
        };
        Ok(Applied { operations, bytes: 0, departed })
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        let flows = FlowCleaner { book: Arc::clone(&self.core), conntrack: Arc::clone(&self.conntrack) };
        Box::new(RelayCleaner { core: Arc::clone(&self.core), flows })
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        let core = &mut *self.core();
        core.leavings.look_again();
        if core.state.is_none() {
            return Ok(Verified::Intact);
        }
        let operations = core.bring()?;
        core.tell_shortage();
        match operations {
            0 => Ok(Verified::Intact),
            operations => {
                core.leavings.due.merge(Cleaning::everything());
                Ok(Verified::Healed { operations })
            }
        }
    }

    fn remove(&mut self) -> Result<Removed, Error> {
        let core = &mut *self.core();
        core.state = None;
        core.ledger = Ledger::default();
        let mut removed = Removed::Nothing;
        for (family, standing) in Family::ALL.into_iter().zip(core.read_standing()?) {
            if let (Some(standing), Some(programs)) = (standing.filter(|standing| !standing.is_empty()), &core.programs)
            {
                programs.restore(family, &removal(&standing)).map_err(Error::Iptables)?;
                removed = Removed::Something;
            }
        }
        core.control = None;
        if let Ok(mut control) = Control::connect(&core.options.path) {
            control.ask(&Request::Retire).map_err(|error| Error::Relay(RelayError::Ask(error)))?;
            removed = Removed::Something;
        }
        Ok(removed)
    }

    fn preview(&mut self, plan: &Plan) -> Result<String, Error> {
        self.core().preview(plan)
    }
}

impl Core {
    /// For `iptables-restore`; new sockets have the number 0, and are listed before.
    fn preview(&self, plan: &Plan) -> Result<String, Error> {
        let mut control = Control::connect(&self.options.path).ok();
        let held = match control.as_mut().and_then(|control| control.ask(&Request::Read).ok()) {
            Some(Reply::State { ports, .. }) => ports,
            _ => BTreeMap::new(),
        };
        let (mut state, mut text) = (State::default(), String::new());
        let mut gone: BTreeSet<_> = held.keys().collect();
        for (key, service) in &plan.services {
            let ports = state.ports.entry(key.clone()).or_default();
            for (name, port) in ports_of(key, service) {
                let known = held.get(&name);
                gone.remove(&name);
                if is_relayed(&port) && known.is_none_or(|known| known.plan != port) {
                    text += &format!("# relay {}\n", name.0);
                }
                ports.insert(name, Known { plan: port, number: Some(known.map_or(0, |known| known.number)) });
            }
            state.lower(&self.options, &plan.settings, key);
        }
        gone.into_iter().for_each(|name| text += &format!("# close {}\n", name.0));
        for (family, standing) in Family::ALL.into_iter().zip(self.read_standing()?) {
            let Some(standing) = standing else { continue };
            let mut rules: BTreeSet<_> = state.rules[position(family)].values().flatten().cloned().collect();
            rules.extend(lowering(&self.options, &plan.settings, family).ranges());
            text += &Change::to(&standing, &rules).render();
        }
        Ok(text)
    }
}

/// Has the relay end what it must not go on with, and the kernel forget what it must not know.
#[derive(Debug)]
struct RelayCleaner {
    core: Arc<Mutex<Core>>,
    flows: FlowCleaner<Core>,
}

impl Cleaner for RelayCleaner {
    fn clean(&mut self) -> Result<usize, Error> {
        let ended = {
            let core = &mut *lock(&self.core);
            match core.is_judging_due && core.state.is_some() {
                false => 0,
                true => match core.ask(&Request::Judge)? {
                    Reply::Judged { ended } => {
                        core.is_judging_due = false;
                        ended
                    }
                    _ => return Err(Error::Relay(RelayError::Confused)),
                },
            }
        };
        // Many of them are the same connections.
        Ok(self.flows.clean()?.max(ended))
    }
}
