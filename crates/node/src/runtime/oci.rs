//! Containers by libcontainer, each under a shim of its own.
//!
//! A run is a directory `POD-UID/CONTAINER/ATTEMPT`. Its lock file is locked before the shim starts and handed to it, so the lock
//! is held exactly while somebody may still run that container; whoever gets the lock knows that nobody does.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Interest, unix::AsyncFd},
    process::Command,
    time::{Instant, timeout},
};

use super::{Attached, ContainerKey, ContainerRuntime, Executing, Found, RuntimeError, Stop, Wanted, attach, exec};
use crate::{
    cgroup::Hierarchies,
    container::Container,
    shim::{CONTAINER_FILE, Exit, ExitCause, LOCK_FILE, Running, State, Status},
};

/// How a shim is run: program and arguments, to which the directory is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Default for ShimCommand {
    /// `stead shim`, the binary being the one that runs.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), args: vec!["shim".into()] }
    }
}

/// The runtime over one directory, which one agent at a time uses.
#[derive(Clone, Debug)]
pub struct OciRuntime {
    root: PathBuf,
    shim: ShimCommand,
}

/// How long a container may take from being described to running.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a shim may still be at work on a run.
enum Shim {
    /// Nobody holds the lock; while the file is held here, nobody can.
    Gone(#[expect(dead_code, reason = "the lock is the descriptor's life")] File),
    Alive,
}

impl OciRuntime {
    /// Makes the directory where it is missing.
    pub fn open(root: PathBuf, shim: ShimCommand) -> io::Result<Self> {
        // Containers' files and logs are for nobody but root.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        Ok(Self { root, shim })
    }

    fn dir(&self, key: &ContainerKey) -> PathBuf {
        self.root.join(&key.pod_uid).join(&key.container).join(key.attempt.to_string())
    }

