//! From what is wanted and what is so to what to do now. Whatever is begun here is marked as begun in [`Observed`], so that the same
//! step taken again does nothing.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wire, Pod};

use super::observed::{Container, Finished, Image, Network, Note, Observed, Run, Stopping, Traffic, after};
use crate::runtime::Stop;

/// One thing for the agent to do; each brings an [`Input`](super::Input) in the end, but for the last three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Attach,
    Detach,
    /// Wait until no proxy sends the pod new connections.
    Withdraw,
    Resolve {
        container: String,
    },
    Start {
        container: String,
        attempt: u32,
    },
    Stop {
        container: String,
        attempt: u32,
        how: Stop,
    },
    /// Drop an old run and its log.
    Forget {
        container: String,
        attempt: u32,
    },
    /// Drop all that is kept of the pod, then the object itself.
    Release,
}

/// What is to be done now, said, and when to look again without any news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub actions: Vec<Action>,
    pub notes: Vec<Note>,
    pub wake_at: Option<Timestamp>,
}

/// Runs that are kept for their logs: the current one and the one before.
const RUNS_KEPT: u32 = 2;

/// How long containers of a deleted pod go on at most, waiting for proxies to take the pod out; never more than half of its grace.
/// The last pod of a Service stays in until another is ready, so that is how long a replacement has to come up.
const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(2);

/// Decides about one pod. `pod` is the newest object; one that is gone from the API counts as being deleted at once.
pub(crate) fn step(pod: &Pod, observed: &mut Observed, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    if pod.metadata.deletion_timestamp.is_some() {
        take_down(pod, observed, now, &mut decision);
    } else {
        bring_up(pod, observed, now, &mut decision);
    }
    decision
}

/// Whether a container that ended like this runs again.
pub(super) fn restarts(pod: &Pod, finished: &Finished) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let deleted = pod.metadata.deletion_timestamp.is_some();
    !deleted && (policy == "Always" || policy == "OnFailure" && finished.code != 0)
}

/// Whether every container has ended for good.
pub(super) fn is_finished(pod: &Pod, observed: &Observed) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.containers.iter().all(|container| {
        let state = observed.containers.get(&container.name);
        matches!(state.map(|state| &state.run), Some(Run::Ended(finished)) if !restarts(pod, finished))
    })
}

fn bring_up(pod: &Pod, observed: &mut Observed, now: Timestamp, decision: &mut Decision) {
    if is_finished(pod, observed) {
        detach(observed, decision);
        return;
    }
    match observed.network {
        Network::Absent => {
            observed.network = Network::Attaching { delay: Duration::ZERO };
            decision.actions.push(Action::Attach);
        }
        Network::Failed { retry_at, delay } if now >= retry_at => {
            observed.network = Network::Attaching { delay };
            decision.actions.push(Action::Attach);
        }
        Network::Failed { retry_at, .. } => decision.wake(retry_at),
        Network::Attaching { .. } | Network::Attached(_) | Network::Detaching => {}
    }
    let attached = matches!(observed.network, Network::Attached(_));
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let state = observed.containers.entry(container.name.clone()).or_default();
        resolve(container, state, now, decision);
        if attached {
            run(pod, &container.name, state, now, decision);
        }
    }
}

fn resolve(container: &Wire, state: &mut Container, now: Timestamp, decision: &mut Decision) {
    let delay = match &mut state.image {
        Image::Unknown => Duration::ZERO,
        Image::Missing { since, delay, .. } if now >= after(*since, *delay) => *delay,
        Image::Missing { since, delay, is_told, .. } => {
            // Its reason becomes "back off" in between.
            let shown = after(*since, super::status::ERROR_SHOWN);
            decision.wake(if now < shown { shown } else { after(*since, *delay) });
            if now >= shown && !std::mem::replace(is_told, true) {
                let image = container.image.as_deref().unwrap_or_default();
                let message = format!("Back-off pulling image \"{image}\"");
                decision.notes.push(Note::normal("BackOff", message, &container.name));
            }
            return;
        }
        Image::Resolving { .. } | Image::Present { .. } => return,
    };
    state.image = Image::Resolving { delay };
    decision.actions.push(Action::Resolve { container: container.name.clone() });
}

