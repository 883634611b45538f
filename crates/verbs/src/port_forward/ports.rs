//! Which port of a pod a person means: by number or name, through a Service or not.

use serde_json::Value;

use crate::error::VerbError;

const ARGUMENT: &str = "[LOCAL:]REMOTE";

/// `[LOCAL:]REMOTE` as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    local: Local,
    remote: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    SameAsRemote,
    Any,
    Port(u16),
}

/// A port here (0: any that is free) and one of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) local: u16,
    pub(super) remote: u16,
}

pub(super) fn parse(text: &str) -> Result<Wanted, VerbError> {
    let invalid = || VerbError::argument(ARGUMENT, format!("invalid port format {text:?}"));
    let (local, remote) = match text.split_once(':') {
        None => (Local::SameAsRemote, text),
        Some(("" | "0", remote)) => (Local::Any, remote),
        Some((local, remote)) => (Local::Port(local.parse().map_err(|_| invalid())?), remote),
    };
    if remote.is_empty() || remote.contains(':') || remote == "0" {
        return Err(invalid());
    }
    Ok(Wanted { local, remote: remote.to_owned() })
}

impl Wanted {
    /// The pod's port behind it: for a Service by way of its `targetPort`, and the Service's own number is the local one.
    pub(super) fn resolve(&self, service: Option<&Value>, pod: &Value) -> Result<Forward, VerbError> {
        let (said, remote) = match service {
            Some(service) => through(service, pod, &self.remote)?,
            None => {
                let port = number(&self.remote).or_else(|| named(pod, &self.remote));
                let port = port.ok_or_else(|| missing("pod", pod, &self.remote))?;
                (port, port)
            }
        };
        let local = match self.local {
            Local::SameAsRemote => said,
            Local::Any => 0,
            Local::Port(port) => port,
        };
        Ok(Forward { local, remote })
    }
}

/// A Service's port and the pod's.
fn through(service: &Value, pod: &Value, wanted: &str) -> Result<(u16, u16), VerbError> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let is_wanted = |port: &&Value| match number(wanted) {
        Some(wanted) => port["port"] == wanted,
        None => port["name"] == wanted,
    };
    let port = ports.into_iter().find(is_wanted).ok_or_else(|| missing("Service", service, wanted))?;
    let own = port_number(&port["port"]).ok_or_else(|| missing("Service", service, wanted))?;
    // Without a virtual IP nothing translates ports.
    if service["spec"]["clusterIP"] == "None" {
        return Ok((own, own));
    }
    match &port["targetPort"] {
        Value::String(name) => Ok((own, named(pod, name).ok_or_else(|| missing("pod", pod, name))?)),
        target => Ok((own, port_number(target).unwrap_or(own))),
    }
}

fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// A TCP port of the pod's containers by its name.
fn named(pod: &Value, name: &str) -> Option<u16> {
    let containers = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    let mut ports = containers("containers")
        .chain(containers("initContainers"))
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let port = ports.find(|port| port["name"] == name)?;
    port_number(&port["containerPort"])
}

fn missing(kind: &str, object: &Value, port: &str) -> VerbError {
    let name = stead_api::meta::name(object);
    VerbError::argument(ARGUMENT, format!("{kind} {name:?} does not have a port {port:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_lead_to_the_pods() {
        let pod = json!({"metadata": {"name": "web-1"}, "spec": {"containers": [
            {"ports": [{"name": "http", "containerPort": 8080}]}, {"ports": [{"name": "admin", "containerPort": 9090}]}]}});
        let service = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.9", "ports": [
            {"name": "main", "port": 80, "targetPort": "http"},
            {"name": "other", "port": 81, "targetPort": 9090},
            {"name": "lost", "port": 82, "targetPort": "nothing"},
            {"name": "same", "port": 83}]}});
        let check = |text: &str, service: Option<&Value>, expect: Option<(u16, u16)>| {
            let found = parse(text).and_then(|wanted| wanted.resolve(service, &pod)).ok();
            assert_eq!(found.map(|found| (found.local, found.remote)), expect, "{text}");
        };
        check("8080", None, Some((8080, 8080)));
        check("8080:80", None, Some((8080, 80)));
        check(":80", None, Some((0, 80)));
        check("0:80", None, Some((0, 80)));
        check("http", None, Some((8080, 8080)));
        check("5000:admin", None, Some((5000, 9090)));
        check("nothing", None, None);
        for text in ["", "a:80", "80:", "1:2:3", "70000", "80:0", "-1:80"] {
            check(text, None, None);
        }
        check("8080:80", Some(&service), Some((8080, 8080)));
        check("80", Some(&service), Some((80, 8080)));
        check("main", Some(&service), Some((80, 8080)));
        check("81", Some(&service), Some((81, 9090)));
        check(":other", Some(&service), Some((0, 9090)));
        check("83", Some(&service), Some((83, 83)));
        check("82", Some(&service), None);
        check("8080", Some(&service), None);
        let headless = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None", "ports": [
            {"port": 8080, "targetPort": "nothing"}]}});
        check("8080", Some(&headless), Some((8080, 8080)));
    }
}
