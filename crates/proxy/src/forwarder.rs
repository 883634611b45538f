//! What the loop does when something happened, step by step and without waiting for anything but the kernel.
//!
//! Owns the planner, the data plane, and what the kernel still has to be told. Time and retries are the loop's.
//!
//! Invariants: nothing is programmed before every kind is synced; whatever is planned and not applied is in `due`, also after a
//! failure, so that the next step of any kind makes it good.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;
use stead_api::service_snapshot::Touched;
use stead_client::ServiceCache;
use stead_dataplane::{Applied, Class, DataPlane, Scope, Verified};
use stead_model::ObjectKey;
use stead_plan::{NodeContext, Outcome, Planner, Problem};
use stead_sys::link::LinkError;

use crate::{
    Config,
    addresses::Addresses,
    local_ports,
    metrics::Extent,
    no_local::{Counts, NoLocal},
    predecessors::{Predecessors, Removal},
    traffic::Meter,
    triggers::Triggers,
};

/// Every cause of work.
#[derive(Debug)]
pub(crate) enum Event {
    Touched(Touched),
    /// Addresses of this node may have changed.
    AddressesChanged,
    VerifyDue,
    RetryDue,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `Some`: the kernel was brought to the plan.
    pub(crate) programmed: Option<Programmed>,
    /// Operations that put foreign changes right.
    pub(crate) healed: usize,
    /// What node ports on 127.0.0.1 lead to now, where they are served.
    pub(crate) local: Option<local_ports::Change>,
    /// Problems that were not there before.
    pub(crate) problems: Vec<Problem>,
    /// Of what other data planes left.
    pub(crate) removals: Vec<Removal>,
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug)]
pub(crate) struct Programmed {
    pub(crate) extent: Extent,
    /// How many Services that was about.
    pub(crate) services: usize,
    pub(crate) applied: Applied,
    /// When what the slices show happened that were programmed for the first time.
    pub(crate) triggers: Vec<Timestamp>,
    pub(crate) no_local: Counts,
    /// Some of the Services, where it was not about all.
    pub(crate) names: Vec<ObjectKey>,
}

/// How many Services are named of those that a change was about.
const NAMED: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("read this node's addresses")]
    Addresses(#[from] LinkError),
    #[error("program Services")]
    Plane(#[from] stead_dataplane::Error),
}

pub(crate) struct Forwarder {
    config: Config,
    cache: ServiceCache,
    addresses: Box<dyn Addresses>,
    plane: Box<dyn DataPlane>,
    /// `None` until every kind is synced.
    planner: Option<Planner>,
    due: Due,
    triggers: Triggers,
    no_local: NoLocal,
    meter: Meter,
    predecessors: Predecessors,
}

/// What the kernel has to be told.
#[derive(Debug)]
enum Due {
    All,
    Services(BTreeSet<ObjectKey>),
}

impl Failure {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Addresses(_) => Class::Transient,
            Self::Plane(error) => error.class(),
        }
    }
}

impl Forwarder {
    /// Nothing is done yet.
    pub(crate) fn new(
        config: Config,
        cache: ServiceCache,
        addresses: Box<dyn Addresses>,
        plane: Box<dyn DataPlane>,
    ) -> Self {
        Self {
            config,
            cache,
            addresses,
            plane,
            planner: None,
            due: Due::All,
            triggers: Triggers::since(Timestamp::now()),
            no_local: NoLocal::default(),
            meter: Meter::default(),
            predecessors: Predecessors::default(),
        }
    }

