//! Container logs in CRI's format, `TIMESTAMP STREAM TAG TEXT`, where the tag says whether the line is whole (`F`) or goes on (`P`).
//!
//! Writing with a bound on disk is here, and reading back what a client of `kubectl logs` asked for.

mod read;
mod write;

pub(crate) use read::{End, LogQuery, LogReader, Run};
pub(crate) use write::{LogFile, Stream};

use std::path::{Path, PathBuf};

/// The file that a full log is moved to; one older than that is dropped.
pub(crate) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}
