//! Running containers, as the agent sees it. [`OciRuntime`] does it with a shim for each; a driver that speaks CRI would be another.

mod attach;
mod exec;
mod oci;

pub use attach::{Attached, AttachedInput, AttachedOutput, Piece};
pub use exec::{ExecIo, Executing, Terminal, Wanted};
pub use oci::{OciRuntime, ShimCommand};

use std::{fmt, io, path::PathBuf};

use async_trait::async_trait;

use crate::{
    container::Container,
    shim::{Exit, Running},
};

/// Names one run of one container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey {
    pub pod_uid: String,
    pub container: String,
    /// Counts from 0; a restart is the next number.
    pub attempt: u32,
}

/// What the runtime knows of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Running(Running),
    Exited(Exit),
    /// The program never ran.
    Failed {
        message: String,
    },
}

/// What can be asked of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The signal that its image names, else SIGTERM.
    Ask,
    Kill,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The container's own fault or its image's: trying again at once is of no use.
    #[error("{message}")]
    Failed { message: String },
    #[error("container {key}: {operation}")]
    Io { key: ContainerKey, operation: &'static str, source: io::Error },
    #[error("container {0} is known already")]
    Exists(ContainerKey),
    #[error("container {0} is not known")]
    Unknown(ContainerKey),
}

/// Starts containers and tells how they fare. Every run is started at most once, whatever dies in between.
#[async_trait]
pub trait ContainerRuntime: fmt::Debug + Send + Sync {
    /// Runs `container`; answers once its program has been started.
    async fn start(&self, key: &ContainerKey, container: &Container) -> Result<Running, RuntimeError>;

    /// Waits for the end of a run, also one that an earlier agent started.
    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError>;

    /// Asks a container to end, or ends it. One that has ended already is no error.
    async fn stop(&self, key: &ContainerKey, how: Stop) -> Result<(), RuntimeError>;

    /// Runs `args`, which are not empty, in a running container beside its own program: as its user, with its environment and
    /// directory. Answers once the process is about to start; whether it did, [`Executing::exit`] tells.
    async fn exec(&self, key: &ContainerKey, args: Vec<String>, wanted: Wanted) -> Result<Executing, RuntimeError>;

    /// Joins what the program of a running container writes from now on, and, where the container has an input, what it reads.
    async fn attach(&self, key: &ContainerKey) -> Result<Attached, RuntimeError>;

    /// Every run that is here, in order.
    async fn list(&self) -> Result<Vec<(ContainerKey, Found)>, RuntimeError>;

    /// The runs of one pod, in order, whatever their state.
    async fn list_pod(&self, pod_uid: &str) -> Result<Vec<ContainerKey>, RuntimeError>;

    /// Forgets an ended run together with its log.
    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Where a run's log lies.
    fn log(&self, key: &ContainerKey) -> PathBuf;
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pod_uid, self.container, self.attempt)
    }
}
