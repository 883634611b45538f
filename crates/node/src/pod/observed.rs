//! What is known of a pod on this node, and how news change it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use jiff::Timestamp;

/// Everything known of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// When this node first saw it.
    pub seen_at: Timestamp,
    pub network: Network,
    pub traffic: Traffic,
    pub containers: BTreeMap<String, Container>,
    /// The API server was asked to drop the object, for all that it stood for is gone.
    pub is_released: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Absent,
    Attaching {
        /// The delay before this attempt, zero at first.
        delay: Duration,
    },
    Attached(Vec<IpAddr>),
    Failed {
        retry_at: Timestamp,
        delay: Duration,
    },
    Detaching,
}

/// Whether new connections may still be sent to the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// It may be an endpoint of Services.
    Open,
    /// It is being deleted, and proxies are taking it out; its containers go on until they have, or until `until`.
    Leaving { since: Timestamp, until: Timestamp },
    /// Proxies have taken it out, or were given their time.
    Gone { since: Timestamp },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub image: Image,
    pub run: Run,
    /// How the run before the current one ended.
    pub last: Option<Finished>,
    pub backoff: Backoff,
    /// Counts since the run began; `is_ready` is what the counts came to.
    pub is_ready: bool,
    pub successes: u32,
    pub failures: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Image {
    #[default]
    Unknown,
    Resolving {
        /// The delay after the failure before, zero at first.
        delay: Duration,
    },
    Present {
        id: String,
    },
    Missing {
        reason: MissingReason,
        message: String,
        since: Timestamp,
        delay: Duration,
        /// The waiting was told as an Event.
        is_told: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingReason {
    ErrImagePull,
    ErrImageNeverPull,
    InvalidImageName,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Run {
    /// Never started.
    #[default]
    None,
    Starting {
        attempt: u32,
    },
    /// It could not be described yet: something that it names is missing. Tried again at `retry_at`.
    Unconfigured {
        attempt: u32,
        message: String,
        retry_at: Timestamp,
    },
    Running {
        attempt: u32,
        since: Timestamp,
        stop: Option<Stopping>,
    },
    Ended(Finished),
}

/// Why a pod has not got its place on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unattached {
    Volumes(String),
    Network(String),
}

/// Why a run did not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unstarted {
    /// What the container names is not there: nothing was tried.
    Unconfigured(String),
    Failed(String),
}

/// A run that was asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stopping {
    pub kill_at: Timestamp,
    pub is_killed: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub attempt: u32,
    pub code: i32,
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: &'static str,
    pub message: Option<String>,
    /// `None`: the program never ran.
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}

/// How long a container that keeps ending waits before its next run: not at all at first, then 10 s, doubled up to 5 minutes,
/// and not at all again after 10 minutes without an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    delay: Duration,
    until: Option<Timestamp>,
    /// The waiting was told as an Event.
    pub(super) is_told: bool,
}

/// The first delay, for containers and images alike.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// News about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Attached(Result<Vec<IpAddr>, Unattached>),
    Detached,
    /// No proxy sends the pod new connections any more.
    Withdrawn,
    Resolved {
        container: String,
        image: String,
        result: Result<String, (MissingReason, String)>,
    },
    Started {
        container: String,
        attempt: u32,
        result: Result<Timestamp, Unstarted>,
    },
    Ended {
        container: String,
        finished: Finished,
    },
    Probed {
        container: String,
        attempt: u32,
        outcome: Outcome,
    },
    /// Other images than before are in the store.
    ImagesChanged,
}

