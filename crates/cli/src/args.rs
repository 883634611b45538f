//! The command line: its words are fixed by the README, and every flag here does what it says.

use std::{ffi::OsString, net::IpAddr, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use stead_apiserver::ExternalRange;

use crate::config::{EndpointsPerSlice, PortRange};

/// Kubernetes Services as a product of their own.
#[derive(Debug, Parser)]
#[command(
    name = "stead",
    version,
    about = "Kubernetes Services as a product of their own",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine, in namespaces of its own, until Ctrl-C
    Up(UpArgs),
    /// End a running lab
    Down(LabArgs),
    /// Run a command in the network of a node, or of `outside`, a client on the fabric that is no node
    ExecNode(ExecNodeArgs),
    /// Look after this machine's container images
    Image(ImageArgs),
    /// Run the API server and controllers
    Server(ServerArgs),
    /// Run what a machine needs: the agent that runs pods, and the Service proxy
    Node(NodeArgs),
    /// Run the Service proxy alone, against any Kubernetes API
    Proxy(ProxyArgs),
    #[command(flatten)]
    Client(Box<stead_verbs::Verb>),
    /// Write shell completion to standard output
    Completion {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command into a directory
    Man { directory: PathBuf },
    /// First process of a lab's PID namespace
    #[command(hide = true)]
    Anchor { lab: String },
    /// Parent of one container
    #[command(hide = true)]
    Shim { directory: PathBuf },
}

#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    /// Name of the lab
    #[arg(long, default_value = "stead")]
    pub(crate) name: String,
}

/// What Services may take; each flag replaces the field of the configuration file's `server` section.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// What virtual IPs come from: one range, or one of each family, that of Services by default first
    #[arg(long, value_delimiter = ',', value_name = "CIDR,…")]
    pub(crate) service_cluster_ip_range: Option<Vec<IpNet>>,
    /// Ports that Services of type NodePort and LoadBalancer take on every node
    #[arg(long, value_name = "FIRST-LAST")]
    pub(crate) service_node_port_range: Option<PortRange>,
    /// Addresses that Services may name in `externalIPs`, of one namespace or of all; no others are accepted
    #[arg(long, value_delimiter = ',', value_name = "CIDR[@NAMESPACE],…")]
    pub(crate) allow_external_ips: Option<Vec<ExternalRange>>,
    /// Also make the Service `kubernetes-ro`, which leads to plain HTTP on the server's port 7080: whoever reaches it reads
    /// objects (never Secrets) without credentials
    #[arg(long)]
    pub(crate) read_only_service: bool,
    /// The most endpoints in one EndpointSlice (1 to 1000; default 100)
    #[arg(long, value_name = "N")]
    pub(crate) max_endpoints_per_slice: Option<EndpointsPerSlice>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) lab: LabArgs,
    #[command(flatten)]
    pub(crate) services: ServiceArgs,
    /// How many nodes the lab has (1 to 99; default 2)
    #[arg(long)]
    pub(crate) nodes: Option<usize>,
    /// Where to write the administrator's kubeconfig (default: in the lab's directory under /run/stead)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Keep objects here over a restart (default: they go with the lab)
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A YAML file with a section for each part: lab, server, node
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Return once the lab is ready, and leave it running
    #[arg(long)]
    pub(crate) detach: bool,
    /// Deploy `hello-app`, expose it, and show answers through its virtual IP
    #[arg(long)]
    pub(crate) demo: bool,
    /// With --demo: check each step, then take everything down; the exit code tells
    #[arg(long, requires = "demo", conflicts_with = "detach")]
    pub(crate) check: bool,
    /// Set by `--detach` for the process it leaves running
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecNodeArgs {
    #[command(flatten)]
    pub(crate) lab: LabArgs,
    /// `node1` … or `outside`
    pub(crate) node: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// A YAML file; its `node` section tells where the images are
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load an archive made by `docker save`, or an OCI layout as a tar file
    Load {
        /// `-` reads standard input
        archive: PathBuf,
    },
    /// List images
    Ls,
    /// Give an image one more name
    Tag { from: String, to: String },
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// A YAML file; its `server` section counts here
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where objects and the cluster's certificates are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/stead/server")]
    pub(crate) data: PathBuf,
    /// Address and port to serve HTTPS on; other machines, and the Service `kubernetes`, reach the server there
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) services: ServiceArgs,
    /// One more listening socket, inherited
    #[arg(long, hide = true)]
    pub(crate) listen_fd: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// A YAML file; its `node` and `server` sections count here
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Credentials for the API server
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// Name of the Node object
    #[arg(long)]
    pub(crate) name: String,
    /// This machine's addresses, IPv4 first
    #[arg(long, value_delimiter = ',', required = true, value_name = "IP,…")]
    pub(crate) addresses: Vec<IpAddr>,
    /// What this node's pods get their addresses from, one range for each family
    #[arg(long, value_delimiter = ',', required = true, value_name = "CIDR,…")]
    pub(crate) pod_ranges: Vec<IpNet>,
    /// Where pods, their logs and their addresses are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/stead/node")]
    pub(crate) state: PathBuf,
    /// Folder with `agent.crt`, `agent.key` and `ca.crt` for the agent's own HTTPS on port 10250
    #[arg(long, value_name = "DIR")]
    pub(crate) certificates: PathBuf,
    /// Parent control group of this node's pods
    #[arg(long, value_name = "PATH", default_value = "stead/node")]
    pub(crate) cgroup: String,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// A YAML file; its `server` section tells the ranges of pods and Services
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Credentials for the API server (default: those of the pod it runs in)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the Node object of this machine (default: its host name)
    #[arg(long)]
    pub(crate) hostname_override: Option<String>,
}
