//! `stead up`: checks everything first, then builds the lab, keeps it running, and takes it down.

mod credentials;
mod demo;
mod detach;
mod prepare;
mod programs;
mod ready;

use std::{
    cell::Cell,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::FutureExt as _;
use kube::Client;
use stead_lab::{Fabric, ProcessState, SpawnError, Spawner, State, Supervisor, SupervisorEvent};
use stead_sys::namespace::Namespace;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::prepare::{Prepared, Wanted};
use crate::{
    args::UpArgs,
    console::{complain, say},
};

/// Where labs keep what other commands find them by.
pub(crate) const BASE: &str = "/run/stead";

/// How long a lab may take to be ready before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &UpArgs) -> Result<ExitCode> {
    if let Some(waiting) = args.detached {
        detach::leave_terminal(waiting)?;
    } else if args.detach {
        return detach::run();
    }
    let wanted = prepare::check(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let outcome = runtime.block_on(up(wanted, args));
    // The demo may still be asking, of a lab that is gone.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn up(wanted: Wanted, args: &UpArgs) -> Result<()> {
    // Before anything is made: a signal that comes while it is takes back what is there already.
    let mut ends = Ends::new(args)?;
    let prepared = prepare::prepare(wanted, args)?;
    let lab = tokio::select! {
        started = Lab::start(&prepared) => Some(started),
        () = ends.next() => None,
    };
    let outcome = match lab {
        Some(Ok(lab)) => lab.run(&prepared, args, ends).await,
        Some(Err(error)) => Err(error),
        None => Ok(End::TooSoon),
    };
    remove_kubeconfig(&prepared);
    // After a failure the logs that tell of it stay, until the next lab of this name.
    let end = outcome?;
    leave(prepared)?;
    match end {
        End::Done => Ok(()),
        // Whoever waits for the lab, or for its check, must not take this for what they wait for.
        End::TooSoon if args.check => bail!("ended by a signal before everything was checked"),
        End::TooSoon if args.demo => bail!("ended by a signal before the demo was done"),
        End::TooSoon => bail!("ended by a signal before it was ready"),
    }
}

/// How a lab ended that nothing was wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has been what it was to be.
    Done,
    TooSoon,
}

/// It leads to a lab that is gone; somebody else's stays.
fn remove_kubeconfig(prepared: &Prepared) {
    let path = &prepared.kubeconfig;
    let is_own = fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.ends_with(&prepared.url)));
    if is_own && let Err(error) = fs::remove_file(path) {
        complain(&format!("{} stays: {error}", path.display()));
    }
}

/// Once every process is gone: nothing stays but what `--data` asked for.
fn leave(prepared: Prepared) -> Result<()> {
    stead_lab::remove_leftovers(&prepared.claim, &prepared.topology.name).context("removing what the lab left")?;
    Ok(prepared.claim.release()?)
}

/// A running lab. When it is dropped, everything of it is gone.
struct Lab {
    fabric: Fabric,
    supervisor: Supervisor,
}

impl Lab {
    async fn start(prepared: &Prepared) -> Result<Self> {
        let fabric = Fabric::build(&prepared.topology)?;
        let mut supervisor = Supervisor::new(Spawner::new(programs::executable()?, prepared.topology.name.clone())?);
        for program in programs::all(prepared, &fabric)? {
            supervisor.start(program)?;
        }
        let lab = Self { fabric, supervisor };
        lab.publish(prepared)?;
        Ok(lab)
    }

    /// Until a signal, an error, or the end of `--check`.
    async fn run(mut self, prepared: &Prepared, args: &UpArgs, mut ends: Ends) -> Result<End> {
        let presented = Cell::new(false);
        let outcome = tokio::select! {
            outcome = self.serve(prepared, args, &presented) => outcome.map(|()| End::Done),
            () = ends.next() => Ok(if presented.get() { End::Done } else { End::TooSoon }),
        };
        self.supervisor.stop().await;
        outcome
    }

