//! A pod's volumes, and the ConfigMaps that they and the variables of containers are made from.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use stead_client::{CallError, error_text, object, write};
use stead_model::ObjectKey;

use super::Shared;
use crate::{
    pod::{ConfigMaps, Source, volumes},
    volume,
};

impl Shared {
    /// Where the volumes that are a pod's own lie.
    pub(super) fn volumes_dir(&self, uid: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes")
    }

    /// Makes all volumes of a pod, or finds them made.
    pub(super) async fn make_volumes(self: &Arc<Self>, uid: &str, pod: &Pod) -> Result<(), String> {
        let volumes = volumes(pod).map_err(|error| error_text(&error))?;
        let names = volumes.iter().filter_map(|volume| match &volume.source {
            Source::ConfigMap(source) => Some(source.name.as_str()),
            Source::Directory | Source::Memory { .. } | Source::Host { .. } => None,
        });
        let config_maps = self.config_maps(pod, names).await.map_err(|error| error_text(&error))?;
        let dir = self.volumes_dir(uid);
        let made = tokio::task::spawn_blocking(move || {
            volumes.iter().try_for_each(|volume| {
                let config_map = match &volume.source {
                    Source::ConfigMap(source) => config_maps.get(&source.name),
                    Source::Directory | Source::Memory { .. } | Source::Host { .. } => None,
                };
                volume::make(volume, &dir, config_map).map_err(|error| {
                    format!("MountVolume.SetUp failed for volume {:?} : {}", volume.name, error_text(&error))
                })
            })
        });
        made.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Those of these ConfigMaps of the pod's namespace that there are.
    pub(super) async fn config_maps<'n>(
        &self,
        pod: &Pod,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<ConfigMaps, CallError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut found = ConfigMaps::new();
        for name in names {
            if found.contains_key(name) {
                continue;
            }
            match write::get::<ConfigMap>(&self.client, &object::<ConfigMap>(&ObjectKey::new(namespace, name))).await {
                Ok(config_map) => drop(found.insert(name.to_owned(), config_map)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
