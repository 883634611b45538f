//! The plan as it was carried out last, for data planes that keep nothing else to judge connections by.
//!
//! A copy of the applied plan's parts with an index of their frontends. What a step leaves behind, departed backends and connections to look
//! at, is found by comparing the parts before and after.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map},
    net::{IpAddr, SocketAddr},
};

use stead_model::{Frontend, ObjectKey};
use stead_plan::{FrontendKind, FrontendRule, Plan, ServicePlan, ServicePortPlan, Settings};

use super::{Cleaning, Led, Routes, Sender};
use crate::plane::{Departed, Scope};

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    settings: Settings,
    services: BTreeMap<ObjectKey, ServicePlan>,
    owners: HashMap<Frontend, ObjectKey>,
}

/// What a step changed.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The Services that differ from before, each with its part then.
    pub(crate) before: BTreeMap<ObjectKey, Option<ServicePlan>>,
    pub(crate) departed: BTreeMap<ObjectKey, Departed>,
    pub(crate) cleaning: Cleaning,
}

impl Ledger {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn services(&self) -> &BTreeMap<ObjectKey, ServicePlan> {
        &self.services
    }

    /// Brings the Services in scope to the plan; other settings bring all of them.
    pub(crate) fn step(&mut self, plan: &Plan, scope: Scope<'_>) -> Step {
        let keys: BTreeSet<ObjectKey> = match scope {
            Scope::Services(keys) if self.settings == plan.settings => {
                widened(plan, keys.iter().cloned(), |frontend| self.owners.get(frontend))
            }
            _ => self.services.keys().chain(plan.services.keys()).cloned().collect(),
        };
        self.settings.clone_from(&plan.settings);
        let mut step = Step::default();
        // All give up before any takes, so that a frontend may move from one to another.
        for key in &keys {
            let old = self.services.remove(key);
            for rule in old.iter().flat_map(|part| &part.ports).flat_map(|port| &port.frontends) {
                if self.owners.get(&rule.frontend) == Some(key) {
                    self.owners.remove(&rule.frontend);
                }
            }
            step.before.insert(key.clone(), old);
        }
        for (key, old) in &step.before {
            let new = plan.services.get(key);
            for rule in frontends_of(plan, key) {
                if let hash_map::Entry::Vacant(vacant) = self.owners.entry(rule.frontend) {
                    vacant.insert(key.clone());
                }
            }
            if old.as_ref() != new {
                step.cleaning.compare(led(old.as_ref()), led(new));
                let departed = departed(old.as_ref(), new);
                if departed != Departed::default() {
                    step.departed.insert(key.clone(), departed);
                }
            }
            if let Some(part) = new {
                self.services.insert(key.clone(), part.clone());
            }
        }
        step.before.retain(|key, old| old.as_ref() != plan.services.get(key));
        step
    }

    fn find(&self, frontend: &Frontend) -> Option<(&ServicePortPlan, FrontendKind)> {
        let part = self.services.get(self.owners.get(frontend)?)?;
        part.ports.iter().find_map(|port| {
            let rule = port.frontends.iter().find(|rule| rule.frontend == *frontend)?;
            Some((port, rule.kind))
        })
    }
}

impl Routes for Ledger {
    fn leads(&self, frontend: &Frontend, source: Option<IpAddr>, backend: SocketAddr) -> Option<bool> {
        let Some((port, kind)) = self.find(frontend) else {
            let is_nobodys = self.settings.service_ranges.iter().any(|range| range.contains(&frontend.address));
            return is_nobodys.then_some(false);
        };
        let is_admitted = source.is_none_or(|source| port.admits(kind, source));
        let is_led = |sender: Sender| led_by(port, kind, sender).any(|address| address == backend);
        let mut senders = Sender::BOTH.into_iter();
        Some(is_admitted && senders.any(|sender| sender.may_be(source, &self.settings) && is_led(sender)))
    }

    fn has(&self, frontend: &Frontend) -> bool {
        self.owners.contains_key(frontend)
    }
}