    /// Makes the run's directory, takes its lock and describes the container.
    fn prepare(&self, key: &ContainerKey, container: &Container) -> Result<File, RuntimeError> {
        let dir = self.dir(key);
        let failed = |operation| move |source| RuntimeError::Io { key: key.clone(), operation, source };
        fs::create_dir_all(dir.parent().unwrap_or(&self.root)).map_err(failed("make its directory"))?;
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RuntimeError::Exists(key.clone()));
            }
            other => other.map_err(failed("make its directory"))?,
        }
        let lock = File::create_new(dir.join(LOCK_FILE)).map_err(failed("make its lock"))?;
        lock.try_lock().map_err(|error| failed("lock it")(error.into()))?;
        let json = serde_json::to_vec(container).map_err(|e| failed("describe it")(e.into()))?;
        fs::write(dir.join(CONTAINER_FILE), json).map_err(failed("describe it"))?;
        Ok(lock)
    }

    fn shim_of(&self, key: &ContainerKey) -> Result<Shim, RuntimeError> {
        let failed = |source| RuntimeError::Io { key: key.clone(), operation: "look at its lock", source };
        let lock = match File::open(self.dir(key).join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RuntimeError::Unknown(key.clone())),
            Err(error) => return Err(failed(error)),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Shim::Gone(lock)),
            Err(TryLockError::WouldBlock) => Ok(Shim::Alive),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn status(&self, key: &ContainerKey) -> Result<Option<Status>, RuntimeError> {
        let read = Status::read(&self.dir(key));
        read.map_err(|source| RuntimeError::Io { key: key.clone(), operation: "read its status", source })
    }

    /// What a run came to whose shim is gone.
    fn final_state(&self, key: &ContainerKey) -> Result<Found, RuntimeError> {
        let now = Timestamp::now();
        Ok(match self.status(key)?.map(|status| status.state) {
            Some(State::Exited(exit)) => Found::Exited(exit),
            Some(State::Failed { message, .. }) => Found::Failed { message },
            Some(State::Running(running)) => {
                self.end_orphans(key);
                Found::Exited(unknown_exit(running.started_at, now))
            }
            Some(State::Creating) | None => {
                self.end_orphans(key);
                Found::Failed { message: "the shim ended before the container ran".to_owned() }
            }
        })
    }

    /// Ends what a killed shim left running, by its cgroup.
    fn end_orphans(&self, key: &ContainerKey) {
        let dir = self.dir(key);
        let described = fs::read(dir.join(CONTAINER_FILE)).ok();
        let container = described.and_then(|json| serde_json::from_slice::<Container>(&json).ok());
        let (Some(container), Ok(hierarchies)) = (container, Hierarchies::read()) else { return };
        for pid in hierarchies.processes(&container.cgroup) {
            let pidfd = u32::try_from(pid).ok().and_then(process_of);
            // Still listed after it was opened: then it is that process and no other.
            if let Some(pidfd) = pidfd
                && hierarchies.processes(&container.cgroup).contains(&pid)
            {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        hierarchies.remove(&container.cgroup);
    }

    /// Ends a shim that does not get on, and what it may have begun.
    async fn end_shim(&self, key: &ContainerKey, process: Option<OwnedFd>) -> Result<(), RuntimeError> {
        if let Some(process) = process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        while let Shim::Alive = self.shim_of(key)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.end_orphans(key);
        Ok(())
    }

    /// A descriptor of the living shim's process; `None` once it is gone.
    async fn shim_process(&self, key: &ContainerKey) -> Result<Option<OwnedFd>, RuntimeError> {
        loop {
            if let Shim::Gone(_) = self.shim_of(key)? {
                return Ok(None);
            }
            let pid = self.status(key)?.and_then(|status| u32::try_from(status.shim).ok());
            if let Some(process) = pid.and_then(process_of) {
                // The lock is still held, so the process that was opened is the shim.
                return match self.shim_of(key)? {
                    Shim::Alive => Ok(Some(process)),
                    Shim::Gone(_) => Ok(None),
                };
            }
            // The shim has just been started and says who it is in a moment.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl ContainerRuntime for OciRuntime {
    async fn start(&self, key: &ContainerKey, container: &Container) -> Result<Running, RuntimeError> {
        let failed = |operation| move |source| RuntimeError::Io { key: key.clone(), operation, source };
        let dir = self.dir(key);
        let lock = self.prepare(key, container)?;
        let errors = File::create(dir.join("shim.log")).map_err(failed("make its shim's log"))?;
        let mut shim = Command::new(&self.shim.program)
            .args(&self.shim.args)
            .arg(&dir)
            .stdin(Stdio::from(lock))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(errors))
            .env_clear()
            .current_dir("/")
            .spawn()
            .map_err(failed("start its shim"))?;
        let report = shim.stdout.take().map(BufReader::new);
        let process = shim.id().and_then(process_of);
        // The shim outlives this process; as long as both live, it is this one that reaps it.
        tokio::spawn(async move { shim.wait().await });
        let said = async {
            let mut line = String::new();
            match report {
                Some(mut report) => report.read_line(&mut line).await,
                None => Ok(0),
            }
        };
        match timeout(START_TIMEOUT, said).await {
            Ok(said) => drop(said.map_err(failed("hear from its shim"))?),
            Err(_) => {
                // It must not come to life later, when another run has taken its place.
                self.end_shim(key, process).await?;
            }
        }
        match self.status(key)?.map(|status| status.state) {
            Some(State::Running(running)) => Ok(running),
            Some(State::Exited(exit)) => Ok(Running { pid: 0, started_at: exit.started_at }),
            Some(State::Failed { message, .. }) => Err(RuntimeError::Failed { message }),
            Some(State::Creating) | None => {
                let message = read_tail(&dir.join("shim.log"));
                Err(RuntimeError::Failed { message: format!("the shim ended early: {message}") })
            }
        }
    }

    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError> {
        let failed = |source| RuntimeError::Io { key: key.clone(), operation: "wait for its end", source };
        if let Some(process) = self.shim_process(key).await? {
            readable(process).await.map_err(failed)?;
        }
        // A process can be seen to have ended a moment before its files are closed.
        while let Shim::Alive = self.shim_of(key)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match self.final_state(key)? {
            Found::Exited(exit) => Ok(exit),
            Found::Running(running) => Ok(unknown_exit(running.started_at, Timestamp::now())),
            Found::Failed { message } => Err(RuntimeError::Failed { message }),
        }
    }

    async fn stop(&self, key: &ContainerKey, how: Stop) -> Result<(), RuntimeError> {
        let Some(process) = self.shim_process(key).await? else { return Ok(()) };
        let signal = match how {
            Stop::Ask => Signal::TERM,
            Stop::Kill => Signal::USR1,
        };
        match pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => {
                Err(RuntimeError::Io { key: key.clone(), operation: "signal its shim", source: error.into() })
            }
        }
    }

    async fn exec(&self, key: &ContainerKey, args: Vec<String>, wanted: Wanted) -> Result<Executing, RuntimeError> {
        let started = exec::start(&self.shim, &self.dir(key), args, wanted).await;
        started.map_err(|source| RuntimeError::Io { key: key.clone(), operation: "run another process", source })
    }

    async fn attach(&self, key: &ContainerKey) -> Result<Attached, RuntimeError> {
        let attached = attach::start(&self.dir(key)).await;
        attached.map_err(|source| RuntimeError::Io { key: key.clone(), operation: "attach to it", source })
    }

    async fn list(&self) -> Result<Vec<(ContainerKey, Found)>, RuntimeError> {
        let mut found = Vec::new();
        for key in keys(&self.root) {
            let begun = Instant::now();
            loop {
                match (self.shim_of(&key), self.status(&key)?.map(|status| status.state)) {
                    (Ok(Shim::Gone(_)), _) => found.push((key.clone(), self.final_state(&key)?)),
                    (Ok(Shim::Alive), Some(State::Running(running))) => {
                        found.push((key.clone(), Found::Running(running)));
                    }
                    (Ok(Shim::Alive), _) if begun.elapsed() > START_TIMEOUT => {
                        let process = self.shim_process(&key).await?;
                        self.end_shim(&key, process).await?;
                        continue;
                    }
                    // It is starting or ending: settled in a moment.
                    (Ok(Shim::Alive), _) => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        continue;
                    }
                    // An agent died before it had made the lock; nothing was ever started here.
                    (Err(_), _) => {
                        let message = "it was never started".to_owned();
                        found.push((key.clone(), Found::Failed { message }));
                    }
                }
                break;
            }
        }
        Ok(found)
    }

    async fn list_pod(&self, pod_uid: &str) -> Result<Vec<ContainerKey>, RuntimeError> {
        Ok(keys_of(&self.root, pod_uid))
    }

    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let dir = self.dir(key);
        if let Ok(Shim::Alive) = self.shim_of(key) {
            return Err(RuntimeError::Exists(key.clone()));
        }
        match fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RuntimeError::Io { key: key.clone(), operation: "remove its directory", source });
            }
            _ => {}
        }
        // The directories above go with the last run in them.
        for above in dir.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(above);
        }
        Ok(())
    }

    fn log(&self, key: &ContainerKey) -> PathBuf {
        self.dir(key).join("log")
    }
}

