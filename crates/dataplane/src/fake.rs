//! A data plane without a kernel: it remembers what it was told, so that others' tests can look.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stead_model::ObjectKey;
use stead_plan::Plan;

use crate::{
    flows::Ledger,
    plane::{Applied, Cleaner, DataPlane, Error, Removed, Scope, Verified},
};

/// Clones share one memory: give one to the code under test and ask the other.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    scopes: Vec<Option<BTreeSet<ObjectKey>>>,
    verifications: usize,
    failures: Vec<Error>,
    cleanings: usize,
    cleaning_failures: Vec<Error>,
}

impl Fake {
    pub fn new() -> Self {
        Self::default()
    }

    /// What traffic would meet now.
    pub fn plan(&self) -> Plan {
        let ledger = &self.state().ledger;
        Plan { settings: ledger.settings().clone(), services: ledger.services().clone() }
    }

    /// The scopes of all applies that succeeded, oldest first; `None` is [`Scope::All`].
    pub fn scopes(&self) -> Vec<Option<BTreeSet<ObjectKey>>> {
        self.state().scopes.clone()
    }

    pub fn verifications(&self) -> usize {
        self.state().verifications
    }

    /// Makes the next apply or removal fail with `error`, changing nothing.
    pub fn fail_next(&self, error: Error) {
        self.state().failures.push(error);
    }

    /// Cleanings that succeeded.
    pub fn cleanings(&self) -> usize {
        self.state().cleanings
    }

    /// Makes the next cleaning fail with `error`.
    pub fn fail_next_cleaning(&self, error: Error) {
        self.state().cleaning_failures.push(error);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DataPlane for Fake {
    fn apply(&mut self, plan: &Plan, scope: Scope<'_>) -> Result<Applied, Error> {
        let mut state = self.state();
        if !state.failures.is_empty() {
            return Err(state.failures.remove(0));
        }
        let step = state.ledger.step(plan, scope);
        state.scopes.push(match scope {
            Scope::All => None,
            Scope::Services(keys) => Some(keys.clone()),
        });
        Ok(Applied { operations: step.before.len(), departed: step.departed, ..Applied::default() })
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        Box::new(self.clone())
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        self.state().verifications += 1;
        Ok(Verified::Intact)
    }

    fn remove(&mut self) -> Result<Removed, Error> {
        let state = &mut *self.state();
        if !state.failures.is_empty() {
            return Err(state.failures.remove(0));
        }
        let ledger = std::mem::take(&mut state.ledger);
        Ok(if ledger.services().is_empty() { Removed::Nothing } else { Removed::Something })
    }

    fn preview(&mut self, plan: &Plan) -> Result<String, Error> {
        let state = self.state();
        let changed = plan.services.iter().filter(|(key, part)| state.ledger.services().get(key) != Some(part));
        Ok(changed.map(|(key, _)| format!("{key}\n")).collect())
    }
}

impl Cleaner for Fake {
    fn clean(&mut self) -> Result<usize, Error> {
        let mut state = self.state();
        if !state.cleaning_failures.is_empty() {
            return Err(state.cleaning_failures.remove(0));
        }
        state.cleanings += 1;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use stead_model::Protocol;
    use stead_plan::{Backend, Lists, ServicePlan, ServicePortPlan};

    use super::*;

    fn plan(backends: &[&str]) -> Plan {
        let backend =
            |address: &&str| Backend { address: address.parse().unwrap(), local: false, lists: Lists::Cluster };
        let backends = backends.iter().map(backend).collect();
        let port = ServicePortPlan { backends, ..ServicePortPlan::default() };
        let key = ObjectKey::new("default", "web");
        Plan { services: [(key, ServicePlan { ports: vec![port] })].into(), ..Plan::default() }
    }

    #[test]
    fn it_remembers_and_reports_who_left() {
        let fake = Fake::new();
        let mut plane: Box<dyn DataPlane> = Box::new(fake.clone());
        plane.apply(&plan(&["10.0.0.1:80", "10.0.0.2:80"]), Scope::All).unwrap();
        let next = plan(&["10.0.0.2:80"]);
        let keys = next.services.keys().cloned().collect();
        let applied = plane.apply(&next, Scope::Services(&keys)).unwrap();
        assert_eq!(fake.plan(), next);
        let departed = applied.departed.values().next().unwrap();
        assert_eq!(departed.backends, [(Protocol::Tcp, "10.0.0.1:80".parse().unwrap())].into());
        assert_eq!(fake.scopes(), [None, Some(keys)]);
    }

    #[test]
    fn a_failure_changes_nothing() {
        let mut fake = Fake::new();
        fake.fail_next(Error::TooManyBackends { service: ObjectKey::new("a", "b"), count: 1 });
        assert!(fake.apply(&plan(&["10.0.0.1:80"]), Scope::All).is_err());
        assert_eq!(fake.plan(), Plan::default());
    }
}