/// The keys, and those Services outside that own a frontend which the plan gives to one of them, and not to the owner any more.
pub(crate) fn widened<'o>(
    plan: &Plan,
    keys: impl IntoIterator<Item = ObjectKey>,
    owner: impl Fn(&Frontend) -> Option<&'o ObjectKey>,
) -> BTreeSet<ObjectKey> {
    let mut wide: BTreeSet<ObjectKey> = keys.into_iter().collect();
    let mut open = wide.iter().cloned().collect::<Vec<_>>();
    while let Some(key) = open.pop() {
        for rule in frontends_of(plan, &key) {
            let Some(owner) = owner(&rule.frontend) else { continue };
            if !wide.contains(owner) && !frontends_of(plan, owner).any(|own| own.frontend == rule.frontend) {
                wide.insert(owner.clone());
                open.push(owner.clone());
            }
        }
    }
    wide
}

fn frontends_of<'a>(plan: &'a Plan, key: &ObjectKey) -> impl Iterator<Item = &'a FrontendRule> {
    plan.services.get(key).into_iter().flat_map(|part| &part.ports).flat_map(|port| &port.frontends)
}

/// Where connections of such a sender to a frontend of this kind may go, new ones or old.
fn led_by(port: &ServicePortPlan, kind: FrontendKind, sender: Sender) -> impl Iterator<Item = SocketAddr> {
    let list = sender.list(kind, port.internal_policy, port.external_policy);
    let all = port.backends.iter().chain(&port.draining);
    all.filter(move |backend| backend.lists.has(list)).map(|backend| backend.address)
}

fn led(part: Option<&ServicePlan>) -> BTreeMap<Frontend, Led> {
    let of_rule = |port: &ServicePortPlan, rule: &FrontendRule| Led {
        inside: led_by(port, rule.kind, Sender::Inside).collect(),
        outside: led_by(port, rule.kind, Sender::Outside).collect(),
        sources: port.sources.clone().filter(|_| rule.kind.is_external()),
    };
    let ports = part.into_iter().flat_map(|part| &part.ports);
    ports.flat_map(|port| port.frontends.iter().map(move |rule| (rule.frontend, of_rule(port, rule)))).collect()
}

fn departed(old: Option<&ServicePlan>, new: Option<&ServicePlan>) -> Departed {
    let parts = |part: Option<&ServicePlan>| {
        let mut all = Departed::default();
        for port in part.into_iter().flat_map(|part| &part.ports) {
            all.frontends.extend(port.frontends.iter().map(|rule| rule.frontend));
            let backends = port.backends.iter().chain(&port.draining);
            all.backends.extend(backends.map(|backend| (port.protocol, backend.address)));
        }
        all
    };
    let (old, new) = (parts(old), parts(new));
    Departed { frontends: &old.frontends - &new.frontends, backends: &old.backends - &new.backends }
}

#[cfg(test)]
mod tests {
    use stead_model::Protocol;
    use stead_plan::{Backend, Lists, TrafficPolicy};

    use super::*;
    use crate::flows::Suspects;

    const CLIENT: &str = "10.244.2.9";
    const STRANGER: &str = "198.51.100.7";

    fn frontend(text: &str) -> Frontend {
        let socket: SocketAddr = text.parse().unwrap();
        Frontend { address: socket.ip(), protocol: Protocol::Tcp, port: socket.port() }
    }

    /// A Service with a virtual IP and an external address, and these backends; those on this node are local.
    fn part(virtual_ip: &str, backends: &[&str]) -> ServicePlan {
        let rules = [(virtual_ip, FrontendKind::ClusterIp), ("203.0.113.9:80", FrontendKind::ExternalIp)];
        let rule = |(text, kind)| FrontendRule { frontend: frontend(text), kind };
        let backend = |text: &&str| {
            let local = text.starts_with("10.244.1.");
            Backend { address: text.parse().unwrap(), local, lists: if local { Lists::Both } else { Lists::Cluster } }
        };
        let port = ServicePortPlan {
            frontends: rules.map(rule).into(),
            backends: backends.iter().map(backend).collect(),
            external_policy: TrafficPolicy::Local,
            ..ServicePortPlan::default()
        };
        ServicePlan { ports: vec![port] }
    }

