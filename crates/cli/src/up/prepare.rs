//! Everything that can be wrong with a `stead up` is found here, before anything is changed.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use stead_apiserver::ExternalRange;
use stead_lab::{Claim, Topology};
use stead_node::image::{Store, StoreError};

use super::{BASE, credentials, log_path};
use crate::{args::UpArgs, config::Config, console::complain, credentials::private_directory, proxy, rights};

/// A lab that may be started: its name is claimed, its port is ours, its files are in place.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) topology: Topology,
    pub(super) config: Config,
    pub(super) claim: Claim,
    /// On the host's loopback.
    pub(super) listener: TcpListener,
    /// Where that leads to: no two labs that run have the same.
    pub(super) url: String,
    pub(super) kubeconfig: PathBuf,
    /// The server's objects and certificates.
    pub(super) data: PathBuf,
    /// When this lab began.
    pub(super) since: Timestamp,
    /// Held while the lab runs, so that no other uses the data.
    _data_lock: File,
}

impl Prepared {
    pub(super) fn log(&self, name: &str) -> PathBuf {
        log_path(self.claim.directory(), name)
    }

    /// The file every program of the lab reads.
    pub(super) fn config_file(&self) -> PathBuf {
        self.claim.directory().join("config.yaml")
    }

    /// Credentials and state of one node.
    pub(super) fn node_directory(&self, node: &str) -> PathBuf {
        self.claim.directory().join("nodes").join(node)
    }
}

/// A lab that could be: nothing that can be known before it is made speaks against it.
#[derive(Debug)]
pub(super) struct Wanted {
    topology: Topology,
    config: Config,
    /// What is told once it is certain that the lab will be.
    warnings: Vec<String>,
}

/// Changes nothing. What it reads may keep it waiting, as a pipe would.
pub(super) fn check(args: &UpArgs) -> Result<Wanted> {
    let mut config = Config::load(args.config.as_deref())?;
    config.lab.nodes = args.nodes.unwrap_or(config.lab.nodes);
    config.server.set(&args.services);
    config.set_proxy_mode(args.proxy_mode);
    // Whatever directory the nodes run in.
    config.node.images = std::path::absolute(&config.node.images).context("--config: node.images")?;
    let fabric = config.lab.fabric.iter().map(|range| ExternalRange { range: range.trunc(), namespace: None });
    config.server.allow_external_ips.get_or_insert_with(|| fabric.collect());
    let topology = Topology::new(&args.lab.name, config.lab.nodes, config.ranges())?;
    // Not the whole fabric: others on it, such as `outside`, have no route to pods.
    let machines = topology.nodes.iter().flat_map(|node| &node.addresses).chain(&topology.server);
    config.node.node_ranges.extend(machines.map(|address| IpNet::from(address.addr())));
    rights::demand_root("stead up makes network namespaces")?;
    let warnings = check_proxy(&config)?;
    if let Some(path) = &args.kubeconfig {
        check_kubeconfig(path)?;
    }
    Ok(Wanted { topology, config, warnings })
}

pub(super) fn prepare(wanted: Wanted, args: &UpArgs) -> Result<Prepared> {
    let Wanted { topology, config, warnings } = wanted;
    let listener = bind(config.lab.host_port)?;
    let claim = Claim::take(Path::new(BASE), &args.lab.name)?;
    let Places { data, kubeconfig, data_lock } = match places(args, &claim, &config.node.images) {
        Ok(places) => places,
        Err(error) => return Err(give_up(claim, error)),
    };
    let since = Timestamp::now();
    let port = listener.local_addr().context("asking for the host's port")?.port();
    let url = format!("https://127.0.0.1:{port}");
    let prepared = Prepared { topology, config, claim, listener, url, kubeconfig, data, since, _data_lock: data_lock };
    match furnish(&prepared) {
        Ok(()) => {
            warnings.iter().for_each(|warning| complain(warning));
            Ok(prepared)
        }
        Err(error) => {
            super::remove_kubeconfig(&prepared);
            Err(give_up(prepared.claim, error))
        }
    }
}

/// Where a lab keeps what it needs.
struct Places {
    data: PathBuf,
    kubeconfig: PathBuf,
    data_lock: File,
}

fn places(args: &UpArgs, claim: &Claim, images: &Path) -> Result<Places> {
    stead_lab::remove_leftovers(claim, &args.lab.name).context("removing what an earlier lab of this name left")?;
    let named = args.data.as_deref().map(lock_data).transpose()?;
    open_image_store(images)?;
    let data = args.data.clone().unwrap_or_else(|| claim.directory().join("data"));
    let data_lock = named.map_or_else(|| lock_data(&data), Ok)?;
    let kubeconfig = match &args.kubeconfig {
        Some(path) => std::path::absolute(path).context("finding the current directory")?,
        None => claim.directory().join("kubeconfig"),
    };
    Ok(Places { data, kubeconfig, data_lock })
}

