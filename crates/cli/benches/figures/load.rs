//! The world the benches run in: a one-node lab with many Services of five endpoints each, 21 of which, evenly spread, have one
//! real backend instead. Backends are sockets on `outside`; the other endpoints' addresses lead nowhere and are never asked.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use ipnet::IpNet;
use kube::Client;
use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};
use serde_json::{Value, json};
use stead_client::write;
use stead_sys::{link::Links, namespace::Namespace};
use tokio::runtime::Runtime;

use crate::lab::Lab;

pub(crate) const SPREAD: usize = 21;
const ENDPOINTS: usize = 5;
const AT_ONCE: usize = 64;
/// Two addresses of `outside`: its own, and one that the bench gives it.
const BACKENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 56, 50), Ipv4Addr::new(192, 168, 56, 51)];

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) node: Namespace,
    pub(crate) size: usize,
    /// Two backends of one port; each answers every connection with its address as text.
    pub(crate) backends: [SocketAddr; 2],
    /// Virtual IPs of the Services with a real backend.
    pub(crate) spread: Vec<SocketAddr>,
}

impl World {
    pub(crate) fn build(size: usize) -> Self {
        println!("\n== building {size} Services × {ENDPOINTS} endpoints");
        let mut lab = Lab::start(1, &[]);
        lab.wait_for("is ready");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let client = runtime.block_on(stead_client::connect(&lab.kubeconfig)).expect("a client");
        let state = lab.state();
        let outside = state.namespace("outside").expect("outside");
        let backends = serve(&outside);
        let node = state.namespace("node1").expect("node1");
        let start = Instant::now();
        let spread = runtime.block_on(fill(&client, size, backends[0]));
        println!("   written in {:.1} s", start.elapsed().as_secs_f64());
        let world = Self { lab, runtime, client, node, size, backends, spread };
        for target in world.spread.clone() {
            let answered =
                world.node.run(|| until_answered(target, Duration::from_secs(120))).expect("the node's network");
            assert!(answered, "{target} does not answer");
        }
        world
    }
}

/// Answers each connection with the address it came to, as a line. The client ends it; the last few are kept for that.
fn serve(host: &Namespace) -> [SocketAddr; 2] {
    let mut links = Links::open_in(host).expect("the host's network");
    let uplink = links.index("eth0").expect("the host's uplink");
    let second = IpNet::new(BACKENDS[1].into(), 24).expect("a prefix length");
    links.add_address(uplink, second).expect("a second address");
    let listener =
        host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("the host's network").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        const KEPT: usize = 64;
        let mut kept = VecDeque::with_capacity(KEPT + 1);
        for mut stream in listener.incoming().flatten() {
            if let Ok(address) = stream.local_addr() {
                reset_at_end(&stream);
                let _ = stream.write_all(format!("{}\n", address.ip()).as_bytes());
                kept.push_back(stream);
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        }
    });
    BACKENDS.map(|address| SocketAddr::new(address.into(), port))
}

async fn fill(client: &Client, size: usize, backend: SocketAddr) -> Vec<SocketAddr> {
    let step = (size / SPREAD).max(1);
    let real = Arc::new((0..SPREAD).map(|place| place * step).collect::<Vec<_>>());
    let created = stream::iter(0..size)
        .map(|number| {
            let (client, real) = (client.clone(), real.clone());
            async move {
                let name = format!("load-{number:06}");
                let is_real = real.contains(&number);
                let endpoints = if is_real { vec![backend] } else { unreachable_endpoints(number) };
                let address = create(&client, &name, &endpoints).await;
                is_real.then_some(address)
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect::<Vec<_>>()
        .await;
    assert_eq!(created.len(), SPREAD.min(size));
    created
}

pub(crate) fn unreachable_endpoints(number: usize) -> Vec<SocketAddr> {
    let address = |place: usize| {
        let host = (number * ENDPOINTS + place) as u32;
        IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 0)) + 0x0002_0000 + host))
    };
    (0..ENDPOINTS).map(|place| SocketAddr::new(address(place), 8080)).collect()
}

/// A Service without selector and its slice. Returns where it is reached.
pub(crate) async fn create(client: &Client, name: &str, endpoints: &[SocketAddr]) -> SocketAddr {
    create_slice(client, name, endpoints).await;
    create_service(client, name).await
}

pub(crate) async fn create_service(client: &Client, name: &str) -> SocketAddr {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}]},
    });
    let service: Value =
        write::create(client, "/api/v1/namespaces/default/services", &service).await.expect("a Service");
    let address = service["spec"]["clusterIP"].as_str().expect("a virtual IP").parse().expect("an address");
    SocketAddr::new(address, 80)
}

pub(crate) async fn create_slice(client: &Client, name: &str, endpoints: &[SocketAddr]) {
    let slice = slice(name, endpoints);
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let _: Value = write::create(client, path, &slice).await.expect("an EndpointSlice");
}

/// Puts other endpoints in the place of a slice's.
pub(crate) async fn set_endpoints(client: &Client, name: &str, endpoints: &[SocketAddr]) {
    let slice = slice(name, endpoints);
    let patch = json!({"endpoints": slice["endpoints"], "ports": slice["ports"]});
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}");
    let _: Value = write::patch_merge(client, &path, &patch).await.expect("a patched EndpointSlice");
}

/// All endpoints of a slice have one port.
pub(crate) fn slice(name: &str, endpoints: &[SocketAddr]) -> Value {
    let addresses: Vec<_> =
        endpoints.iter().map(|endpoint| json!({"addresses": [endpoint.ip().to_string()]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": endpoints.first().map_or(80, SocketAddr::port), "protocol": "TCP"}],
        "endpoints": addresses,
    })
}

/// The address of the backend that answered, as text.
///
/// The connection ends by a reset: neither end keeps it in TIME_WAIT, and the kernel's table of connections does not fill.
pub(crate) fn ask(target: SocketAddr, timeout: Duration) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    reset_at_end(&stream);
    stream.set_read_timeout(Some(timeout))?;
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    match text.pop() {
        Some('\n') => Ok(text),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn reset_at_end(stream: &TcpStream) {
    let at_once = linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, Linger, &at_once).expect("an option of every socket");
}

pub(crate) fn until_answered(target: SocketAddr, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if ask(target, Duration::from_millis(200)).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}
