//! A Service proxy in a fresh host of its own on the lab's fabric: ours, or kube-proxy where `KUBE_PROXY` names its program.
//!
//! Both read the lab's API with the same credentials. `KUBE_PROXY_MODE` chooses kube-proxy's mode (nftables).

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use serde_json::{Value, json};
use stead_client::write;
use stead_sys::{
    link::{Links, Route, VethEnd},
    namespace::Namespace,
};

use crate::{
    load::{World, ask},
    stats,
};

const PATIENCE: Duration = Duration::from_secs(240);
/// Of the first host.
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 60);

/// Which proxy.
#[derive(Clone, Debug)]
pub(crate) enum Proxy {
    Stead,
    Kube { program: PathBuf, mode: String },
}

/// A proxy that runs; it ends with this.
pub(crate) struct Running {
    pub(crate) host: Namespace,
    child: Child,
}

impl Proxy {
    /// kube-proxy, if it is at hand.
    pub(crate) fn peer() -> Option<Self> {
        let program = PathBuf::from(env::var_os("KUBE_PROXY")?);
        let mode = env::var("KUBE_PROXY_MODE").unwrap_or_else(|_| "nftables".to_owned());
        Some(Self::Kube { program, mode })
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stead => "stead proxy".to_owned(),
            Self::Kube { mode, .. } => format!("kube-proxy ({mode})"),
        }
    }

    /// A host more on the fabric with this proxy in it, and how long it took from the spawn until every one of the world's spread
    /// Services answered there.
    pub(crate) fn start(&self, world: &World) -> (Running, Duration) {
        static HOST: AtomicU8 = AtomicU8::new(0);
        // The kernel takes a while to bury a host, so each has a name and an address of its own.
        let number = HOST.fetch_add(1, Ordering::Relaxed);
        let (name, address) = (format!("bench{number}"), Ipv4Addr::from(u32::from(FIRST) + u32::from(number)));
        let host = attach(world, &name, address);
        world.runtime.block_on(register(world, &name, address));
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let start = Instant::now();
        let child = self.spawn(world, &host, &name, log.as_file());
        let running = Running { host, child };
        let answered = running.host.run(|| all_answered(&world.spread)).expect("the host's network");
        let took = start.elapsed();
        assert!(answered, "{} does not serve: {}", self.name(), stats::last_words(log.path()));
        (running, took)
    }

    fn spawn(&self, world: &World, host: &Namespace, node: &str, log: &fs::File) -> Child {
        let mut command = match self {
            Self::Stead => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
                command.arg("proxy");
                command
            }
            Self::Kube { program, mode } => {
                let mut command = Command::new(program);
                command.args([&format!("--proxy-mode={mode}"), "--cluster-cidr=10.244.0.0/16"]);
                // The table of connections is the machine's, not the host's: its size stays as it is.
                command.args(["--conntrack-max-per-core=0", "--conntrack-min=0"]);
                command.args(["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"]);
                command
            }
        };
        let kubeconfig = format!("/run/stead/{}/nodes/node1/kubeconfig", world.lab.name);
        command.args(["--hostname-override", node, "--kubeconfig", &kubeconfig]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log.try_clone().expect("a descriptor"));
        host.run(|| command.spawn()).expect("the host's network").expect("the proxy starts")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// kube-proxy asks its Node for the host's address, and starts without some of its work where there is none.
async fn register(world: &World, name: &str, address: Ipv4Addr) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": true}});
    let _: Value = write::create(&world.client, "/api/v1/nodes", &node).await.expect("a Node");
    let status = json!({"addresses": [{"type": "InternalIP", "address": address}]});
    let path = format!("/api/v1/nodes/{name}");
    let _: Value = write::patch_status(&world.client, &path, &status).await.expect("the Node's address");
}

/// A fresh namespace on the lab's fabric, with a route to the service range.
fn attach(world: &World, name: &str, address: Ipv4Addr) -> Namespace {
    let fabric = world.lab.state().namespace("fabric").expect("the fabric");
    let host = Namespace::create().expect("a namespace");
    let mut outer = Links::open_in(&fabric).expect("the fabric's network");
    let (near, far) = (VethEnd { name, namespace: None }, VethEnd { name: "eth0", namespace: Some(&host) });
    outer.create_veth(near, far).expect("a veth pair");
    let (port, bridge) = (outer.index(name).expect("its port"), outer.index("fabric0").expect("the bridge"));
    outer.attach(port, bridge).expect("a port of the bridge");
    outer.set_up(port).expect("the port is up");
    let mut inner = Links::open_in(&host).expect("the host's network");
    let uplink = inner.index("eth0").expect("the uplink");
    inner.add_address(uplink, IpNet::new(address.into(), 24).expect("a prefix length")).expect("an address");
    inner.set_up(uplink).expect("the uplink is up");
    let services: IpNet = "10.96.0.0/16".parse().expect("a range");
    inner.replace_route(Route { to: services, via: None, link: Some(uplink) }).expect("a route");
    host
}

fn all_answered(targets: &[SocketAddr]) -> bool {
    /// A request that was sent before the rules were there is lost; the next one tells, so this is how exact the figure is.
    const TIMEOUT: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + PATIENCE;
    targets.iter().all(|target| {
        while ask(*target, TIMEOUT).is_err() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        true
    })
}
