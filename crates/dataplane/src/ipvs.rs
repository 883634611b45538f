//! The IPVS data plane: virtual servers in the kernel, addresses held for them, and a few rules of nf_tables around them.
//!
//! A plan's part is lowered into a [`part`]; [`program`] has what all of them want and the strides that lead there, [`kernel`] reads and
//! takes them. Here is only the order of it. IPVS has no transactions: an apply comes into effect message by message, what is new first.
//! [`available`] tells whether this kernel can carry it.

mod available;
mod cleaner;
mod element;
mod holder;
mod kernel;
mod marks;
mod options;
mod part;
mod program;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use available::{Availability, SCHEDULERS, available};
pub use holder::LINK;
pub use options::{Arp, Options, Timeouts};
use stead_model::{Family, ObjectKey};
use stead_plan::Plan;
use stead_sys::{conntrack::Conntrack, namespace::Namespace, nft::Transaction};

use self::{
    cleaner::ServerCleaner,
    kernel::{Actual, Done, Kernel, Known, marked, table_changes},
    marks::Marks,
    part::{Part, lower},
    program::{Program, Standing, Stride, Touched},
};
use crate::{
    flows::{Book, Cleaning, Leavings, Ledger},
    plane::{Applied, Cleaner, DataPlane, Error, Removed, Scope, Verified},
};

/// The IPVS data plane of one network namespace.
#[derive(Debug)]
pub struct IpvsPlane {
    /// Held through each call, and by a cleaner while it judges and removes.
    core: Arc<Mutex<Core>>,
    conntrack: Arc<Mutex<Conntrack>>,
}

#[derive(Debug)]
struct Core {
    kernel: Kernel,
    options: Options,
    /// `None`: what the kernel holds must be read first.
    state: Option<State>,
    leavings: Leavings,
}

/// What is known of the kernel while nobody else changes it.
#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    parts: BTreeMap<ObjectKey, Part>,
    marks: Marks,
    program: Program,
    standing: Standing,
    tables: [Known; 2],
    /// The second stride is due.
    leaves: bool,
}

impl Book for Core {
    type Routes = Ledger;

    fn routes(&self) -> Option<&Ledger> {
        self.state.as_ref().map(|state| &state.ledger)
    }

    fn leavings(&mut self) -> &mut Leavings {
        &mut self.leavings
    }
}

impl State {
    /// Brings the program to the plan; returns what of it changed.
    fn step(&mut self, plan: &Plan, scope: Scope<'_>, options: &Options) -> (Touched, Applied, Cleaning) {
        let all = self.ledger.settings() != &plan.settings;
        let step = self.ledger.step(plan, scope);
        let keys: BTreeSet<ObjectKey> = match all {
            true => self.parts.keys().chain(plan.services.keys()).cloned().collect(),
            false => step.before.into_keys().collect(),
        };
        let stands = marked(&self.standing.elements);
        let mut touched = Touched::default();
        // All give up before any takes, so that a frontend may move from one to another.
        for key in &keys {
            if let Some(part) = self.parts.remove(key) {
                touched.add(&part);
                self.program.remove(&part);
            }
        }
        for key in &keys {
            let service = plan.services.get(key);
            let marking = self.marks.assign(key, service, &stands);
            let Some(service) = service else { continue };
            let part = lower(service, &plan.settings, &options.scheduler, &marking);
            touched.add(&part);
            self.program.add(&part);
            self.parts.insert(key.clone(), part);
        }
        let applied = Applied { departed: step.departed, ..Applied::default() };
        (touched, applied, step.cleaning)
    }

    /// What brings the rules of both families along with a stride.
    fn transaction(&mut self, stride: &Stride) -> Transaction {
        let mut changes = Vec::new();
        for (family, known) in Family::ALL.into_iter().zip(&mut self.tables) {
            changes.extend(table_changes(family, known, self.ledger.settings(), &self.standing, stride));
        }
        Transaction { changes }
    }
}

impl Core {
    /// Applies to a kernel whose content is known.
    fn change(&mut self, mut state: State, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let before = state.program.holds();
        let (touched, applied, cleaning) = state.step(plan, scope, &self.options);
        if state.program.holds() != before {
            self.kernel.set_variables(&self.options.variables(state.program.holds()))?;
        }
        let due = unseen(cleaning);
        self.leavings.due.merge(due);
        let stride = state.standing.approach(&state.program, &touched);
        let transaction = state.transaction(&stride);
        let done = self.kernel.take(&stride, &transaction)?;
        state.leaves = true;
        self.state = Some(state);
        Ok(counted(applied, done))
    }

    /// Reads the kernel, keeps what of it the plan wants and makes good the rest.
    fn adopt(&mut self, plan: &Plan) -> Result<Applied, Error> {
        let (mut state, stride, transaction) = self.compare(plan)?;
        let changed = self.kernel.set_variables(&self.options.variables(state.program.holds()))?;
        self.kernel.set_timeouts(self.options.timeouts)?;
        self.leavings.due.merge(Cleaning::everything());
        let departed = state.standing.elements.iter().filter_map(|element| match element {
            element::Element::Frontend(frontend) if !state.program.elements.contains_key(element) => Some(*frontend),
            _ => None,
        });
        departed.for_each(|frontend| self.leavings.due.departed(frontend));
        let done = self.kernel.take(&stride, &transaction)?;
        state.leaves = true;
        self.state = Some(state);
        Ok(counted(Applied { operations: changed, ..Applied::default() }, done))
    }