/// A descriptor of a process; whether it is still the one that was meant is for the caller to see.
fn process_of(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::NONBLOCK).ok()
}

/// Waits until the process that `pidfd` stands for has ended.
async fn readable(pidfd: OwnedFd) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its unsafe successor matters for types that let their descriptor go; OwnedFd keeps it"
    )]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    let _ready = pidfd.readable().await?;
    Ok(())
}

fn unknown_exit(started_at: Timestamp, finished_at: Timestamp) -> Exit {
    Exit { code: 137, signal: None, cause: ExitCause::Unknown, started_at, finished_at }
}

/// Every run that has a directory, in order.
fn keys(root: &Path) -> Vec<ContainerKey> {
    names(root).iter().flat_map(|pod_uid| keys_of(root, pod_uid)).collect()
}

fn keys_of(root: &Path, pod_uid: &str) -> Vec<ContainerKey> {
    let mut keys = Vec::new();
    for container in names(&root.join(pod_uid)) {
        let attempts = names(&root.join(pod_uid).join(&container));
        let mut attempts: Vec<u32> = attempts.iter().filter_map(|name| name.parse().ok()).collect();
        attempts.sort_unstable();
        keys.extend(attempts.into_iter().map(|attempt| ContainerKey {
            pod_uid: pod_uid.to_owned(),
            container: container.clone(),
            attempt,
        }));
    }
    keys
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The end of a shim's own log, for an error text.
fn read_tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}