/// What one readiness probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With the count of successes in a row that make a container ready.
    Success {
        threshold: u32,
    },
    Failure {
        threshold: u32,
        message: String,
    },
}

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
    pub container: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Observed {
    /// A pod of which nothing is here.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            seen_at: now,
            network: Network::Absent,
            traffic: Traffic::Open,
            containers: BTreeMap::new(),
            is_released: false,
        }
    }

    /// Takes in news; answers what is worth telling.
    pub(crate) fn apply(&mut self, input: Input, now: Timestamp) -> Vec<Note> {
        match input {
            Input::Attached(result) => self.on_attached(result, now),
            Input::Detached => {
                self.network = Network::Absent;
                Vec::new()
            }
            Input::Withdrawn => {
                if let Traffic::Leaving { since, .. } = self.traffic {
                    self.traffic = Traffic::Gone { since };
                }
                Vec::new()
            }
            Input::Resolved { container, image, result } => self.on_resolved(&container, &image, result, now),
            Input::Started { container, attempt, result } => self.on_started(&container, attempt, result, now),
            Input::Ended { container, finished } => {
                let state = self.containers.entry(container).or_default();
                if matches!(&state.run, Run::Running { attempt, .. } if *attempt == finished.attempt) {
                    state.end(finished);
                }
                Vec::new()
            }
            Input::Probed { container, attempt, outcome } => self.on_probed(&container, attempt, outcome),
            Input::ImagesChanged => {
                for state in self.containers.values_mut() {
                    if let Image::Missing { .. } = state.image {
                        state.image = Image::Unknown;
                    }
                }
                Vec::new()
            }
        }
    }

    /// Whether a container of the pod runs.
    pub(crate) fn is_running(&self) -> bool {
        self.containers.values().any(|state| matches!(state.run, Run::Running { .. }))
    }

    /// Whether anything of the pod may still be running.
    pub(crate) fn is_live(&self) -> bool {
        self.containers.values().any(|state| matches!(state.run, Run::Starting { .. } | Run::Running { .. }))
    }

    fn on_attached(&mut self, result: Result<Vec<IpAddr>, Unattached>, now: Timestamp) -> Vec<Note> {
        match result {
            Ok(addresses) => {
                self.network = Network::Attached(addresses);
                Vec::new()
            }
            Err(why) => {
                let delay = match self.network {
                    Network::Attaching { delay } if !delay.is_zero() => longer(delay),
                    _ => Duration::from_secs(1),
                };
                self.network = Network::Failed { retry_at: after(now, delay), delay };
                vec![match why {
                    Unattached::Volumes(message) => Note::warning("FailedMount", message, None),
                    Unattached::Network(message) => {
                        let message = format!("Failed to create pod sandbox: {message}");
                        Note::warning("FailedCreatePodSandBox", message, None)
                    }
                }]
            }
        }
    }

    fn on_resolved(
        &mut self,
        container: &str,
        image: &str,
        result: Result<String, (MissingReason, String)>,
        now: Timestamp,
    ) -> Vec<Note> {
        let state = self.containers.entry(container.to_owned()).or_default();
        let before = match &state.image {
            Image::Resolving { delay } => *delay,
            _ => Duration::ZERO,
        };
        match result {
            Ok(id) => {
                state.image = Image::Present { id };
                let message = format!("Container image \"{image}\" already present on machine");
                vec![Note::normal("Pulled", message, container)]
            }
            Err((reason, message)) => {
                let delay = if before.is_zero() { FIRST_DELAY } else { longer(before) };
                let what = match reason {
                    MissingReason::ErrImagePull => format!("Failed to pull image \"{image}\": {message}"),
                    MissingReason::ErrImageNeverPull | MissingReason::InvalidImageName => message.clone(),
                };
                let error = format!("Error: {}", reason.as_str());
                state.image = Image::Missing { reason, message, since: now, delay, is_told: false };
                let container = Some(container.to_owned());
                vec![Note::warning("Failed", what, container.clone()), Note::warning("Failed", error, container)]
            }
        }
    }

    fn on_started(
        &mut self,
        container: &str,
        attempt: u32,
        result: Result<Timestamp, Unstarted>,
        now: Timestamp,
    ) -> Vec<Note> {
        let state = self.containers.entry(container.to_owned()).or_default();
        match result {
            Ok(since) => {
                state.run = Run::Running { attempt, since, stop: None };
                state.is_ready = false;
                (state.successes, state.failures) = (0, 0);
                vec![
                    Note::normal("Created", "Container created".to_owned(), container),
                    Note::normal("Started", "Container started".to_owned(), container),
                ]
            }
            Err(Unstarted::Unconfigured(message)) => {
                let note = Note::warning("Failed", format!("Error: {message}"), Some(container.to_owned()));
                state.run = Run::Unconfigured { attempt, message, retry_at: after(now, FIRST_DELAY) };
                vec![note]
            }
            Err(Unstarted::Failed(message)) => {
                let note = Note::warning("Failed", format!("Error: {message}"), Some(container.to_owned()));
                state.end(Finished::never_started(attempt, message, now));
                vec![note]
            }
        }
    }

    fn on_probed(&mut self, container: &str, at: u32, outcome: Outcome) -> Vec<Note> {
        let Some(state) = self.containers.get_mut(container) else { return Vec::new() };
        if !matches!(state.run, Run::Running { attempt, .. } if attempt == at) {
            return Vec::new();
        }
        match outcome {
            Outcome::Success { threshold } => {
                (state.successes, state.failures) = (state.successes.saturating_add(1), 0);
                state.is_ready |= state.successes >= threshold;
                Vec::new()
            }
            Outcome::Failure { threshold, message } => {
                (state.successes, state.failures) = (0, state.failures.saturating_add(1));
                state.is_ready &= state.failures < threshold;
                let message = format!("Readiness probe failed: {message}");
                vec![Note::warning("Unhealthy", message, Some(container.to_owned()))]
            }
        }
    }
}

