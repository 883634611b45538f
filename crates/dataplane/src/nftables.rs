//! The nftables data plane: layout U (see [`layout`]) in the tables `ip stead` and `ip6 stead`, by netlink.
//!
//! A plan's part is lowered into [`mirror`] state per Service; [`program`] has the elements and their difference, [`table`] turns that into
//! changes, [`read`] gets back what an earlier process left. Here is only the order of it: what is read when, and committed how.
//! Every apply is one transaction for both families, but for a large new table ([`filling`]). Nothing outside the two tables is touched, but conntrack entries of departed backends,
//! which a [`FlowCleaner`] deletes.

mod filling;
mod id;
pub(crate) mod layout;
mod mirror;
mod program;
mod read;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stead_model::{Family, ObjectKey};
use stead_plan::Plan;
use stead_sys::{
    conntrack::Conntrack,
    namespace::Namespace,
    nft::{self, Change, Commit, Name, Nftables, Transaction},
};

use self::{
    filling::{Filled, Rooms},
    layout::{AFFINITY, affinity_shape, name, sticky_timeout},
    mirror::{Mirror, Update, position},
    program::Difference,
    read::{Actual, Standing, read},
    table::{Known, Rules, change},
};
use crate::{
    flows::{Book, Cleaning, FlowCleaner, Leavings, Routes},
    plane::{Applied, Cleaner, DataPlane, Departed, Error, Removed, Scope, Verified},
};

/// How often reading and committing is begun anew because another program commits in between. Where one commits all the time, the last
/// commit does not insist, and the next verification reads again.
const ATTEMPTS: usize = 10;

/// The nftables data plane of one network namespace.
#[derive(Debug)]
pub struct NfTables {
    nft: Nftables,
    /// Held through each call, and by a cleaner while it judges.
    core: Arc<Mutex<Core>>,
    conntrack: Arc<Mutex<Conntrack>>,
}

#[derive(Debug, Default)]
struct Core {
    /// `None`: what the kernel holds must be read first.
    state: Option<State>,
    leavings: Leavings,
}

#[derive(Debug)]
struct State {
    mirror: Mirror,
    known: [Known; 2],
    /// The kernel's ruleset after our last commit, if nobody else committed.
    generation: u32,
    /// Somebody else committed since the tables were last read.
    suspect: bool,
}

impl Core {
    /// Tables that were not there before.
    fn take_in(&mut self, filled: Filled) -> Applied {
        let Filled { mirror, known, commit, operations, generation } = filled;
        self.leavings.due.merge(Cleaning::everything());
        self.state = Some(State { mirror, known, generation, suspect: false });
        Applied { operations, bytes: commit.bytes, departed: BTreeMap::new() }
    }
}

impl Book for Core {
    type Routes = Mirror;

    fn routes(&self) -> Option<&Mirror> {
        self.state.as_ref().map(|state| &state.mirror)
    }

    fn leavings(&mut self) -> &mut Leavings {
        &mut self.leavings
    }
}

impl State {
    /// Brings the mirror to the plan; the transaction brings the kernel there. Nothing is changed where it fails.
    fn step(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<(Transaction, Update), Error> {
        let mut rules = Rules::Unchanged;
        let update = match scope {
            Scope::Services(keys) if self.mirror.settings == plan.settings => {
                self.mirror.update(plan, keys.iter().cloned())?
            }
            _ => {
                if self.mirror.forget_idle_kinds() {
                    rules = Rules::Maybe;
                }
                let keys: BTreeSet<ObjectKey> = self.mirror.keys().chain(plan.services.keys()).cloned().collect();
                self.mirror.update(plan, keys)?
            }
        };
        if update.skeleton {
            rules = Rules::Maybe;
        }
        let known = std::mem::take(&mut self.known);
        let (transaction, known) = changes(&self.mirror, known, &update.differences, rules);
        self.known = known;
        Ok((transaction, update))
    }
}

impl NfTables {
    /// The tables of the calling thread's network namespace. Nothing is read or changed yet.
    pub fn open() -> Result<Self, Error> {
        let conntrack = Conntrack::open().map_err(Error::Flows)?;
        Ok(Self::over(Nftables::open().map_err(Error::Open)?, conntrack))
    }

    /// The tables of another network namespace.
    pub fn open_in(namespace: &Namespace) -> Result<Self, Error> {
        let conntrack = Conntrack::open_in(namespace).map_err(Error::Flows)?;
        Ok(Self::over(Nftables::open_in(namespace).map_err(Error::Open)?, conntrack))
    }

    /// The tables and connections that these are of.
    pub fn over(nft: Nftables, conntrack: Conntrack) -> Self {
        Self { nft, core: Arc::default(), conntrack: Arc::new(Mutex::new(conntrack)) }
    }

