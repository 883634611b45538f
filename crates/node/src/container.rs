//! What a container is made from, as values: the shim reads it from its directory, the runtime writes it there.
//!
//! Pure: which files, namespaces and processes come of it is decided by `spec` and done by `shim`.

mod spec;

pub use spec::{Cgroups, InvalidUser, User, oci_spec};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container to be run, with everything its shim must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Unique on the machine; letters, digits, `-`, `_`, `.`.
    pub id: String,
    pub process: Process,
    /// The pod's host name; containers of a pod share it.
    pub hostname: String,
    /// Lower directories of the root file system, uppermost first.
    pub lower_dirs: Vec<PathBuf>,
    pub mounts: Vec<Mount>,
    /// The network namespace to enter; `None` stays in the shim's own.
    pub network: Option<PathBuf>,
    /// Absolute path below the cgroup mounts.
    pub cgroup: PathBuf,
    pub limits: Limits,
    #[serde(default)]
    pub stdio: Stdio,
    #[serde(default)]
    pub input: Input,
    /// Where output goes, in CRI's log format.
    pub log: PathBuf,
    /// The number of the signal that asks it to end.
    pub stop_signal: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute; `/` where nothing is said.
    pub working_dir: String,
    /// As an image or pod says it: `uid`, `user`, `uid:gid`, `user:group`, empty for root.
    pub user: String,
}

/// A file or directory of the machine seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    /// What of the source is seen; relative, made where it is missing, and never out of it.
    #[serde(default)]
    pub sub_path: Option<PathBuf>,
    pub destination: PathBuf,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What a program's standard streams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    #[default]
    Pipes,
    /// One terminal for all three.
    Terminal,
}

/// Who writes to a program's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// It is at its end from the start, or a terminal that nobody types at.
    #[default]
    Nobody,
    /// Whoever attaches; it never ends.
    Kept,
    /// Whoever attaches; but for terminals it ends with the first one's input.
    Once,
}

/// What a container may use; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// In bytes.
    pub memory: Option<u64>,
    /// In thousandths of a CPU.
    pub cpu: Option<u64>,
}

/// The number of a signal that an image names (`SIGQUIT`, `QUIT`, `3`); SIGTERM for anything else.
pub fn signal_number(name: &str) -> i32 {
    use nix::sys::signal::Signal;
    if let Ok(number) = name.parse::<i32>() {
        return if (1..=64).contains(&number) { number } else { Signal::SIGTERM as i32 };
    }
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<Signal>().unwrap_or(Signal::SIGTERM) as i32
}
