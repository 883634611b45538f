//! `stead node`: what one machine needs, the agent and the Service proxy on one watch cache, in one process.

use std::path::PathBuf;

use anyhow::{Context, Result};
use stead_client::{Interest, ServiceCache};
use stead_dataplane::NfTables;
use stead_node::{DEFAULT_PORT, ServerConfig, net::NodeNamespace, runtime::ShimCommand};
use stead_proxy::Lock;

use crate::{
    args::NodeArgs,
    capabilities,
    config::Config,
    log,
    proxy::{
        file::{Cluster, File},
        said::Said,
        settings,
    },
};

pub(crate) fn run(args: &NodeArgs) -> Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let lock = Lock::take()?;
    let agent = agent_config(args, &config);
    let mut warnings = settings::of_a_node_without_effect(&config.proxy);
    let (settings, others) = settings::resolve(Said::default(), &File::Own { proxy: config.proxy, cluster: None })?;
    log::start_at(settings.verbosity, settings.log_format);
    let found = stead_dataplane::probe::probe();
    capabilities::check(&found)?;
    let plane = NfTables::open()?;
    warnings.extend(others);
    warnings.iter().for_each(|warning| tracing::warn!("proxy: {warning}"));
    let cluster = Cluster {
        service_ranges: config.server.service_ranges,
        pod_ranges: config.server.pod_ranges,
        external_ips: config.server.allow_external_ips.unwrap_or_default(),
    };
    let mut proxy = settings.into_config(args.name.clone(), cluster);
    proxy.without_hashes = found.without_hashes().map(Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let (client, address, requests) = stead_client::connect_to(Some(&args.kubeconfig), None).await?;
        proxy.reserved.extend(address);
        proxy.requests = requests;
        let cache = ServiceCache::start(&client, Interest::All);
        let proxy = stead_proxy::run(lock, proxy, client.clone(), cache.clone(), Box::new(plane));
        let agent = stead_node::run(agent, client, cache);
        tokio::select! {
            ended = proxy => match ended? {},
            ended = agent => Ok(ended?),
        }
    })
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
