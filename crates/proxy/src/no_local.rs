//! How many ports of Services are dropped here because their policy is `Local` and this node has none of their endpoints, while others do.
//!
//! Kept by Service, so that a change costs as much as the Services it is about.

use std::collections::{BTreeSet, HashMap};

use stead_model::{Family, ObjectKey};
use stead_plan::{FrontendRule, List, Plan, ServicePlan, ServicePortPlan, TrafficPolicy};

/// Ports by family (IPv4, IPv6) and by whose policy it is (internal, external).
pub(crate) type Counts = [[u64; 2]; 2];

#[derive(Debug, Default)]
pub(crate) struct NoLocal {
    /// Services without any such port are not in it.
    services: HashMap<ObjectKey, Counts>,
}

impl NoLocal {
    pub(crate) fn update_all(&mut self, plan: &Plan) {
        let counts = plan.services.iter().map(|(key, service)| (key.clone(), counts(service)));
        self.services = counts.filter(|(_, counts)| *counts != Counts::default()).collect();
    }

    pub(crate) fn update(&mut self, plan: &Plan, keys: &BTreeSet<ObjectKey>) {
        for key in keys {
            match plan.services.get(key).map(counts).filter(|counts| *counts != Counts::default()) {
                Some(counts) => drop(self.services.insert(key.clone(), counts)),
                None => drop(self.services.remove(key)),
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.services.values().fold(Counts::default(), |sum, each| {
            std::array::from_fn(|family| std::array::from_fn(|policy| sum[family][policy] + each[family][policy]))
        })
    }
}

fn counts(service: &ServicePlan) -> Counts {
    let mut counts = Counts::default();
    for port in &service.ports {
        let lacks = port.list(List::Local).next().is_none() && port.list(List::Cluster).next().is_some();
        let Some(rule) = port.frontends.first().filter(|_| lacks) else { continue };
        let family = match rule.frontend.family() {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        counts[family][0] += u64::from(is_local(port, port.internal_policy, |rule| !rule.kind.is_external()));
        counts[family][1] += u64::from(is_local(port, port.external_policy, |rule| rule.kind.is_external()));
    }
    counts
}

/// Whether the policy is `Local` and there is a frontend that it is about.
fn is_local(port: &ServicePortPlan, policy: TrafficPolicy, is_about: impl Fn(&FrontendRule) -> bool) -> bool {
    policy == TrafficPolicy::Local && port.frontends.iter().any(is_about)
}

#[cfg(test)]
mod tests {
    use stead_model::{Frontend, Protocol};
    use stead_plan::{Backend, FrontendKind, Lists};

    use super::*;

    fn port(policies: [TrafficPolicy; 2], kinds: &[FrontendKind], lists: Option<Lists>) -> ServicePortPlan {
        let [internal_policy, external_policy] = policies;
        let frontend = Frontend { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
        let backend = |lists| Backend { address: "10.244.0.1:8080".parse().unwrap(), local: false, lists };
        ServicePortPlan {
            frontends: kinds.iter().map(|kind| FrontendRule { frontend, kind: *kind }).collect(),
            backends: lists.map(backend).into_iter().collect(),
            internal_policy,
            external_policy,
            ..ServicePortPlan::default()
        }
    }

    #[test]
    fn ports_that_are_local_to_others_are_counted_by_policy() {
        use FrontendKind::{ClusterIp, NodePort};
        use TrafficPolicy::{Cluster, Local};
        let check = |port: ServicePortPlan, expect: [u64; 2]| {
            assert_eq!(counts(&ServicePlan { ports: vec![port.clone()] })[0], expect, "{port:?}");
        };
        let both = &[ClusterIp, NodePort];
        check(port([Local; 2], both, Some(Lists::Cluster)), [1, 1]);
        check(port([Cluster, Local], both, Some(Lists::Cluster)), [0, 1]);
        check(port([Local, Cluster], both, Some(Lists::Cluster)), [1, 0]);
        check(port([Local; 2], &[ClusterIp], Some(Lists::Cluster)), [1, 0]);
        check(port([Local; 2], both, Some(Lists::Both)), [0, 0]);
        // Refused, whatever the policy.
        check(port([Local; 2], both, None), [0, 0]);
    }

    #[test]
    fn changes_are_counted_once_and_what_goes_is_not_counted() {
        let local = [TrafficPolicy::Local; 2];
        let service = || ServicePlan { ports: vec![port(local, &[FrontendKind::ClusterIp], Some(Lists::Cluster))] };
        let [a, b] = ["a", "b"].map(|name| ObjectKey::new("default", name));
        let mut plan = Plan::default();
        plan.services.insert(a.clone(), service());
        let mut tally = NoLocal::default();
        tally.update_all(&plan);
        plan.services.insert(b.clone(), service());
        for _ in 0..2 {
            tally.update(&plan, &[b.clone()].into());
            assert_eq!(tally.counts(), [[2, 0], [0, 0]]);
        }
        plan.services.remove(&a);
        tally.update(&plan, &[a].into());
        assert_eq!(tally.counts(), [[1, 0], [0, 0]]);
    }
}
