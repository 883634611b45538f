//! The command line: its words are fixed by the README, and every flag here does what it says.

use std::{ffi::OsString, net::IpAddr, net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use ipnet::IpNet;
use stead_apiserver::ExternalRange;
use stead_dataplane::Mode;

use crate::{
    complete::Shell,
    config::{EndpointsPerSlice, PortRange},
    proxy::flags::ProxyArgs,
};

/// Kubernetes Services as a product of their own.
#[derive(Debug, Parser)]
#[command(
    name = "stead",
    version,
    about = "Kubernetes Services as a product of their own",
    disable_help_subcommand = true,
    // As in kubectl, the last counts.
    args_override_self = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that may stand before a client verb, as in `stead -n web get pods`; each has a value.
pub(crate) const BEFORE_VERBS: [&str; 17] = [
    "-n",
    "--namespace",
    "--context",
    "--kubeconfig",
    "--as",
    "--as-group",
    "--as-uid",
    "--cluster",
    "--user",
    "-s",
    "--server",
    "--token",
    "--certificate-authority",
    "--client-certificate",
    "--client-key",
    "--tls-server-name",
    "--request-timeout",
];

/// The words with those flags behind the verb and its subcommands, where it takes them.
pub(crate) fn verb_first(words: Vec<OsString>) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut rest = words.into_iter().peekable();
    let mut arranged: Vec<OsString> = rest.next().into_iter().collect();
    while let Some(word) = rest.next_if(|word| {
        let name = word.to_str().unwrap_or_default().split('=').next().unwrap_or_default();
        BEFORE_VERBS.contains(&name)
    }) {
        let has_value = word.to_string_lossy().contains('=');
        flags.push(word);
        if !has_value {
            flags.extend(rest.next());
        }
    }
    let root = Cli::command();
    let mut command = &root;
    while let Some(next) = rest.peek().and_then(|word| command.find_subcommand(word)) {
        command = next;
        arranged.extend(rest.next());
    }
    // A word that should be a subcommand is told of as such.
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    if command.has_subcommands() {
        arranged.extend(rest.next_if(is_word));
    }
    arranged.extend(flags);
    arranged.extend(rest);
    arranged
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
    /// Write what lets one machine in to the cluster of this machine's `stead server`, for `stead node` and `stead proxy` there
    Credentials(CredentialsArgs),
    /// Look into the store of a server that does not run
    Store(StoreArgs),
    /// Run what a machine needs: the agent that runs pods, and the Service proxy
    Node(NodeArgs),
    /// Run the Service proxy alone, against any Kubernetes API
    Proxy(ProxyArgs),
    /// Say what on this machine stands in the way of Services, and what to do about it; nothing is changed
    Check(CheckArgs),
    #[command(flatten)]
    Client(Box<stead_verbs::Verb>),
    /// Write shell completion to standard output
    Completion {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a man page for each command into a directory
    Man {
        /// It is made if it is not there
        directory: PathBuf,
    },
    /// First process of a lab's PID namespace
    #[command(hide = true)]
    Anchor { lab: String },
    /// Relay connections for the userspace plane of the proxy; planes find it at this socket
    #[command(hide = true)]
    Relay { socket: PathBuf },
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
pub(crate) struct CheckArgs {
    /// What virtual IPs come from: one range, or one of each family
    #[arg(long, value_delimiter = ',', value_name = "CIDR,…")]
    pub(crate) service_cluster_ip_range: Option<Vec<IpNet>>,
    /// What pods' addresses come from: one range, or one of each family
    #[arg(long, value_delimiter = ',', value_name = "CIDR,…")]
    pub(crate) cluster_cidr: Option<Vec<IpNet>>,
    /// The configuration file that the other parts get; its ranges count where no flag names them
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
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
    /// A YAML file with a section for each part: lab, server, node, proxy
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the nodes' kernels are told of Services (docs/data-planes.md), instead of what the configuration file says
    #[arg(long, value_name = "MODE")]
    pub(crate) proxy_mode: Option<Mode>,
    /// Return once the lab is ready, and leave it running
    #[arg(long)]
    pub(crate) detach: bool,
    /// Deploy `hello-app`, expose it, and show answers through its virtual IP
    #[arg(long)]
    pub(crate) demo: bool,
    /// With --demo: check each step, then take everything down; the exit code tells
    #[arg(long, requires = "demo", conflicts_with = "detach")]
    pub(crate) check: bool,
    /// Set by `--detach` for the process it leaves running: the one that waits for that
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) detached: Option<u32>,
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
    Tag {
        /// A name that it has
        from: String,
        /// The name that it gets
        to: String,
    },
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
pub(crate) struct CredentialsArgs {
    /// Where the server keeps the cluster's certificates
    #[arg(long, value_name = "DIR", default_value = "/var/lib/stead/server")]
    pub(crate) data: PathBuf,
    /// Name of the machine's Node object
    #[arg(long)]
    pub(crate) name: String,
    /// The machine's addresses, where the server asks its agent for logs and the like
    #[arg(long, value_delimiter = ',', required = true, value_name = "IP,…")]
    pub(crate) addresses: Vec<IpAddr>,
    /// Gets `node.kubeconfig` and `certificates`, as they stand in /etc/stead on that machine; made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Print all objects as one YAML list, Secrets in plain text; of a damaged store those that can be read
    Export {
        /// Where the server keeps them
        #[arg(long, value_name = "DIR", default_value = "/var/lib/stead/server")]
        data: PathBuf,
    },
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
    /// How the kernel is told of Services (docs/data-planes.md), instead of what the configuration file says
    #[arg(long, value_name = "MODE")]
    pub(crate) proxy_mode: Option<Mode>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_stand_before_the_verb() {
        let check = |line: &str, expect: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            let arranged: Vec<String> = verb_first(words).into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(arranged.join(" "), expect);
        };
        check("stead get pods -n web", "stead get pods -n web");
        check("stead -n web get pods", "stead get -n web pods");
        check("stead --context=a -n web rollout status deploy/x", "stead rollout status --context=a -n web deploy/x");
        check("stead -n web exec pod -- ls -n", "stead exec -n web pod -- ls -n");
        check("stead -n web create job j --image=i", "stead create job -n web j --image=i");
        check("stead -n web create -f x", "stead create -n web -f x");
        check("stead up --name x", "stead up --name x");
        check("stead", "stead");
    }

    #[test]
    fn units_and_manifests_start_parts_with_flags_that_they_have() {
        let proxy = include_str!("../../../packaging/systemd/stead-proxy.service");
        let server = include_str!("../../../packaging/systemd/stead-server.service");
        let node = include_str!("../../../packaging/systemd/stead-node.service");
        let defaults = [
            include_str!("../../../packaging/default/stead-proxy"),
            include_str!("../../../packaging/default/stead-server"),
            include_str!("../../../packaging/default/stead-node"),
        ];
        for unit in [proxy, server, node] {
            let mut line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().to_owned();
            for (name, value) in defaults.iter().flat_map(|text| text.lines()).filter_map(|line| line.split_once('=')) {
                line = line.replace(&format!("${name}"), value.trim_matches('"'));
            }
            assert!(!line.contains('$'), "{line}");
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let manifest = include_str!("../../../packaging/kubernetes/stead-proxy.yaml");
        let args = manifest.lines().skip_while(|line| line.trim() != "args:").skip(1);
        let args = args.map_while(|line| line.trim().strip_prefix("- "));
        Cli::try_parse_from(["stead"].into_iter().chain(args)).unwrap();
    }

    #[test]
    fn every_flag_and_value_is_explained() {
        Cli::command().debug_assert();
        let mut lacking = Vec::new();
        let mut left = vec![Cli::command()];
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands().filter(|one| !one.is_hide_set()).cloned());
            let shown = command.get_arguments().filter(|one| !one.is_hide_set() && one.get_help().is_none());
            lacking.extend(shown.map(|one| format!("{} {}", command.get_name(), one.get_id())));
        }
        assert_eq!(lacking, [] as [&str; 0]);
    }
}
