//! One more machine on a lab's fabric, with nothing of ours on it but what a test starts there: Service proxies, ours and kube-proxy.
//!
//! Its one Service has no selector; three addresses of `outside` are its endpoints, of which a test says who is ready. Who is not still
//! serves while it terminates, so that no connection has a reason to fail.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use ipnet::IpNet;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use stead_sys::{
    link::{Links, Route, VethEnd},
    namespace::Namespace,
};

use crate::{
    lab::{Lab, eventually, ok},
    load::Load,
    proxy::has_synced,
};

pub(crate) const NAME: &str = "machine";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 60);
/// Addresses of `outside`; the first is its own.
const BACKENDS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 168, 56, 50), Ipv4Addr::new(192, 168, 56, 51), Ipv4Addr::new(192, 168, 56, 52)];
/// New connections to the virtual IP and to the node port; a thousand together.
const PER_SECOND: u32 = 500;

/// A lab, and the machine on its fabric.
pub(crate) struct Machine {
    pub(crate) lab: Lab,
    pub(crate) host: Namespace,
    pub(crate) virtual_ip: SocketAddr,
    pub(crate) node_port: SocketAddr,
    port: u16,
}

/// A proxy on the machine. It ends with this, and with the thread that started it.
pub(crate) struct Proxy {
    child: Child,
    /// Of its metrics.
    port: u16,
    host: Namespace,
    log: PathBuf,
}

impl Machine {
    pub(crate) fn up(purpose: &str) -> Self {
        let lab = Lab::up(purpose, 1);
        let host = attach(&lab.namespace("fabric"));
        let node =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}, "spec": {"unschedulable": true}});
        ok("a Node", lab.kubectl_words(&["create", "-f", "-"], &node.to_string()));
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": ADDRESS}]}}).to_string();
        ok("its address", lab.kubectl_words(&["patch", "node", NAME, "--subresource=status", "-p", &status], ""));
        let port = serve(&lab.namespace("outside"));
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        });
        ok("a Service", lab.kubectl_words(&["create", "-f", "-"], &service.to_string()));
        let field = |path: &str| lab.kubectl_ok(&format!("get svc web -o jsonpath={{.spec.{path}}}"));
        let virtual_ip = format!("{}:80", field("clusterIP")).parse().unwrap();
        let node_port = format!("{ADDRESS}:{}", field("ports[0].nodePort")).parse().unwrap();
        let machine = Self { lab, host, virtual_ip, node_port, port };
        machine.set_ready(&[0, 1, 2]);
        machine
    }

    /// Says which of the endpoints are ready; the others serve while they terminate.
    pub(crate) fn set_ready(&self, ready: &[usize]) {
        let endpoint = |(number, address): (usize, &Ipv4Addr)| {
            let is_ready = ready.contains(&number);
            let conditions = json!({"ready": is_ready, "serving": true, "terminating": !is_ready});
            json!({"addresses": [address], "conditions": conditions})
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": self.port, "protocol": "TCP"}],
            "endpoints": BACKENDS.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
        });
        ok("a slice", self.lab.kubectl_words(&["apply", "-f", "-"], &slice.to_string()));
    }

    /// Starts a Stead proxy with these flags besides.
    pub(crate) fn stead(&self, flags: &[&str]) -> Proxy {
        let port = flags.iter().find_map(|flag| flag.strip_prefix("--metrics-bind-address=127.0.0.1:"));
        let port = port.map_or(10249, |port| port.parse().unwrap());
        self.start(Path::new(env!("CARGO_BIN_EXE_stead")), &[&["proxy"], flags].concat(), port)
    }

    pub(crate) fn kube_proxy(&self, program: &Path, mode: &str) -> Proxy {
        let mode = format!("--proxy-mode={mode}");
        // The table of connections is the machine's that the test runs on: its size stays as it is.
        self.start(program, &[&mode, "--conntrack-max-per-core=0", "--conntrack-min=0"], 10249)
    }

    /// What `stead proxy` with these flags says when it has ended.
    pub(crate) fn stead_proxy(&self, flags: &[&str]) -> Output {
        let mut command = crate::lab::stead();
        command.arg("proxy").args(flags).args(self.cluster());
        self.host.run(|| command.output()).unwrap().unwrap()
    }

    fn cluster(&self) -> [String; 6] {
        let kubeconfig = format!("--kubeconfig=/run/stead/{}/nodes/node1/kubeconfig", self.lab.name);
        let timeouts = ["established", "close-wait"].map(|name| format!("--conntrack-tcp-timeout-{name}=0"));
        let [established, close_wait] = timeouts;
        let size = "--conntrack-max-per-core=0".to_owned();
        let name = format!("--hostname-override={NAME}");
        [kubeconfig, name, "--cluster-cidr=10.244.0.0/16".to_owned(), size, established, close_wait]
    }

    fn start(&self, program: &Path, flags: &[&str], port: u16) -> Proxy {
        let log = self.lab.directory.path().join(program.file_name().unwrap());
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        // The namespace is entered by the process itself: it ends with the thread that started it, and that is the test's.
        let namespace = format!("--net=/proc/{}/fd/{}", std::process::id(), self.host.as_fd().as_raw_fd());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", &namespace]).arg(program).args(flags).args(self.cluster());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Proxy { child: command.spawn().unwrap(), port, host: self.host.try_clone().unwrap(), log }
    }

    /// Connections to the virtual IP from the machine itself, and to its node port from another.
    pub(crate) fn load(&self) -> [Load; 2] {
        let near = Load::start_in(self.host.try_clone().unwrap(), self.virtual_ip, PER_SECOND);
        [near, Load::start_in(self.lab.namespace("node1"), self.node_port, PER_SECOND)]
    }

    /// Waits until everything is served, from both sides.
    pub(crate) fn until_served(&self) {
        let hosts = [(self.host.try_clone().unwrap(), self.virtual_ip), (self.lab.namespace("node1"), self.node_port)];
        for (host, target) in hosts {
            eventually("the Service to answer", || host.run(|| crate::load::ask(target)).unwrap().ok());
        }
    }
}

