//! What an agent has to be told. Read from arguments and files by the binary, never from the environment here.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use crate::{net::NodeNamespace, runtime::ShimCommand};

/// One node's agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Node object's name; also the label `kubernetes.io/hostname`.
    pub node_name: String,
    /// Becomes the addresses of type InternalIP, the primary one first. At least one.
    pub node_addresses: Vec<IpAddr>,
    /// This node's pod ranges, at most one of each family.
    pub pod_ranges: Vec<IpNet>,
    /// The pod ranges of the whole cluster; pods' traffic that stays inside is not masqueraded.
    pub cluster_pod_ranges: Vec<IpNet>,
    /// Ranges of nodes and Services, to which pods' traffic is not masqueraded either.
    pub inside_ranges: Vec<IpNet>,
    /// Runs, pods' files and namespaces; it may be a tmpfs, for nothing in it outlives the machine's uptime.
    pub state_dir: PathBuf,
    /// The machine's image store; several agents may share it.
    pub image_dir: PathBuf,
    /// The cgroup above all pods of this node, such as `/stead/LAB/NODE`.
    pub cgroup: PathBuf,
    /// How shims are run.
    pub shim: ShimCommand,
    /// Whether the agent may set the sysctls of the network namespace it runs in.
    pub namespace: NodeNamespace,
    /// What becomes `/etc/resolv.conf` in containers; `None` leaves them the image's.
    pub resolv_conf: Option<PathBuf>,
    /// The agent's own server; `None` serves no logs.
    pub server: Option<ServerConfig>,
}

/// The HTTPS server that the API server asks for logs. It listens on each node address.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Usually [`DEFAULT_PORT`].
    pub port: u16,
    /// Certificate chain and key, PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authority that clients' certificates must come from, PEM.
    pub client_authority: PathBuf,
}

/// Where node agents of Kubernetes listen.
pub const DEFAULT_PORT: u16 = 10250;

/// Where the image store is unless somebody says otherwise.
pub const DEFAULT_IMAGE_DIR: &str = "/var/lib/stead/images";
