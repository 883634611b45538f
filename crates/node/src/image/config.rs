//! The part of an OCI image configuration that running a container needs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Digest;

/// What an image says of the containers made from it, and the layers it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: String,
    /// As written: `uid`, `user`, `uid:gid` or `user:group`; empty for root.
    pub user: String,
    /// Such as `SIGQUIT` or `3`; empty for SIGTERM.
    pub stop_signal: String,
    pub labels: BTreeMap<String, String>,
    /// Digests of the uncompressed layers, lowest first.
    pub layers: Vec<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    #[error("image configuration is not what the OCI image format asks for")]
    Json(#[from] serde_json::Error),
    #[error("image is for {os}/{architecture}, this machine is {}/{}", std::env::consts::OS, architecture_here())]
    Platform { os: String, architecture: String },
    #[error("layer digest {0:?} is not of the form sha256:HEX")]
    Digest(String),
    #[error("image has more than {0} layers")]
    TooManyLayers(usize),
}

/// The most layers that overlayfs mounts take through `mount(2)`'s one page of options, by the short paths used here.
pub(crate) const MAX_LAYERS: usize = 120;

impl ImageConfig {
    /// # Errors
    /// For text that is no image configuration, and for an image of another operating system or architecture.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        let wire: Wire = serde_json::from_slice(json)?;
        let architecture = wire.architecture.unwrap_or_default();
        let os = wire.os.unwrap_or_default();
        let fits = |value: &str, here: &str| value.is_empty() || value == here;
        if !fits(&os, std::env::consts::OS) || !fits(&architecture, architecture_here()) {
            return Err(InvalidConfig::Platform { os, architecture });
        }
        let layers = wire
            .rootfs
            .diff_ids
            .into_iter()
            .map(|text| Digest::parse(&text).ok_or(InvalidConfig::Digest(text)))
            .collect::<Result<Vec<_>, _>>()?;
        if layers.len() > MAX_LAYERS {
            return Err(InvalidConfig::TooManyLayers(MAX_LAYERS));
        }
        let run = wire.config.unwrap_or_default();
        Ok(Self {
            entrypoint: run.entrypoint.unwrap_or_default(),
            command: run.cmd.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            user: run.user.unwrap_or_default(),
            stop_signal: run.stop_signal.unwrap_or_default(),
            labels: run.labels.unwrap_or_default(),
            layers,
        })
    }
}

/// This machine's architecture in the names of the Go world, which image formats use.
pub(crate) fn architecture_here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[derive(Deserialize)]
struct Wire {
    architecture: Option<String>,
    os: Option<String>,
    config: Option<WireRun>,
    rootfs: WireRoot,
}

#[derive(Deserialize)]
struct WireRoot {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRun {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}
