//! One Service as this node wants it: its frontends, and the endpoints that may get traffic.
//!
//! Looks at one Service alone. Who gets a frontend that two Services claim is [`Planner`](crate::Planner)'s.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use stead_api::service_snapshot::{
    EndpointView, ServicePortView, ServiceSnapshot, ServiceType, ServiceView, SliceView, TrafficPolicy,
};
use stead_model::{Family, Frontend, ObjectKey, Protocol, is_metadata};

use crate::{
    problem::{Cause, Problem, Unhonoured},
    table::{Backend, FrontendKind, FrontendRule, MAX_BACKENDS, ServicePlan, ServicePortPlan, Settings},
};

/// The node that is planned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContext {
    /// The name that `endpoints[].nodeName` has for endpoints on this node.
    pub node: Box<str>,
    pub settings: Settings,
}

/// Plans one Service as if it were alone. A Service that is not there, headless, an alias, or another proxy's has no ports.
pub fn plan_service(snapshot: &ServiceSnapshot, context: &NodeContext, key: &ObjectKey) -> (ServicePlan, Vec<Problem>) {
    let Some(service) = snapshot.service(key).filter(|service| is_proxied(service)) else {
        return (ServicePlan::default(), Vec::new());
    };
    let mut draft = Draft { context, service, causes: Vec::new(), frontends: HashSet::new() };
    let slices: Vec<_> =
        snapshot.slices_of(key).iter().map(|slice| &**slice).filter(|slice| !slice.is_headless).collect();
    draft.collect_view_problems(&slices);
    let access = draft.access();
    let mut ports = Vec::with_capacity(service.ports.len());
    for port in &service.ports {
        for family in Family::ALL {
            let frontends = draft.frontends(port, family, &access);
            if !frontends.is_empty() {
                let backends = draft.backends(&slices, port, family);
                let draining = draft.draining(&slices, port, family, &backends);
                ports.push(ServicePortPlan {
                    name: port.name.clone(),
                    protocol: port.protocol,
                    frontends,
                    backends,
                    draining,
                    affinity: service.affinity,
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
    frontends: HashSet<Frontend>,
}

/// Where a Service may be reached.
struct Access {
    cluster_ips: Vec<IpAddr>,
    node_ports: bool,
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

    /// What of the Service is served at all, given what plans cannot carry out yet.
    fn access(&mut self) -> Access {
        let service = self.service;
        let mut access = Access {
            cluster_ips: Vec::with_capacity(service.cluster_ips.len()),
            node_ports: matches!(service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer),
        };
        if service.internal_policy == TrafficPolicy::Local {
            self.causes.push(Cause::NotHonoured(Unhonoured::InternalPolicyLocal));
        } else {
            for address in service.cluster_ips.iter().copied() {
                if is_usable(address) {
                    access.cluster_ips.push(address);
                } else {
                    self.causes.push(Cause::ClusterIp { address });
                }
            }
        }
        if access.node_ports && service.external_policy == TrafficPolicy::Local {
            access.node_ports = false;
            self.causes.push(Cause::NotHonoured(Unhonoured::ExternalPolicyLocal));
        }
        if access.node_ports && service.has_source_ranges {
            access.node_ports = false;
            self.causes.push(Cause::NotHonoured(Unhonoured::SourceRanges));
        }
        if service.has_external_ips {
            self.causes.push(Cause::NotHonoured(Unhonoured::ExternalIps));
        }
        access
    }

    /// The frontends of one port in one family, ascending; node ports answer in the families of the Service.
    fn frontends(&mut self, port: &ServicePortView, family: Family, access: &Access) -> Vec<FrontendRule> {
        let has_family = self.service.cluster_ips.iter().any(|address| Family::of(*address) == family);
        if !has_family {
            return Vec::new();
        }
        let cluster_ips = access.cluster_ips.iter().map(|address| (*address, port.port, FrontendKind::ClusterIp));
        let node_port = port.node_port.filter(|_| access.node_ports);
        let node_ports = node_port.iter().flat_map(|number| {
            let addresses = &self.context.settings.node_addresses;
            addresses.iter().map(|address| (*address, number.get(), FrontendKind::NodePort))
        });
        let mut rules = Vec::with_capacity(1);
        for (address, number, kind) in cluster_ips.chain(node_ports) {
            if Family::of(address) != family {
                continue;
            }
            let frontend = Frontend { address, protocol: port.protocol, port: number };
            if self.frontends.insert(frontend) {
                rules.push(FrontendRule { frontend, kind });
            } else {
                self.causes.push(Cause::Repeated { frontend });
            }
        }
        rules.sort_unstable();
        rules
    }

    /// The endpoints that get traffic: all that are ready; where none is, those that still serve while they terminate.
    fn backends(&mut self, slices: &[&SliceView], port: &ServicePortView, family: Family) -> Vec<Backend> {
        let node = &*self.context.node;
        let mut backends = collect(slices, port, family, node, EndpointView::is_ready);
        if backends.is_empty() {
            let is_leaving = |endpoint: &EndpointView| endpoint.is_serving() && endpoint.is_terminating();
            backends = collect(slices, port, family, node, is_leaving);
        }
        if backends.len() > MAX_BACKENDS {
            self.causes.push(Cause::TooManyEndpoints { port: port.name.clone(), count: backends.len() });
            backends.truncate(MAX_BACKENDS);
        }
        backends
    }

    /// Endpoints besides `backends` whose connections go on. A pod that is there, though not ready, may still finish what it began; a
    /// flow of datagrams has no end of its own, so it stays only where the pod says that it still serves.
    fn draining(
        &self,
        slices: &[&SliceView],
        port: &ServicePortView,
        family: Family,
        backends: &[Backend],
    ) -> Vec<SocketAddr> {
        let goes_on =
            |endpoint: &EndpointView| !endpoint.is_ready() && (port.protocol != Protocol::Udp || endpoint.is_serving());
        let mut endpoints = collect(slices, port, family, &self.context.node, goes_on);
        endpoints.retain(|endpoint| backends.binary_search_by_key(&endpoint.address, |own| own.address).is_err());
        endpoints.truncate(MAX_BACKENDS);
        endpoints.into_iter().map(|endpoint| endpoint.address).collect()
    }
}

fn collect(
    slices: &[&SliceView],
    port: &ServicePortView,
    family: Family,
    node: &str,
    is_wanted: impl Fn(&EndpointView) -> bool,
) -> Vec<Backend> {
    let mut backends = Vec::new();
    for slice in slices.iter().filter(|slice| slice.family == Some(family)) {
        for target in slice.ports.iter().filter(|target| target.name == port.name && target.protocol == port.protocol) {
            let wanted = slice.endpoints.iter().filter(|endpoint| is_wanted(endpoint) && is_usable(endpoint.address));
            backends.reserve(wanted.clone().count());
            backends.extend(wanted.map(|endpoint| Backend {
                address: SocketAddr::new(endpoint.address, target.port),
                local: slice.node_of(endpoint) == Some(node),
            }));
        }
    }
    // Two slices may name one endpoint while it moves between them; it is local if either says so.
    backends.sort_unstable_by_key(|backend| (backend.address, !backend.local));
    backends.dedup_by_key(|backend| backend.address);
    backends.shrink_to_fit();
    backends
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
