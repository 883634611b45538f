//! The iptables data plane: kube-proxy's chains under kube-proxy's names, so that who can read those can read these.
//!
//! A Service is lowered into [`rule`]s by [`lower`], in the layout of [`layout`]; a [`script`] holds the difference to what was, or to what a
//! [`listing`] says there is. [`programs`] feeds it to the host's iptables of the legacy kind; what the nft kind would do with it [`netlink`] does, by
//! the rules of [`xtables`]. Here is only the order of it. Each table of each family changes at once (large ones of the nft kind in parts, the
//! last of which brings them into effect); between tables a Service is refused rather than lost. Rules of others in the same tables are left
//! as they are.

mod hash;
mod layout;
mod listing;
mod lower;
mod netlink;
pub mod programs;
mod rule;
mod script;
#[cfg(test)]
mod tests;
mod xtables;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stead_model::{Family, Frontend, ObjectKey};
use stead_plan::{Plan, ServicePlan, Settings};
use stead_sys::{conntrack::Conntrack, namespace::Namespace, nft::Nftables};

use self::{
    layout::{Frame, Shared, Table},
    listing::Listing,
    lower::{Comments, Lowered, endpoints, lower},
    netlink::{Held, Known},
    programs::{Programs, Variant},
    script::Script,
};
use crate::{
    flows::{Book, Cleaning, FlowCleaner, Leavings, Ledger, Step},
    plane::{Applied, Cleaner, DataPlane, Error, Removed, Scope, Verified},
};

/// Endpoints of one family above which kube-proxy writes fewer comments.
const MANY_ENDPOINTS: usize = 1_000;

/// Why no Service has an algorithm that hashes.
pub const NO_HASHES: &str = "iptables has no hash that all nodes compute alike; --proxy-mode=nftables has one";

/// Why this machine's iptables cannot carry Services, in one line; nothing is changed.
pub fn problem() -> Option<String> {
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(error) => return Some(error.to_string()),
    };
    // Who may not make a namespace finds out by the first apply.
    let namespace = Namespace::create().ok()?;
    let tried =
        Programs::of(programs.variant(), Some(&namespace)).and_then(|programs| programs.restore(Family::V4, ALL_WORDS));
    tried.err().map(|error| error.to_string())
}

/// A rule with each match and each target that the plane uses.
const ALL_WORDS: &str = "*nat\n:A - [0:0]\n:B - [0:0]\n\
    -A A -p tcp -m comment --comment c -m statistic --mode random --probability 0.5 -m tcp --dport 1 -j B\n\
    -A A -m statistic --mode nth --every 2 --packet 0 -m addrtype --dst-type LOCAL -j B\n\
    -A A -m recent --rcheck --seconds 1 --reap --name stead --rsource -m mark ! --mark 1/1 -j MARK --set-xmark 1/1\n\
    -A B -p udp -m udp -j DNAT --to-destination 192.0.2.1:1\n-A POSTROUTING -s 192.0.2.1/32 -j MASQUERADE\nCOMMIT\n\
    *filter\n:A - [0:0]\n-A A -p sctp -m conntrack --ctstate NEW -m sctp --dport 1 -j REJECT --reject-with icmp-port-unreachable\n\
    -A A -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n";

/// What a kernel holds of one family.
struct Tables(Vec<(Table, Content)>);

enum Content {
    Listed(String),
    Held(Held),
}

/// What it should hold.
struct Wanted {
    lowered: Lowered,
    /// Empty where the kernel is not asked by netlink.
    known: Known,
}

impl Tables {
    fn listings<'t>(&'t self, known: &'t Known) -> BTreeMap<Table, Listing<'t>> {
        let listing = |content: &'t Content| match content {
            Content::Listed(text) => Listing::parse(text),
            Content::Held(held) => held.listing(known),
        };
        self.0.iter().map(|(table, content)| (*table, listing(content))).collect()
    }
}

/// What of the plane a person may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which bit of a packet's mark says that it is to be masqueraded (0 to 31).
    pub masquerade_bit: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { masquerade_bit: 14 }
    }
}

/// The iptables data plane of one network namespace.
#[derive(Debug)]
pub struct IpTables {
    programs: Programs,
    options: Options,
    /// Held through each call, and by a cleaner while it judges.
    core: Arc<Mutex<Core>>,
    conntrack: Arc<Mutex<Conntrack>>,
    /// `Some` for the nft kind.
    nft: Option<Nftables>,
}

#[derive(Debug, Default)]
struct Core {
    /// `None`: what the kernel holds must be read first.
    state: Option<State>,
    leavings: Leavings,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    endpoints: [usize; 2],
    /// As long as the kernel counts so many changes of nf_tables, nobody has changed anything.
    generation: Option<u32>,
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

impl IpTables {
    /// The tables of the calling thread's network namespace, in the kind of iptables that the host uses. Nothing is changed yet.
    pub fn open(options: Options) -> Result<Self, Error> {
        let programs = Programs::find().map_err(Error::Iptables)?;
        let nft = Nftables::open().ok();
        Ok(Self::over(programs, options, Conntrack::open().map_err(Error::Flows)?, nft))
    }