    /// Applies to tables whose content is known.
    fn change(&mut self, core: &mut Core, mut state: State, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let (mut transaction, update) = match state.step(plan, scope) {
            Ok(step) => step,
            Err(error) => {
                core.state = Some(state);
                return Err(error);
            }
        };
        self.carry_affinity(&mut transaction)?;
        let commit = match self.nft.commit(&transaction, Some(state.generation)) {
            Ok(commit) => {
                state.generation = after(state.generation, &transaction);
                commit
            }
            Err(nft::Error::Stale) => {
                // Somebody else's commit may have nothing to do with us; if it has, ours is refused or the next verification sees it.
                let generation = self.nft.generation().map_err(Error::Read)?;
                let commit = self.nft.commit(&transaction, None).map_err(Error::Write)?;
                state.generation = after(generation, &transaction);
                state.suspect = true;
                commit
            }
            Err(error) => return Err(Error::Write(error)),
        };
        let due = &mut core.leavings.due;
        due.merge(update.cleaning);
        due.everything |= matches!(scope, Scope::All);
        core.state = Some(state);
        Ok(applied(&transaction, commit, update.departed))
    }

    /// Where the transaction replaces a table that has become too small, clients go on sticking to their backends.
    fn carry_affinity(&mut self, transaction: &mut Transaction) -> Result<(), Error> {
        for family in Family::ALL {
            let name = name(family);
            let place =
                |wanted: fn(&Change, Name) -> bool| transaction.changes.iter().position(|change| wanted(change, name));
            let deleted = place(|change, name| matches!(change, Change::DeleteTable(of) if *of == name));
            let added = place(|change, name| matches!(change, Change::AddTable(of, _) if *of == name));
            if deleted.is_some() && deleted < added {
                let elements = self.nft.expiring(name, AFFINITY).map_err(Error::Read)?;
                if !elements.is_empty() {
                    transaction.changes.push(Change::AddExpiring(name, AFFINITY, affinity_shape(family), elements));
                }
            }
        }
        Ok(())
    }

    /// Reads the kernel, keeps what of it the plan wants and makes good the rest.
    fn adopt(&mut self, core: &mut Core, plan: &Plan) -> Result<Applied, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let generation = self.nft.generation().map_err(Error::Read)?;
            let [v4, v6] = Family::ALL.map(|family| read(&mut self.nft, family));
            let actuals = [v4.map_err(Error::Read)?, v6.map_err(Error::Read)?];
            let is_new = actuals.iter().all(|actual| actual.known == Known::Absent);
            if let Some(rooms) = Rooms::of(plan).filter(|_| is_new) {
                match filling::fill(&mut self.nft, plan, &rooms, generation) {
                    Ok(filled) => return Ok(core.take_in(filled)),
                    // What was begun is replaced as a whole.
                    Err(Error::Write(nft::Error::Stale)) => continue,
                    Err(error) => return Err(error),
                }
            }
            let (mirror, standing) = lower(plan, &actuals)?;
            let (transaction, known) = reconcile(&mirror, actuals);
            let insists = attempt < ATTEMPTS;
            match self.nft.commit(&transaction, insists.then_some(generation)) {
                Ok(commit) => {
                    let generation = after(generation, &transaction);
                    let due = &mut core.leavings.due;
                    due.merge(Cleaning::everything());
                    let departed = standing.frontends().filter(|frontend| !mirror.has(frontend));
                    departed.for_each(|frontend| due.departed(frontend));
                    core.state = Some(State { mirror, known, generation, suspect: !insists });
                    return Ok(applied(&transaction, commit, BTreeMap::new()));
                }
                Err(nft::Error::Stale) => {}
                Err(error) => return Err(Error::Write(error)),
            }
        }
    }
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataPlane for NfTables {
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let core = Arc::clone(&self.core);
        let core = &mut *lock(&core);
        match core.state.take() {
            None => self.adopt(core, plan),
            Some(state) => match self.change(core, state, plan, scope) {
                // The kernel is not as the mirror has it.
                Err(Error::Write(_)) => self.adopt(core, plan),
                result => result,
            },
        }
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        Box::new(FlowCleaner { book: Arc::clone(&self.core), conntrack: Arc::clone(&self.conntrack) })
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        let core = Arc::clone(&self.core);
        let core = &mut *lock(&core);
        core.leavings.look_again();

        let mut attempt = 0;
        loop {
            attempt += 1;
            let generation = self.nft.generation().map_err(Error::Read)?;
            let Some(state) = &core.state else { return Ok(Verified::Intact) };
            if generation == state.generation && !state.suspect {
                return Ok(Verified::Intact);
            }
            let [v4, v6] = Family::ALL.map(|family| read(&mut self.nft, family));
            let actuals = [v4.map_err(Error::Read)?, v6.map_err(Error::Read)?];
            let (transaction, known) = reconcile(&state.mirror, actuals);
            let insists = attempt < ATTEMPTS;
            if !transaction.is_empty() {
                // While the rules were not ours, connections may have gone anywhere. Due before the commit: one whose answer is lost may
                // have come into effect, and the next verification finds nothing to do.
                core.leavings.due.merge(Cleaning::everything());
            }
            match self.nft.commit(&transaction, insists.then_some(generation)) {
                Ok(_) => {
                    let generation = after(generation, &transaction);
                    if let Some(state) = &mut core.state {
                        (state.known, state.generation, state.suspect) = (known, generation, !insists);
                    }
                    if transaction.is_empty() {
                        return Ok(Verified::Intact);
                    }
                    return Ok(Verified::Healed { operations: transaction.operations() });
                }
                Err(nft::Error::Stale) => {}
                Err(error) => return Err(Error::Write(error)),
            }
        }
    }

    fn remove(&mut self) -> Result<Removed, Error> {
        lock(&self.core).state = None;
        let mut removed = Removed::Nothing;
        for family in Family::ALL {
            let tables = self.nft.tables(family).map_err(Error::Read)?;
            if tables.iter().any(|table| table.name == layout::TABLE) {
                let transaction = Transaction { changes: vec![Change::DeleteTable(name(family))] };
                self.nft.commit(&transaction, None).map_err(Error::Write)?;
                removed = Removed::Something;
            }
        }
        Ok(removed)
    }

    fn preview(&mut self, plan: &Plan) -> Result<String, Error> {
        let [v4, v6] = Family::ALL.map(|family| read(&mut self.nft, family));
        let actuals = [v4.map_err(Error::Read)?, v6.map_err(Error::Read)?];
        let (mirror, _) = lower(plan, &actuals)?;
        Ok(reconcile(&mirror, actuals).0.to_string())
    }
}