impl Finished {
    /// A run whose program could not be started; `message` says why.
    pub(crate) fn never_started(attempt: u32, message: String, now: Timestamp) -> Self {
        Self {
            attempt,
            code: 128,
            signal: None,
            reason: "StartError",
            message: Some(message),
            started_at: None,
            finished_at: now,
        }
    }
}

impl Container {
    /// The number of the run that is, or was last; 0 before the first.
    pub(crate) fn attempt(&self) -> u32 {
        match &self.run {
            Run::None => 0,
            Run::Starting { attempt } | Run::Running { attempt, .. } | Run::Unconfigured { attempt, .. } => *attempt,
            Run::Ended(finished) => finished.attempt,
        }
    }

    pub(super) fn end(&mut self, finished: Finished) {
        self.is_ready = false;
        self.backoff.on_end(finished.finished_at);
        self.run = Run::Ended(finished);
    }
}

impl MissingReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
        }
    }
}

impl Backoff {
    fn on_end(&mut self, now: Timestamp) {
        let forgiven = self.until.is_some_and(|until| now >= after(until, FORGIVEN_AFTER));
        if forgiven {
            self.delay = Duration::ZERO;
        }
        self.until = Some(after(now, self.delay));
        self.is_told = false;
        self.delay = if self.delay.is_zero() { FIRST_DELAY } else { longer(self.delay) };
    }

    /// When the next run may start; `None` at once.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// How long the wait is that the last end began.
    pub(crate) fn wait(&self, ended: Timestamp) -> Duration {
        let wait = self.until.map(|until| until.duration_since(ended));
        wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default()
    }
}

impl Note {
    pub(super) fn normal(reason: &'static str, message: String, container: &str) -> Self {
        Self { severity: Severity::Normal, reason, message, container: Some(container.to_owned()) }
    }

    pub(super) fn warning(reason: &'static str, message: String, container: Option<String>) -> Self {
        Self { severity: Severity::Warning, reason, message, container }
    }
}

fn longer(delay: Duration) -> Duration {
    (delay * 2).min(LONGEST_DELAY)
}

/// `now + delay`, at the end of time at the latest.
pub(super) fn after(now: Timestamp, delay: Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}
