//! `stead server`: one process with its store and controllers.

use std::{net::SocketAddr, path::Path, process::Command};

use super::Process;

pub(super) fn spawn(directory: &Path, address: SocketAddr) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
    command.arg("server").args(["--listen", &address.to_string()]).arg("--data").arg(directory);
    Process::spawn(command, directory, "stead")
}