fn furnish(prepared: &Prepared) -> Result<()> {
    for directory in [prepared.claim.directory().join("log"), prepared.claim.directory().join("nodes")] {
        private_directory(&directory)?;
    }
    credentials::write(prepared)?;
    let config = serde_json::to_string_pretty(&prepared.config).context("writing the configuration")?;
    fs::write(prepared.config_file(), config).context("writing the configuration")
}

/// Nothing stays of a lab that cannot be; the first error is what is told.
fn give_up(claim: Claim, error: anyhow::Error) -> anyhow::Error {
    if let Err(release) = claim.release() {
        complain(&format!("what the lab had made stays: {release}"));
    }
    error
}

/// What every node's proxy would end with is an error; returned is a line for each setting that means nothing there.
fn check_proxy(config: &Config) -> Result<Vec<String>> {
    let file = proxy::file::File::Own { proxy: config.proxy.clone(), cluster: None };
    let (settings, others) =
        proxy::settings::resolve(proxy::said::Said::default(), &file).context("--config: section proxy")?;
    proxy::plane::Choice::among(&settings.planes)?;
    let warnings = proxy::settings::of_a_node_without_effect(&config.proxy).into_iter().chain(others);
    Ok(warnings.map(|warning| format!("--config: section proxy: {warning}")).collect())
}

/// The nodes use it as soon as they are there, and would end without it.
fn open_image_store(directory: &Path) -> Result<()> {
    let opened = Store::open(directory).map(drop);
    opened.map_err(|error| {
        let remedy = if matches!(error, StoreError::Foreign { .. }) { "" } else { ": name another directory" };
        anyhow!("--config: node.images: {:#}{remedy}", anyhow::Error::new(error))
    })
}

/// The directory is made where it is missing.
fn lock_data(directory: &Path) -> Result<File> {
    private_directory(directory).context("--data")?;
    let path = directory.join("lab.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!(
            "--data {} is used by another lab: end that one first, or choose another directory",
            directory.display()
        ),
    }
}

/// A file that holds anything but what an earlier lab wrote there is somebody's, and stays.
fn check_kubeconfig(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        bail!("--kubeconfig {}: there is no such directory", path.display());
    }
    // Writing replaces what is there: a device would be gone.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        bail!("--kubeconfig {} is no file: name one that does not exist", path.display());
    }
    let whole = std::path::absolute(path).context("--kubeconfig")?;
    if let Some(lab) = stead_lab::running(Path::new(BASE)).find(|lab| lab.kubeconfig == whole) {
        bail!("--kubeconfig {} is that of lab {}, which runs: name another file", path.display(), lab.name);
    }
    match fs::read_to_string(path) {
        Ok(text) if !text.is_empty() && !text.starts_with(credentials::KUBECONFIG_HEAD) => {
            bail!("--kubeconfig {} holds other credentials: name a file that does not exist", path.display())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => try_to_write(path),
        Err(error) => Err(error),
        Ok(_) => File::options().append(true).open(path).map(drop),
    }
    .with_context(|| format!("--kubeconfig {} cannot be written", path.display()))
}

/// Leaves nothing behind, and takes no name that another lab could want.
fn try_to_write(path: &Path) -> io::Result<()> {
    let probe = path.with_extension(format!("probe{}", std::process::id()));
    File::options().write(true).create_new(true).open(&probe)?;
    fs::remove_file(probe)
}

fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("lab.hostPort: 127.0.0.1:{port} cannot be taken: choose another, or 0 for any that is free")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_field() {
        let taken = bind(0).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(port).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("lab.hostPort: 127.0.0.1:{port} cannot be taken: choose another, or 0 for any that is free")
        );
    }

    #[test]
    fn a_kubeconfig_of_somebody_else_is_not_overwritten() {
        let file = tempfile::NamedTempFile::new().unwrap();
        check_kubeconfig(file.path()).unwrap();
        fs::write(file.path(), "apiVersion: v1\nkind: Config\nclusters:\n- name: precious\n").unwrap();
        let error = check_kubeconfig(file.path()).unwrap_err().to_string();
        assert!(error.contains("holds other credentials"), "{error}");
        fs::write(file.path(), stead_apiserver::pki::kubeconfig("https://x", "", &credential())).unwrap();
        check_kubeconfig(file.path()).unwrap();
    }

    #[test]
    fn data_is_of_one_lab_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock_data(directory.path()).unwrap();
        let error = lock_data(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is used by another lab"), "{error}");
        drop(lock);
        lock_data(directory.path()).unwrap();
    }

    fn credential() -> stead_apiserver::pki::CertKey {
        stead_apiserver::pki::CertKey { cert_pem: String::new(), key_pem: String::new() }
    }
}
