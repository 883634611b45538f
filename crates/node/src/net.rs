//! The pods' network on one node: a namespace for each pod, a veth pair into it, and the routes between nodes.
//!
//! Pods are routed, not bridged: a pod has its address alone (/32, /128) and reaches everything through the node, so that replies
//! of a pod on the same node pass the node's connection tracking like all others, and no bridge's changing hardware address can
//! interrupt anybody. The node's end of each pair carries the gateway address, the first of the pod range.
//!
//! A namespace is held by a mount of its file below the state directory, and addresses are written down there, so that both
//! outlive the agent. What happens to traffic for Services is `stead-proxy`'s, what is masqueraded `stead-dataplane`'s.

mod addresses;
mod routes;
pub mod service_routes;

pub use addresses::{Addresses, Exhausted};
pub use routes::{RouteTable, routes_to};

use std::{
    fs, io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{FsType, statfs},
};
use stead_model::Family;
use stead_sys::{
    link::{LinkError, Links, Route, VethEnd},
    namespace::Namespace,
};

use crate::mounts;

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("{path}: {operation}", path = path.display())]
    File { path: PathBuf, operation: &'static str, source: io::Error },
    #[error("{path} holds no address list", path = path.display())]
    Addresses { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("network namespace of pod {pod}")]
    Namespace { pod: String, source: io::Error },
    #[error("network of pod {pod}")]
    Link { pod: String, source: LinkError },
    #[error("routes of the node")]
    Routes(#[source] LinkError),
    #[error("cannot set {sysctl}")]
    Sysctl { sysctl: String, source: io::Error },
}

/// Whether this node's network namespace is ours to configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeNamespace {
    /// A namespace made for the node: forwarding is turned on.
    Own,
    /// The machine's own: its sysctls are left alone, and forwarding is for the administrator to turn on.
    Machine,
}

/// A pod's place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// At most one of each family, in the order of the node's ranges.
    pub addresses: Vec<IpAddr>,
    /// Where the namespace is mounted.
    pub namespace: PathBuf,
}

/// The networks of all pods of this node. All calls block.
#[derive(Debug)]
pub struct Network {
    dir: PathBuf,
    addresses: Addresses,
}

/// `NSFS_MAGIC` (linux/magic.h): what a mounted namespace file is.
const NSFS: i64 = 0x6e73_6673;

impl Network {
    /// Takes over what an earlier agent left in `dir`, and sets the node's namespace up for forwarding.
    pub fn open(dir: PathBuf, pod_ranges: &[IpNet], namespace: NodeNamespace) -> Result<Self, NetworkError> {
        let namespaces = dir.join("netns");
        let failed = |operation| {
            let path = namespaces.clone();
            move |source| NetworkError::File { path, operation, source }
        };
        fs::create_dir_all(&namespaces).map_err(failed("make directory"))?;
        mounts::share(&namespaces).map_err(failed("make it a mount point"))?;
        if namespace == NodeNamespace::Own {
            turn_forwarding_on(pod_ranges)?;
        }
        let addresses = Addresses::new(pod_ranges, read_addresses(&dir.join("addresses.json"))?);
        Ok(Self { dir, addresses })
    }

    /// Sets addresses aside for a pod, the same ones again for one that has some. What the kernel does for them is
    /// [`Reservation::set_up`]'s, which needs this value no more.
    pub fn reserve(&mut self, pod: &str) -> Result<Reservation, NetworkError> {
        if self.addresses.of(pod).is_none() {
            self.addresses.allocate(pod)?;
            self.write_addresses()?;
        }
        let addresses = self.addresses.of(pod).unwrap_or_default();
        let ends = addresses.iter().filter_map(|a| Some((*a, self.addresses.gateway(Family::of(*a))?))).collect();
        Ok(Reservation { pod: pod.to_owned(), path: self.namespace(pod), ends })
    }

    /// The network of a pod that has one.
    pub fn find(&self, pod: &str) -> Option<PodNetwork> {
        let namespace = self.namespace(pod);
        let addresses = self.addresses.of(pod)?.to_vec();
        is_namespace(&namespace).then_some(PodNetwork { addresses, namespace })
    }

    /// Pods that have addresses.
    pub fn pods(&self) -> Vec<String> {
        self.addresses.owners()
    }

    /// Gives a pod's addresses back, once [`take_away`](Self::take_away) has been at work.
    pub fn release(&mut self, pod: &str) -> Result<(), NetworkError> {
        if self.addresses.release(pod) { self.write_addresses() } else { Ok(()) }
    }

    /// How a pod's links and namespace are taken away, without keeping others from theirs meanwhile.
    pub fn take_away(&self, pod: &str) -> impl FnOnce() -> Result<(), NetworkError> + Send + use<> {
        let (path, pod) = (self.namespace(pod), pod.to_owned());
        move || {
            let mut links = Links::open().map_err(|source| NetworkError::Namespace { pod: pod.clone(), source })?;
            match links.index(&node_end(&pod)).and_then(|link| links.delete(link)) {
                Err(source) if !source.not_found() => return Err(NetworkError::Link { pod, source }),
                _ => {}
            }
            release(&path).map_err(|source| NetworkError::File { path, operation: "unmount", source })
        }
    }

    fn namespace(&self, pod: &str) -> PathBuf {
        self.dir.join("netns").join(pod)
    }

