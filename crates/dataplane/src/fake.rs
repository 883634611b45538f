//! A data plane without a kernel: it remembers what it was told, so that others' tests can look.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stead_model::ObjectKey;
use stead_plan::Plan;

use crate::plane::{Applied, Cleaner, DataPlane, Departed, Error, Scope, Verified};

/// Clones share one memory: give one to the code under test and ask the other.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
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
        self.state().plan.clone()
    }

    /// The scopes of all applies that succeeded, oldest first; `None` is [`Scope::All`].
    pub fn scopes(&self) -> Vec<Option<BTreeSet<ObjectKey>>> {
        self.state().scopes.clone()
    }

    pub fn verifications(&self) -> usize {
        self.state().verifications
    }

    /// Makes the next apply fail with `error`, changing nothing.
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
        let keys = match scope {
            Scope::Services(keys) if state.plan.settings == plan.settings => keys.clone(),
            _ => state.plan.services.keys().chain(plan.services.keys()).cloned().collect(),
        };
        let mut applied = Applied::default();
        for key in &keys {
            let new = plan.services.get(key);
            let departed = departed(state.plan.services.get(key), new);
            if state.plan.services.get(key) != new {
                applied.operations += 1;
            }
            if departed != Departed::default() {
                applied.departed.insert(key.clone(), departed);
            }
            match new {
                Some(service) => state.plan.services.insert(key.clone(), service.clone()),
                None => state.plan.services.remove(key),
            };
        }
        state.plan.settings = plan.settings.clone();
        state.scopes.push(match scope {
            Scope::All => None,
            Scope::Services(keys) => Some(keys.clone()),
        });
        Ok(applied)
    }

    fn cleaner(&self) -> Box<dyn Cleaner> {
        Box::new(self.clone())
    }

    fn verify(&mut self) -> Result<Verified, Error> {
        self.state().verifications += 1;
        Ok(Verified::Intact)
    }

    fn remove(&mut self) -> Result<(), Error> {
        self.state().plan = Plan::default();
        Ok(())
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

fn departed(old: Option<&stead_plan::ServicePlan>, new: Option<&stead_plan::ServicePlan>) -> Departed {
    let ports = |service: Option<&stead_plan::ServicePlan>| {
        let mut all = Departed::default();
        for port in service.into_iter().flat_map(|service| &service.ports) {
            all.frontends.extend(port.frontends.iter().map(|rule| rule.frontend));
            let backends = port.backends.iter().chain(&port.draining);
            all.backends.extend(backends.map(|backend| (port.protocol, backend.address)));
        }
        all
    };
    let (old, new) = (ports(old), ports(new));
    Departed { frontends: &old.frontends - &new.frontends, backends: &old.backends - &new.backends }
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
