//! The process above each container: `stead shim DIR`.
//!
//! It makes the container from `DIR/container.json`, is the parent of its first process, writes its log, and leaves how it ended
//! in `DIR/status.json`. It belongs to no agent: whoever started it may die and come back, and finds it by the lock file that it
//! holds for as long as it lives. Standard input is that lock file, already locked; on standard output it says `running` once,
//! then closes it. SIGTERM passes on the container's stop signal, SIGUSR1 kills the container. Who wants to see what the program
//! writes, and to write to it, connects to `DIR/attach` and speaks [`frame`]s.
//!
//! A directory with an `exec.json` is for one more process in a container that runs: [`exec`].
//!
//! One thread, and no runtime: there is one of these for each container. When containers start is the agent's business.

pub(crate) mod console;
mod create;
mod environment;
pub(crate) mod exec;
pub(crate) mod frame;
mod relay;
mod status;
mod stdio;

pub use status::{Exit, ExitCause, Running, State, Status};

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    process::ExitCode,
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, dup2, getpid, setsid},
};

use stead_client::error_text;

use crate::{cgroup::Hierarchies, container::Container};
use relay::Relay;

/// Names of files in a shim's directory.
pub const CONTAINER_FILE: &str = "container.json";
pub const LOCK_FILE: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("{path}: {operation}")]
    File { path: String, operation: &'static str, source: io::Error },
    #[error("{0} is not a container's description")]
    Description(String, #[source] serde_json::Error),
    #[error("standard input is not the lock file of {0}; a shim is started by the node agent only")]
    NotTheLock(String),
    #[error("another shim holds {0}")]
    Held(String),
    #[error("cannot detach from the starting process")]
    Detach(#[source] io::Error),
    #[error(transparent)]
    Create(#[from] create::CreateError),
    #[error("cannot watch the container")]
    Watch(#[source] io::Error),
}

/// Runs the container described in `dir` to its end. Call it before any thread is started.
///
/// The exit code says only whether the container ran; how it ended stands in the directory.
pub fn main(dir: &Path) -> ExitCode {
    give_up_sparing(Path::new("/proc/self/oom_score_adj"));
    if dir.join(exec::EXEC_FILE).exists() {
        return exec::main(dir);
    }
    match run(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stead shim {}: {}", dir.display(), error_text(&error));
            ExitCode::FAILURE
        }
    }
}

/// An agent may be spared when memory is short (systemd's `OOMScoreAdjust`); what it starts is not, or nothing of a pod would ever be ended.
fn give_up_sparing(score: &Path) {
    let is_spared = fs::read_to_string(score).is_ok_and(|text| text.trim().parse().is_ok_and(|score: i32| score < 0));
    if is_spared && let Err(error) = fs::write(score, "0") {
        eprintln!("stead shim: {} is left as it is: {error}", score.display());
    }
}

fn run(dir: &Path) -> Result<(), ShimError> {
    let lock = hold_lock(dir)?;
    let mut report = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(ShimError::Detach)?);
    detach().map_err(ShimError::Detach)?;
    let record = |state: State| {
        let status = Status { shim: getpid().as_raw(), state };
        status.write(dir).map_err(|source| file_error(dir, "write status.json", source))
    };
    record(State::Creating)?;
    let container = read_container(dir)?;
    let started = create::start(dir, &container);
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let failed = State::Failed { message: error_text(&error), at: Timestamp::now() };
            record(failed)?;
            create::clean_up(dir, &container);
            return Err(error.into());
        }
    };
    let started_at = Timestamp::now();
    record(State::Running(Running { pid: running.pid.as_raw(), started_at }))?;
    let signals = block_signals().map_err(|error| ShimError::Watch(error.into()))?;
    // Whoever waited for this may be gone; that changes nothing.
    let _ = report.write_all(b"running\n");
    drop(report);
    let (code, signal) = watch(&container, running, &signals)?;
    let cgroups = Hierarchies::read().unwrap_or_default();
    let killed = signal == Some(Signal::SIGKILL as i32);
    let cause =
        if killed && cgroups.was_out_of_memory(&container.cgroup) { ExitCause::OutOfMemory } else { ExitCause::Own };
    record(State::Exited(Exit { code, signal, cause, started_at, finished_at: Timestamp::now() }))?;
    create::clean_up(dir, &container);
    drop(lock);
    Ok(())
}

