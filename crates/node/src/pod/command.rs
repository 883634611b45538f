//! From a pod's container and its image to what the runtime runs.

use std::path::{Path, PathBuf};

use k8s_openapi::{
    api::core::v1::{Container as Wire, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use stead_api::{bytes_of_quantity, quantity::parse_nanos};

use super::{
    environment::{Environment, expand},
    volumes::{self, Volume},
};
use crate::{
    container::{Access, Container, Input, Limits, Mount, Process, Stdio, signal_number},
    image::{Digest, Image},
    runtime::ContainerKey,
};

/// Where a container's things lie on this node.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPlace<'a> {
    /// Holds `hosts`, `hostname` and, where there is one, `resolv.conf`.
    pub files: &'a Path,
    pub has_resolv_conf: bool,
    /// Holds the volumes that are the pod's own.
    pub volumes: &'a Path,
    pub network: &'a Path,
    /// The cgroup above all pods of this node.
    pub cgroup: &'a Path,
    pub hostname: &'a str,
    pub log: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidContainer {
    #[error("no command specified")]
    NoCommand,
    #[error("working directory {0:?} is not absolute")]
    WorkingDir(String),
    #[error("limit of {resource} {amount:?} is no amount that a container can be held to")]
    Limit { resource: &'static str, amount: String },
}

/// What to run for `wire`.
pub(crate) fn container(
    pod: &Pod,
    wire: &Wire,
    key: &ContainerKey,
    image: &Image,
    environment: Environment,
    volumes: &[Volume],
    place: &ContainerPlace<'_>,
) -> Result<Container, InvalidContainer> {
    let expanded = |texts: &Option<Vec<String>>| -> Vec<String> {
        texts.iter().flatten().map(|text| expand(text, &environment.known)).collect()
    };
    let (command, arguments) = (expanded(&wire.command), expanded(&wire.args));
    // A command of the pod's own makes the image's arguments meaningless, too.
    let mut args = if command.is_empty() { image.config.entrypoint.clone() } else { command.clone() };
    if !arguments.is_empty() {
        args.extend(arguments);
    } else if command.is_empty() {
        args.extend(image.config.command.iter().cloned());
    }
    if args.first().is_none_or(String::is_empty) {
        return Err(InvalidContainer::NoCommand);
    }
    let asked = wire.working_dir.clone().filter(|dir| !dir.is_empty());
    let working_dir = asked.unwrap_or_else(|| image.config.working_dir.clone());
    let working_dir = if working_dir.is_empty() { "/".to_owned() } else { working_dir };
    if !working_dir.starts_with('/') {
        return Err(InvalidContainer::WorkingDir(working_dir));
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Ok(Container {
        id: Digest::of(key.to_string().as_bytes()).hex().to_owned(),
        process: Process { args, env: environment.lines, working_dir, user: image.config.user.clone() },
        hostname: place.hostname.to_owned(),
        lower_dirs: image.lower_dirs.clone(),
        mounts: mounts(wire, volumes, place),
        network: Some(place.network.to_owned()),
        cgroup: place.cgroup.join(uid).join(format!("{}-{}", key.container, key.attempt)),
        limits: limits(wire)?,
        stdio: if wire.tty == Some(true) { Stdio::Terminal } else { Stdio::Pipes },
        input: match (wire.stdin, wire.stdin_once) {
            (Some(true), Some(true)) => Input::Once,
            (Some(true), _) => Input::Kept,
            _ => Input::Nobody,
        },
        log: place.log.clone(),
        stop_signal: signal_number(&image.config.stop_signal),
    })
}

/// A limit of nothing is none. What is no amount, or below nothing, is refused: the API takes none such, but a container without the
/// limit that it states would be held to nothing.
fn limits(wire: &Wire) -> Result<Limits, InvalidContainer> {
    let limits = wire.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let limit = |resource: &'static str, read: fn(&str) -> Option<u64>| {
        let Some(Quantity(text)) = limits.and_then(|limits| limits.get(resource)) else { return Ok(None) };
        let amount = read(text).ok_or_else(|| InvalidContainer::Limit { resource, amount: text.clone() })?;
        Ok((amount > 0).then_some(amount))
    };
    Ok(Limits { memory: limit("memory", bytes_of_quantity)?, cpu: limit("cpu", milli_of_quantity)? })
}

/// Thousandths, parts of one counted whole.
fn milli_of_quantity(text: &str) -> Option<u64> {
    u64::try_from(parse_nanos(text)?).ok().map(|nanos| nanos.div_ceil(1_000_000))
}

/// Files of the pod and its volumes, those nearer to the root first.
fn mounts(wire: &Wire, volumes: &[Volume], place: &ContainerPlace<'_>) -> Vec<Mount> {
    let mut mounts = volumes::mounts(wire, volumes, place.volumes);
    let mut files = vec!["hosts", "hostname"];
    if place.has_resolv_conf {
        files.push("resolv.conf");
    }
    for file in files {
        let destination = Path::new("/etc").join(file);
        if !mounts.iter().any(|mount| mount.destination == destination) {
            let (source, access) = (place.files.join(file), Access::ReadWrite);
            mounts.push(Mount { source, sub_path: None, destination, access });
        }
    }
    mounts.sort_by_key(|mount| mount.destination.components().count());
    mounts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_those_of_memory_and_cpu() {
        let check = |limits: serde_json::Value, memory: Option<u64>, cpu: Option<u64>| {
            let wire = serde_json::from_value(json!({"name": "c", "resources": {"limits": limits}})).unwrap();
            assert_eq!(super::limits(&wire), Ok(Limits { memory, cpu }), "{limits}");
        };
        check(json!({"memory": "64Mi", "cpu": "1500m"}), Some(64 << 20), Some(1500));
        check(json!({"cpu": "2"}), None, Some(2000));
        check(json!({"cpu": "100u"}), None, Some(1));
        check(json!({"memory": "0", "cpu": "0"}), None, None);
        check(json!({"ephemeral-storage": "1Gi"}), None, None);
        assert_eq!(super::limits(&Wire::default()), Ok(Limits::default()));
        for (resource, amount) in [("memory", "-1"), ("memory", "much"), ("cpu", "-1m"), ("cpu", "")] {
            let wire = json!({"name": "c", "resources": {"limits": {resource: amount}}});
            let refused = super::limits(&serde_json::from_value(wire).unwrap());
            assert_eq!(refused, Err(InvalidContainer::Limit { resource, amount: amount.into() }));
        }
    }
}