    /// The tables of another network namespace, by programs that run in it.
    pub fn open_in(namespace: &Namespace, programs: Programs) -> Result<Self, Error> {
        let conntrack = Conntrack::open_in(namespace).map_err(Error::Flows)?;
        Ok(Self::over(programs, Options::default(), conntrack, Nftables::open_in(namespace).ok()))
    }

    fn over(programs: Programs, options: Options, conntrack: Conntrack, nft: Option<Nftables>) -> Self {
        let nft = nft.filter(|_| programs.variant() == Variant::Nft);
        Self { programs, options, core: Arc::default(), conntrack: Arc::new(Mutex::new(conntrack)), nft }
    }

    pub fn variant(&self) -> Variant {
        self.programs.variant()
    }

    fn families(&self) -> Result<Vec<Family>, Error> {
        let mut families = Vec::with_capacity(2);
        for family in Family::ALL {
            if self.programs.speaks(family).map_err(Error::Iptables)? {
                families.push(family);
            }
        }
        Ok(families)
    }

    fn frame<'p>(&self, family: Family, settings: &'p Settings) -> Frame<'p> {
        Frame { family, settings, mark: 1 << self.options.masquerade_bit }
    }

    /// What the kernel holds of one family, by table.
    fn read(&mut self, family: Family) -> Result<Tables, Error> {
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let content = match &mut self.nft {
                Some(nft) => netlink::read(nft, family, table).map_err(Error::Read)?.map(Content::Held),
                None if self.programs.has(family, table.name()).map_err(Error::Iptables)? => {
                    Some(Content::Listed(self.programs.save(family, table.name()).map_err(Error::Iptables)?))
                }
                None => None,
            };
            tables.extend(content.map(|content| (table, content)));
        }
        Ok(Tables(tables))
    }

    /// Returns the size of what was said. `generation` is as [`State`] has it.
    fn write(&mut self, family: Family, script: &Script, generation: &mut Option<u32>) -> Result<usize, Error> {
        if script.is_empty() {
            return Ok(0);
        }
        if let Some(nft) = &mut self.nft {
            return netlink::write(nft, family, script, generation).map_err(Error::Write);
        }
        let text = script.to_string();
        self.programs.restore(family, &text).map_err(Error::Iptables)?;
        Ok(text.len())
    }

    /// Applies to tables whose content is known.
    fn change(&mut self, core: &mut Core, mut state: State, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let before = state.endpoints.map(comments);
        let step = state.ledger.step(plan, scope);
        let mut applied = Applied::default();
        let mut scripts = Vec::with_capacity(2);
        for (family, known) in Family::ALL.into_iter().zip(&mut state.endpoints) {
            let services = || step.before.keys().filter_map(|key| plan.services.get(key));
            *known += endpoints(services(), family);
            *known = known.saturating_sub(endpoints(step.before.values().flatten(), family));
            let frame = self.frame(family, &plan.settings);
            let [mut old, mut new] = [Lowered::default(), Lowered::default()];
            for (key, part) in &step.before {
                let add = |part: Option<&ServicePlan>, into: &mut Lowered| {
                    if let Some(part) = part {
                        lower(&frame, comments(*known), key, part, into);
                    }
                };
                add(part.as_ref(), &mut old);
                add(plan.services.get(key), &mut new);
            }
            scripts.push((family, Script::change(&old, &new)));
        }
        note(&mut core.leavings, &step, matches!(scope, Scope::All));
        if state.endpoints.map(comments) != before {
            // Every rule of an endpoint is written otherwise from here on.
            return self.adopt(core, state.ledger, plan).map(|adopted| Applied { departed: step.departed, ..adopted });
        }
        for (family, script) in &scripts {
            let written = match self.write(*family, script, &mut state.generation) {
                // The kernel is not as it was left.
                Err(Error::Iptables(programs::Error::Failed { .. }) | Error::Write(_)) => {
                    let adopted = self.adopt(core, state.ledger, plan)?;
                    return Ok(Applied { departed: step.departed, ..adopted });
                }
                written => written?,
            };
            applied.operations += script.operations();
            applied.bytes += written;
        }
        core.state = Some(state);
        Ok(Applied { departed: step.departed, ..applied })
    }

    /// Reads the kernel, keeps what of it the plan wants and makes good the rest.
    fn adopt(&mut self, core: &mut Core, mut ledger: Ledger, plan: &Plan) -> Result<Applied, Error> {
        let step = ledger.step(plan, Scope::All);
        note(&mut core.leavings, &step, true);
        let mut applied = Applied::default();
        let mut state = State { ledger, ..State::default() };
        for family in self.families()? {
            let wanted = self.wanted(family, plan.services.iter(), &plan.settings);
            let tables = self.read(family)?;
            let actual = tables.listings(&wanted.known);
            standing(&actual, family, &plan.settings)
                .into_iter()
                .filter(|frontend| !crate::flows::Routes::has(&state.ledger, frontend))
                .for_each(|frontend| core.leavings.due.departed(frontend));
            let script = Script::reconcile(&self.frame(family, &plan.settings), &wanted.lowered, &actual);
            applied.bytes += self.write(family, &script, &mut None)?;
            applied.operations += script.operations();
        }
        state.endpoints = Family::ALL.map(|family| endpoints(plan.services.values(), family));
        core.state = Some(state);
        Ok(Applied { departed: step.departed, ..applied })
    }

    fn wanted<'s>(
        &self,
        family: Family,
        services: impl Iterator<Item = (&'s ObjectKey, &'s ServicePlan)> + Clone,
        settings: &Settings,
    ) -> Wanted {
        let frame = self.frame(family, settings);
        let comments = comments(endpoints(services.clone().map(|(_, service)| service), family));
        let mut lowered = Lowered::default();
        services.for_each(|(key, service)| lower(&frame, comments, key, service, &mut lowered));
        let mut known = Known::default();
        if self.nft.is_some() {
            let own = lowered.chains.values().flatten().chain(lowered.shared.iter().map(|(_, rule)| rule));
            own.for_each(|rule| known.add(rule, family));
            let chains = frame.chains().into_iter().flat_map(|(.., rules)| rules);
            let endings = Shared::ALL.into_iter().flat_map(|shared| frame.ending(shared));
            let jumps = frame.jumps().into_iter().map(|(.., rule)| rule);
            chains.chain(endings).chain(jumps).for_each(|rule| known.add(&rule, family));
        }
        Wanted { lowered, known }
    }

    fn generation(&mut self) -> Result<Option<u32>, Error> {
        self.nft.as_mut().map(|nft| nft.generation().map_err(Error::Read)).transpose()
    }
}

