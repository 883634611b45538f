//! The environment of a container: the image's, that of Services, and the pod's own, in that order; and `$(NAME)` in texts.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use stead_api::service_snapshot::ServiceView;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {reason}")]
pub(crate) struct InvalidEnvironment {
    pub name: String,
    pub reason: String,
}

/// A search path for images that name none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The pod's addresses and those of its node, for variables that ask for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    pub pod: &'a [IpAddr],
    pub host: &'a [IpAddr],
}

/// A container's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `NAME=value`, each name once.
    pub lines: Vec<String>,
    /// What `$(NAME)` in command and arguments may name: all variables but the image's.
    pub known: BTreeMap<String, String>,
}

/// The environment of `container`. `services` are those that exist now, in any order.
pub(crate) fn environment<'a>(
    pod: &Pod,
    container: &Container,
    image: &[String],
    services: impl Iterator<Item = &'a ServiceView>,
    hostname: &str,
    addresses: Addresses<'_>,
) -> Result<Environment, InvalidEnvironment> {
    let mut known = service_variables(pod, services);
    let mut own = Vec::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(_) => reference(pod, variable, addresses)?,
            None => expand(variable.value.as_deref().unwrap_or_default(), &known),
        };
        known.insert(variable.name.clone(), value);
        own.push(variable.name.clone());
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        lines.retain(|(existing, _)| existing != name);
        lines.push((name.to_owned(), value.to_owned()));
    };
    let split = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in std::iter::once(PATH).chain(image.iter().map(String::as_str)).filter_map(split) {
        set(&name, &value);
    }
    set("HOSTNAME", hostname);
    known.iter().filter(|(name, _)| !own.contains(name)).for_each(|(name, value)| set(name, value));
    own.iter().for_each(|name| set(name, &known[name]));
    let lines = lines.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(Environment { lines, known })
}

/// Puts in the values of `$(NAME)`; `$$` is a dollar, and a name that is not known stays as it stands.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The value of a variable that is taken from the pod itself.
fn reference(pod: &Pod, variable: &EnvVar, addresses: Addresses<'_>) -> Result<String, InvalidEnvironment> {
    let invalid = |reason: String| InvalidEnvironment { name: variable.name.clone(), reason };
    let source = variable.value_from.as_ref();
    let Some(field) = source.and_then(|source| source.field_ref.as_ref()) else {
        return Err(invalid("its source is not served: use a value or fieldRef".to_owned()));
    };
    let first = |addresses: &[IpAddr]| addresses.first().map(IpAddr::to_string).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(match field.field_path.as_str() {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "spec.nodeName" => text(&pod.spec.as_ref().and_then(|spec| spec.node_name.clone())),
        "status.podIP" => first(addresses.pod),
        "status.hostIP" => first(addresses.host),
        other => return Err(invalid(format!("field {other} is not served"))),
    })
}

/// The variables that name Services: those of the pod's namespace, unless it wants none, and `kubernetes` in any case.
fn service_variables<'a>(pod: &Pod, services: impl Iterator<Item = &'a ServiceView>) -> BTreeMap<String, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let is_master = |service: &ServiceView| &*service.key.namespace == "default" && &*service.key.name == "kubernetes";
    let mut chosen: Vec<&ServiceView> = services
        .filter(|service| !service.cluster_ips.is_empty())
        .filter(|service| is_master(service) || links && &*service.key.namespace == namespace)
        .collect();
    // One of the same name in the pod's own namespace comes after the default one, and so stands.
    chosen.sort_by_key(|service| (!is_master(service), service.key.clone()));
    let mut variables = BTreeMap::new();
    for service in chosen {
        let (Some(address), Some(first)) = (service.cluster_ips.first(), service.ports.first()) else { continue };
        let name = service.key.name.to_uppercase().replace('-', "_");
        let host = match address {
            IpAddr::V6(address) => format!("[{address}]"),
            IpAddr::V4(address) => address.to_string(),
        };
        variables.insert(format!("{name}_SERVICE_HOST"), address.to_string());
        variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let port_name = port.name.to_uppercase().replace('-', "_");
            variables.insert(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
        for (n, port) in service.ports.iter().enumerate() {
            let protocol = port.protocol.to_string();
            let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
            if n == 0 {
                variables.insert(format!("{name}_PORT"), url.clone());
            }
            let prefix = format!("{name}_PORT_{}_{protocol}", port.port);
            variables.insert(prefix.clone(), url);
            variables.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
            variables.insert(format!("{prefix}_PORT"), port.port.to_string());
            variables.insert(format!("{prefix}_ADDR"), address.to_string());
        }
    }
    variables
}
