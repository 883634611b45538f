//! One more process in a running container: `stead shim DIR` where `DIR/exec.json` says which.
//!
//! `DIR` lies in the directory of the container's run. Standard input, output and error become the process's own, or it gets a
//! terminal whose master goes to whoever listens at `DIR/terminal`. How it ended stands in `DIR/ended.json`. The container's own
//! shim knows nothing of it; the process ends with the container at the latest, as all in its PID namespace do.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::Path,
    process::ExitCode,
};

use libcontainer::{container::builder::ContainerBuilder, syscall::syscall::SyscallType};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};
use oci_spec::{OciSpecError, runtime::Spec};
use serde::{Deserialize, Serialize};

use super::{State, Status, console::TERMINAL, environment::InOrder, read_container};
use stead_client::error_text;

/// Names of files in the directory.
pub(crate) const EXEC_FILE: &str = "exec.json";
pub(crate) const ENDED_FILE: &str = "ended.json";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exec {
    /// Program and arguments; never empty.
    pub(crate) args: Vec<String>,
    pub(crate) stdio: Stdio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stdio {
    Inherited,
    Terminal,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// The exit code, or 128 and the signal.
    Code(i32),
    /// The program never ran.
    Failed(String),
}

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("{0}")]
    File(&'static str, #[source] io::Error),
    #[error("exec.json")]
    Description(#[from] serde_json::Error),
    #[error("the container does not run")]
    NotRunning,
    #[error("the container's specification")]
    Spec(#[from] OciSpecError),
    #[error(transparent)]
    Shim(#[from] Box<super::ShimError>),
    #[error("{0}")]
    Runtime(libcontainer::error::LibcontainerError),
    /// In the words that clients look for.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NoProgram(String),
}

/// Runs what `dir` describes to its end.
pub(super) fn main(dir: &Path) -> ExitCode {
    let ended = match run(dir) {
        Ok(code) => Ended::Code(code),
        Err(error) => Ended::Failed(error_text(&error)),
    };
    let written = serde_json::to_vec(&ended).map_err(io::Error::other);
    match written.and_then(|json| fs::write(dir.join(ENDED_FILE), json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(dir: &Path) -> Result<i32, ExecError> {
    let file = |what| move |source| ExecError::File(what, source);
    let exec: Exec = serde_json::from_slice(&fs::read(dir.join(EXEC_FILE)).map_err(file("exec.json"))?)?;
    let run_dir = dir.parent().ok_or(ExecError::NotRunning)?;
    let container = read_container(run_dir).map_err(Box::new)?;
    let Some(Status { shim, state: State::Running(_) }) = Status::read(run_dir).map_err(file("status.json"))? else {
        return Err(ExecError::NotRunning);
    };
    // There the container's file system is mounted, and cgroups are hidden where they cannot be used.
    let mounts = File::open(format!("/proc/{shim}/ns/mnt")).map_err(|_| ExecError::NotRunning)?;
    setns(mounts, CloneFlags::CLONE_NEWNS).map_err(|error| ExecError::File("enter mounts", error.into()))?;
    let process = dir.join("process.json");
    write_process(run_dir, &exec, &process)?;
    stead_sys::signal::restore_defaults().map_err(|error| ExecError::File("signals", error.into()))?;
    let mut builder = ContainerBuilder::new(container.id, SyscallType::default())
        .with_root_path(run_dir.join("runtime"))
        .map_err(ExecError::Runtime)?
        .with_executor(InOrder);
    match exec.stdio {
        Stdio::Terminal => builder = builder.with_console_socket(Some(dir.join(TERMINAL))),
        Stdio::Inherited => {
            let own =
                |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(file("standard input and output"));
            builder = builder
                .with_stdin(own(io::stdin().as_fd())?)
                .with_stdout(own(io::stdout().as_fd())?)
                .with_stderr(own(io::stderr().as_fd())?);
        }
    }
    let built = builder.as_tenant().with_process(Some(process)).with_detach(true).build();
    let pid = built.map_err(|error| match exec.args.first() {
        Some(program) if error.to_string().contains("not found in $PATH") => ExecError::NoProgram(program.clone()),
        _ => ExecError::Runtime(error),
    })?;
    await_end(Pid::from_raw(pid.as_raw()))
}

/// The container's own process with other arguments: its user, environment, directory and fences.
fn write_process(run_dir: &Path, exec: &Exec, to: &Path) -> Result<(), ExecError> {
    let spec = Spec::load(run_dir.join("config.json"))?;
    let mut process = spec.process().clone().ok_or(ExecError::NotRunning)?;
    process.set_args(Some(exec.args.clone()));
    process.set_terminal(Some(exec.stdio == Stdio::Terminal));
    if exec.stdio == Stdio::Terminal {
        let mut env = process.env().clone().unwrap_or_default();
        env.retain(|line| !line.starts_with("TERM="));
        env.push("TERM=xterm".to_owned());
        process.set_env(Some(env));
    }
    let json = serde_json::to_vec(&process)?;
    fs::write(to, json).map_err(|source| ExecError::File("process.json", source))
}

fn await_end(pid: Pid) -> Result<i32, ExecError> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(ExecError::File("wait for its end", error.into())),
        }
    }
}