/// The text that `nft -f` takes to make a plan's tables on a machine that has none.
pub fn render(plan: &Plan) -> Result<String, Error> {
    let (mirror, _) = lower(plan, &[])?;
    let [v4, v6] =
        Family::ALL.map(|family| change(family, Known::Absent, &mirror, &Difference::default(), Rules::Maybe).0);
    Ok(Transaction { changes: v4.into_iter().chain(v6).collect() }.to_string())
}

/// A commit of nothing does not happen, so it raises nothing.
fn after(generation: u32, transaction: &Transaction) -> u32 {
    if transaction.is_empty() { generation } else { generation.wrapping_add(1).max(1) }
}

fn applied(transaction: &Transaction, commit: Commit, departed: BTreeMap<ObjectKey, Departed>) -> Applied {
    Applied { operations: transaction.operations(), bytes: commit.bytes, departed }
}

/// A mirror for the whole plan that keeps lists, endpoints and kinds which stand in the kernel.
fn lower(plan: &Plan, actuals: &[Actual]) -> Result<(Mirror, Standing), Error> {
    let mut standing = Standing::of(actuals.iter().flat_map(|actual| &actual.entries).copied());
    let mut mirror = Mirror::new(plan.settings.clone(), standing.reserved, standing.last_list);
    for (family, actual) in Family::ALL.into_iter().zip(actuals) {
        let Known::Ours(state) = &actual.known else { continue };
        for ((way, number), chain) in &state.outline.verdicts {
            if let (Some(kind), Some(chain)) = (id::Kind::from_number(*number), chain) {
                mirror.keep_kind(family, *way, kind, sticky_timeout(chain));
            }
        }
    }
    mirror.fill(plan, &mut standing, None)?;
    Ok((mirror, standing))
}

/// What leads from the kernel's state to the mirror's.
fn reconcile(mirror: &Mirror, actuals: [Actual; 2]) -> (Transaction, [Known; 2]) {
    let mut known = Vec::with_capacity(actuals.len());
    let mut differences = [Difference::default(), Difference::default()];
    for ((family, actual), difference) in Family::ALL.into_iter().zip(actuals).zip(&mut differences) {
        if matches!(actual.known, Known::Ours(_)) {
            let mut wanted = Vec::with_capacity(actual.entries.len());
            mirror.each_entry(family, |entry| wanted.push(entry));
            difference.extend(actual.entries, wanted);
            actual.foreign.into_iter().for_each(|(set, key)| difference.remove_foreign(set, key));
        }
        known.push(actual.known);
    }
    let [v4, v6] = <[Known; 2]>::try_from(known).unwrap_or_default();
    changes(mirror, [v4, v6], &differences, Rules::Maybe)
}

fn changes(
    mirror: &Mirror,
    [v4, v6]: [Known; 2],
    differences: &[Difference; 2],
    rules: Rules,
) -> (Transaction, [Known; 2]) {
    let (mut all, v4) = change(Family::V4, v4, mirror, &differences[position(Family::V4)], rules);
    let (changes, v6) = change(Family::V6, v6, mirror, &differences[position(Family::V6)], rules);
    all.extend(changes);
    (Transaction { changes: all }, [v4, v6])
}