    fn plan(services: &[(&str, ServicePlan)]) -> Plan {
        let mut plan = Plan::default();
        plan.settings.service_ranges = vec!["10.96.0.0/16".parse().unwrap()];
        plan.settings.detect_local = stead_plan::DetectLocal::Ranges(vec!["10.244.0.0/16".parse().unwrap()]);
        let services = services.iter().map(|(name, part)| (ObjectKey::new("default", *name), part.clone()));
        plan.services = services.collect();
        plan
    }

    fn keys(names: &[&str]) -> BTreeSet<ObjectKey> {
        names.iter().map(|name| ObjectKey::new("default", *name)).collect()
    }

    #[test]
    fn who_sends_decides_where_a_frontend_leads() {
        let mut ledger = Ledger::default();
        ledger.step(&plan(&[("web", part("10.96.0.1:80", &["10.244.1.2:8080", "10.244.2.2:8080"]))]), Scope::All);
        let check = |to: &str, source: Option<&str>, backend: &str, expect: Option<bool>| {
            let source = source.map(|source| source.parse().unwrap());
            assert_eq!(
                ledger.leads(&frontend(to), source, backend.parse().unwrap()),
                expect,
                "{to} {source:?} {backend}"
            );
        };
        check("10.96.0.1:80", Some(STRANGER), "10.244.2.2:8080", Some(true));
        check("10.96.0.1:80", None, "10.244.2.3:8080", Some(false));
        check("10.96.0.1:81", None, "10.244.2.2:8080", Some(false));
        check("192.0.2.1:80", None, "10.244.2.2:8080", None);
        check("203.0.113.9:80", Some(STRANGER), "10.244.1.2:8080", Some(true));
        check("203.0.113.9:80", Some(STRANGER), "10.244.2.2:8080", Some(false));
        check("203.0.113.9:80", Some(CLIENT), "10.244.2.2:8080", Some(true));
        check("203.0.113.9:80", None, "10.244.2.2:8080", Some(true));
    }

    #[test]
    fn a_step_tells_what_left_and_what_changed() {
        let mut ledger = Ledger::default();
        let before = part("10.96.0.1:80", &["10.244.1.2:8080", "10.244.2.2:8080"]);
        ledger.step(&plan(&[("web", before.clone()), ("idle", ServicePlan::default())]), Scope::All);
        let after = part("10.96.0.1:80", &["10.244.1.2:8080"]);
        let step = ledger.step(&plan(&[("web", after), ("idle", ServicePlan::default())]), Scope::All);
        assert_eq!(step.before, [(ObjectKey::new("default", "web"), Some(before))].into());
        let gone = "10.244.2.2:8080".parse().unwrap();
        let departed = Departed { backends: [(Protocol::Tcp, gone)].into(), ..Departed::default() };
        assert_eq!(step.departed, [(ObjectKey::new("default", "web"), departed)].into());
        let suspects = Suspects { severed: [gone].into(), ..Suspects::default() };
        let by_sender = Suspects { by_sender: true, ..Suspects::default() };
        assert_eq!(
            step.cleaning.frontends,
            [(frontend("10.96.0.1:80"), suspects), (frontend("203.0.113.9:80"), by_sender)].into()
        );
        let step = ledger.step(&plan(&[]), Scope::Services(&keys(&["web", "idle"])));
        assert!(step.cleaning.has_departed(&frontend("10.96.0.1:80")));
        assert!(!ledger.has(&frontend("10.96.0.1:80")) && ledger.services().is_empty());
    }

    #[test]
    fn a_frontend_moves_from_one_service_to_another() {
        let mut ledger = Ledger::default();
        let old = part("10.96.0.1:80", &["10.244.1.2:8080"]);
        ledger.step(&plan(&[("a", old.clone())]), Scope::All);
        let step = ledger.step(&plan(&[("a", ServicePlan::default()), ("b", old)]), Scope::Services(&keys(&["b"])));
        assert_eq!(step.before.keys().cloned().collect::<BTreeSet<_>>(), keys(&["a", "b"]));
        let backend = "10.244.1.2:8080".parse().unwrap();
        assert_eq!(ledger.leads(&frontend("10.96.0.1:80"), None, backend), Some(true));
    }
}
