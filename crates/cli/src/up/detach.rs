//! `--detach`: the same command again in a session of its own; this one shows its words until it is ready and then leaves.

use std::{
    env,
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{dup2, setsid};

use super::programs;

/// Ends as that command has ended where it has, which then has said why.
pub(super) fn run() -> Result<ExitCode> {
    let mut child = Command::new(programs::executable()?)
        .args(env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the lab in the background")?;
    let mut words = child.stdout.take().context("standard output is piped")?;
    // Ends when the child lets go of the pipe: once the lab is ready, or with the child.
    io::copy(&mut words, &mut io::stdout()).context("reading what the lab says")?;
    match child.try_wait().context("asking whether the lab runs")? {
        None => Ok(ExitCode::SUCCESS),
        Some(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => Ok(code.into()),
            None => bail!("the lab did not start ({status})"),
        },
    }
}

/// In the process that stays: the end of the terminal, or Ctrl-C there, is none of its business from now on.
pub(super) fn leave_terminal() -> Result<()> {
    setsid().context("leaving the terminal's session")?;
    Ok(())
}

/// Gives standard output and error, which the waiting command shows, up for a log file.
pub(super) fn let_go(log: &Path) -> Result<()> {
    const STDOUT: RawFd = 1;
    const STDERR: RawFd = 2;
    let file =
        File::options().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
    for target in [STDERR, STDOUT] {
        dup2(file.as_raw_fd(), target).context("redirecting to the log")?;
    }
    Ok(())
}
