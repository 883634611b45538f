//! Starts programs inside a lab: its PID namespace, its mount namespace, and a network namespace each.
//!
//! A thread of its own carries the namespaces: `unshare` and `setns` change only the calling thread, and new processes inherit
//! from it, so no code has to run between fork and exec.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns, unshare},
    unistd,
};
use stead_sys::namespace::Namespace;
use tokio::net::unix::pipe;

use crate::{anchor, leftovers};

/// A program to run in a lab.
#[derive(Debug)]
pub struct Program {
    /// What people call it: `server`, `node1`.
    pub name: String,
    pub executable: PathBuf,
    pub arguments: Vec<OsString>,
    pub namespace: Namespace,
    /// A listening socket to hand on; its number follows as the argument `--listen-fd N`.
    pub listener: Option<OwnedFd>,
    /// Where standard output and error go, appended.
    pub log: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("making the lab's PID and mount namespaces failed (root with CAP_SYS_ADMIN is needed)")]
    Namespaces(#[source] io::Error),
    #[error("the lab's first process ended before it was ready: mounting /proc was refused")]
    Anchor,
    #[error("starting {name} failed")]
    Start { name: String, source: io::Error },
    #[error(
        "the lab's first process (`stead anchor {lab}`) was killed, and every process of the lab with it: `stead up --name {lab}` starts it again"
    )]
    Lost { lab: String },
    #[error("the lab is being taken down")]
    Closed,
}

/// The namespaces of a lab, and the way to start programs in them. When it is dropped, everything started is killed.
#[derive(Debug)]
pub struct Spawner {
    lab: String,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<thread::JoinHandle<()>>,
    /// The anchor's standard output. Nobody else holds its other end, and the kernel closes that before it kills the others.
    anchor: pipe::Receiver,
}

struct Request {
    command: Command,
    namespace: OwnedFd,
    reply: mpsc::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Makes the namespaces, with `executable anchor LAB` as their first process. To be called within a tokio runtime.
    pub fn new(executable: PathBuf, lab: String) -> Result<Self, SpawnError> {
        let (requests, inbox) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let name = lab.clone();
        let thread = thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || match start_anchor(executable, &name) {
                Ok((anchor, stdout)) => {
                    let _ = ready.send(Ok(stdout));
                    serve(&inbox);
                    end(anchor, &name);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(SpawnError::Namespaces)?;
        let stdout = started.recv().map_err(|_| SpawnError::Closed)??;
        let anchor = pipe::Receiver::from_owned_fd(stdout).map_err(SpawnError::Namespaces)?;
        Ok(Self { lab, requests: Some(requests), thread: Some(thread), anchor })
    }

    /// Returns once the first process of the lab is gone, and with it all others. Cancel safe.
    pub async fn lost(&self) -> SpawnError {
        while self.anchor.readable().await.is_ok() {
            match self.anchor.try_read(&mut [0]) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
        self.loss()
    }

    /// Whether the first process is gone. True before the end of any process that went with it can be seen.
    pub fn is_lost(&self) -> bool {
        let mut source = [PollFd::new(self.anchor.as_fd(), PollFlags::empty())];
        poll(&mut source, PollTimeout::ZERO).is_ok() && source[0].revents().is_some_and(|seen| !seen.is_empty())
    }

    fn loss(&self) -> SpawnError {
        SpawnError::Lost { lab: self.lab.clone() }
    }

    /// Starts a program, in a process group of its own so that a terminal's Ctrl-C reaches only the supervisor.
    pub fn spawn(&self, program: &Program) -> Result<Child, SpawnError> {
        let failed = |source| SpawnError::Start { name: program.name.clone(), source };
        let log = File::options().create(true).append(true).open(&program.log).map_err(failed)?;
        let mut command = Command::new(&program.executable);
        command.args(&program.arguments).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        // The descriptor must be inheritable, so it exists only while the program starts.
        let inherited = program.listener.as_ref().map(inheritable).transpose().map_err(failed)?;
        if let Some(fd) = &inherited {
            command.arg("--listen-fd").arg(fd.0.to_string());
        }
        let namespace = program.namespace.try_clone().map_err(failed)?.into();
        let (reply, answer) = mpsc::channel();
        let requests = self.requests.as_ref().ok_or(SpawnError::Closed)?;
        requests.send(Request { command, namespace, reply }).map_err(|_| SpawnError::Closed)?;
        let started = answer.recv().map_err(|_| SpawnError::Closed)?;
        // Without the namespace's first process the kernel makes no other and says ENOMEM.
        started.map_err(|error| if self.is_lost() { self.loss() } else { failed(error) })
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An inheritable duplicate of a descriptor, closed when dropped.
struct Inheritable(i32);

impl Drop for Inheritable {
    fn drop(&mut self) {
        let _ = unistd::close(self.0);
    }
}

fn inheritable(fd: &OwnedFd) -> io::Result<Inheritable> {
    Ok(Inheritable(fcntl(fd.as_raw_fd(), FcntlArg::F_DUPFD(3))?))
}

fn start_anchor(executable: PathBuf, lab: &str) -> Result<(Child, OwnedFd), SpawnError> {
    let namespaces = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Mounts of the host still arrive; those made in the lab never leave it.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)?;
        Ok(unshare(CloneFlags::CLONE_NEWPID)?)
    };
    namespaces().map_err(SpawnError::Namespaces)?;
    let mut anchor = Command::new(executable)
        .args(["anchor", lab])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(SpawnError::Namespaces)?;
    let mut byte = [0];
    let mut stdout = anchor.stdout.take().expect("standard output is piped");
    match stdout.read_exact(&mut byte) {
        Ok(()) if byte == [anchor::READY] => Ok((anchor, stdout.into())),
        _ => {
            let _ = anchor.wait();
            Err(SpawnError::Anchor)
        }
    }
}

fn serve(inbox: &mpsc::Receiver<Request>) {
    while let Ok(mut request) = inbox.recv() {
        let started = setns(&request.namespace, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .and_then(|()| request.command.spawn());
        let _ = request.reply.send(started);
    }
}

/// Closing its standard input ends the anchor, and with it every process of the namespace before `wait` returns.
fn end(mut anchor: Child, lab: &str) {
    drop(anchor.stdin.take());
    let _ = anchor.wait();
    // It does so itself, unless it was killed.
    leftovers::remove_cgroups(lab);
}
