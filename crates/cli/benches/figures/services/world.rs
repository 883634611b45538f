//! The world of these benches: a fabric with `stead server` on it, a host with two backends, and as many Services as the size says. Of
//! these 21, evenly spread, have one real backend; the addresses of all other endpoints lead nowhere and are never asked.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use ipnet::IpNet;
use kube::Client;
use stead_sys::{
    link::{Links, Route, VethEnd},
    namespace::Namespace,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{asking, objects, size::Size};
use crate::stats;

pub(crate) const SPREAD: usize = 21;
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 1);
const BACKENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 56, 50), Ipv4Addr::new(192, 168, 56, 51)];
/// Of the first host.
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 60);
/// What virtual IPs come from: a million of them.
const SERVICES: &str = "10.96.0.0/12";
/// What pods' addresses are said to come from.
pub(crate) const PODS: &str = "10.240.0.0/12";
const BRIDGE: &str = "fabric0";

pub(crate) struct World {
    fabric: Namespace,
    server: Child,
    directory: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) size: Size,
    /// Two backends of one port; each answers every connection with its address as text.
    pub(crate) backends: [SocketAddr; 2],
    /// Virtual IPs of the Services with a real backend.
    pub(crate) spread: Vec<SocketAddr>,
}

/// A host on the fabric.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

impl World {
    /// Around the calling thread's namespace, which is to be a [`fabric`].
    pub(crate) fn build(size: Size) -> Self {
        println!("\n== {} Services × {} endpoints", size.services, size.endpoints);
        let fabric = Namespace::current().expect("a namespace");
        let outside = Namespace::create().expect("a namespace");
        attach(&fabric, "outside", &outside, &BACKENDS);
        let port = asking::serve(&outside);
        let backends = BACKENDS.map(|address| SocketAddr::new(address.into(), port));

        let directory = TempDir::new().expect("a temporary directory");
        let server = serve(&directory);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let client = runtime.block_on(client(&directory));
        let start = Instant::now();
        let spread = runtime.block_on(fill(&client, size, backends[0]));
        println!("   written in {:.1} s", start.elapsed().as_secs_f64());
        Self { fabric, server, directory, runtime, client, size, backends, spread }
    }

    /// One more host, with a route to the service range.
    pub(crate) fn host(&self) -> Host {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        // The kernel takes a while to bury a host, so each has a name and an address of its own.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (name, address) = (format!("bench{number}"), Ipv4Addr::from(u32::from(FIRST) + u32::from(number)));
        let namespace = Namespace::create().expect("a namespace");
        attach(&self.fabric, &name, &namespace, &[address]);
        let mut links = Links::open_in(&namespace).expect("the host's network");
        let uplink = links.index("eth0").expect("the uplink");
        let services: IpNet = SERVICES.parse().expect("a range");
        links.replace_route(Route { to: services, via: None, link: Some(uplink) }).expect("a route");
        Host { namespace, name, address }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.directory)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn kubeconfig(directory: &TempDir) -> PathBuf {
    directory.path().join("admin.kubeconfig")
}

/// A namespace with a bridge that hosts hang on, and the server's address.
pub(crate) fn fabric() -> Namespace {
    let fabric = Namespace::create().expect("a namespace");
    let mut links = Links::open_in(&fabric).expect("the fabric's network");
    let bridge = links.create_bridge(BRIDGE).expect("a bridge");
    links.add_address(bridge, IpNet::new(SERVER.into(), 24).expect("a prefix length")).expect("an address");
    links.set_up(bridge).expect("the bridge is up");
    fabric
}

/// Gives a host its link `eth0`; the other end of it on the fabric's bridge has the host's name.
fn attach(fabric: &Namespace, name: &str, host: &Namespace, addresses: &[Ipv4Addr]) {
    let mut outer = Links::open_in(fabric).expect("the fabric's network");
    let (near, far) = (VethEnd { name, namespace: None }, VethEnd { name: "eth0", namespace: Some(host) });
    outer.create_veth(near, far).expect("a veth pair");
    let (port, bridge) = (outer.index(name).expect("its port"), outer.index(BRIDGE).expect("the bridge"));
    outer.attach(port, bridge).expect("a port of the bridge");
    outer.set_up(port).expect("the port is up");
    let mut inner = Links::open_in(host).expect("the host's network");
    let uplink = inner.index("eth0").expect("the uplink");
    for address in addresses {
        inner.add_address(uplink, IpNet::new((*address).into(), 24).expect("a prefix length")).expect("an address");
    }
    inner.set_up(uplink).expect("the uplink is up");
}

fn serve(directory: &TempDir) -> Child {
    let log = File::create(directory.path().join("server.log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
    command.args(["server", "--listen", &format!("{SERVER}:6443"), "--service-cluster-ip-range", SERVICES]);
    command.arg("--data").arg(directory.path());
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    command.spawn().expect("the server starts")
}

/// A client, once the server answers it.
async fn client(directory: &TempDir) -> Client {
    let (deadline, path) = (Instant::now() + PATIENCE, kubeconfig(directory));
    loop {
        if let Ok(client) = stead_client::connect(&path).await
            && stead_client::write::get::<serde_json::Value>(&client, "/api/v1/namespaces/default").await.is_ok()
        {
            return client;
        }
        assert!(
            Instant::now() < deadline,
            "the server does not answer: {}",
            stats::last_words(&directory.path().join("server.log"))
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fill(client: &Client, size: Size, backend: SocketAddr) -> Vec<SocketAddr> {
    let step = (size.services / SPREAD).max(1);
    let real = Arc::new((0..SPREAD).map(|place| place * step).collect::<Vec<_>>());
    let created = stream::iter(0..size.services)
        .map(|number| {
            let (client, real) = (client.clone(), real.clone());
            async move {
                let is_real = real.contains(&number);
                let endpoints = if is_real { vec![backend] } else { nowhere(number, size.endpoints) };
                let address = objects::create(&client, &name(number), &endpoints).await;
                is_real.then_some(address)
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect::<Vec<_>>()
        .await;
    assert_eq!(created.len(), SPREAD.min(size.services));
    created
}

/// Of the Services that the world is filled with.
pub(crate) fn name(number: usize) -> String {
    format!("load-{number:06}")
}

/// Endpoints that lead nowhere.
pub(crate) fn nowhere(number: usize, count: usize) -> Vec<SocketAddr> {
    let address = |place: usize| {
        let host = (number * count + place) as u32;
        IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 242, 0, 0)) + host))
    };
    (0..count).map(|place| SocketAddr::new(address(place), 8080)).collect()
}
