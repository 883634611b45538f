//! What a shim says of its container, in a file that outlives both: `status.json`, always whole.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The shim's process id; it is that process for as long as the lock file is held.
    pub shim: i32,
    pub state: State,
}

/// How far a container is. `Exited` and `Failed` are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Creating,
    Running(Running),
    Exited(Exit),
    /// The program never ran.
    Failed {
        message: String,
        at: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The process id of the container's first process.
    pub pid: i32,
    pub started_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    /// The signal that ended it; `code` is then 128 more.
    pub signal: Option<i32>,
    pub cause: ExitCause,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The program ended, or a signal ended it.
    Own,
    OutOfMemory,
    /// The shim died first, so nobody knows.
    Unknown,
}

const FILE: &str = "status.json";

impl Status {
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("status.json.new");
        fs::write(&temporary, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(temporary, dir.join(FILE))
    }

    /// `None` where no shim has written one yet.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FILE)) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