const fn comments(endpoints: usize) -> Comments {
    if endpoints > MANY_ENDPOINTS { Comments::FewOfEndpoints } else { Comments::All }
}

/// Due before it is written: what is written and not heard of may have come into effect.
fn note(leavings: &mut Leavings, step: &Step, everything: bool) {
    leavings.due.merge(step.cleaning.clone());
    leavings.due.everything |= everything;
}

/// The frontends that stand in the kernel.
fn standing(actual: &BTreeMap<Table, Listing<'_>>, family: Family, settings: &Settings) -> Vec<Frontend> {
    let mut frontends = Vec::new();
    for shared in Shared::ALL {
        let (table, chain) = shared.place();
        let rules = actual.get(&table).and_then(|listing| listing.rules(chain)).unwrap_or_default();
        frontends.extend(rules.iter().flat_map(|rule| listing::frontends(rule, family, &settings.node_addresses)));
    }
    frontends
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataPlane for IpTables {
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let core = Arc::clone(&self.core);
        let core = &mut *lock(&core);
        match core.state.take() {
            Some(state) if state.ledger.settings() == &plan.settings => self.change(core, state, plan, scope),
            Some(state) => self.adopt(core, state.ledger, plan),
            None => self.adopt(core, Ledger::default(), plan),
        }
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        Box::new(FlowCleaner { book: Arc::clone(&self.core), conntrack: Arc::clone(&self.conntrack) })
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        let core = Arc::clone(&self.core);
        let core = &mut *lock(&core);
        core.leavings.look_again();
        let generation = self.generation()?;
        let Some(state) = &mut core.state else { return Ok(Verified::Intact) };
        if generation.is_some() && generation == state.generation {
            return Ok(Verified::Intact);
        }
        let mut operations = 0;
        let mut after = generation;
        for family in self.families()? {
            let (services, settings) = (state.ledger.services().iter(), state.ledger.settings());
            let wanted = self.wanted(family, services, settings);
            let tables = self.read(family)?;
            let actual = tables.listings(&wanted.known);
            let script = Script::reconcile(&self.frame(family, settings), &wanted.lowered, &actual);
            if !script.is_empty() {
                // While the rules were not ours, connections may have gone anywhere.
                core.leavings.due.merge(Cleaning::everything());
            }
            self.write(family, &script, &mut after)?;
            operations += script.operations();
        }
        state.generation = after;
        Ok(if operations == 0 { Verified::Intact } else { Verified::Healed { operations } })
    }

    fn remove(&mut self) -> Result<Removed, Error> {
        lock(&self.core).state = None;
        let mut removed = Removed::Nothing;
        for family in self.families()? {
            let tables = self.read(family)?;
            let script = Script::removal(&tables.listings(&Known::default()));
            if !script.is_empty() {
                removed = Removed::Something;
            }
            self.write(family, &script, &mut None)?;
        }
        Ok(removed)
    }

    fn preview(&mut self, plan: &Plan) -> Result<String, Error> {
        let mut text = String::new();
        for family in self.families()? {
            let wanted = self.wanted(family, plan.services.iter(), &plan.settings);
            let tables = self.read(family)?;
            let actual = tables.listings(&wanted.known);
            let script = Script::reconcile(&self.frame(family, &plan.settings), &wanted.lowered, &actual);
            if !script.is_empty() {
                let program = match family {
                    Family::V4 => "iptables-restore",
                    Family::V6 => "ip6tables-restore",
                };
                write!(text, "# {program} --noflush\n{script}").expect("a string takes all");
            }
        }
        Ok(text)
    }
}
