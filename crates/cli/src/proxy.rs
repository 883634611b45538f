//! `stead proxy`: the Service proxy alone, against any Kubernetes API, in kube-proxy's place.

mod configuration;
pub(crate) mod file;
pub(crate) mod flags;
mod machine;
pub(crate) mod said;
pub(crate) mod settings;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use stead_client::{Interest, ServiceCache};
use stead_dataplane::{DataPlane, NfTables};

use self::{
    configuration::configuration,
    file::{Cluster, File},
    flags::ProxyArgs,
    settings::{Settings, Task},
};
use crate::{capabilities, log};

/// How often the configuration file is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

pub(crate) fn run(args: ProxyArgs) -> Result<()> {
    let file = File::load(args.config.as_deref())?;
    let (settings, warnings) = settings::resolve(args.said, &file)?;
    log::start_at(settings.verbosity);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    match &settings.task {
        Task::WriteConfig(path) => write_configuration(&settings, path),
        Task::Cleanup => Ok(NfTables::open()?.remove()?),
        Task::InitOnly => Ok(machine::tune(&settings.machine, Path::new("/"))?),
        Task::Run => serve(settings, file.into_cluster().unwrap_or_default(), args.config.as_deref()),
    }
}

fn write_configuration(settings: &Settings, path: &Path) -> Result<()> {
    let text = serde_saphyr::to_string(&configuration(&settings.effective)).context("writing YAML")?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn serve(settings: Settings, cluster: Cluster, file: Option<&Path>) -> Result<()> {
    capabilities::check(&stead_dataplane::probe::probe())?;
    machine::set_oom_score(settings.machine.oom_score_adj, Path::new("/"));
    machine::tune(&settings.machine, Path::new("/"))?;
    let (kubeconfig, server) = (settings.kubeconfig.clone(), settings.server.clone());
    let node = match &settings.node {
        Some(name) => name.clone(),
        None => {
            nix::unistd::gethostname().context("asking for the host's name")?.to_string_lossy().trim().to_lowercase()
        }
    };
    let config = settings.into_config(node, cluster);
    let plane = NfTables::open()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let client = stead_client::connect_to(kubeconfig.as_deref(), server.as_deref()).await?;
        let cache = ServiceCache::start(&client, Interest::Forwarding);
        tokio::select! {
            ended = stead_proxy::run(config, client, cache, Box::new(plane)) => match ended? {},
            changed = wait_for_change(file.map(Path::to_owned)) => match changed? {},
        }
    })
}

/// Ends with an error once the file says something else: whoever started the process starts it again, with what it says then.
async fn wait_for_change(file: Option<PathBuf>) -> Result<Infallible> {
    let Some(path) = file else { return std::future::pending().await };
    let known = tokio::fs::read(&path).await;
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        // A file that is away for a moment is being replaced.
        if let (Ok(known), Ok(now)) = (&known, tokio::fs::read(&path).await)
            && *known != now
        {
            bail!("content of the proxy server's configuration file was updated");
        }
    }
}
