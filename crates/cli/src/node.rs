//! `stead node`: what one machine needs, the agent and the Service proxy on one watch cache, in one process.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use stead_client::{Interest, ServiceCache};
use stead_dataplane::survey::{Facts, Finding, Grade, Wanted, forwarding};
use stead_node::{DEFAULT_PORT, ServerConfig, net::NodeNamespace, runtime::ShimCommand};
use stead_proxy::Lock;

use crate::{
    args::NodeArgs,
    config::Config,
    credentials::private_directory,
    log,
    proxy::{
        file::{Cluster, File},
        plane::Plane,
        said::Said,
        settings,
    },
};

/// Where labs have their directories.
const RUNTIME: &str = "/run/stead";

pub(crate) fn run(args: &NodeArgs) -> Result<()> {
    let mut config = Config::load(args.config.as_deref())?;
    config.set_proxy_mode(args.proxy_mode);
    let lock = Lock::take()?;
    let agent = agent_config(args, &config);
    let mut warnings = settings::of_a_node_without_effect(&config.proxy);
    let (mut settings, others) = settings::resolve(Said::default(), &File::Own { proxy: config.proxy, cluster: None })?;
    if args.state.starts_with(RUNTIME) {
        // What ends with a lab's directory leaves nothing behind.
        settings.planes.options.userspace.path = args.state.join("relay.sock");
    }
    log::start_at(settings.verbosity, settings.log_format);
    let plane = Plane::open(&settings.planes)?;
    warnings.extend(others);
    warnings.iter().for_each(|warning| tracing::warn!("proxy: {warning}"));
    warn_of_no_forwarding(&args.pod_ranges);
    make_private(&args.state)?;
    let cluster = Cluster {
        service_ranges: config.server.service_ranges,
        pod_ranges: config.server.pod_ranges,
        external_ips: config.server.allow_external_ips.unwrap_or_default(),
    };
    let mut proxy = settings.into_config(args.name.clone(), cluster);
    plane.describe(&mut proxy);
    let Plane { plane, predecessors, .. } = plane;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let (client, address, requests) = stead_client::connect_to(Some(&args.kubeconfig), None).await?;
        proxy.reserved.extend(address);
        proxy.requests = requests;
        let cache = ServiceCache::start(&client, Interest::All);
        let proxy = stead_proxy::run(lock, proxy, client.clone(), cache.clone(), plane, predecessors);
        let agent = stead_node::run(agent, client, cache);
        tokio::select! {
            ended = proxy => match ended? {},
            ended = agent => Ok(ended?),
        }
    })
}

/// Secrets are among what volumes hold, in files that pods of any user may read.
fn make_private(state: &Path) -> Result<()> {
    private_directory(state).context("--state")?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(state, mode).with_context(|| format!("--state: keeping others out of {}", state.display()))
}

/// Pods would be alone: they reach everything through the machine, whose sysctls are left alone.
fn warn_of_no_forwarding(pod_ranges: &[IpNet]) {
    let wanted = Wanted { service_ranges: pod_ranges.to_vec(), pod_ranges: Vec::new() };
    for Finding { text, remedy, .. } in
        forwarding(&Facts::sysctls(), &wanted).into_iter().filter(|finding| finding.grade == Grade::Failure)
    {
        tracing::warn!("{text}; to do: {remedy}");
    }
}

fn agent_config(args: &NodeArgs, config: &Config) -> stead_node::Config {
    let certificates = &args.certificates;
    let inside = config.node.node_ranges.iter().chain(&config.server.service_ranges);
    stead_node::Config {
        node_name: args.name.clone(),
        node_addresses: args.addresses.clone(),
        pod_ranges: args.pod_ranges.clone(),
        cluster_pod_ranges: config.server.pod_ranges.clone(),
        inside_ranges: inside.copied().collect(),
        state_dir: args.state.clone(),
        image_dir: config.node.images.clone(),
        cgroup: PathBuf::from("/").join(&args.cgroup),
        shim: ShimCommand::default(),
        namespace: NodeNamespace::Machine,
        resolv_conf: None,
        server: Some(ServerConfig {
            port: DEFAULT_PORT,
            certificate: certificates.join("agent.crt"),
            key: certificates.join("agent.key"),
            client_authority: certificates.join("ca.crt"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reads_what_pods_have() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let made = directory.path().join("stead/node");
        make_private(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }
}