/// Takes over the locked file on standard input.
fn hold_lock(dir: &Path) -> Result<File, ShimError> {
    let shown = || dir.display().to_string();
    let lock = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(ShimError::Detach)?);
    let same = || {
        let (held, named) = (lock.metadata()?, fs::metadata(dir.join(LOCK_FILE))?);
        io::Result::Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
    };
    match same() {
        Ok(true) => lock.try_lock().map(|()| lock).map_err(|_| ShimError::Held(shown())),
        Ok(false) | Err(_) => Err(ShimError::NotTheLock(shown())),
    }
}

/// Leaves the starter's session, and its standard input and output.
fn detach() -> io::Result<()> {
    match setsid() {
        // A process group's first process cannot leave its session; it has no terminal to lose then.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    use std::os::fd::AsRawFd;
    dup2(null.as_raw_fd(), 0)?;
    dup2(null.as_raw_fd(), 1)?;
    Ok(())
}

fn read_container(dir: &Path) -> Result<Container, ShimError> {
    let path = dir.join(CONTAINER_FILE);
    let json = fs::read(&path).map_err(|source| file_error(dir, "read container.json", source))?;
    serde_json::from_slice(&json).map_err(|source| ShimError::Description(path.display().to_string(), source))
}

fn file_error(dir: &Path, operation: &'static str, source: io::Error) -> ShimError {
    ShimError::File { path: dir.display().to_string(), operation, source }
}

/// From here on signals are read, not delivered. The container was started before, so its own mask is empty.
fn block_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    // SIGPIPE would come from input that the program has closed.
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Relays and passes signals on until the container has ended and all its output is read.
fn watch(container: &Container, started: create::Started, signals: &SignalFd) -> Result<(i32, Option<i32>), ShimError> {
    let pid = started.pid;
    let relay = Relay::new(container, started.ends, started.attaching).map_err(ShimError::Watch)?;
    let on_signals = || {
        pass_on(signals, pid, container.stop_signal);
        reap(pid)
    };
    relay.run(signals, reap(pid), on_signals).map_err(ShimError::Watch)
}

/// Carries out the signals that came.
fn pass_on(signals: &SignalFd, pid: Pid, stop_signal: i32) {
    while let Ok(Some(info)) = signals.read_signal() {
        let wanted = match Signal::try_from(info.ssi_signo as i32) {
            Ok(Signal::SIGTERM | Signal::SIGINT) => Signal::try_from(stop_signal).unwrap_or(Signal::SIGTERM),
            Ok(Signal::SIGUSR1) => Signal::SIGKILL,
            _ => continue,
        };
        // Only this process reaps the container, so the id cannot have passed to another.
        if let Err(error) = kill(pid, wanted) {
            eprintln!("signal {wanted}: {error}");
        }
    }
}

/// The exit code and signal of the container's first process, if it has ended; other children are reaped on the way.
fn reap(container: Pid) -> Option<(i32, Option<i32>)> {
    let mut ended = None;
    loop {
        let status = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG));
        match status {
            Ok(WaitStatus::Exited(pid, code)) if pid == container => ended = Some((code, None)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == container => {
                ended = Some((128 + signal as i32, Some(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(_) => {}
        }
    }
}

/// Reads at most `limit` bytes.
fn read_bounded(file: File, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_not_spared_as_their_agent_is() {
        let check = |inherited: &str, expect: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), inherited).unwrap();
            give_up_sparing(file.path());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), expect);
        };
        check("-999\n", "0");
        check("0\n", "0\n");
        check("200\n", "200\n");
    }
}
