//! Keeps one node's plan up to date with a snapshot, at a cost that depends on what changed alone.
//!
//! Owns the plan, who claims which frontend, and the problems of each Service. Full and incremental work are one path: a full
//! one visits all keys.
//!
//! Invariants: a frontend is in the plan of exactly one Service of those that claim it (see [`Claims`]); the plan equals
//! [`plan_all`] of the same snapshot and context whenever every touched key was given to [`Planner::update`].

mod claims;
mod hops;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use stead_api::service_snapshot::{ServiceSnapshot, ServiceView};
use stead_model::ObjectKey;

use self::{
    claims::Claims,
    hops::{Hops, Surroundings},
};
use crate::{
    desired::{NodeContext, plan_service},
    problem::{Cause, Problem},
    table::{FrontendRule, Plan, ServicePlan, ServicePortPlan},
};

/// A plan, and what it takes to change it.
#[derive(Debug)]
pub struct Planner {
    context: NodeContext,
    plan: Plan,
    claims: Claims,
    hops: Hops,
    /// What a Service claims and another has.
    lost: BTreeMap<ObjectKey, Vec<FrontendRule>>,
    problems: BTreeMap<ObjectKey, Vec<Problem>>,
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Services whose part of the plan is different now, added or gone; each once, in no order.
    pub changed: Vec<Arc<ObjectKey>>,
    /// Problems that were not there before.
    pub problems: Vec<Problem>,
}

impl Outcome {
    /// Takes in what a later change of the same planner did.
    pub fn merge(&mut self, later: Self) {
        let Self { changed, problems } = later;
        self.changed.extend(changed);
        self.changed.sort();
        self.changed.dedup();
        self.problems.extend(problems);
        self.problems.sort();
        self.problems.dedup();
    }
}

/// The whole plan of a snapshot, and all its problems in order.
pub fn plan_all(snapshot: &ServiceSnapshot, context: &NodeContext) -> (Plan, Vec<Problem>) {
    let mut planner = Planner::new(context.clone());
    let outcome = planner.update_all(snapshot);
    (planner.plan, outcome.problems)
}

