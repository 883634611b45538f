//! Asking containers whether they are ready.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::{Instant, sleep, timeout},
};

use super::{Entry, Event, Run, Shared};
use crate::pod::{Input, Network, Outcome, Probe, ProbeAction};

/// Between two askings of a container that has just started, at first; then twice as long each time, up to its period.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Only the head of an answer counts.
const MAX_ANSWER: usize = 16 << 10;

impl Shared {
    /// Brings the probing tasks to the runs that there are.
    pub(super) fn keep_probing(self: &Arc<Self>, uid: &str, entry: &mut Entry) {
        let wanted = wanted_probes(&entry.pod, entry);
        entry.probes.retain(|run, task| {
            let stays = wanted.iter().any(|(wanted, _)| wanted == run);
            if !stays {
                task.abort();
            }
            stays
        });
        for ((container, attempt), probe) in wanted {
            let run = (container.clone(), attempt);
            if entry.probes.contains_key(&run) {
                continue;
            }
            let (shared, uid) = (Arc::clone(self), uid.to_owned());
            let was_ready = entry.observed.containers.get(&container).is_some_and(|state| state.is_ready);
            let task = tokio::spawn(async move { shared.probe(uid, container, attempt, probe, was_ready).await });
            entry.probes.insert(run, task.abort_handle());
        }
    }

    async fn probe(&self, uid: String, container: String, attempt: u32, probe: Result<Probe, String>, was_ready: bool) {
        let tell = |outcome| {
            let input = Input::Probed { container: container.clone(), attempt, outcome };
            self.send(Event::News { uid: uid.clone(), input });
        };
        let probe = match probe {
            Ok(probe) => probe,
            Err(message) => return tell(Outcome::Failure { threshold: 1, message }),
        };
        sleep(probe.initial_delay).await;
        let begun = Instant::now();
        let mut pause = if was_ready { probe.period } else { FIRST_PAUSE };
        loop {
            let asked = Instant::now();
            match ask(&probe).await {
                Ok(()) => {
                    pause = probe.period;
                    tell(Outcome::Success { threshold: probe.success_threshold });
                }
                // One that has only just begun may not be there yet; that is no failure.
                Err(_) if pause < probe.period && begun.elapsed() < probe.period => {
                    pause = (pause * 2).min(probe.period)
                }
                Err(message) => {
                    pause = probe.period;
                    tell(Outcome::Failure { threshold: probe.failure_threshold, message });
                }
            }
            sleep(pause.saturating_sub(asked.elapsed())).await;
        }
    }
}

/// A run, and what it is asked, or why it cannot be.
type Wanted = ((String, u32), Result<Probe, String>);

fn wanted_probes(pod: &Pod, entry: &Entry) -> Vec<Wanted> {
    let Network::Attached(addresses) = &entry.observed.network else { return Vec::new() };
    let Some(address) = addresses.first() else { return Vec::new() };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter_map(|container| {
            let wire = container.readiness_probe.as_ref()?;
            let Run::Running { attempt, .. } = entry.observed.containers.get(&container.name)?.run else { return None };
            let probe = Probe::parse(wire, container, *address).map_err(|error| error.to_string());
            Some(((container.name.clone(), attempt), probe))
        })
        .collect()
}

async fn ask(probe: &Probe) -> Result<(), String> {
    let asking = async {
        match &probe.action {
            ProbeAction::Tcp { host, port } => connect(host, *port).await.map(drop),
            ProbeAction::Http { host, port, path, headers } => get(host, *port, path, headers).await,
        }
    };
    match timeout(probe.timeout, asking).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", probe.timeout.as_secs())),
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("connect to {host}:{port}: {error}");
    let address: SocketAddr = match host.parse() {
        Ok(address) => SocketAddr::new(address, port),
        Err(_) => {
            lookup_host((host, port)).await.map_err(failed)?.next().ok_or_else(|| format!("no address for {host}"))?
        }
    };
    TcpStream::connect(address).await.map_err(failed)
}

async fn get(host: &str, port: u16, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let mut stream = connect(host, port).await?;
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nAccept: */*\r\n");
    if !given("host") {
        request += &format!("Host: {shown}\r\n");
    }
    if !given("user-agent") {
        request += "User-Agent: kube-probe/1.36\r\n";
    }
    // A value with a line end in it would be a header of its own.
    let is_one_line = |text: &str| !text.contains(['\r', '\n']);
    for (name, value) in headers.iter().filter(|(name, value)| is_one_line(name) && is_one_line(value)) {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let failed = |error: std::io::Error| format!("Get \"http://{shown}{path}\": {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < MAX_ANSWER {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            break;
        }
    }
    match status_code(&answer) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!("Get \"http://{shown}{path}\": the answer is not HTTP")),
    }
}

/// Of `HTTP/1.1 200 OK`.
fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()
}
