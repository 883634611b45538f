//! A lab with one node under test, and words to say what its plan is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use stead_dataplane::{Applied, CLEANING_DELAY, DataPlane, Scope};
use stead_model::{Family, Frontend, ObjectKey, Protocol};
use stead_plan::{
    Backend, DetectLocal, FrontendKind, FrontendRule, Lists, MasqueradeAll, Plan, ServicePlan, ServicePortPlan,
    Settings,
};
use stead_sys::{link::Route, namespace::Namespace};
use stead_testbed::{Host, Lab, Layout, POD_RANGES, SERVICE_RANGES, Server};

use crate::limits::{self, Limit};

pub(crate) const POD_PORT: u16 = 8080;

/// Makes the plane under test for a namespace.
pub(crate) type Open = fn(&Namespace) -> Box<dyn DataPlane>;

/// Node 1 is under test; pods are named `pod-NODE-POD`.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) family: Family,
    pub(crate) plan: Plan,
    pub(crate) plane: Box<dyn DataPlane>,
    /// Connections that were deleted after the last change.
    pub(crate) forgotten: usize,
    /// The link of node 1 that packets of its pod 1 come in by.
    pub(crate) pods_link: &'static str,
    /// What the plane cannot do.
    pub(crate) limits: &'static [Limit],
    open: Open,
    servers: Vec<Server>,
}

impl Bench {
    /// Two nodes with two pods each; every pod serves TCP, UDP and SCTP.
    pub(crate) fn new(open: Open, family: Family) -> Self {
        Self::of(open, family, Layout { nodes: 2, pods_per_node: 2 })
    }

    /// The same for a plane that cannot do everything.
    pub(crate) fn limited(open: Open, family: Family, limits: &'static [Limit]) -> Self {
        let mut bench = Self::new(open, family);
        bench.limits = limits;
        bench
    }

    pub(crate) fn lacks(&self, limit: Limit) -> bool {
        self.limits.contains(&limit)
    }

    /// Every pod serves TCP, UDP and SCTP.
    pub(crate) fn of(open: Open, family: Family, layout: Layout) -> Self {
        let lab = Lab::build(layout).unwrap();
        let serve = |pod: &Host| Protocol::ALL.map(|protocol| pod.serve(protocol, POD_PORT).unwrap());
        let servers = lab.pods().flat_map(serve).collect();
        // An INIT is all that a flow of SCTP has here, and is forgotten after three seconds.
        lab.node(1).set_sysctl("netfilter.nf_conntrack_sctp_timeout_cookie_wait", "60").unwrap();
        let settings = Settings {
            service_ranges: SERVICE_RANGES.into(),
            detect_local: DetectLocal::Ranges(POD_RANGES.into()),
            masquerade_all: MasqueradeAll::No,
            own_addresses: vec![lab.node(1).address(family)],
            node_addresses: vec![lab.node(1).address(family)],
        };
        let plane = open(lab.node(1).namespace());
        let plan = Plan { settings, ..Plan::default() };
        Self { lab, family, plan, plane, forgotten: 0, pods_link: "pod1", limits: limits::NONE, open, servers }
    }

    /// Questions that servers have answered.
    pub(crate) fn answered(&self) -> u64 {
        self.servers.iter().map(Server::answered).sum()
    }

    /// A virtual IP of this bench's family.
    pub(crate) fn virtual_ip(&self, number: u8) -> IpAddr {
        match self.family {
            Family::V4 => [10, 96, 0, number].into(),
            Family::V6 => [0xfd56, 0x96, 0, 0, 0, 0, 0, u16::from(number)].into(),
        }
    }