impl Planner {
    /// An empty plan for a node.
    pub fn new(context: NodeContext) -> Self {
        let plan = Plan { settings: context.settings.clone(), ..Plan::default() };
        Self {
            context,
            plan,
            claims: Claims::default(),
            hops: Hops::default(),
            lost: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// All problems there are, in order of the Services.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Plans every Service again, and those that are gone.
    pub fn update_all(&mut self, snapshot: &ServiceSnapshot) -> Outcome {
        let mut keys: Vec<_> = snapshot.services().map(|service| Arc::clone(&service.key)).collect();
        let known = self.plan.services.keys().chain(self.lost.keys()).chain(self.problems.keys());
        let gone: BTreeSet<_> = known.filter(|key| snapshot.service(key).is_none()).collect();
        keys.extend(gone.into_iter().map(|key| Arc::new(key.clone())));
        let outcome = self.replan(snapshot, keys);
        // A tree that is made of them all at once has full nodes; one that grew at its end has them half empty.
        self.plan.services = std::mem::take(&mut self.plan.services).into_iter().collect();
        outcome
    }

    /// Plans these Services again, and others as far as they claim the same frontends or have these as endpoints.
    pub fn update(&mut self, snapshot: &ServiceSnapshot, keys: &HashSet<Arc<ObjectKey>>) -> Outcome {
        self.replan(snapshot, keys.iter().cloned().collect())
    }

    /// Takes other addresses for node ports to answer on: every Service with node ports is planned again. The addresses are put in order.
    pub fn set_node_addresses(&mut self, snapshot: &ServiceSnapshot, addresses: Vec<IpAddr>) -> Outcome {
        let addresses = in_order(addresses);
        if addresses == self.context.settings.node_addresses {
            return Outcome::default();
        }
        self.context.settings.node_addresses.clone_from(&addresses);
        self.plan.settings.node_addresses = addresses;
        self.replan_where(snapshot, |service| service.ports.iter().any(|port| port.node_port.is_some()))
    }

    /// Takes other addresses for this node: every Service that one of them, or who sends from it, means anything to is planned again. The
    /// addresses are put in order.
    pub fn set_own_addresses(&mut self, snapshot: &ServiceSnapshot, addresses: Vec<IpAddr>) -> Outcome {
        let addresses = in_order(addresses);
        let old = std::mem::replace(&mut self.context.settings.own_addresses, addresses.clone());
        if addresses == old {
            return Outcome::default();
        }
        self.plan.settings.own_addresses.clone_from(&addresses);
        let has_changed = |address: &IpAddr| old.contains(address) != addresses.contains(address);
        self.replan_where(snapshot, |service| {
            let external = service.load_balancer_ips.iter().chain(&service.external_ips);
            service.source_ranges.is_some() || service.cluster_ips.iter().chain(external).any(has_changed)
        })
    }

    /// Takes another zone for this node: every Service is planned again.
    pub fn set_zone(&mut self, snapshot: &ServiceSnapshot, zone: Option<&str>) -> Outcome {
        if zone == self.context.zone.as_deref() {
            return Outcome::default();
        }
        self.context.zone = zone.map(Into::into);
        self.update_all(snapshot)
    }

    /// Takes other ranges for virtual IPs: every Service with external addresses is planned again.
    pub fn set_service_ranges(&mut self, snapshot: &ServiceSnapshot, ranges: Vec<IpNet>) -> Outcome {
        self.context.settings.service_ranges.clone_from(&ranges);
        self.plan.settings.service_ranges = ranges;
        self.replan_where(snapshot, |service| {
            !(service.external_ips.is_empty() && service.load_balancer_ips.is_empty())
        })
    }

    fn replan_where(&mut self, snapshot: &ServiceSnapshot, is_due: impl Fn(&ServiceView) -> bool) -> Outcome {
        let due = snapshot.services().filter(|service| is_due(service));
        let keys = due.map(|service| Arc::clone(&service.key)).collect();
        self.replan(snapshot, keys)
    }

    /// `keys` has no duplicates.
    fn replan(&mut self, snapshot: &ServiceSnapshot, mut keys: Vec<Arc<ObjectKey>>) -> Outcome {
        keys.sort();
        let mut affected = BTreeSet::new();
        let mut drafts = Vec::with_capacity(keys.len());
        for key in &keys {
            let (draft, problems) = plan_service(snapshot, &self.context, key);
            self.claim(key, &draft, &mut affected);
            drafts.push((Arc::clone(key), draft, problems));
        }
        for key in affected.into_iter().filter(|key| keys.binary_search(key).is_err()) {
            let (draft, problems) = plan_service(snapshot, &self.context, &key);
            drafts.push((key, draft, problems));
        }
        let mut outcome = Outcome::default();
        for (key, mut draft, mut problems) in drafts {
            let around = Surroundings { snapshot, context: &self.context, claims: &self.claims };
            let causes = self.hops.follow(&around, &key, &mut draft);
            problems.extend(causes.into_iter().map(|cause| Problem { service: (*key).clone(), cause }));
            self.settle(&key, draft, problems, &mut outcome);
        }
        outcome.problems.sort();
        outcome
    }

    /// Brings the claims of a Service up to date. Those who gain or lose a frontend by it, and those who have it as an endpoint, go to
    /// `affected`.
    fn claim(&mut self, key: &Arc<ObjectKey>, draft: &ServicePlan, affected: &mut BTreeSet<Arc<ObjectKey>>) {
        let planned = self.plan.services.get(key).into_iter().flat_map(frontends);
        let lost = self.lost.get(key).into_iter().flatten().copied();
        let mut old: Vec<_> = planned.chain(lost).collect();
        let mut new: Vec<_> = frontends(draft).collect();
        old.sort_unstable();
        new.sort_unstable();
        for rule in old.iter().chain(&new) {
            affected.extend(self.hops.users(&rule.frontend).cloned());
        }
        for rule in old.iter().filter(|rule| new.binary_search(rule).is_err()) {
            self.claims.release(rule, key, affected);
            self.hops.on_released(rule);
        }
        for rule in new.iter().filter(|rule| old.binary_search(rule).is_err()) {
            self.claims.acquire(rule, key, affected);
            if self.hops.on_claimed(rule) {
                let planned = self.plan.services.iter().filter(|(_, plan)| plan.ports.iter().any(has_endpoints));
                affected.extend(planned.map(|(key, _)| Arc::new(key.clone())));
            }
        }
    }

    /// Puts a draft into the plan, without the frontends that are another's.
    fn settle(
        &mut self,
        key: &Arc<ObjectKey>,
        mut draft: ServicePlan,
        mut problems: Vec<Problem>,
        outcome: &mut Outcome,
    ) {
        let mut lost = Vec::new();
        for port in &mut draft.ports {
            port.frontends.retain(|rule| match self.claims.owner(&rule.frontend) {
                Some((owner, _)) if *owner != **key => {
                    let cause = Cause::Taken { frontend: rule.frontend, owner: owner.clone() };
                    problems.push(Problem { service: (**key).clone(), cause });
                    lost.push(*rule);
                    false
                }
                _ => true,
            });
        }
        draft.ports.retain(|port| !port.frontends.is_empty());
        // So that as many as there may be are compared in no time.
        problems.sort();
        problems.dedup();
        replace(&mut self.lost, key, lost, Vec::is_empty);
        let old = replace(&mut self.problems, key, problems, Vec::is_empty).unwrap_or_default();
        let new = self.problems.get(key).into_iter().flatten();
        outcome.problems.extend(new.filter(|problem| old.binary_search(problem).is_err()).cloned());
        let services = &mut self.plan.services;
        let changed = match services.get_mut(&**key) {
            _ if draft.ports.is_empty() => services.remove(&**key).is_some(),
            Some(old) if *old == draft => false,
            Some(old) => {
                *old = draft;
                true
            }
            None => services.insert((**key).clone(), draft).is_none(),
        };
        if changed {
            outcome.changed.push(Arc::clone(key));
        }
    }
}

fn has_endpoints(port: &ServicePortPlan) -> bool {
    !port.backends.is_empty() || !port.draining.is_empty()
}

fn frontends(plan: &ServicePlan) -> impl Iterator<Item = FrontendRule> {
    plan.ports.iter().flat_map(|port| &port.frontends).copied()
}

fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Sets the value of a key, or removes the key for a value that says nothing. Returns the old value.
fn replace<T>(
    map: &mut BTreeMap<ObjectKey, T>,
    key: &ObjectKey,
    value: T,
    says_nothing: impl Fn(&T) -> bool,
) -> Option<T> {
    if says_nothing(&value) {
        return map.remove(key);
    }
    match map.get_mut(key) {
        Some(old) => Some(std::mem::replace(old, value)),
        None => map.insert(key.clone(), value),
    }
}
