//! `stead proxy`: the Service proxy alone, against any Kubernetes API.

use anyhow::{Context, Result};
use stead_apiserver::ExternalRange;
use stead_client::{Interest, ServiceCache};
use stead_dataplane::NfTables;
use stead_proxy::{DetectLocal, MasqueradeAll, OpenRange};

use crate::{args::ProxyArgs, capabilities, config::Config, log};

pub(crate) fn run(args: &ProxyArgs) -> Result<()> {
    log::start();
    let config = Config::load(args.config.as_deref())?;
    capabilities::check(&stead_dataplane::probe::probe())?;
    let node = match &args.hostname_override {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname().context("asking for the host's name")?.to_string_lossy().to_lowercase(),
    };
    let config = stead_proxy::Config {
        node,
        service_ranges: config.server.service_ranges,
        detect_local: DetectLocal::Ranges(config.server.pod_ranges),
        masquerade_all: MasqueradeAll::No,
        open_to_external: open_ranges(config.server.allow_external_ips.unwrap_or_default()),
        reserved: Vec::new(),
    };
    let plane = NfTables::open()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let client = match &args.kubeconfig {
            Some(path) => stead_client::connect(path).await?,
            None => stead_client::in_cluster()?,
        };
        let cache = ServiceCache::start(&client, Interest::Forwarding);
        match stead_proxy::run(config, client, cache, Box::new(plane)).await? {}
    })
}

/// What the API server lets Services name as external addresses, the proxy takes even where it is the node's own.
pub(crate) fn open_ranges(allowed: Vec<ExternalRange>) -> Vec<OpenRange> {
    let open =
        |allowed: ExternalRange| OpenRange { range: allowed.range, namespace: allowed.namespace.map(Into::into) };
    allowed.into_iter().map(open).collect()
}