    /// The state of the plan, what of it the kernel holds, and the first stride from there.
    fn compare(&mut self, plan: &Plan) -> Result<(State, Stride, Transaction), Error> {
        let mut state = State::default();
        let mut actual = self.kernel.read(&Program::default(), &self.options.excluded)?;
        let others =
            actual.marks.iter().filter(|mark| !actual.standing.servers.keys().any(|name| is_mark(name, **mark)));
        state.marks.reserve(others.copied().collect::<Vec<_>>());
        state.standing.elements.clone_from(&actual.standing.elements);
        state.step(plan, Scope::All, &self.options);
        // Once more, with those that others made and that the plan wants.
        self.kernel.read_servers(&state.program, &self.options.excluded, &mut actual)?;
        (state.standing, state.tables) = (actual.standing, actual.tables);
        let touched = Touched::all(&state.program, &state.standing);
        let stride = state.standing.approach(&state.program, &touched);
        let transaction = state.transaction(&stride);
        Ok((state, stride, transaction))
    }

    /// Reads what the kernel holds and makes good what differs from what it should hold.
    fn heal(&mut self, mut state: State) -> Result<Verified, Error> {
        let changed = self.kernel.set_variables(&self.options.variables(state.program.holds()))?;
        let Actual { tables, standing, .. } = self.kernel.read(&state.program, &self.options.excluded)?;
        if changed == 0 && tables == state.tables && standing == state.standing {
            self.state = Some(state);
            return Ok(Verified::Intact);
        }
        (state.tables, state.standing) = (tables, standing);
        let touched = Touched::all(&state.program, &state.standing);
        let stride = state.standing.approach(&state.program, &touched);
        let transaction = state.transaction(&stride);
        self.leavings.due.merge(Cleaning::everything());
        let done = self.kernel.take(&stride, &transaction)?;
        let leaving = state.standing.clone().leave(&state.program).operations();
        state.leaves = true;
        self.state = Some(state);
        match changed + done.operations + leaving {
            0 => Ok(Verified::Intact),
            operations => Ok(Verified::Healed { operations }),
        }
    }

    /// The second stride, if it is due.
    fn leave(&mut self) -> Result<(), Error> {
        let Some(mut state) = self.state.take() else { return Ok(()) };
        if state.leaves && self.take_leave(&mut state).is_err() {
            // Somebody else removed what was to be removed.
            let actual = self.kernel.read(&state.program, &self.options.excluded)?;
            (state.standing, state.tables) = (actual.standing, actual.tables);
            self.take_leave(&mut state)?;
        }
        state.leaves = false;
        self.state = Some(state);
        Ok(())
    }

    fn take_leave(&mut self, state: &mut State) -> Result<(), Error> {
        let stride = state.standing.leave(&state.program);
        let transaction = state.transaction(&stride);
        // Servers go before the elements that say whose they are.
        let servers = Stride { servers: stride.servers, ..Stride::default() };
        self.kernel.take(&servers, &Transaction::default())?;
        let rest = Stride { release: stride.release, ..Stride::default() };
        self.kernel.take(&rest, &transaction).map(drop)
    }
}

/// The kernel does not translate these by its own NAT, so it cannot tell them by a pattern: each is looked at.
fn unseen(mut cleaning: Cleaning) -> Cleaning {
    cleaning.frontends.values_mut().for_each(|suspects| suspects.by_sender = true);
    cleaning
}

fn is_mark(name: &stead_sys::ipvs::Name, mark: u32) -> bool {
    matches!(name, stead_sys::ipvs::Name::Marked(_, of) if *of == mark)
}

fn counted(applied: Applied, done: Done) -> Applied {
    Applied { operations: applied.operations + done.operations, bytes: done.bytes, ..applied }
}

impl IpvsPlane {
    /// IPVS of the calling thread's network namespace. Nothing is read or changed yet.
    pub fn open(options: Options) -> Result<Self, Error> {
        let namespace = Namespace::current().map_err(|source| Error::Variable { name: "namespace", source })?;
        Self::open_in(&namespace, options)
    }

    /// IPVS of another network namespace.
    pub fn open_in(namespace: &Namespace, options: Options) -> Result<Self, Error> {
        let own = namespace.try_clone().map_err(|source| Error::Variable { name: "namespace", source })?;
        let core = Core { kernel: Kernel::open_in(own)?, options, state: None, leavings: Leavings::default() };
        let conntrack = Conntrack::open_in(namespace).map_err(Error::Flows)?;
        Ok(Self { core: Arc::new(Mutex::new(core)), conntrack: Arc::new(Mutex::new(conntrack)) })
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DataPlane for IpvsPlane {
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let mut core = self.core();
        match core.state.take() {
            None => core.adopt(plan),
            Some(state) => match core.change(state, plan, scope) {
                // The kernel is not as it was thought to be.
                Err(Error::Write(_) | Error::Ipvs(_) | Error::Addresses(_)) => core.adopt(plan),
                result => result,
            },
        }
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        Box::new(ServerCleaner::new(Arc::clone(&self.core), Arc::clone(&self.conntrack)))
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        let mut core = self.core();
        core.leavings.look_again();
        match core.state.take() {
            None => Ok(Verified::Intact),
            Some(state) => core.heal(state),
        }
    }

    /// As `nft -f`, `ip -batch` and `ipvsadm -R` take it.
    fn preview(&mut self, plan: &Plan) -> Result<String, Error> {
        let (_, stride, transaction) = self.core().compare(plan)?;
        let addresses = stride.hold.iter().map(|address| format!("address add {address} dev {LINK}\n"));
        let servers = stride.servers.iter().map(|change| format!("{change}\n"));
        Ok(transaction.to_string() + &addresses.chain(servers).collect::<String>())
    }

    fn remove(&mut self) -> Result<Removed, Error> {
        let mut core = self.core();
        core.state = None;
        let excluded = core.options.excluded.clone();
        Ok(if core.kernel.remove(&excluded)? == 0 { Removed::Nothing } else { Removed::Something })
    }
}