    async fn serve(&mut self, prepared: &Prepared, args: &UpArgs, presented: &Cell<bool>) -> Result<()> {
        let client = stead_client::connect(&prepared.kubeconfig).await?;
        let pids = self.supervisor.pids().map(|(name, pid)| (name.to_owned(), pid)).collect();
        let (_, node) = self.fabric.nodes.first().context("a lab has a node")?;
        let node = node.try_clone().context("keeping a namespace")?;
        let mut presenting = pin!(present(client, prepared, node, pids, args).fuse());
        loop {
            let event = tokio::select! {
                event = self.supervisor.next_event() => event,
                outcome = &mut presenting => {
                    outcome?;
                    presented.set(true);
                    if args.check {
                        return Ok(());
                    }
                    if args.detached.is_some() {
                        detach::let_go(&prepared.log("up"))?;
                    }
                    continue;
                }
            };
            self.on_event(prepared, event)?;
        }
    }

    fn on_event(&self, prepared: &Prepared, event: Result<SupervisorEvent, SpawnError>) -> Result<()> {
        match event {
            Ok(SupervisorEvent::Exited { name, status, restart_in }) => {
                let log = prepared.log(&name);
                let when = if restart_in.is_zero() { "now".to_owned() } else { format!("in {restart_in:?}") };
                complain(&format!("{name} ended ({status}), starting it again {when}; its log is {}", log.display()));
            }
            Ok(SupervisorEvent::Started { name, pid }) => complain(&format!("{name} runs again, pid {pid}")),
            Err(error @ SpawnError::Lost { .. }) => return Err(error.into()),
            Err(error) => complain(&format!("{:#}", anyhow::Error::new(error))),
        }
        // The lab is worth more than what is told of it: other commands know it by what was published before.
        if let Err(error) = self.publish(prepared) {
            complain(&format!("{error:#}"));
        }
        Ok(())
    }

    fn publish(&self, prepared: &Prepared) -> Result<()> {
        let hosts = self.fabric.nodes.iter().map(|(name, namespace)| (name.as_str(), namespace));
        let state = State {
            name: prepared.topology.name.clone(),
            supervisor: std::process::id().try_into().context("process id")?,
            kubeconfig: prepared.kubeconfig.clone(),
            hosts: State::hosts_of(hosts.chain([("outside", &self.fabric.outside), ("fabric", &self.fabric.fabric)])),
            processes: self.supervisor.pids().map(|(name, pid)| ProcessState { name: name.to_owned(), pid }).collect(),
        };
        Ok(prepared.claim.write(&state)?)
    }
}

/// Waits for the lab to be ready and shows it; then the demo, where asked for.
async fn present(
    client: Client,
    prepared: &Prepared,
    node: Namespace,
    pids: Vec<(String, u32)>,
    args: &UpArgs,
) -> Result<()> {
    let waited = tokio::time::timeout(PATIENCE, ready::wait(&client, prepared)).await;
    waited.with_context(|| {
        let logs = prepared.claim.directory().join("log");
        format!("the lab is not ready after {} s: see {}", PATIENCE.as_secs(), logs.display())
    })??;
    let stop = if args.detached.is_some() { "" } else { "Ctrl-C or " };
    say(&ready::describe(prepared, &pids, stop));
    if args.demo {
        demo::run(&client, prepared, node, args.check).await?;
    }
    Ok(())
}

/// SIGINT, SIGTERM, and SIGHUP, which the end of a terminal sends.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where the lab is to outlive its terminal: with `--detach`, and under `nohup`.
    hangup: Option<Signal>,
}

impl Ends {
    fn new(args: &UpArgs) -> Result<Self> {
        let of = |kind| signal(kind).context("listening for signals");
        let is_ignored = stead_sys::signal::is_ignored(nix::sys::signal::Signal::SIGHUP);
        let outlives = is_ignored.context("asking whether SIGHUP is ignored")?;
        let mut hangup = if outlives { None } else { Some(of(SignalKind::hangup())?) };
        if args.detached.is_some() {
            // The signal's default meaning, to end without a word, is gone all the same.
            hangup = None;
        }
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hung_up => {}
        }
    }
}

/// The descriptor of a listening socket on the host's loopback; the supervisor keeps it over restarts of the server.
fn listener_fd(prepared: &Prepared) -> Result<OwnedFd> {
    Ok(prepared.listener.try_clone().context("keeping the host's port")?.into())
}

/// `directory/log/NAME.log`.
fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join("log").join(format!("{name}.log"))
}
