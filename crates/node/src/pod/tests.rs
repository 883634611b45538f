//! Transcripts of pods' lives: news go in, actions and the told status come out.
//!
//! Set `UPDATE_EXPECT=1` to write down what happens now as what is expected.

use std::{fmt::Write, fs, path::Path, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container as Wire, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;

use super::{
    Action, Finished, Input, MissingReason, Observed, Outcome, Probe, ProbeAction, Severity, StatusContext, Unattached,
    Unstarted, hostname, hosts_file, status, step,
};

/// A pod, what is known of it, and a clock.
struct World {
    pod: Pod,
    observed: Observed,
    told: PodStatus,
    now: Timestamp,
    begun: Timestamp,
    wake_at: Option<Timestamp>,
}

fn begin() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn pod(policy: &str, containers: &[&str]) -> Pod {
    let containers: Vec<_> = containers
        .iter()
        .map(|word| match word.strip_suffix("+probe") {
            Some(name) => json!({"name": name, "image": "x", "readinessProbe": {"tcpSocket": {"port": 80}}}),
            None => json!({"name": word, "image": "x"}),
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": policy, "containers": containers, "nodeName": "n"},
    }))
    .unwrap()
}

impl World {
    fn new(policy: &str, containers: &[&str]) -> Self {
        let observed = Observed::new(begin());
        Self {
            pod: pod(policy, containers),
            observed,
            told: PodStatus::default(),
            now: begin(),
            begun: begin(),
            wake_at: None,
        }
    }

    /// Carries out one line and writes down what came of it.
    fn line(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split(' ').collect();
        let text = |n: usize| words.get(n).copied().unwrap_or_default();
        let number = |n: usize| text(n).parse::<i64>().unwrap();
        let container = text(1).to_owned();
        let attempt = || self.observed.containers[&container].attempt();
        let input = match text(0) {
            "attached" => Some(Input::Attached(Ok(vec![text(1).parse().unwrap()]))),
            "unattached" => Some(Input::Attached(Err(Unattached::Network("no address is left".to_owned())))),
            "unmounted" => {
                let message = "MountVolume.SetUp failed for volume \"v\" : nothing there".to_owned();
                Some(Input::Attached(Err(Unattached::Volumes(message))))
            }
            "unconfigured" => {
                let why = Unstarted::Unconfigured("configmap \"m\" not found".to_owned());
                Some(Input::Started { attempt: attempt(), container, result: Err(why) })
            }
            "detached" => Some(Input::Detached),
            "withdrawn" => Some(Input::Withdrawn),
            "image" => {
                let result = match text(2) {
                    "ok" => Ok("sha256:1".to_owned()),
                    "missing" => Err((MissingReason::ErrImagePull, "load it".to_owned())),
                    _ => Err((MissingReason::InvalidImageName, "what a name".to_owned())),
                };
                Some(Input::Resolved { container, image: "x".to_owned(), result })
            }
            "images-changed" => Some(Input::ImagesChanged),
            "started" => Some(Input::Started { attempt: attempt(), container, result: Ok(self.now) }),
            "unstartable" => {
                let why = Unstarted::Failed("no such program".to_owned());
                Some(Input::Started { attempt: attempt(), container, result: Err(why) })
            }
            "exited" => {
                let code = i32::try_from(number(2)).unwrap();
                let finished = Finished {
                    attempt: attempt(),
                    code,
                    signal: None,
                    reason: if code == 0 { "Completed" } else { "Error" },
                    message: None,
                    started_at: Some(self.now),
                    finished_at: self.now,
                };
                Some(Input::Ended { container, finished })
            }
            "probe" => {
                let outcome = match text(2) {
                    "ok" => Outcome::Success { threshold: 1 },
                    _ => Outcome::Failure { threshold: 3, message: "refused".to_owned() },
                };
                Some(Input::Probed { attempt: attempt(), container, outcome })
            }
            "delete" => {
                self.pod.metadata.deletion_timestamp = Some(Time(self.now));
                self.pod.metadata.deletion_grace_period_seconds = Some(number(1));
                None
            }
            "advance" => {
                self.now = self.now.checked_add(Duration::from_secs(number(1).unsigned_abs())).unwrap();
                None
            }
            "wake" => {
                self.now = self.wake_at.expect("a wake-up was asked for");
                None
            }
            "sync" => None,
            other => panic!("{other} is no line of a transcript"),
        };
        let notes = input.map(|input| self.observed.apply(input, self.now)).unwrap_or_default();
        let decision = step(&self.pod, &mut self.observed, self.now);
        for note in notes.iter().chain(&decision.notes) {
            let mark = if note.severity == Severity::Normal { "event" } else { "warning" };
            writeln!(out, "  {mark} {}: {}", note.reason, note.message).unwrap();
        }
        for action in &decision.actions {
            writeln!(out, "  do {}", shown(action)).unwrap();
        }
        self.wake_at = decision.wake_at;
        if let Some(wake_at) = decision.wake_at {
            writeln!(out, "  wake at {} s", wake_at.duration_since(self.begun).as_secs()).unwrap();
        }
        self.tell(out);
        let again = step(&self.pod, &mut self.observed, self.now);
        assert!(again.actions.is_empty() && again.notes.is_empty(), "a step taken again does nothing: {again:?}");
    }

