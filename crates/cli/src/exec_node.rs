//! `stead exec-node`: a command in the network of a lab's host; all else (files, processes, user) is the caller's own.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::{args::ExecNodeArgs, rights, up::BASE};

/// Does not return where the command could be started.
pub(crate) fn run(args: ExecNodeArgs) -> Result<()> {
    rights::demand_root("stead exec-node enters the network of a lab's host")?;
    let state = stead_lab::find(Path::new(BASE), &args.lab.name)?;
    let namespace = state.namespace(&args.node)?;
    setns(&namespace, CloneFlags::CLONE_NEWNET).context("entering the host's network")?;
    let (program, arguments) = args.command.split_first().ok_or_else(|| anyhow!("no command given"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("running {}", program.display()))
}
