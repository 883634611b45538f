//! Carrying out actions, each in a task of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wire, Pod};
use stead_api::item::object_key;
use stead_client::{CallError, Class, error_text, object, write};

use super::{Event, Observed, Run, Shared, adopt, withdraw::withdrawn};
use crate::{
    cgroup::Hierarchies,
    container::Container,
    image::StoreError,
    net::{NetworkError, Reservation},
    pod::{
        self, Action, Addresses, ConfigMaps, ContainerPlace, Finished, Input, InvalidContainer, InvalidEnvironment,
        InvalidVolume, MissingReason, Network, Unattached, Unstarted,
    },
    runtime::{ContainerKey, RuntimeError, Stop},
    volume,
};

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the pod has no container of this name")]
    NoContainer,
    #[error("the pod has no network")]
    NoNetwork,
    #[error(transparent)]
    Image(#[from] StoreError),
    #[error("configmaps of the pod cannot be read")]
    ConfigMaps(#[source] CallError),
    #[error(transparent)]
    Volume(#[from] InvalidVolume),
    #[error(transparent)]
    Environment(#[from] InvalidEnvironment),
    #[error(transparent)]
    Container(#[from] InvalidContainer),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("work on the image store was cut off")]
    Join(#[from] tokio::task::JoinError),
}

const RELEASE_RETRY: Duration = Duration::from_secs(1);

impl Shared {
    /// Begins an action; what comes of it arrives as an event.
    pub(super) fn begin(
        self: &Arc<Self>,
        uid: &str,
        pod: &Arc<Pod>,
        observed: &Observed,
        is_gone: bool,
        action: Action,
    ) {
        let (shared, uid, pod) = (Arc::clone(self), uid.to_owned(), Arc::clone(pod));
        match action {
            Action::Attach => {
                tokio::spawn(async move {
                    let result = shared.attach(&uid, &pod).await;
                    shared.news(&uid, Input::Attached(result));
                });
            }
            Action::Detach => drop(tokio::task::spawn_blocking(move || {
                if let Err(error) = shared.detach(&uid) {
                    tracing::warn!(pod = uid, error = error_text(&error), "its network could not be taken away");
                }
                shared.news(&uid, Input::Detached);
            })),
            Action::Withdraw => {
                let addresses = match &observed.network {
                    Network::Attached(addresses) => addresses.clone(),
                    _ => Vec::new(),
                };
                tokio::spawn(async move {
                    withdrawn(&shared.cache, &addresses).await;
                    shared.news(&uid, Input::Withdrawn);
                });
            }
            Action::Resolve { container } => drop(tokio::task::spawn_blocking(move || {
                let input = shared.resolve(&pod, container);
                shared.news(&uid, input);
            })),
            Action::Start { container, attempt } => {
                let addresses = match &observed.network {
                    Network::Attached(addresses) => addresses.clone(),
                    _ => Vec::new(),
                };
                let key = ContainerKey { pod_uid: uid.clone(), container: container.clone(), attempt };
                tokio::spawn(async move {
                    let started = shared.start(&pod, &key, &addresses).await;
                    let is_running = started.is_ok();
                    let result = started.map_err(|error| match error {
                        StartError::Environment(_) | StartError::ConfigMaps(_) => {
                            Unstarted::Unconfigured(error_text(&error))
                        }
                        error => Unstarted::Failed(error_text(&error)),
                    });
                    shared.news(&uid, Input::Started { container, attempt, result });
                    if is_running {
                        shared.await_end(key).await;
                    }
                });
            }
            Action::Stop { container, attempt, how } => {
                let key = ContainerKey { pod_uid: uid, container, attempt };
                tokio::spawn(async move { shared.stop(&key, how).await });
            }
            Action::Forget { container, attempt } => {
                let key = ContainerKey { pod_uid: uid, container, attempt };
                tokio::spawn(async move { shared.forget(&key).await });
            }
            Action::Release => {
                tokio::spawn(async move {
                    shared.release(&uid, &pod, is_gone).await;
                    shared.send(Event::Released { uid });
                });
            }
        }
    }

    /// Waits for the ends of runs that were running before this agent was.
    pub(super) fn await_ends(self: &Arc<Self>, uid: &str, observed: &Observed) {
        for (container, state) in &observed.containers {
            if let Run::Running { attempt, .. } = state.run {
                let shared = Arc::clone(self);
                let key = ContainerKey { pod_uid: uid.to_owned(), container: container.clone(), attempt };
                tokio::spawn(async move { shared.await_end(key).await });
            }
        }
    }

    fn news(&self, uid: &str, input: Input) {
        self.send(Event::News { uid: uid.to_owned(), input });
    }

    pub(super) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.state_dir.join("pods").join(uid)
    }

    async fn attach(self: &Arc<Self>, uid: &str, pod: &Arc<Pod>) -> Result<Vec<std::net::IpAddr>, Unattached> {
        self.make_volumes(uid, pod).await.map_err(Unattached::Volumes)?;
        let (shared, uid, pod) = (Arc::clone(self), uid.to_owned(), Arc::clone(pod));
        let connected = tokio::task::spawn_blocking(move || shared.connect(&uid, &pod)).await;
        connected.unwrap_or_else(|error| Err(error.to_string())).map_err(Unattached::Network)
    }

    fn connect(&self, uid: &str, pod: &Pod) -> Result<Vec<std::net::IpAddr>, String> {
        let reservation = self.network().reserve(uid);
        let network = reservation.and_then(Reservation::set_up).map_err(|error| error_text(&error))?;
        self.write_files(uid, pod, &network.addresses).map_err(|error| format!("files of the pod: {error}"))?;
        Ok(network.addresses)
    }

    fn detach(&self, uid: &str) -> Result<(), NetworkError> {
        let take_away = self.network().take_away(uid);
        take_away()?;
        self.network().release(uid)
    }

    fn write_files(&self, uid: &str, pod: &Pod, addresses: &[std::net::IpAddr]) -> io::Result<()> {
        let dir = self.pod_dir(uid);
        fs::create_dir_all(&dir)?;
        let hostname = pod::hostname(pod);
        fs::write(dir.join("hosts"), pod::hosts_file(pod, &hostname, addresses))?;
        fs::write(dir.join("hostname"), format!("{hostname}\n"))?;
        if let Some(resolv_conf) = &self.config.resolv_conf {
            fs::write(dir.join("resolv.conf"), fs::read(resolv_conf).unwrap_or_default())?;
        }
        Ok(())
    }

    fn resolve(&self, pod: &Pod, container: String) -> Input {
        let wire = find(pod, &container);
        let image = wire.and_then(|wire| wire.image.clone()).unwrap_or_default();
        let never = wire.is_some_and(|wire| wire.image_pull_policy.as_deref() == Some("Never"));
        let result = self.store.resolve(&image).map(|image| image.id.to_string()).map_err(|error| match error {
            StoreError::Name(error) => {
                let message = format!("Failed to apply default image tag \"{image}\": {error}");
                (MissingReason::InvalidImageName, message)
            }
            StoreError::NotFound { .. } if never => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never: {error}");
                (MissingReason::ErrImageNeverPull, message)
            }
            error => (MissingReason::ErrImagePull, error_text(&error)),
        });
        Input::Resolved { container, image, result }
    }

    async fn start(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        key: &ContainerKey,
        addresses: &[std::net::IpAddr],
    ) -> Result<Timestamp, StartError> {
        self.await_services().await;
        let names = find(pod, &key.container).into_iter().flat_map(pod::config_maps_of);
        let config_maps = self.config_maps(pod, names).await.map_err(StartError::ConfigMaps)?;
        let (shared, pod, in_task, addresses) = (Arc::clone(self), Arc::clone(pod), key.clone(), addresses.to_vec());
        let described = tokio::task::spawn_blocking(move || shared.describe(&pod, &in_task, &config_maps, &addresses));
        let container = described.await??;
        Ok(self.runtime.start(key, &container).await?.started_at)
    }

    fn describe(
        &self,
        pod: &Pod,
        key: &ContainerKey,
        config_maps: &ConfigMaps,
        addresses: &[std::net::IpAddr],
    ) -> Result<Container, StartError> {
        let wire = find(pod, &key.container).ok_or(StartError::NoContainer)?;
        let image = self.store.resolve(wire.image.as_deref().unwrap_or_default())?;
        let network = self.network().find(&key.pod_uid).ok_or(StartError::NoNetwork)?;
        let hostname = pod::hostname(pod);
        let addresses = Addresses { pod: addresses, host: &self.config.node_addresses };
        let environment = {
            let services = self.cache.read();
            pod::environment(pod, wire, &image.config.env, services.services(), config_maps, &hostname, addresses)?
        };
        let (files, volumes) = (self.pod_dir(&key.pod_uid), self.volumes_dir(&key.pod_uid));
        let place = ContainerPlace {
            files: &files,
            has_resolv_conf: self.config.resolv_conf.is_some(),
            volumes: &volumes,
            network: &network.namespace,
            cgroup: &self.config.cgroup,
            hostname: &hostname,
            log: self.runtime.log(key),
        };
        Ok(pod::container(pod, wire, key, &image, environment, &pod::volumes(pod)?, &place)?)
    }

    /// A container's environment names the Services that exist, so they must be known first.
    async fn await_services(&self) {
        if self.cache.read().is_synced() {
            return;
        }
        let mut news = self.cache.subscribe();
        while !self.cache.read().is_synced() {
            news.next().await;
        }
    }

    async fn await_end(&self, key: ContainerKey) {
        let finished = match self.runtime.wait(&key).await {
            Ok(exit) => adopt::finished(key.attempt, &exit),
            Err(error) => Finished {
                attempt: key.attempt,
                code: 137,
                signal: None,
                reason: "ContainerStatusUnknown",
                message: Some(error_text(&error)),
                started_at: None,
                finished_at: Timestamp::now(),
            },
        };
        self.news(&key.pod_uid, Input::Ended { container: key.container, finished });
    }

    async fn stop(&self, key: &ContainerKey, how: Stop) {
        if let Err(error) = self.runtime.stop(key, how).await {
            tracing::warn!(container = %key, error = error_text(&error), "it could not be stopped");
        }
    }

    async fn forget(&self, key: &ContainerKey) {
        if let Err(error) = self.runtime.remove(key).await {
            tracing::warn!(container = %key, error = error_text(&error), "it could not be removed");
        }
    }

    /// Takes away what is kept of a pod, and then the object, if it is still this pod.
    async fn release(&self, uid: &str, pod: &Pod, is_gone: bool) {
        match self.runtime.list_pod(uid).await {
            Ok(runs) => {
                for key in runs {
                    self.forget(&key).await;
                }
            }
            Err(error) => tracing::warn!(pod = uid, error = error_text(&error), "its containers cannot be listed"),
        }
        match volume::remove(&self.volumes_dir(uid)) {
            Ok(()) => remove_files(&self.pod_dir(uid), &self.config.cgroup.join(uid)),
            // What is mounted below must not be emptied.
            Err(error) => tracing::warn!(pod = uid, %error, "volumes of a pod could not be taken away"),
        }
        if is_gone {
            return;
        }
        let path = object::<Pod>(&object_key(&pod.metadata));
        let options = write::DeleteOptions { grace_seconds: Some(0), ..write::DeleteOptions::of_uid(uid) };
        loop {
            match write::delete(&self.client, &path, &options).await {
                Err(error) if error.class() == Class::Transient => {
                    tracing::debug!(pod = path, error = error_text(&error), "it could not be deleted yet");
                    tokio::time::sleep(RELEASE_RETRY).await;
                }
                // A conflict is another pod of the same name: this one is gone.
                Err(error) if !error.is_not_found() && !error.is_conflict() => {
                    tracing::warn!(pod = path, error = error_text(&error), "it could not be deleted");
                    return;
                }
                _ => return,
            }
        }
    }
}

fn find<'a>(pod: &'a Pod, container: &str) -> Option<&'a Wire> {
    pod.spec.as_ref()?.containers.iter().find(|wire| wire.name == container)
}

fn remove_files(dir: &Path, cgroup: &Path) {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), %error, "files of a pod could not be removed");
    }
    if let Ok(hierarchies) = Hierarchies::read() {
        hierarchies.remove(cgroup);
    }
}
