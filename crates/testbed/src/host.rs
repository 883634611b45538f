//! A host: a network namespace with a name and addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::Context as _;
use stead_model::{Family, Protocol};
use stead_sys::{
    link::{Links, Packets},
    namespace::Namespace,
};

use crate::{Answer, Calls, Capture, Failure, Flow, Load, Server, Tally};

#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: Namespace,
    addresses: Vec<IpAddr>,
}

impl Host {
    /// A host without links but loopback. Needs root.
    pub fn create(name: impl Into<String>) -> anyhow::Result<Self> {
        let name = name.into();
        let namespace = Namespace::create().with_context(|| format!("making the namespace of {name} (needs root)"))?;
        let host = Self { name, namespace, addresses: Vec::new() };
        // IPv6 addresses work at once, so that the first packet of a test is not lost.
        host.set_sysctl("ipv6.conf.default.accept_dad", "0")?;
        // A test that counts refusals gets one for each datagram.
        host.set_sysctl("ipv4.icmp_ratemask", "0")?;
        host.set_sysctl("ipv6.icmp.ratemask", "0")?;
        Ok(host)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The host's address in the lab.
    ///
    /// # Panics
    /// Where it has none of that family.
    pub fn address(&self, family: Family) -> IpAddr {
        let address = self.addresses.iter().find(|address| Family::of(**address) == family);
        *address.unwrap_or_else(|| panic!("{} has an {family} address", self.name))
    }

    pub(crate) fn add_name_of(&mut self, address: IpAddr) {
        self.addresses.push(address);
    }

    /// Runs `work` on a thread inside the host; processes and threads that it starts are inside too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.namespace.run(work)
    }

    /// Links, addresses and routes of the host.
    pub fn links(&self) -> io::Result<Links> {
        Links::open_in(&self.namespace)
    }

    /// Sets a variable under `net`, as `ipv4.ip_forward`, in this host alone.
    pub fn set_sysctl(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        self.run(|| std::fs::write(&path, value))?.with_context(|| format!("setting net.{name} in {}", self.name))
    }

    /// What has passed through one of the host's links since it was made.
    pub fn packets(&self, link: &str) -> anyhow::Result<Packets> {
        let links = self.links()?.list()?;
        let found = links.into_iter().find(|found| found.name == link);
        Ok(found.with_context(|| format!("{} has no link {link}", self.name))?.packets)
    }

    /// Counts packets on the host's links from now on.
    pub fn capture(&self) -> anyhow::Result<Capture> {
        Capture::start(self)
    }

    /// Serves on `port` at every address the host has now, until the server is dropped. It answers with the host's name.
    pub fn serve(&self, protocol: Protocol, port: u16) -> anyhow::Result<Server> {
        Server::start(self, protocol, port)
    }

    /// Opens a connection (TCP) or connected socket (UDP), to ask more than once through it.
    pub fn open(&self, protocol: Protocol, to: SocketAddr) -> Result<Flow, Failure> {
        Flow::open_in(self, protocol, None, to)
    }

    /// As [`Host::open`], from a given source port.
    pub fn open_from(&self, protocol: Protocol, port: u16, to: SocketAddr) -> Result<Flow, Failure> {
        Flow::open_in(self, protocol, Some(port), to)
    }

    /// Asks once, over a flow of its own.
    pub fn ask(&self, protocol: Protocol, to: SocketAddr) -> Result<Answer, Failure> {
        self.open(protocol, to)?.ask()
    }

    /// Asks many times, each over a flow of its own, and counts who answered.
    pub fn call(&self, protocol: Protocol, to: SocketAddr, calls: Calls) -> Tally {
        calls.run(self, protocol, to)
    }

    /// Asks again and again in the background until told to stop.
    pub fn load(&self, protocol: Protocol, to: SocketAddr, calls: Calls) -> anyhow::Result<Load> {
        Load::start(self, protocol, to, calls)
    }
}
