//! `stead up`: checks everything first, then builds the lab, keeps it running, and takes it down.

mod credentials;
mod demo;
mod detach;
mod prepare;
mod programs;
mod ready;

use std::{
    fs,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::FutureExt as _;
use kube::Client;
use stead_lab::{Fabric, ProcessState, SpawnError, Spawner, State, Supervisor, SupervisorEvent};
use stead_sys::namespace::Namespace;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::prepare::Prepared;
use crate::args::UpArgs;

/// Where labs keep what other commands find them by.
pub(crate) const BASE: &str = "/run/stead";

/// How long a lab may take to be ready before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &UpArgs) -> Result<ExitCode> {
    if args.detached {
        detach::leave_terminal()?;
    } else if args.detach {
        return detach::run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(up(args)).map(|()| ExitCode::SUCCESS)
}

async fn up(args: &UpArgs) -> Result<()> {
    // First of all: a signal that comes while the lab is being prepared takes back what is there already.
    let mut ends = Ends::new(args)?;
    let prepared = prepare::prepare(args)?;
    let lab = tokio::select! {
        started = Lab::start(&prepared) => Some(started),
        () = ends.next() => None,
    };
    let outcome = match lab {
        Some(Ok(lab)) => lab.run(&prepared, args, ends).await,
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    remove_kubeconfig(&prepared.kubeconfig);
    // After a failure the logs that tell of it stay, until the next lab of this name.
    outcome?;
    leave(prepared)
}

/// It leads to a lab that is gone.
fn remove_kubeconfig(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            complain(&format!("{} stays: {error}", path.display()));
        }
        _ => {}
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
    async fn run(mut self, prepared: &Prepared, args: &UpArgs, mut ends: Ends) -> Result<()> {
        let outcome = tokio::select! {
            outcome = self.serve(prepared, args) => outcome,
            () = ends.next() => Ok(()),
        };
        self.supervisor.stop().await;
        outcome
    }

    async fn serve(&mut self, prepared: &Prepared, args: &UpArgs) -> Result<()> {
        let client = stead_client::connect(&prepared.kubeconfig).await?;
        let pids = self.supervisor.pids().map(|(name, pid)| (name.to_owned(), pid)).collect();
        let (_, node) = self.fabric.nodes.first().context("a lab has a node")?;
        let node = node.try_clone().context("keeping a namespace")?;
        let mut presented = pin!(present(client, prepared, node, pids, args).fuse());
        loop {
            let event = tokio::select! {
                event = self.supervisor.next_event() => event,
                outcome = &mut presented => {
                    outcome?;
                    if args.check {
                        return Ok(());
                    }
                    if args.detached {
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
        self.publish(prepared)
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
    let ready = tokio::time::timeout(PATIENCE, ready::wait(&client, prepared)).await;
    ready.with_context(|| {
        let logs = prepared.claim.directory().join("log");
        format!("the lab is not ready after {} s: see {}", PATIENCE.as_secs(), logs.display())
    })??;
    let stop = if args.detached { "" } else { "Ctrl-C or " };
    say(&ready::describe(prepared, &pids, stop));
    if args.demo {
        demo::run(&client, prepared, node, args.check).await?;
    }
    Ok(())
}

/// Prints text as it is. Whoever reads it may have gone; the lab goes on until it is told to end.
fn say(text: &str) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The same for a line to standard error.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
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
        if args.detached {
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