fn run(pod: &Pod, name: &str, state: &mut Container, now: Timestamp, decision: &mut Decision) {
    if !matches!(state.image, Image::Present { .. }) {
        return;
    }
    let attempt = match &state.run {
        Run::None => 0,
        Run::Ended(finished) if restarts(pod, finished) => {
            let until = state.backoff.until().unwrap_or(now);
            if now < until {
                decision.wake(until);
                if !std::mem::replace(&mut state.backoff.is_told, true) {
                    let pod = super::status::pod_reference(pod);
                    let message = format!("Back-off restarting failed container {name} in pod {pod}");
                    decision.notes.push(Note::warning("BackOff", message, Some(name.to_owned())));
                }
                return;
            }
            finished.attempt + 1
        }
        Run::Unconfigured { attempt, retry_at, .. } => {
            if now < *retry_at {
                decision.wake(*retry_at);
                return;
            }
            *attempt
        }
        Run::Starting { .. } | Run::Running { .. } | Run::Ended(_) => return,
    };
    if let Run::Ended(finished) = std::mem::replace(&mut state.run, Run::Starting { attempt }) {
        state.last = Some(finished);
    }
    decision.actions.push(Action::Start { container: name.to_owned(), attempt });
    if let Some(old) = attempt.checked_sub(RUNS_KEPT) {
        decision.actions.push(Action::Forget { container: name.to_owned(), attempt: old });
    }
}

fn take_down(pod: &Pod, observed: &mut Observed, now: Timestamp, decision: &mut Decision) {
    let Some(since) = withdraw(pod, observed, now, decision) else { return };
    for (name, state) in &mut observed.containers {
        let Run::Running { attempt, stop, .. } = &mut state.run else { continue };
        let asked = |how| Action::Stop { container: name.clone(), attempt: *attempt, how };
        match stop {
            None => {
                let kill_at = after(since, grace(pod));
                let kills_at_once = kill_at <= now;
                decision.actions.push(asked(if kills_at_once { Stop::Kill } else { Stop::Ask }));
                decision.notes.push(Note::normal("Killing", format!("Stopping container {name}"), name));
                *stop = Some(Stopping { kill_at, is_killed: kills_at_once });
            }
            Some(stopping) if !stopping.is_killed => {
                // A later deletion may grant less time than the first.
                stopping.kill_at = stopping.kill_at.min(after(now, grace(pod)));
                if now >= stopping.kill_at {
                    stopping.is_killed = true;
                    decision.actions.push(asked(Stop::Kill));
                }
            }
            Some(_) => {}
        }
        if let Some(Stopping { kill_at, is_killed: false }) = stop {
            decision.wake(*kill_at);
        }
    }
    if observed.is_live() || !detach(observed, decision) || observed.is_released {
        return;
    }
    observed.is_released = true;
    decision.actions.push(Action::Release);
}

/// Begins to take the pod out of traffic; once it is out, since when its grace counts.
fn withdraw(pod: &Pod, observed: &mut Observed, now: Timestamp, decision: &mut Decision) -> Option<Timestamp> {
    let longest = WITHDRAWAL_LIMIT.min(grace(pod) / 2);
    let (since, until) = match observed.traffic {
        Traffic::Gone { since } => return Some(since),
        // A later deletion may grant less time than the first.
        Traffic::Leaving { since, until } => (since, until.min(after(now, longest))),
        Traffic::Open if observed.is_running() => (now, after(now, longest)),
        Traffic::Open => (now, now),
    };
    if now >= until {
        observed.traffic = Traffic::Gone { since };
        return Some(since);
    }
    if std::mem::replace(&mut observed.traffic, Traffic::Leaving { since, until }) == Traffic::Open {
        decision.actions.push(Action::Withdraw);
    }
    decision.wake(until);
    None
}

/// Begins to take the network away; `true` once it is gone.
fn detach(observed: &mut Observed, decision: &mut Decision) -> bool {
    match observed.network {
        Network::Absent => return true,
        Network::Attached(_) | Network::Failed { .. } => {
            observed.network = Network::Detaching;
            decision.actions.push(Action::Detach);
        }
        Network::Attaching { .. } | Network::Detaching => {}
    }
    false
}

/// The time between asking and killing, as the deletion granted it.
fn grace(pod: &Pod) -> Duration {
    let seconds = pod.metadata.deletion_grace_period_seconds;
    let seconds = seconds.or_else(|| pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds));
    Duration::from_secs(u64::try_from(seconds.unwrap_or(30)).unwrap_or(0))
}

impl Decision {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