/// Ends connections from both sides, none of which may have failed.
pub(crate) fn assert_none_failed(loads: [Load; 2]) {
    for (load, from) in loads.into_iter().zip(["the machine", "another machine"]) {
        load.stop().assert_none_failed(from, PER_SECOND);
    }
}

/// Waits until so many more connections were asked for on both sides.
pub(crate) fn go_on(loads: &[Load; 2], more: usize) {
    let before = loads.each_ref().map(Load::asked);
    let have_gone_on = || loads.iter().zip(before).all(|(load, before)| load.asked() > before + more);
    eventually("connections to go on", || have_gone_on().then_some(()));
}

impl Proxy {
    /// Waits until it has programmed everything.
    pub(crate) fn until_synced(&mut self) {
        eventually("the proxy to have programmed everything", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the proxy ended with {status}: {}", fs::read_to_string(&self.log).unwrap());
            }
            has_synced(&self.host, self.port).then_some(())
        });
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does.
    pub(crate) fn end(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fresh namespace on the fabric, with a route to the service range.
fn attach(fabric: &Namespace) -> Namespace {
    let host = Namespace::create().unwrap();
    let mut outer = Links::open_in(fabric).unwrap();
    let (near, far) = (VethEnd { name: NAME, namespace: None }, VethEnd { name: "eth0", namespace: Some(&host) });
    outer.create_veth(near, far).unwrap();
    let (port, bridge) = (outer.index(NAME).unwrap(), outer.index("fabric0").unwrap());
    outer.attach(port, bridge).unwrap();
    outer.set_up(port).unwrap();
    let mut inner = Links::open_in(&host).unwrap();
    let uplink = inner.index("eth0").unwrap();
    inner.add_address(uplink, IpNet::new(ADDRESS.into(), 24).unwrap()).unwrap();
    inner.set_up(uplink).unwrap();
    inner.replace_route(Route { to: "10.96.0.0/16".parse().unwrap(), via: None, link: Some(uplink) }).unwrap();
    host.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()).unwrap();
    host
}

/// Serves on every address of the backends, as the demo application does: with the address as its host name. Returns the port.
fn serve(outside: &Namespace) -> u16 {
    const THREADS: usize = 4;
    let mut links = Links::open_in(outside).unwrap();
    let uplink = links.index("eth0").unwrap();
    for address in &BACKENDS[1..] {
        links.add_address(uplink, IpNet::new((*address).into(), 24).unwrap()).unwrap();
    }
    let listener = outside.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    let port = listener.local_addr().unwrap().port();
    for _ in 0..THREADS {
        let listener = listener.try_clone().unwrap();
        // A client that goes away is its own business. The threads end with the process.
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
    }
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        let mut part = [0; 256];
        match stream.read(&mut part)? {
            0 => return Ok(()),
            length => question.extend(&part[..length]),
        }
    }
    let name = stream.local_addr()?.ip();
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHostname: {name}\n")
}
