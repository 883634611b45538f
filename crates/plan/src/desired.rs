//! One Service as this node wants it: its frontends, and the endpoints that may get traffic.
//!
//! Looks at one Service alone. Who gets a frontend that two Services claim is [`Planner`](crate::Planner)'s.

mod endpoints;

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use stead_api::service_snapshot::{
    ServicePortView, ServiceSnapshot, ServiceType, ServiceView, SliceView, TrafficPolicy,
};
use stead_model::{Family, Frontend, ObjectKey, is_metadata};

use self::endpoints::{Endpoints, LocalList, Targets};
use crate::{
    problem::{Cause, Problem},
    table::{
        Algorithm, Backend, FrontendKind, FrontendRule, MAX_BACKENDS, MAX_BACKENDS_OF_SERVICE, ServicePlan,
        ServicePortPlan, Settings,
    },
};

/// The node that is planned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContext {
    /// The name that `endpoints[].nodeName` has for endpoints on this node.
    pub node: Box<str>,
    /// This node's `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    pub settings: Settings,
    pub open_to_external: Vec<OpenRange>,
    /// Addresses that no Service gets, such as the API server's.
    pub reserved: Vec<IpAddr>,
    /// `Some`: why no backend can be chosen by a hash on this node.
    pub without_hashes: Option<Arc<str>>,
}

/// Where even this node's own addresses may be external ones of a Service (`--allow-external-ips`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRange {
    pub range: IpNet,
    /// Only to Services of this namespace; to all where it is `None`.
    pub namespace: Option<Box<str>>,
}

/// Plans one Service as if it were alone. A Service that is not there, headless, an alias, or another proxy's has no ports.
pub fn plan_service(snapshot: &ServiceSnapshot, context: &NodeContext, key: &ObjectKey) -> (ServicePlan, Vec<Problem>) {
    let Some(service) = snapshot.service(key).filter(|service| is_proxied(service)) else {
        return (ServicePlan::default(), Vec::new());
    };
    let (causes, frontends, room) = (Vec::new(), HashSet::new(), MAX_BACKENDS_OF_SERVICE);
    let mut draft = Draft { context, service, causes, frontends, room };
    let slices: Vec<_> =
        snapshot.slices_of(key).iter().map(|slice| &**slice).filter(|slice| !slice.is_headless).collect();
    draft.collect_view_problems(&slices);
    let algorithm = draft.algorithm();
    let addresses = draft.addresses();
    let targets = Targets::of(&slices);
    let mut ports = Vec::with_capacity(service.ports.len());
    for port in &service.ports {
        for family in Family::ALL {
            let frontends = draft.frontends(port, family, &addresses);
            if !frontends.is_empty() {
                let (backends, draining) = draft.backends(&targets, port, family);
                ports.push(ServicePortPlan {
                    name: port.name.clone(),
                    protocol: port.protocol,
                    sources: draft.sources(family),
                    frontends,
                    backends,
                    draining,
                    affinity: service.affinity,
                    algorithm,
                    weights: service.weights.clone(),
                    internal_policy: service.internal_policy,
                    external_policy: service.external_policy,
                });
            }
        }
    }
    // Stable: of two entries for one port, IPv4 stays first.
    ports.sort_by(|a, b| (&a.name, a.protocol).cmp(&(&b.name, b.protocol)));
    let problems = draft.causes.into_iter().map(|cause| Problem { service: key.clone(), cause }).collect();
    (ServicePlan { ports }, problems)
}

fn is_proxied(service: &ServiceView) -> bool {
    let has_addresses = !service.is_headless && !service.cluster_ips.is_empty();
    has_addresses && service.service_type != ServiceType::ExternalName && !service.has_other_proxy
}

/// A Service on its way into the plan.
struct Draft<'s> {
    context: &'s NodeContext,
    service: &'s ServiceView,
    causes: Vec<Cause>,
    /// Those of the ports so far.
    frontends: HashSet<Frontend>,
    /// How many more backends its ports may have together.
    room: usize,
}

