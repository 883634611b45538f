//! Keeps the programs of a lab running: what ends is started again, in the same namespaces and with the same listening socket.

use std::{
    collections::BTreeMap,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::mpsc;

use crate::spawner::{Program, SpawnError, Spawner};

/// How long ended programs get between the asking and the killing.
const GRACE: Duration = Duration::from_secs(3);
/// A program that ran this long is started again at once when it ends.
const STEADY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Programs of a lab and their state. When it is dropped, everything is killed.
#[derive(Debug)]
pub struct Supervisor {
    spawner: Spawner,
    programs: BTreeMap<String, Supervised>,
    exits: mpsc::UnboundedReceiver<Exit>,
    report: mpsc::UnboundedSender<Exit>,
}

#[derive(Debug)]
struct Supervised {
    program: Program,
    run: Run,
    /// How long to wait before the next start; zero after a steady run.
    pause: Duration,
}

#[derive(Debug)]
enum Run {
    Running {
        pid: u32,
        since: Instant,
    },
    /// Ended; started again at the instant.
    Pausing {
        until: Instant,
    },
}

#[derive(Debug)]
struct Exit {
    name: String,
    pid: u32,
    status: Option<ExitStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorEvent {
    Started { name: String, pid: u32 },
    Exited { name: String, status: String, restart_in: Duration },
}

impl Supervisor {
    pub fn new(spawner: Spawner) -> Self {
        let (report, exits) = mpsc::unbounded_channel();
        Self { spawner, programs: BTreeMap::new(), exits, report }
    }

    /// Starts a program and keeps it running from now on. Returns its process id as the host sees it.
    pub fn start(&mut self, program: Program) -> Result<u32, SpawnError> {
        let pid = self.spawn(&program)?;
        let name = program.name.clone();
        let run = Run::Running { pid, since: Instant::now() };
        self.programs.insert(name, Supervised { program, run, pause: Duration::ZERO });
        Ok(pid)
    }

    /// Running programs with their process ids.
    pub fn pids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.programs.iter().filter_map(|(name, supervised)| match supervised.run {
            Run::Running { pid, .. } => Some((name.as_str(), pid)),
            Run::Pausing { .. } => None,
        })
    }

    /// The next end or start of a program. Cancel safe. After [`SpawnError::Lost`] nothing runs and nothing can be started.
    pub async fn next_event(&mut self) -> Result<SupervisorEvent, SpawnError> {
        loop {
            let pausing = self.programs.iter().filter_map(|(name, supervised)| match supervised.run {
                Run::Pausing { until } => Some((until, name.clone())),
                Run::Running { .. } => None,
            });
            tokio::select! {
                lost = self.spawner.lost() => return Err(lost),
                exit = self.exits.recv() => {
                    // Of what the kernel ended together, only the first process is news.
                    if self.spawner.is_lost() {
                        return Err(self.spawner.lost().await);
                    }
                    if let Some(event) = self.on_exit(exit.expect("this value holds a sender")) {
                        return Ok(event);
                    }
                }
                name = due(pausing.min()) => return self.restart(name),
            }
        }
    }

    fn on_exit(&mut self, exit: Exit) -> Option<SupervisorEvent> {
        let supervised = self.programs.get_mut(&exit.name)?;
        let Run::Running { pid, since } = supervised.run else { return None };
        if pid != exit.pid {
            return None;
        }
        supervised.pause = next_pause(supervised.pause, since.elapsed());
        supervised.run = Run::Pausing { until: Instant::now() + supervised.pause };
        let status = exit.status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        Some(SupervisorEvent::Exited { name: exit.name, status, restart_in: supervised.pause })
    }

    fn restart(&mut self, name: String) -> Result<SupervisorEvent, SpawnError> {
        let started = self.spawn(&self.programs[&name].program);
        let supervised = self.programs.get_mut(&name).expect("looked up above");
        supervised.run = match started {
            Ok(pid) => Run::Running { pid, since: Instant::now() },
            Err(_) => Run::Pausing { until: Instant::now() + LONGEST_PAUSE },
        };
        Ok(SupervisorEvent::Started { pid: started?, name })
    }

    fn spawn(&self, program: &Program) -> Result<u32, SpawnError> {
        let mut child: Child = self.spawner.spawn(program)?;
        let (pid, name, report) = (child.id(), program.name.clone(), self.report.clone());
        thread::spawn(move || {
            let status = child.wait().ok();
            let _ = report.send(Exit { name, pid, status });
        });
        Ok(pid)
    }

    /// Asks every program to end, waits a little, and kills what is left with the namespace.
    pub async fn stop(mut self) {
        // The numbers of what the kernel has ended already may be those of others.
        let mut running: Vec<u32> =
            if self.spawner.is_lost() { Vec::new() } else { self.pids().map(|(_, pid)| pid).collect() };
        for pid in &running {
            let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGTERM);
        }
        let deadline = tokio::time::Instant::now() + GRACE;
        while !running.is_empty() {
            match tokio::time::timeout_at(deadline, self.exits.recv()).await {
                Ok(Some(exit)) => running.retain(|pid| *pid != exit.pid),
                _ => break,
            }
        }
        let Self { spawner, .. } = self;
        let _ = tokio::task::spawn_blocking(move || drop(spawner)).await;
    }
}

/// The program's name once its time has come; never where there is none.
async fn due(next: Option<(Instant, String)>) -> String {
    let Some((until, name)) = next else { return std::future::pending().await };
    tokio::time::sleep_until(until.into()).await;
    name
}

/// Nothing at first and after a steady run; doubling from there.
fn next_pause(last: Duration, ran: Duration) -> Duration {
    match last {
        _ if ran >= STEADY => Duration::ZERO,
        Duration::ZERO => FIRST_PAUSE,
        pause => (pause * 2).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_only_while_runs_are_short() {
        let short = Duration::from_secs(1);
        let mut pauses = vec![next_pause(Duration::ZERO, short)];
        for _ in 0..7 {
            pauses.push(next_pause(*pauses.last().unwrap(), short));
        }
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(next_pause(LONGEST_PAUSE, STEADY), Duration::ZERO);
    }
}