    pub(crate) fn cluster_ip(&self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.virtual_ip(number), port)
    }

    pub(crate) fn node_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.lab.node(1).address(self.family), port)
    }

    pub(crate) fn pod(&self, node: u8, pod: u8) -> &Host {
        self.lab.pod(node, pod)
    }

    pub(crate) fn backend(&self, node: u8, pod: u8) -> Backend {
        let address = SocketAddr::new(self.pod(node, pod).address(self.family), POD_PORT);
        Backend { address, local: node == 1, lists: Lists::Cluster }
    }

    /// A port that virtual IP `number` and maybe a node port lead to these pods.
    pub(crate) fn port(
        &self,
        protocol: Protocol,
        number: u8,
        node_port: Option<u16>,
        pods: &[(u8, u8)],
    ) -> ServicePortPlan {
        let rule = |to: SocketAddr, kind| FrontendRule {
            frontend: Frontend { address: to.ip(), protocol, port: to.port() },
            kind,
        };
        let mut frontends = vec![rule(self.cluster_ip(number, 80), FrontendKind::ClusterIp)];
        frontends.extend(node_port.map(|port| rule(self.node_port(port), FrontendKind::NodePort)));
        frontends.sort_unstable();
        let mut backends = pods.iter().map(|(node, pod)| self.backend(*node, *pod)).collect::<Vec<_>>();
        backends.sort_unstable();
        ServicePortPlan { protocol, frontends, backends, ..ServicePortPlan::default() }
    }

    /// As virtual IP 1 over TCP, while other pods finish what they have.
    pub(crate) fn web_draining(&self, pods: &[(u8, u8)], draining: &[(u8, u8)]) -> ServicePortPlan {
        let draining = draining.iter().map(|(node, pod)| self.backend(*node, *pod)).collect();
        ServicePortPlan { draining, ..self.web(pods) }
    }

    /// Virtual IP 1 over TCP.
    pub(crate) fn web(&self, pods: &[(u8, u8)]) -> ServicePortPlan {
        self.port(Protocol::Tcp, 1, None, pods)
    }

    /// Applies everything with this one Service added or changed.
    pub(crate) fn all(&mut self, name: &str, ports: impl Into<Vec<ServicePortPlan>>) -> Applied {
        self.set(name, ports);
        self.apply(Scope::All)
    }

    /// Applies a change of one Service.
    pub(crate) fn change(&mut self, name: &str, ports: impl Into<Vec<ServicePortPlan>>) -> Applied {
        let key = self.set(name, ports);
        self.apply(Scope::Services(&BTreeSet::from([key])))
    }

    pub(crate) fn delete(&mut self, name: &str) -> Applied {
        let key = ObjectKey::new("default", name);
        self.plan.services.remove(&key);
        self.apply(Scope::Services(&BTreeSet::from([key])))
    }

    /// Applies, and lets the cleaner do its part when the proxy would.
    pub(crate) fn apply(&mut self, scope: Scope<'_>) -> Applied {
        let applied = self.plane.apply(&self.plan, scope).unwrap();
        std::thread::sleep(CLEANING_DELAY);
        self.forgotten = self.plane.cleaner().clean().unwrap();
        applied
    }

    fn set(&mut self, name: &str, ports: impl Into<Vec<ServicePortPlan>>) -> ObjectKey {
        let key = ObjectKey::new("default", name);
        self.plan.services.insert(key.clone(), ServicePlan { ports: ports.into() });
        key
    }

    /// As if the proxy had been killed and started again.
    pub(crate) fn restart(&mut self) {
        self.plane = (self.open)(self.lab.node(1).namespace());
    }

    /// Puts the pods of node 1 behind one bridge, whose packets are routed as before.
    pub(crate) fn bridge_pods(&mut self, name: &'static str) {
        let node = self.lab.node(1);
        let mut links = node.links().unwrap();
        let bridge = links.create_bridge(name).unwrap();
        links.set_up(bridge).unwrap();
        for scope in ["all", name] {
            // A pod that knew a shorter way would go around the node's rules.
            node.set_sysctl(&format!("ipv4.conf.{scope}.send_redirects"), "0").unwrap();
        }
        for pod in 1..=2 {
            let port = links.index(&format!("pod{pod}")).unwrap();
            let is_given = |address: &IpNet| !matches!(address, IpNet::V6(v6) if v6.addr().is_unicast_link_local());
            let addresses = links.addresses().unwrap().into_iter().filter(|address| address.link == port);
            for address in addresses.map(|address| address.address).filter(is_given) {
                links.delete_address(port, address).unwrap();
                // The gateway is the same for all pods.
                let _ = links.add_address(bridge, address);
            }
            links.attach(port, bridge).unwrap();
            // So that a pod meets itself, as it is set up for Kubernetes.
            links.enable_hairpin(port).unwrap();
            let host = self.lab.pod(1, pod);
            host.set_sysctl("ipv6.conf.eth0.accept_redirects", "0").unwrap();
            for family in Family::ALL {
                let to = host.address(family).into();
                links.replace_route(Route { to, via: None, link: Some(bridge) }).unwrap();
            }
        }
        self.pods_link = name;
    }

    /// One more plane on the node, that knows nothing of what this one did.
    pub(crate) fn another_plane(&self) -> Box<dyn DataPlane> {
        self.plane_on(1)
    }

    /// A plane on any of the nodes.
    pub(crate) fn plane_on(&self, node: u8) -> Box<dyn DataPlane> {
        (self.open)(self.lab.node(node).namespace())
    }

    /// Gives a host outside the cluster a way to a virtual IP through node 1.
    pub(crate) fn route_to_virtual_ip(&self, host: &Host, number: u8) {
        self.route_to_virtual_ip_by(host, number, 1);
    }

    pub(crate) fn route_to_virtual_ip_by(&self, host: &Host, number: u8, node: u8) {
        let via = self.lab.node(node).address(self.family);
        let route = Route { to: self.virtual_ip(number).into(), via: Some(via), link: None };
        host.links().unwrap().replace_route(route).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A kernel's state goes with the lab; a process does not.
        if self.lacks(Limit::SourceIsLost) {
            let _ = [1, 2].map(|node| self.plane_on(node).remove());
        }
    }
}

/// Tries until it holds, for a generous while.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not come true in 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}