impl Draft<'_> {
    fn collect_view_problems(&mut self, slices: &[&SliceView]) {
        self.causes.extend(self.service.problems.iter().cloned().map(Cause::Service));
        for slice in slices {
            let key = || (*slice.key).clone();
            self.causes.extend(slice.problems.iter().cloned().map(|problem| Cause::Slice { slice: key(), problem }));
            let refused =
                slice.endpoints.iter().map(|endpoint| endpoint.address).filter(|address| !is_usable(*address));
            self.causes.extend(refused.map(|address| Cause::Endpoint { slice: key(), address }));
        }
    }

    /// Affinity is a wish of its own, and one that a client notices.
    fn algorithm(&mut self) -> Algorithm {
        if self.service.affinity.is_some() && self.service.algorithm != Algorithm::Random {
            self.causes.push(Cause::AffinityFirst);
            return Algorithm::Random;
        }
        match (self.service.algorithm, &self.context.without_hashes) {
            (Algorithm::SourceHash | Algorithm::Maglev, Some(why)) => {
                let node = self.context.node.clone();
                self.causes.push(Cause::NoHashes { node, why: Arc::clone(why) });
                Algorithm::Random
            }
            (algorithm, _) => algorithm,
        }
    }

    fn has_node_ports(&self) -> bool {
        matches!(self.service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer)
    }

    /// The addresses that every port of the Service has.
    fn addresses(&mut self) -> Vec<(IpAddr, FrontendKind)> {
        let service = self.service;
        let balanced = match service.service_type {
            ServiceType::LoadBalancer => &*service.load_balancer_ips,
            _ => &[],
        };
        let kinds = [
            (&*service.cluster_ips, FrontendKind::ClusterIp),
            (balanced, FrontendKind::LoadBalancer),
            (&*service.external_ips, FrontendKind::ExternalIp),
        ];
        let all = kinds.into_iter().flat_map(|(addresses, kind)| addresses.iter().map(move |address| (*address, kind)));
        let mut taken = Vec::with_capacity(service.cluster_ips.len());
        for (address, kind) in all {
            match self.check_address(address, kind) {
                Ok(()) => taken.push((address, kind)),
                Err(cause) => self.causes.push(cause),
            }
        }
        taken
    }

    /// Whether traffic to the address may be taken from whoever has it otherwise.
    fn check_address(&self, address: IpAddr, kind: FrontendKind) -> Result<(), Cause> {
        let context = self.context;
        let namespace = &self.service.key.namespace;
        let is_for_us = |open: &&OpenRange| open.namespace.as_ref().is_none_or(|of| of == namespace);
        let mut open = context.open_to_external.iter().filter(is_for_us).map(|open| open.range);
        let mut is_open = || kind.is_external() && open.any(|range| range.contains(&address));
        if !is_usable(address) {
            Err(Cause::Unusable { kind, address })
        } else if kind.is_external() && context.settings.service_ranges.iter().any(|range| range.contains(&address)) {
            Err(Cause::Virtual { kind, address })
        } else if context.reserved.contains(&address) {
            Err(Cause::Reserved { kind, address })
        } else if context.settings.own_addresses.binary_search(&address).is_ok() && !is_open() {
            Err(Cause::Own { kind, address })
        } else {
            Ok(())
        }
    }

    /// The frontends of one port in one family, ascending; node ports answer in the families of the Service.
    fn frontends(
        &mut self,
        port: &ServicePortView,
        family: Family,
        addresses: &[(IpAddr, FrontendKind)],
    ) -> Vec<FrontendRule> {
        let has_family = self.service.cluster_ips.iter().any(|address| Family::of(*address) == family);
        if !has_family {
            return Vec::new();
        }
        let addresses = addresses.iter().map(|(address, kind)| (*address, port.port, *kind));
        let node_port = port.node_port.filter(|_| self.has_node_ports());
        let node_ports = node_port.iter().flat_map(|number| {
            let addresses = &self.context.settings.node_addresses;
            addresses.iter().map(|address| (*address, number.get(), FrontendKind::NodePort))
        });
        let mut rules = Vec::with_capacity(1);
        for (address, number, kind) in
            addresses.chain(node_ports).filter(|(address, ..)| Family::of(*address) == family)
        {
            rules.push(FrontendRule { frontend: Frontend { address, protocol: port.protocol, port: number }, kind });
        }
        // One address for two reasons is one frontend.
        rules.sort_unstable();
        rules.dedup_by_key(|rule| rule.frontend);
        rules.retain(|FrontendRule { frontend, .. }| {
            let is_first = self.frontends.insert(*frontend);
            if !is_first {
                self.causes.push(Cause::Repeated { frontend: *frontend });
            }
            is_first
        });
        rules
    }

    /// Where the node may come in itself, it may from a load-balancer's address too: where that is bound to it, it sends from there.
    fn sources(&self, family: Family) -> Option<Box<[IpNet]>> {
        let ranges = self.service.source_ranges.as_ref()?;
        let own = &self.context.settings.own_addresses;
        let has_node = ranges.iter().any(|range| own.iter().any(|address| range.contains(address)));
        let balanced = self.service.load_balancer_ips.iter().filter(|_| has_node).map(|address| IpNet::from(*address));
        let of_family = ranges.iter().copied().chain(balanced).filter(|range| Family::of(range.addr()) == family);
        let mut ranges = IpNet::aggregate(&of_family.collect());
        ranges.sort_unstable();
        Some(ranges.into())
    }

    /// Who gets new connections, and who keeps old ones.
    fn backends(
        &mut self,
        targets: &Targets<'_>,
        port: &ServicePortView,
        family: Family,
    ) -> (Vec<Backend>, Vec<Backend>) {
        let policies = [self.service.internal_policy, self.service.external_policy];
        let local_list = if policies.contains(&TrafficPolicy::Local) { LocalList::Wanted } else { LocalList::Unused };
        let endpoints = Endpoints::of(targets, port, family, self.context);
        let (mut backends, mut draining) = endpoints.split(port.protocol, local_list);
        let limit = self.room.min(MAX_BACKENDS);
        if backends.len() > limit {
            self.causes.push(Cause::TooManyEndpoints { port: port.name.clone(), count: backends.len(), limit });
            backends.truncate(limit);
            backends.shrink_to_fit();
        }
        self.room -= backends.len();
        draining.truncate(self.room.min(MAX_BACKENDS));
        self.room -= draining.len();
        (backends, draining)
    }
}

/// Whether traffic may be sent to or taken for an address at all, whatever an object says: neither a node's own services nor its
/// link's (metadata, neighbours) can be reached through a Service.
fn is_usable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(is_link_local
        || is_metadata(address)
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified())
}