    fn tell(&mut self, out: &mut String) {
        let context =
            StatusContext { host_addresses: &["192.168.56.101".parse().unwrap()], previous: &self.told, now: self.now };
        let status = status(&self.pod, &self.observed, context);
        let summary = summary(&status);
        if summary != summary_of_nothing(&self.told) {
            writeln!(out, "  status {summary}").unwrap();
        }
        self.told = status;
    }
}

fn summary_of_nothing(status: &PodStatus) -> String {
    if status.phase.is_none() { String::new() } else { summary(status) }
}

/// Phase, readiness, address, and each container's state.
fn summary(status: &PodStatus) -> String {
    let mut text = status.phase.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    text += if ready.status == "True" { " Ready" } else { " NotReady" };
    text += &status.pod_ip.as_ref().map(|ip| format!(" {ip}")).unwrap_or_default();
    for container in status.container_statuses.iter().flatten() {
        let state = |state: &k8s_openapi::api::core::v1::ContainerState| {
            let waiting = state.waiting.as_ref().map(|state| state.reason.clone().unwrap());
            let ended = state
                .terminated
                .as_ref()
                .map(|state| format!("{}({})", state.reason.clone().unwrap(), state.exit_code));
            waiting.or(ended).or(state.running.as_ref().map(|_| "running".to_owned()))
        };
        write!(text, " | {} {}", container.name, state(container.state.as_ref().unwrap()).unwrap()).unwrap();
        if container.restart_count > 0 {
            write!(text, " restarts={}", container.restart_count).unwrap();
        }
        if let Some(last) = container.last_state.as_ref().and_then(state) {
            write!(text, " last={last}").unwrap();
        }
    }
    text
}

fn shown(action: &Action) -> String {
    match action {
        Action::Attach => "attach".to_owned(),
        Action::Detach => "detach".to_owned(),
        Action::Withdraw => "withdraw".to_owned(),
        Action::Resolve { container } => format!("resolve {container}"),
        Action::Start { container, attempt } => format!("start {container}/{attempt}"),
        Action::Stop { container, attempt, how } => format!("stop {container}/{attempt} {how:?}"),
        Action::Forget { container, attempt } => format!("forget {container}/{attempt}"),
        Action::Release => "release".to_owned(),
    }
}

/// Plays the `>` lines of a transcript and writes it anew with what came of them.
fn play(transcript: &str) -> String {
    let mut out = String::new();
    let mut world: Option<World> = None;
    for line in transcript.lines() {
        if line.starts_with('#') || line.is_empty() {
            writeln!(out, "{line}").unwrap();
        } else if let Some(line) = line.strip_prefix("> ") {
            writeln!(out, "> {line}").unwrap();
            match line.strip_prefix("pod ") {
                Some(rest) => {
                    let words: Vec<&str> = rest.split(' ').collect();
                    let mut new = World::new(words[0], &words[1..]);
                    new.line("sync", &mut out);
                    world = Some(new);
                }
                None => world.as_mut().expect("a transcript begins with a pod").line(line, &mut out),
            }
        }
    }
    out
}

#[test]
fn lives_of_pods() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pod/testdata");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let expect = fs::read_to_string(&path).unwrap();
        let actual = play(&expect);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &actual).unwrap();
        } else {
            assert_eq!(actual, expect, "{}", path.display());
        }
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn hosts_and_names_are_the_pods() {
    let mut pod = pod("Always", &["web"]);
    pod.metadata.name = Some(format!("{}-{}", "a".repeat(62), "tail"));
    assert_eq!(hostname(&pod), "a".repeat(62));
    pod.spec.as_mut().unwrap().hostname = Some("chosen".to_owned());
    let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["x", "y.z"]}]);
    pod.spec.as_mut().unwrap().host_aliases = serde_json::from_value(aliases).unwrap();
    let text = hosts_file(&pod, &hostname(&pod), &["10.244.1.2".parse().unwrap()]);
    assert!(text.contains("127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("10.244.1.2\tchosen\n1.2.3.4\tx\ty.z\n"), "{text}");
}

#[test]
fn probes_are_read_with_their_defaults() {
    let container: Wire = serde_json::from_value(json!({
        "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
    }))
    .unwrap();
    let address = "10.244.1.2".parse().unwrap();
    let parse = |probe: serde_json::Value| Probe::parse(&serde_json::from_value(probe).unwrap(), &container, address);
    let probe = parse(json!({"httpGet": {"port": "http", "path": "ready"}})).unwrap();
    let (host, headers) = ("10.244.1.2".to_owned(), Vec::new());
    assert_eq!(probe.action, ProbeAction::Http { host: host.clone(), port: 8080, path: "/ready".to_owned(), headers });
    assert_eq!((probe.period, probe.timeout), (Duration::from_secs(10), Duration::from_secs(1)));
    assert_eq!((probe.success_threshold, probe.failure_threshold), (1, 3));
    let probe = parse(json!({"tcpSocket": {"port": 9}, "periodSeconds": 2, "failureThreshold": 1})).unwrap();
    assert_eq!((probe.action, probe.period), (ProbeAction::Tcp { host, port: 9 }, Duration::from_secs(2)));
    for wrong in [
        json!({"tcpSocket": {"port": "nothing"}}),
        json!({"tcpSocket": {"port": 70_000}}),
        json!({"tcpSocket": {"port": 0}}),
        json!({"exec": {"command": ["true"]}}),
    ] {
        assert!(parse(wrong.clone()).is_err(), "{wrong}");
    }
}