    fn write_addresses(&self) -> Result<(), NetworkError> {
        let path = self.dir.join("addresses.json");
        let temporary = self.dir.join("addresses.json.new");
        let json = serde_json::to_vec(&self.addresses.records()).expect("texts and addresses are JSON");
        let write = fs::write(&temporary, json).and_then(|()| fs::rename(&temporary, &path));
        write.map_err(|source| NetworkError::File { path, operation: "write", source })
    }
}

/// Addresses set aside for a pod, each with the gateway it uses.
#[derive(Clone, Debug)]
pub struct Reservation {
    pod: String,
    path: PathBuf,
    ends: Vec<(IpAddr, IpAddr)>,
}

impl Reservation {
    /// Makes the pod's namespace and links, or finds them whole.
    pub fn set_up(self) -> Result<PodNetwork, NetworkError> {
        if !is_namespace(&self.path) {
            self.make()?;
        }
        let addresses = self.ends.into_iter().map(|(address, _)| address).collect();
        Ok(PodNetwork { addresses, namespace: self.path })
    }

    fn make(&self) -> Result<(), NetworkError> {
        let broken = |source| NetworkError::Namespace { pod: self.pod.clone(), source };
        let refused = |source| NetworkError::Link { pod: self.pod.clone(), source };
        release(&self.path).map_err(broken)?;
        let namespace = Namespace::create().map_err(broken)?;
        let mut node = Links::open().map_err(broken)?;
        let mut inside = Links::open_in(&namespace).map_err(broken)?;
        let name = node_end(&self.pod);
        match node.index(&name) {
            Ok(left) => node.delete(left).map_err(refused)?,
            Err(error) if error.not_found() => {}
            Err(error) => return Err(refused(error)),
        }
        node.create_veth(
            VethEnd { name: &name, namespace: None },
            VethEnd { name: "eth0", namespace: Some(&namespace) },
        )
        .map_err(refused)?;
        quiet_down(&name);
        namespace.run(|| quiet_down("eth0")).map_err(broken)?;
        let (near, far) = (node.index(&name).map_err(refused)?, inside.index("eth0").map_err(refused)?);
        for (address, gateway) in &self.ends {
            node.add_address(near, IpNet::from(*gateway)).map_err(refused)?;
            inside.add_address(far, IpNet::from(*address)).map_err(refused)?;
        }
        node.set_up(near).map_err(refused)?;
        inside.set_up(far).map_err(refused)?;
        for (address, gateway) in &self.ends {
            node.replace_route(Route { to: IpNet::from(*address), via: None, link: Some(near) }).map_err(refused)?;
            inside.replace_route(Route { to: IpNet::from(*gateway), via: None, link: Some(far) }).map_err(refused)?;
            let everywhere = everything(Family::of(*address));
            inside.replace_route(Route { to: everywhere, via: Some(*gateway), link: Some(far) }).map_err(refused)?;
        }
        // Last: a namespace that is mounted is whole.
        hold(&namespace, &self.path).map_err(broken)
    }
}

/// The node's end of a pod's veth pair: `stead` and ten digits, for a link's name has at most 15 bytes.
fn node_end(pod: &str) -> String {
    let digest = crate::image::Digest::of(pod.as_bytes());
    format!("stead{}", &digest.hex()[..10])
}

fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Default::default()),
        Family::V6 => IpNet::V6(Default::default()),
    }
}

fn read_addresses(path: &Path) -> Result<addresses::Records, NetworkError> {
    match fs::read(path) {
        Ok(json) => {
            serde_json::from_slice(&json).map_err(|source| NetworkError::Addresses { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Default::default()),
        Err(source) => Err(NetworkError::File { path: path.to_owned(), operation: "read", source }),
    }
}

fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == FsType(NSFS))
}

fn hold(namespace: &Namespace, path: &Path) -> io::Result<()> {
    fs::File::create(path)?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd()));
    let none: Option<&str> = None;
    mount(Some(&source), path, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

fn release(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The node routes between its pods; it must not advise them to talk past it.
fn turn_forwarding_on(ranges: &[IpNet]) -> Result<(), NetworkError> {
    let has = |family: Family| ranges.iter().any(|range| Family::of(range.addr()) == family);
    let mut settings = Vec::new();
    if has(Family::V4) {
        settings.extend([
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
        ]);
    }
    if has(Family::V6) {
        settings.extend([("net/ipv6/conf/all/forwarding", "1"), ("net/ipv6/conf/default/accept_ra", "0")]);
    }
    for (sysctl, value) in settings {
        let written = fs::write(Path::new("/proc/sys").join(sysctl), value);
        written.map_err(|source| NetworkError::Sysctl { sysctl: sysctl.replace('/', "."), source })?;
    }
    Ok(())
}

/// Routers may not change a pod's routes, nor may its neighbours. Where the kernel has no IPv6 there is nothing to quiet.
fn quiet_down(link: &str) {
    for sysctl in [format!("net/ipv6/conf/{link}/accept_ra"), format!("net/ipv4/conf/{link}/send_redirects")] {
        let path = Path::new("/proc/sys").join(sysctl);
        if path.exists()
            && let Err(error) = fs::write(&path, "0")
        {
            tracing::debug!(%error, path = %path.display(), "cannot be set");
        }
    }
}
