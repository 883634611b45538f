//! The volumes of a pod and where its containers see them, read from its spec. Making them is `crate::volume`'s.
//!
//! What is read here has passed the API's validation, yet an agent serves any API: what it cannot do is an error that names it.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container as Wire, Pod, Volume as WireVolume};

use crate::container::{Access, Mount};

/// A volume, ready to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    pub name: String,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// A directory of the pod's own, on the disk of the agent's state.
    Directory,
    /// A tmpfs of the pod's own, of at most so many bytes.
    Memory { limit: Option<u64> },
    /// A path of the machine.
    Host { path: PathBuf, check: HostCheck },
    /// The values of a ConfigMap as files, as they are when the pod starts.
    ConfigMap(ConfigMapVolumeSource),
}

/// What must be at a hostPath, and what is made where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostCheck {
    /// Anything; a directory where nothing is.
    Anything,
    DirectoryOrCreate,
    Directory,
    FileOrCreate,
    File,
    Socket,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidVolume {
    #[error("volume {0:?} is of a kind that this node does not serve")]
    Kind(String),
    #[error("volume {volume:?}: unknown storage medium {medium:?}")]
    Medium { volume: String, medium: String },
    #[error("volume {volume:?}: sizeLimit {limit:?} is no number of bytes")]
    Limit { volume: String, limit: String },
    #[error("volume {volume:?}: hostPath type {kind:?} is not served")]
    HostPathType { volume: String, kind: String },
    #[error("name {0:?} of a volume cannot be one of a directory")]
    Name(String),
}

/// Every volume of the pod, in its order.
pub(crate) fn volumes(pod: &Pod) -> Result<Vec<Volume>, InvalidVolume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).map(volume).collect()
}

fn volume(wire: &WireVolume) -> Result<Volume, InvalidVolume> {
    let name = wire.name.clone();
    // Becomes a directory: a DNS label is none of these.
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(InvalidVolume::Name(name));
    }
    let source = if let Some(empty_dir) = &wire.empty_dir {
        match empty_dir.medium.as_deref().unwrap_or_default() {
            "" => Source::Directory,
            "Memory" => {
                let limit = empty_dir.size_limit.as_ref().map(|limit| {
                    stead_api::bytes_of_quantity(&limit.0)
                        .ok_or_else(|| InvalidVolume::Limit { volume: name.clone(), limit: limit.0.clone() })
                });
                // As upstream: a limit of nothing is none.
                Source::Memory { limit: limit.transpose()?.filter(|limit| *limit > 0) }
            }
            medium => return Err(InvalidVolume::Medium { volume: name, medium: medium.to_owned() }),
        }
    } else if let Some(host_path) = &wire.host_path {
        let check = match host_path.type_.as_deref().unwrap_or_default() {
            "" => HostCheck::Anything,
            "DirectoryOrCreate" => HostCheck::DirectoryOrCreate,
            "Directory" => HostCheck::Directory,
            "FileOrCreate" => HostCheck::FileOrCreate,
            "File" => HostCheck::File,
            "Socket" => HostCheck::Socket,
            kind => return Err(InvalidVolume::HostPathType { volume: name, kind: kind.to_owned() }),
        };
        Source::Host { path: Path::new("/").join(&host_path.path), check }
    } else if let Some(config_map) = &wire.config_map {
        Source::ConfigMap(config_map.clone())
    } else {
        return Err(InvalidVolume::Kind(name));
    };
    Ok(Volume { name, source })
}

impl Volume {
    /// Where the volume lies on this machine; `dir` holds those that are the pod's own.
    pub(crate) fn place(&self, dir: &Path) -> PathBuf {
        match &self.source {
            Source::Host { path, .. } => path.clone(),
            Source::Directory | Source::Memory { .. } | Source::ConfigMap(_) => dir.join(&self.name),
        }
    }
}

/// The places of the volumes in one container. One whose volume is not in `volumes` is
/// left out: no API accepts such a pod.
pub(crate) fn mounts(wire: &Wire, volumes: &[Volume], dir: &Path) -> Vec<Mount> {
    wire.volume_mounts
        .iter()
        .flatten()
        .filter_map(|mount| {
            let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
            // Files of a ConfigMap are nobody's to change.
            let is_read_only = mount.read_only == Some(true) || matches!(volume.source, Source::ConfigMap(_));
            Some(Mount {
                source: volume.place(dir),
                sub_path: mount.sub_path.clone().filter(|path| !path.is_empty()).map(PathBuf::from),
                destination: Path::new("/").join(&mount.mount_path),
                access: if is_read_only { Access::ReadOnly } else { Access::ReadWrite },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(volume: Value, expect: Result<Source, &str>) {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [volume]}})).unwrap();
        let found = volumes(&pod).map(|mut volumes| volumes.remove(0).source).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{volume}");
    }

    #[test]
    fn volumes_are_read() {
        check(json!({"name": "v", "emptyDir": {}}), Ok(Source::Directory));
        check(json!({"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}), Ok(Source::Directory));
        check(json!({"name": "v", "emptyDir": {"medium": "Memory"}}), Ok(Source::Memory { limit: None }));
        let limited = json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}});
        check(limited, Ok(Source::Memory { limit: Some(2 << 20) }));
        let huge = json!({"name": "v", "emptyDir": {"medium": "HugePages"}});
        check(huge, Err("volume \"v\": unknown storage medium \"HugePages\""));
        for (kind, check_) in [
            (Value::Null, HostCheck::Anything),
            (json!(""), HostCheck::Anything),
            (json!("Directory"), HostCheck::Directory),
            (json!("DirectoryOrCreate"), HostCheck::DirectoryOrCreate),
            (json!("File"), HostCheck::File),
            (json!("FileOrCreate"), HostCheck::FileOrCreate),
            (json!("Socket"), HostCheck::Socket),
        ] {
            let volume = json!({"name": "v", "hostPath": {"path": "/data", "type": kind}});
            check(volume, Ok(Source::Host { path: "/data".into(), check: check_ }));
        }
        let device = json!({"name": "v", "hostPath": {"path": "/dev/sda", "type": "BlockDevice"}});
        check(device, Err("volume \"v\": hostPath type \"BlockDevice\" is not served"));
        check(
            json!({"name": "v", "nfs": {"path": "/", "server": "x"}}),
            Err("volume \"v\" is of a kind that this node does not serve"),
        );
        check(json!({"name": "../x", "emptyDir": {}}), Err("name \"../x\" of a volume cannot be one of a directory"));
    }

    #[test]
    fn mounts_name_the_place_of_their_volume() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "own", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/data"}},
        ]}}))
        .unwrap();
        let wire: Wire = serde_json::from_value(json!({"name": "c", "volumeMounts": [
            {"name": "own", "mountPath": "/a/b/c", "subPath": "x/y"},
            {"name": "host", "mountPath": "a", "readOnly": true},
        ]}))
        .unwrap();
        let mount = |source: &str, sub_path: Option<&str>, destination: &str, access| Mount {
            source: source.into(),
            sub_path: sub_path.map(PathBuf::from),
            destination: destination.into(),
            access,
        };
        assert_eq!(
            mounts(&wire, &volumes(&pod).unwrap(), Path::new("/v")),
            [mount("/v/own", Some("x/y"), "/a/b/c", Access::ReadWrite), mount("/data", None, "/a", Access::ReadOnly)]
        );
    }
}