    pub(crate) fn metered_by(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    pub(crate) fn succeeding(self, predecessors: Predecessors) -> Self {
        Self { predecessors, ..self }
    }

    /// The addresses that node ports answer on, as far as they are known.
    pub(crate) fn serving_addresses(&self) -> &[IpAddr] {
        self.planner.as_ref().map_or(&[], |planner| &planner.plan().settings.node_addresses)
    }

    /// Whether all lists were complete once.
    pub(crate) fn has_started(&self) -> bool {
        self.planner.is_some()
    }

    pub(crate) fn on_event(&mut self, event: Event) -> Report {
        let mut report = Report::default();
        report.failure = self.step(event, &mut report).err();
        report
    }

    fn step(&mut self, event: Event, report: &mut Report) -> Result<(), Failure> {
        if self.planner.is_none() {
            self.maybe_start(report)?;
        } else {
            match &event {
                Event::Touched(touched) => self.on_touched(touched, report)?,
                Event::AddressesChanged | Event::VerifyDue => self.on_surroundings(report)?,
                Event::RetryDue => {}
            }
        }
        self.apply_due(report)?;
        if self.planner.is_some() && (report.programmed.is_some() || matches!(event, Event::VerifyDue)) {
            report.removals = self.predecessors.remove();
        }
        if matches!(event, Event::VerifyDue) && self.planner.is_some() {
            match self.plane.verify()? {
                Verified::Intact => {}
                Verified::Healed { operations } => report.healed = operations,
            }
        }
        Ok(())
    }

    /// Plans everything once all lists are complete.
    fn maybe_start(&mut self, report: &mut Report) -> Result<(), Failure> {
        let snapshot = self.cache.read();
        if !snapshot.is_synced() {
            return Ok(());
        }
        let mut planner = Planner::new(self.config.context(&snapshot, self.addresses.read()?));
        report.problems = planner.update_all(&snapshot).problems;
        self.planner = Some(planner);
        self.due = Due::All;
        Ok(())
    }

    fn on_touched(&mut self, touched: &Touched, report: &mut Report) -> Result<(), Failure> {
        if let Some(planner) = &mut self.planner {
            let outcome = planner.update(&self.cache.read(), &touched.services);
            self.due.add(&outcome);
            report.problems = outcome.problems;
        }
        if touched.ranges || touched.nodes.iter().any(|node| *node.name == *self.config.node) {
            self.on_surroundings(report)?;
        }
        Ok(())
    }

    fn on_surroundings(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(planner) = &mut self.planner else { return Ok(()) };
        let snapshot = self.cache.read();
        let NodeContext { zone, settings, .. } = self.config.context(&snapshot, self.addresses.read()?);
        if settings.detect_local != planner.plan().settings.detect_local {
            // So seldom that all is planned anew.
            drop(snapshot);
            return self.maybe_start(report);
        }
        let mut outcome = planner.set_zone(&snapshot, zone.as_deref());
        if settings != planner.plan().settings {
            outcome.merge(planner.set_own_addresses(&snapshot, settings.own_addresses));
            outcome.merge(planner.set_node_addresses(&snapshot, settings.node_addresses));
            outcome.merge(planner.set_service_ranges(&snapshot, settings.service_ranges));
            self.due = Due::All;
        }
        self.due.add(&outcome);
        report.problems.extend(outcome.problems);
        Ok(())
    }

    fn apply_due(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(planner) = &self.planner else { return Ok(()) };
        let plan = planner.plan();
        let (extent, services, scope) = match &self.due {
            Due::All => (Extent::Full, plan.services.len(), Scope::All),
            Due::Services(keys) if keys.is_empty() => return Ok(()),
            Due::Services(keys) => (Extent::Partial, keys.len(), Scope::Services(keys)),
        };
        let applied = self.plane.apply(plan, scope)?;
        self.meter.apply(plan, scope);
        report.local = self.config.serves_localhost().then(|| {
            let snapshot = self.cache.read();
            let targets = |key: &ObjectKey| (key.clone(), local_ports::targets(&snapshot, plan, key));
            match scope {
                Scope::All => {
                    let all = plan.services.keys().map(targets);
                    local_ports::Change::All(all.filter(|(_, targets)| !targets.is_empty()).collect())
                }
                Scope::Services(keys) => local_ports::Change::Some(keys.iter().map(targets).collect()),
            }
        });
        let (triggers, names) = match scope {
            // Adopted or re-planned as a whole: nothing of it is news.
            Scope::All => {
                self.no_local.update_all(plan);
                (Vec::new(), Vec::new())
            }
            Scope::Services(keys) => {
                self.no_local.update(plan, keys);
                (self.triggers.take(&self.cache.read(), keys), keys.iter().take(NAMED).cloned().collect())
            }
        };
        let no_local = self.no_local.counts();
        report.programmed = Some(Programmed { extent, services, applied, triggers, no_local, names });
        self.due = Due::Services(BTreeSet::new());
        Ok(())
    }
}

impl Due {
    fn add(&mut self, outcome: &Outcome) {
        if let Self::Services(keys) = self {
            keys.extend(outcome.changed.iter().map(|key| (**key).clone()));
        }
    }
}
