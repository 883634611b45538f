//! `stead proxy`: the Service proxy alone, against any Kubernetes API, in kube-proxy's place.

mod configuration;
pub(crate) mod file;
pub(crate) mod flags;
mod machine;
pub(crate) mod plane;
pub(crate) mod said;
pub(crate) mod settings;
pub(crate) mod table;
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
use kube::Client;
use stead_client::{Interest, ServiceCache};
use stead_dataplane::{
    Mode, Removed, Traffic,
    leftovers::{self, Found},
};
use stead_proxy::{Config, Lock};

use self::{
    configuration::configuration,
    file::{Cluster, File},
    flags::ProxyArgs,
    plane::Plane,
    settings::{Settings, Task, Whose},
};
use crate::{console::say, log};

/// How often the configuration file is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

pub(crate) fn run(args: ProxyArgs) -> Result<()> {
    // Lists, plan and kernel messages come one after the other and each leaves room behind; the whole peak is there.
    stead_sys::memory::give_back_at_once();
    let file = File::load(args.config.as_deref())?;
    let (settings, warnings) = settings::resolve(args.said, &file)?;
    log::start_at(settings.verbosity, settings.log_format);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    match &settings.task {
        Task::WriteConfig(path) => write_configuration(&settings, path),
        Task::Cleanup(whose) => clean_up(&settings, *whose),
        Task::InitOnly => Ok(machine::tune(&settings.machine, Path::new("/"))?),
        Task::DryRun => preview(settings, file.into_cluster().unwrap_or_default()),
        Task::Run => serve(settings, file.into_cluster().unwrap_or_default(), args.config.as_deref()),
    }
}

fn write_configuration(settings: &Settings, path: &Path) -> Result<()> {
    let text = serde_saphyr::to_string(&configuration(&settings.effective)).context("writing YAML")?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn clean_up(settings: &Settings, whose: Whose) -> Result<()> {
    if matches!(whose, Whose::Ours | Whose::Both) {
        let _lock = Lock::take()?;
        let mut is_clean = true;
        for mode in Mode::ALL {
            let mut plane = match mode.open(&settings.planes.options) {
                Err(error) if error.is_absence() => continue,
                plane => plane?,
            };
            if plane.remove()? == Removed::Something {
                is_clean = false;
                say(&format!("removed: what a Stead proxy put into the kernel ({mode})\n"));
            }
        }
        if is_clean {
            say("nothing of a Stead proxy was in the kernel\n");
        }
        Traffic::open()?.remove()?;
    }
    if matches!(whose, Whose::KubeProxys | Whose::Both) {
        for found in leftovers::remove()? {
            match found {
                Found::Removed(what) => say(&format!("removed: {what}\n")),
                Found::Left(what) => say(&format!("left: {what}\n")),
            }
        }
    }
    Ok(())
}

fn preview(settings: Settings, cluster: Cluster) -> Result<()> {
    let mut plane = Plane::open(&settings.planes)?;
    in_cluster(settings, cluster, async |mut config, client| {
        plane.describe(&mut config);
        let cache = ServiceCache::start(&client, Interest::Forwarding);
        let (plan, problems) = stead_proxy::plan_once(&config, &cache).await?;
        problems.iter().for_each(|problem| tracing::warn!("{problem}"));
        say(&plane.plane.preview(&plan)?);
        Ok(())
    })
}

fn serve(settings: Settings, cluster: Cluster, file: Option<&Path>) -> Result<()> {
    // Before anything of the machine is touched: what is set on it is the other's where another proxy runs.
    let lock = Lock::take()?;
    let plane = Plane::open(&settings.planes)?;
    machine::set_oom_score(settings.machine.oom_score_adj, Path::new("/"));
    machine::tune(&settings.machine, Path::new("/"))?;
    in_cluster(settings, cluster, async |mut config, client| {
        plane.describe(&mut config);
        let Plane { plane, predecessors, .. } = plane;
        let cache = ServiceCache::start(&client, Interest::Forwarding);
        tokio::select! {
            ended = stead_proxy::run(lock, config, client, cache, plane, predecessors) => match ended? {},
            changed = wait_for_change(file.map(Path::to_owned)) => match changed? {},
        }
    })
}

/// Has something done with the proxy's configuration and a client of its API server.
fn in_cluster(
    settings: Settings,
    cluster: Cluster,
    work: impl AsyncFnOnce(Config, Client) -> Result<()>,
) -> Result<()> {
    let (kubeconfig, server) = (settings.kubeconfig.clone(), settings.server.clone());
    let node = match &settings.node {
        Some(name) => name.clone(),
        None => {
            nix::unistd::gethostname().context("asking for the host's name")?.to_string_lossy().trim().to_lowercase()
        }
    };
    let mut config = settings.into_config(node, cluster);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let (client, address, requests) = stead_client::connect_to(kubeconfig.as_deref(), server.as_deref()).await?;
        config.reserved.extend(address);
        config.requests = requests;
        work(config, client).await
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
