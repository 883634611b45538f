//! A server under load: its processes, its data in a directory of its own, and what it uses.

mod kube;
mod stead;

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use ipnet::IpNet;
use stead_apiserver::{pki::Pki, tls};
use stead_sys::{link::Links, namespace::Namespace};
use tempfile::TempDir;

use super::client::{self, Target};
use crate::stats;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// No server may tell nodes that it is on loopback.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 57, 1);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Stead,
    Kube { apiserver: PathBuf, etcd: PathBuf },
}

pub(crate) struct Subject {
    kind: Kind,
    directory: TempDir,
    pub(crate) target: Target,
    /// The store before the server.
    processes: Vec<Process>,
}

/// Ends with this.
struct Process(Child);

impl Kind {
    /// kube-apiserver and etcd, if both are at hand.
    pub(crate) fn peer() -> Option<Self> {
        Some(Self::Kube { apiserver: env::var_os("KUBE_APISERVER")?.into(), etcd: env::var_os("ETCD")?.into() })
    }
}

impl Subject {
    /// A server with an empty store that is ready and has its first namespace.
    pub(crate) fn start(kind: Kind) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        // Where `stead server` looks for it.
        let pki = Pki::load_or_create(&directory.path().join("pki")).expect("a certificate authority");
        let admin = pki.issue_client("bench", &["system:masters"]).expect("a certificate");
        let tls = tls::client_config(pki.ca_pem(), &admin).expect("usable certificates");
        let target = Target { address: free_address(), tls };
        if matches!(kind, Kind::Kube { .. }) {
            kube::prepare(directory.path(), &pki);
        }
        let mut subject = Self { kind, directory, target, processes: Vec::new() };
        subject.spawn();
        client::runtime().block_on(async {
            subject.until(|(status, body)| status == StatusCode::OK && body == b"ok", "/readyz").await;
            subject.until(|(status, _)| status == StatusCode::OK, "/api/v1/namespaces/default").await;
        });
        subject
    }

    /// Ends the server and starts it on the same store; from the spawn to the answer of `/readyz`.
    pub(crate) fn restart(&mut self) -> Duration {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
        let start = Instant::now();
        self.spawn();
        client::runtime().block_on(self.until(|(status, body)| status == StatusCode::OK && body == b"ok", "/readyz"));
        start.elapsed()
    }

    /// User and system time of its processes so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes.iter().map(|process| stats::cpu_of(process.0.id())).sum()
    }

    /// Proportional set size of its processes, in KiB.
    pub(crate) fn pss(&self) -> u64 {
        self.processes.iter().filter_map(|process| stats::pss_of(process.0.id())).sum()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Stead => "stead",
            Kind::Kube { .. } => "kube-apiserver + etcd",
        }
    }

    fn spawn(&mut self) {
        let directory = self.directory.path();
        self.processes = match &self.kind {
            Kind::Stead => vec![stead::spawn(directory, self.target.address)],
            Kind::Kube { apiserver, etcd } => kube::spawn(directory, apiserver, etcd, self.target.address),
        };
    }

    fn last_words(&self) -> String {
        let logs = ["stead.log", "etcd.log", "kube-apiserver.log"].map(|name| self.directory.path().join(name));
        logs.iter().filter(|log| log.exists()).map(|log| stats::last_words(log)).collect()
    }

    async fn until(&self, is_it: impl Fn((StatusCode, &[u8])) -> bool, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(mut connection) = self.target.connect().await
                && let Ok((status, body)) = connection.send(Method::GET, path, Bytes::new()).await
                && is_it((status, &body))
            {
                return;
            }
            assert!(Instant::now() < deadline, "{path} is not well: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Process {
    /// Its words go to `NAME.log` in the directory.
    fn spawn(mut command: Command, directory: &Path, name: &str) -> Self {
        let log = File::options().append(true).create(true).open(directory.join(format!("{name}.log"))).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        // kube-apiserver may wait for minutes for what is under way in it.
        let deadline = Instant::now() + GRACE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace with [`ADDRESS`]. Everything else here must be called in it.
pub(crate) fn host() -> Namespace {
    let host = Namespace::create().expect("a namespace");
    let mut links = Links::open_in(&host).expect("the host's network");
    let loopback = links.index("lo").expect("loopback");
    links.add_address(loopback, IpNet::new(ADDRESS.into(), 32).expect("a prefix length")).expect("an address");
    host
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((ADDRESS, 0)).expect("a socket");
    listener.local_addr().expect("an address")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
}
