//! What a readiness probe asks, from the pod's words.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Probe as Wire},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// A readiness probe, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub action: ProbeAction,
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    /// Answers in a row that change the verdict.
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeAction {
    /// Connects.
    Tcp { host: String, port: u16 },
    /// Wants an answer of 200–399.
    Http { host: String, port: u16, path: String, headers: Vec<(String, String)> },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidProbe {
    #[error("readiness probe names port {0:?}, which container {1} does not have")]
    Port(String, String),
    #[error("readiness probe asks neither httpGet nor tcpSocket")]
    Action,
}

impl Probe {
    /// # Errors
    /// For a port that is out of range or has no such name, and for kinds of probes that are not served.
    pub(crate) fn parse(wire: &Wire, container: &Container, pod: IpAddr) -> Result<Self, InvalidProbe> {
        let pod_host = || pod.to_string();
        let host = |host: &Option<String>| host.clone().filter(|host| !host.is_empty()).unwrap_or_else(pod_host);
        let action = if let Some(http) = &wire.http_get {
            let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
            ProbeAction::Http {
                host: host(&http.host),
                port: port(&http.port, container)?,
                path: if path.starts_with('/') { path } else { format!("/{path}") },
                headers: http.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
            }
        } else if let Some(tcp) = &wire.tcp_socket {
            ProbeAction::Tcp { host: host(&tcp.host), port: port(&tcp.port, container)? }
        } else {
            return Err(InvalidProbe::Action);
        };
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let at_least_one = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Ok(Self {
            action,
            initial_delay: seconds(wire.initial_delay_seconds, 0),
            period: seconds(wire.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(wire.timeout_seconds, 1).max(Duration::from_secs(1)),
            success_threshold: at_least_one(wire.success_threshold, 1),
            failure_threshold: at_least_one(wire.failure_threshold, 3),
        })
    }
}

fn port(wanted: &IntOrString, container: &Container) -> Result<u16, InvalidProbe> {
    let number = match wanted {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port).next();
            named.or_else(|| name.parse().ok())
        }
    };
    let port = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| {
        let shown = match wanted {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(name) => name.clone(),
        };
        InvalidProbe::Port(shown, container.name.clone())
    })
}
