//! Cold start of the proxy: from its spawn in a namespace with empty tables to every one of the spread Services answering there.
//! With `KUBE_PROXY` set, kube-proxy in nftables mode does the same in turn, and the ratio is printed.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use stead_sys::{
    link::{Links, Route, VethEnd},
    namespace::Namespace,
};

use crate::{
    load::{World, ask},
    stats,
};

const RUNS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
/// Of the first run's host.
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 60);

pub(crate) fn run(world: &World) {
    println!(
        "\n== proxy cold start at {} Services × 5: spawn to all {} answering (figure: ≤ 0.3 s)",
        world.size,
        world.spread.len()
    );
    let peer = std::env::var_os("KUBE_PROXY").map(PathBuf::from);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(start(world, Path::new(env!("CARGO_BIN_EXE_stead")), &["proxy", "--hostname-override", "cold"]));
        if let Some(peer) = peer.as_deref().filter(|_| theirs.len() < 3) {
            let flags = ["--proxy-mode=nftables", "--hostname-override=cold", "--cluster-cidr=10.244.0.0/16"];
            theirs.push(start(world, peer, &flags));
        }
    }
    println!("   stead proxy        {}", stats::spread(ours.clone()));
    if theirs.is_empty() {
        println!("   kube-proxy         not run: KUBE_PROXY does not name its program");
        return;
    }
    let ratio = stats::median(theirs.clone()).as_secs_f64() / stats::median(ours).as_secs_f64();
    println!("   kube-proxy         {}\n   ratio of medians   {ratio:.1}", stats::spread(theirs));
}

/// One host more on the fabric, a proxy in it, and the time until it serves.
fn start(world: &World, program: &Path, arguments: &[&str]) -> Duration {
    static RUN: AtomicU8 = AtomicU8::new(0);
    let host = attach(world, RUN.fetch_add(1, Ordering::Relaxed));
    let kubeconfig = format!("/run/stead/{}/nodes/node1/kubeconfig", world.lab.name);
    let log = fs::File::create("/dev/null").expect("/dev/null");
    let start = Instant::now();
    let mut proxy = spawn(&host, program, arguments, &kubeconfig, log);
    let targets = world.spread.clone();
    let answered = host.run(|| all_answered(&targets)).expect("the host's network");
    let took = start.elapsed();
    proxy.kill().expect("the proxy runs");
    proxy.wait().expect("the proxy ends");
    assert!(answered, "{} did not serve within {PATIENCE:?}", program.display());
    took
}

fn spawn(host: &Namespace, program: &Path, arguments: &[&str], kubeconfig: &str, log: fs::File) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).args(["--kubeconfig", kubeconfig]).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
    host.run(|| command.spawn()).expect("the host's network").expect("the proxy starts")
}

fn all_answered(targets: &[SocketAddr]) -> bool {
    let deadline = Instant::now() + PATIENCE;
    targets.iter().all(|target| {
        while ask(*target, Duration::from_millis(50)).is_err() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        true
    })
}

/// A fresh namespace on the lab's fabric, with a route to the service range.
fn attach(world: &World, run: u8) -> Namespace {
    // The kernel takes a while to bury the last run's host, so each run has a name and an address of its own.
    let (name, address) = (format!("cold{run}"), Ipv4Addr::from(u32::from(FIRST) + u32::from(run)));
    let fabric = world.lab.state().namespace("fabric").expect("the fabric");
    let host = Namespace::create().expect("a namespace");
    let mut outer = Links::open_in(&fabric).expect("the fabric's network");
    let (near, far) = (VethEnd { name: &name, namespace: None }, VethEnd { name: "eth0", namespace: Some(&host) });
    outer.create_veth(near, far).expect("a veth pair");
    let (port, bridge) = (outer.index(&name).expect("its port"), outer.index("fabric0").expect("the bridge"));
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
