//! What the loop does when something happened, step by step and without waiting for anything but the kernel.
//!
//! Owns the planner, the data plane, and what the kernel still has to be told. Time and retries are the loop's.
//!
//! Invariants: nothing is programmed before every kind is synced; whatever is planned and not applied is in `due`, also after a
//! failure, so that the next step of any kind makes it good.

use std::collections::BTreeSet;

use ipnet::IpNet;
use stead_api::service_snapshot::{ServiceSnapshot, Touched};
use stead_client::ServiceCache;
use stead_dataplane::{Applied, Class, DataPlane, Scope, Verified};
use stead_model::ObjectKey;
use stead_plan::{NodeContext, Outcome, Planner, Problem};
use stead_sys::link::LinkError;

use crate::addresses::Addresses;

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
    /// `Some`: the kernel was told something.
    pub(crate) applied: Option<Applied>,
    /// Operations that put foreign changes right.
    pub(crate) healed: usize,
    /// Problems that were not there before.
    pub(crate) problems: Vec<Problem>,
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("read this node's addresses")]
    Addresses(#[from] LinkError),
    #[error("program Services")]
    Plane(#[from] stead_dataplane::Error),
}

pub(crate) struct Forwarder {
    context: NodeContext,
    cache: ServiceCache,
    addresses: Box<dyn Addresses>,
    plane: Box<dyn DataPlane>,
    /// `None` until every kind is synced.
    planner: Option<Planner>,
    due: Due,
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
    /// Nothing is done yet. `context` comes without node addresses.
    pub(crate) fn new(
        context: NodeContext,
        cache: ServiceCache,
        addresses: Box<dyn Addresses>,
        plane: Box<dyn DataPlane>,
    ) -> Self {
        Self { context, cache, addresses, plane, planner: None, due: Due::All }
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
                Event::Touched(touched) => self.on_touched(touched, report),
                Event::AddressesChanged | Event::VerifyDue => self.on_addresses(report)?,
                Event::RetryDue => {}
            }
        }
        self.apply_due(report)?;
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
        let mut context = self.context.clone();
        context.settings.own_addresses = self.addresses.read()?;
        context.settings.node_addresses.clone_from(&context.settings.own_addresses);
        context.zone = zone(&self.context, &snapshot).map(Into::into);
        context.settings.service_ranges = service_ranges(&self.context, &snapshot);
        let mut planner = Planner::new(context);
        report.problems = planner.update_all(&snapshot).problems;
        self.planner = Some(planner);
        Ok(())
    }

    fn on_touched(&mut self, touched: &Touched, report: &mut Report) {
        let Some(planner) = &mut self.planner else { return };
        let snapshot = self.cache.read();
        let mut outcome = planner.update(&snapshot, &touched.services);
        if touched.nodes.iter().any(|key| key.name == self.context.node) {
            outcome.merge(planner.set_zone(&snapshot, zone(&self.context, &snapshot)));
        }
        self.due.add(&outcome);
        report.problems = outcome.problems;
        if touched.ranges && planner.set_service_ranges(service_ranges(&self.context, &snapshot)) {
            self.due = Due::All;
        }
    }

    fn on_addresses(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(planner) = &mut self.planner else { return Ok(()) };
        let addresses = self.addresses.read()?;
        if addresses != planner.plan().settings.own_addresses {
            let snapshot = self.cache.read();
            let mut outcome = planner.set_own_addresses(&snapshot, addresses.clone());
            outcome.merge(planner.set_node_addresses(&snapshot, addresses));
            report.problems = outcome.problems;
            self.due = Due::All;
        }
        Ok(())
    }

    fn apply_due(&mut self, report: &mut Report) -> Result<(), Failure> {
        let Some(planner) = &self.planner else { return Ok(()) };
        let scope = match &self.due {
            Due::All => Scope::All,
            Due::Services(keys) if keys.is_empty() => return Ok(()),
            Due::Services(keys) => Scope::Services(keys),
        };
        report.applied = Some(self.plane.apply(planner.plan(), scope)?);
        self.due = Due::Services(BTreeSet::new());
        Ok(())
    }
}

/// The ranges that this process was told of, and those that the cluster has come to use.
fn service_ranges(context: &NodeContext, snapshot: &ServiceSnapshot) -> Vec<IpNet> {
    let mut ranges = context.settings.service_ranges.clone();
    let own = |range: &IpNet| !context.settings.service_ranges.contains(range);
    ranges.extend(snapshot.service_ranges().into_iter().filter(own));
    ranges
}

/// Where this node is, as its Node says.
fn zone<'s>(context: &NodeContext, snapshot: &'s ServiceSnapshot) -> Option<&'s str> {
    snapshot.node(&context.node)?.zone.as_deref()
}

impl Due {
    fn add(&mut self, outcome: &Outcome) {
        if let Self::Services(keys) = self {
            keys.extend(outcome.changed.iter().map(|key| (**key).clone()));
        }
    }
}
