//! Objects from flags, as kubectl's generators make them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Common;
use crate::error::VerbError;

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The name of the new object
    name: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Named {
    pub(super) fn object(&self, kind: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": self.name}})
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceGenerator {
    /// A virtual IP inside the cluster
    Clusterip(ClusterIp),
    /// The same, and a port of every node
    Nodeport(NodePort),
    /// The same, and an address outside the cluster
    Loadbalancer(Balanced),
    /// A name that stands for another name
    Externalname(External),
}

#[derive(Debug, Args)]
pub(super) struct ClusterIp {
    #[command(flatten)]
    balanced: Balanced,
    /// The virtual IP, or None for a headless Service
    #[arg(long, value_name = "IP")]
    clusterip: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NodePort {
    #[command(flatten)]
    balanced: Balanced,
    /// The port of every node
    #[arg(long, value_name = "PORT")]
    node_port: Option<u16>,
}

#[derive(Debug, Args)]
pub(super) struct Balanced {
    /// The name of the new object
    name: String,
    /// PORT or PORT:TARGETPORT
    #[arg(long, value_delimiter = ',', value_name = "PORT:TARGET")]
    tcp: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct External {
    /// The name of the new object
    name: String,
    /// The name it stands for
    #[arg(long, value_name = "NAME")]
    external_name: String,
    /// PORT or PORT:TARGETPORT
    #[arg(long, value_delimiter = ',', value_name = "PORT:TARGET")]
    tcp: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl ServiceGenerator {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Clusterip(ClusterIp { balanced, .. })
            | Self::Nodeport(NodePort { balanced, .. })
            | Self::Loadbalancer(balanced) => &balanced.common,
            Self::Externalname(external) => &external.common,
        }
    }

    pub(super) fn failure(&self) -> &'static str {
        match self {
            Self::Clusterip(_) => "failed to create ClusterIP service:",
            Self::Nodeport(_) => "failed to create NodePort service:",
            Self::Loadbalancer(_) => "failed to create LoadBalancer service:",
            Self::Externalname(_) => "failed to create ExternalName service:",
        }
    }

    pub(super) fn object(&self) -> Result<Value, VerbError> {
        let (name, tcp, kind) = match self {
            Self::Clusterip(ClusterIp { balanced, .. }) => (&balanced.name, &balanced.tcp, "ClusterIP"),
            Self::Nodeport(NodePort { balanced, .. }) => (&balanced.name, &balanced.tcp, "NodePort"),
            Self::Loadbalancer(balanced) => (&balanced.name, &balanced.tcp, "LoadBalancer"),
            Self::Externalname(external) => (&external.name, &external.tcp, "ExternalName"),
        };
        let headless = matches!(self, Self::Clusterip(ClusterIp { clusterip: Some(ip), .. }) if ip == "None");
        if tcp.is_empty() && !headless && kind != "ExternalName" {
            return Err(VerbError::argument("--tcp", "at least one tcp port specifier must be provided"));
        }
        let ports = tcp.iter().map(|text| port(text)).collect::<Result<Vec<_>, _>>()?;
        let mut spec = json!({"type": kind, "selector": {"app": name}});
        if !ports.is_empty() {
            spec["ports"] = ports.into();
        }
        match self {
            Self::Clusterip(ClusterIp { clusterip: Some(ip), .. }) => spec["clusterIP"] = ip.as_str().into(),
            Self::Nodeport(NodePort { node_port: Some(node_port), .. }) => {
                for port in spec["ports"].as_array_mut().into_iter().flatten() {
                    port["nodePort"] = (*node_port).into();
                }
            }
            Self::Externalname(external) => spec["externalName"] = external.external_name.as_str().into(),
            _ => {}
        }
        let metadata = json!({"name": name, "labels": {"app": name}});
        Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
    }
}

/// `80`, `80:8080` or `80:http`.
fn port(text: &str) -> Result<Value, VerbError> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0);
    let refuse = || VerbError::argument("--tcp", format!("{text:?}: expected PORT or PORT:TARGETPORT, 1 to 65535"));
    let port = number(port).ok_or_else(refuse)?;
    let target = number(target).map_or_else(|| Value::from(target), Value::from);
    let name = text.replace(':', "-");
    Ok(json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"}))
}

#[derive(Debug, Args)]
pub(super) struct DeploymentGenerator {
    /// The name of the new object
    name: String,
    /// Images; a container for each
    #[arg(long, required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// How many pods
    #[arg(long, short, default_value_t = 1)]
    replicas: u32,
    /// The port that its only container listens on
    #[arg(long)]
    port: Option<u16>,
    #[command(flatten)]
    pub(super) common: Common,
    /// The command of its only container
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl DeploymentGenerator {
    pub(super) fn object(&self) -> Value {
        let container = |image: &String| {
            let name = image.rsplit('/').next().unwrap_or(image);
            let name: String = name.split([':', '@']).next().unwrap_or(name).to_ascii_lowercase();
            let mut container = json!({"name": name.replace(['_', '.'], "-"), "image": image});
            if let Some(port) = self.port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            if !self.command.is_empty() {
                container["command"] = json!(self.command);
            }
            container
        };
        let containers: Vec<Value> = self.image.iter().map(container).collect();
        let labels = json!({"app": self.name});
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct DataGenerator {
    /// The name of the new object
    name: String,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    pub(super) common: Common,
}

impl DataGenerator {
    pub(super) fn config_map(&self) -> Result<Value, VerbError> {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name}});
        for (key, bytes) in self.sources.read()? {
            match String::from_utf8(bytes) {
                Ok(text) => map["data"][key] = text.into(),
                Err(binary) => map["binaryData"][key] = BASE64_STANDARD.encode(binary.as_bytes()).into(),
            }
        }
        Ok(map)
    }
}

/// What `--from-literal` and `--from-file` say.
#[derive(Clone, Debug, Args)]
pub(super) struct Sources {
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// FILE, KEY=FILE, or a directory of files
    #[arg(long, value_name = "KEY=FILE")]
    from_file: Vec<PathBuf>,
    /// A file with KEY=VALUE lines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_literal", "from_file"])]
    from_env_file: Vec<PathBuf>,
}

impl Sources {
    /// Bytes by key; a key that comes twice is refused.
    pub(super) fn read(&self) -> Result<BTreeMap<String, Vec<u8>>, VerbError> {
        let mut data = BTreeMap::new();
        let mut add = |key: &str, value: Vec<u8>| match data.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(VerbError::usage(format!(
                "cannot add key {key:?}, another key by that name already exists in Data"
            ))),
        };
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| VerbError::Read { path, source }
        };
        for literal in &self.from_literal {
            let (key, value) = literal
                .split_once('=')
                .ok_or_else(|| VerbError::usage(format!("invalid literal source {literal}, expected key=value")))?;
            let is_quoted = |mark: char| value.len() > 1 && value.starts_with(mark) && value.ends_with(mark);
            let bare = if is_quoted('"') || is_quoted('\'') { &value[1..value.len() - 1] } else { value };
            add(key, bare.into())?;
        }
        for source in &self.from_file {
            let text = source.to_string_lossy();
            let (key, path) = match text.split_once('=') {
                Some((key, path)) => (Some(key), PathBuf::from(path)),
                None => (None, source.clone()),
            };
            let paths = if path.is_dir() {
                let mut files: Vec<PathBuf> =
                    fs::read_dir(&path).map_err(failed(&path))?.flatten().map(|entry| entry.path()).collect();
                files.retain(|file| file.is_file());
                files.sort();
                files
            } else {
                vec![path]
            };
            for path in paths {
                let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                add(key.unwrap_or(&own), fs::read(&path).map_err(failed(&path))?)?;
            }
        }
        for path in &self.from_env_file {
            let text = fs::read_to_string(path).map_err(failed(path))?;
            let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                add(key, value.into())?;
            }
        }
        Ok(data)
    }
}
