//! A client, a node that forwards, and a server with five addresses, each a host of its own, for what a single packet costs:
//!
//! ```text
//! client (16 pods, 16 others) ── node (the proxy) ── server (5 pods)
//! ```
//!
//! Who measures is one thread on one processor and does the client's and the server's part in turn, so that time is processor time.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Value, json};
use stead_client::write;
use stead_sys::{
    link::{Links, Route as Entry, VethEnd},
    namespace::Namespace,
};

use super::{
    proxies::{Proxy, Running},
    world::World,
};

pub(crate) const CLIENTS: u8 = 16;
const SERVERS: u8 = 5;
const SERVICE: &str = "route";
/// The server's ports: it is alone on its host.
const PORT: u16 = 8080;

pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) client: Namespace,
    _server: Namespace,
    _node: Namespace,
    _proxy: Option<Running>,
    /// What the client asks.
    pub(crate) target: SocketAddr,
    pub(crate) listener: TcpListener,
    /// One on each of the server's addresses.
    pub(crate) sockets: Vec<UdpSocket>,
}

/// A client's address: one of a pod, or one that no pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    Other,
}

pub(crate) const fn client_address(kind: Kind, number: u8) -> Ipv4Addr {
    match kind {
        Kind::Pod => Ipv4Addr::new(10, 250, 0, 2 + number),
        Kind::Other => Ipv4Addr::new(172, 20, 0, 2 + number),
    }
}

const fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 251, 0, 2 + number)
}

impl Route {
    /// Directly to a server, through a node that keeps track of connections.
    pub(crate) fn direct(world: &World) -> Self {
        let node = world.host();
        let ends = link(&node.namespace);
        // A rule that asks for connections makes the host track them all; no packet comes by this one.
        let rules = "table ip direct {
            chain output { type filter hook output priority 0
                ct state invalid drop
            }
        }";
        let done = node.namespace.run(|| Command::new("nft").arg(rules).status()).expect("the host's network");
        assert!(done.expect("nft").success(), "nft takes a rule");
        let target = SocketAddr::new(server_address(0).into(), PORT);
        Self::over("direct".to_owned(), node.namespace, None, ends, target)
    }

    /// To a Service of all five servers. `None` where the proxy takes too long to serve.
    pub(crate) fn through(world: &World, proxy: &Proxy) -> Option<Self> {
        let target = service(world);
        let running = proxy.start(world)?;
        running.until_synced(proxy.patience());
        let node = running.host.namespace.try_clone().expect("a descriptor");
        let ends = link(&node);
        Some(Self::over(proxy.name(), node, Some(running), ends, target))
    }

    fn over(
        name: String,
        node: Namespace,
        proxy: Option<Running>,
        (client, server): (Namespace, Namespace),
        target: SocketAddr,
    ) -> Self {
        let open = || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("a listener");
            let socket = |number| {
                let socket = UdpSocket::bind((server_address(number), PORT)).expect("a socket");
                socket.set_nonblocking(true).expect("an option of every socket");
                socket
            };
            (listener, (0..SERVERS).map(socket).collect())
        };
        let (listener, sockets) = server.run(open).expect("the server's network");
        Self { name, client, _server: server, _node: node, _proxy: proxy, target, listener, sockets }
    }
}

/// Has the calling thread run on the machine's last processor alone.
pub(crate) fn pin() {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut set = CpuSet::new();
    set.set(last).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a processor of this machine");
}

/// The Service of the five servers, made when it is first asked for in a world.
fn service(world: &World) -> SocketAddr {
    world.runtime.block_on(async {
        let path = format!("/api/v1/namespaces/default/services/{SERVICE}");
        let known = write::get::<Value>(&world.client, &path).await;
        let service = match known {
            Ok(service) => service,
            Err(_) => create(world).await,
        };
        let address: IpAddr = service["spec"]["clusterIP"].as_str().expect("a virtual IP").parse().expect("an address");
        SocketAddr::new(address, 80)
    })
}

async fn create(world: &World) -> Value {
    let ports = |port: u16| {
        ["TCP", "UDP"].map(|protocol| json!({"name": protocol.to_lowercase(), "port": port, "protocol": protocol}))
    };
    let endpoints: Vec<_> = (0..SERVERS).map(|number| json!({"addresses": [server_address(number)]})).collect();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": "IPv4", "ports": ports(PORT), "endpoints": endpoints,
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let _: Value = write::create(&world.client, slices, &slice).await.expect("an EndpointSlice");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": {"ports": ports(80)},
    });
    write::create(&world.client, "/api/v1/namespaces/default/services", &service).await.expect("a Service")
}

/// A client and a server on links of their own to the node, which forwards between them.
fn link(node: &Namespace) -> (Namespace, Namespace) {
    let (client, server) = (Namespace::create().expect("a namespace"), Namespace::create().expect("a namespace"));
    let clients = (0..CLIENTS).flat_map(|number| [Kind::Pod, Kind::Other].map(|kind| client_address(kind, number)));
    let gateways = [Ipv4Addr::new(10, 250, 0, 1), Ipv4Addr::new(172, 20, 0, 1)];
    join(node, "client0", &gateways, &client, &clients.collect::<Vec<_>>());
    let servers: Vec<_> = (0..SERVERS).map(server_address).collect();
    join(node, "server0", &[Ipv4Addr::new(10, 251, 0, 1)], &server, &servers);
    let set = |path: &str, value: &str| fs::write(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    // `/proc/sys/net` is that of the thread's own namespace.
    node.run(|| set("/proc/sys/net/ipv4/ip_forward", "1")).expect("the node's network");
    client.run(|| set("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")).expect("the client's network");
    (client, server)
}

/// One link between the node and a host, with addresses at both ends, and the host's way to everywhere.
fn join(node: &Namespace, name: &str, gateways: &[Ipv4Addr], host: &Namespace, addresses: &[Ipv4Addr]) {
    let mut outer = Links::open_in(node).expect("the node's network");
    let (near, far) = (VethEnd { name, namespace: None }, VethEnd { name: "eth0", namespace: Some(host) });
    outer.create_veth(near, far).expect("a veth pair");
    let mut inner = Links::open_in(host).expect("the host's network");
    let (near, far) = (outer.index(name).expect("its link"), inner.index("eth0").expect("the uplink"));
    let give = |links: &mut Links, link, address: &Ipv4Addr| {
        links.add_address(link, IpNet::new((*address).into(), 24).expect("a prefix length")).expect("an address");
    };
    gateways.iter().for_each(|address| give(&mut outer, near, address));
    addresses.iter().for_each(|address| give(&mut inner, far, address));
    outer.set_up(near).expect("the link is up");
    inner.set_up(far).expect("the uplink is up");
    let everywhere: IpNet = "0.0.0.0/0".parse().expect("a range");
    let via = gateways.first().map(|gateway| IpAddr::V4(*gateway));
    inner.replace_route(Entry { to: everywhere, via, link: Some(far) }).expect("a route");
}

/// Tries until it succeeds, for ten seconds: links take a moment to come up.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> std::io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "the route does not work: {error}"),
        }
    }
}
