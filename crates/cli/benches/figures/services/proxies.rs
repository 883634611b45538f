//! A Service proxy on a host of its own: ours, or kube-proxy where `KUBE_PROXY` names its program, in the modes that `KUBE_PROXY_MODE`
//! names (`nftables,iptables`).
//!
//! All read the same API with the same credentials.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stead_client::write;
use tempfile::NamedTempFile;

use super::{
    asking::ask,
    world::{Host, PODS, World},
};
use crate::stats;

/// Which proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Stead,
    Kube { program: PathBuf, mode: String },
}

/// A proxy that runs; it ends with this.
pub(crate) struct Running {
    pub(crate) host: Host,
    child: Child,
    log: NamedTempFile,
}

impl Proxy {
    /// Ours, unless `STEAD_BENCH_OURS` is `0`.
    pub(crate) fn ours() -> Option<Self> {
        (env::var("STEAD_BENCH_OURS").as_deref() != Ok("0")).then_some(Self::Stead)
    }

    /// kube-proxy in each mode, if it is at hand.
    pub(crate) fn peers() -> Vec<Self> {
        let Some(program) = env::var_os("KUBE_PROXY").map(PathBuf::from) else { return Vec::new() };
        let modes = env::var("KUBE_PROXY_MODE").unwrap_or_else(|_| "nftables,iptables".to_owned());
        let modes = modes.split(',').filter(|mode| !mode.is_empty());
        modes.map(|mode| Self::Kube { program: program.clone(), mode: mode.to_owned() }).collect()
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stead => "stead".to_owned(),
            Self::Kube { mode, .. } => format!("kube-proxy {mode}"),
        }
    }

    /// How long it may take to serve: a peer that needs more is said to need more than this. `STEAD_BENCH_PATIENCE` in seconds (60).
    pub(crate) fn patience(&self) -> Duration {
        let of_peers = env::var("STEAD_BENCH_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
        match self {
            Self::Stead => Duration::from_secs(60),
            Self::Kube { .. } => Duration::from_secs(of_peers),
        }
    }

    /// A host more, and this proxy on it once every one of the world's spread Services answers there. `None` where that takes too long.
    pub(crate) fn start(&self, world: &World) -> Option<Running> {
        let (running, took) = self.start_on(world, world.host());
        took.map(|_| running)
    }

    /// The same on a host that is there, with how long it took from the spawn.
    pub(crate) fn start_on(&self, world: &World, host: Host) -> (Running, Option<Duration>) {
        world.runtime.block_on(register(world, &host));
        let start = Instant::now();
        let mut running = self.spawn(world, host);
        let answered = running.host.namespace.run(|| all_answered(&world.spread, start + self.patience()));
        let took = answered.expect("the host's network").then(|| start.elapsed());
        let ended = running.child.try_wait().expect("a child");
        assert!(ended.is_none(), "{} ended: {}", self.name(), running.last_words());
        assert!(took.is_some() || *self != Self::Stead, "{} does not serve: {}", self.name(), running.last_words());
        (running, took)
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn spawn(&self, world: &World, host: Host) -> Running {
        let mut command = match self {
            Self::Stead => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
                command.arg("proxy");
                command
            }
            Self::Kube { program, mode } => {
                let mut command = Command::new(program);
                command.arg(format!("--proxy-mode={mode}"));
                command
            }
        };
        command.arg(format!("--cluster-cidr={PODS}"));
        // The table of connections is the machine's, not the host's: its size stays as it is.
        command.args(["--conntrack-max-per-core=0", "--conntrack-min=0"]);
        command.args(["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"]);
        command.args(["--hostname-override", &host.name]).arg("--kubeconfig").arg(world.kubeconfig());
        let log = NamedTempFile::new().expect("a temporary file");
        let words = || log.as_file().try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(words()).stderr(words());
        let child = host.namespace.run(|| command.spawn()).expect("the host's network").expect("the proxy starts");
        Running { host, child, log }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it; its host stays.
    pub(crate) fn kill(mut self) -> Host {
        self.end();
        let (name, address) = (self.host.name.clone(), self.host.address);
        Host { namespace: self.host.namespace.try_clone().expect("a descriptor"), name, address }
    }

    /// Until it says that it has programmed everything.
    pub(crate) fn until_synced(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let synced = || self.host.namespace.run(is_synced).expect("the host's network");
        while !synced() {
            assert!(Instant::now() < deadline, "no sync: {}", self.last_words());
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn last_words(&self) -> String {
        stats::last_words(self.log.path())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the proxy of this host has synced at least once, by its metrics.
fn is_synced() -> bool {
    const METRIC: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
    let address = SocketAddr::from(([127, 0, 0, 1], 10_249));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut text = String::new();
    let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if asked.is_err() || stream.read_to_string(&mut text).is_err() {
        return false;
    }
    let values = text.lines().filter(|line| line.starts_with(METRIC)).filter_map(|line| line.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<f64>().ok()).any(|value| value > 0.0)
}

/// kube-proxy asks its Node for the host's address, and starts without some of its work where there is none.
async fn register(world: &World, host: &Host) {
    let name = &host.name;
    let path = format!("/api/v1/nodes/{name}");
    if write::get::<Value>(&world.client, &path).await.is_ok() {
        return;
    }
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": true}});
    let _: Value = write::create(&world.client, "/api/v1/nodes", &node).await.expect("a Node");
    let status = json!({"addresses": [{"type": "InternalIP", "address": host.address}]});
    let _: Value = write::patch_status(&world.client, &path, &status).await.expect("the Node's address");
}

fn all_answered(targets: &[SocketAddr], deadline: Instant) -> bool {
    /// A request that was sent before the rules were there is lost; the next one tells, so this is how exact the figure is.
    const TIMEOUT: Duration = Duration::from_millis(5);
    targets.iter().all(|target| {
        while ask(*target, TIMEOUT).is_err() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_micros(500));
        }
        true
    })
}
