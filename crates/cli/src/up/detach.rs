//! `--detach`: the same command again in a session of its own; this one shows its words until it is ready and then leaves.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::fd::{AsRawFd, RawFd},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{dup2, setsid};

use super::programs;

/// The last byte of a lab's words where it stays: an end of them alone may also be its own.
const STAYS: u8 = 0;

/// Ends as that command has ended where it has, which then has said why.
pub(super) fn run() -> Result<ExitCode> {
    let mut child = Command::new(programs::executable()?)
        .args(env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the lab in the background")?;
    let words = child.stdout.take().context("standard output is piped")?;
    if show(words).context("reading what the lab says")? == Said::Stays {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("waiting for the end of the lab")?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(code.into()),
        None => bail!("the lab did not start ({status})"),
    }
}

/// What the words of a lab in the background came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It is ready, and goes on without this command.
    Stays,
    /// They ended with it.
    Ended,
}

/// Prints the words as they come.
fn show(words: impl Read) -> io::Result<Said> {
    let (mut words, mut stdout) = (BufReader::new(words), io::stdout());
    loop {
        let heard = words.fill_buf()?;
        let end = heard.iter().position(|byte| *byte == STAYS);
        stdout.write_all(&heard[..end.unwrap_or(heard.len())])?;
        stdout.flush()?;
        match (end, heard.len()) {
            (Some(_), _) => return Ok(Said::Stays),
            (None, 0) => return Ok(Said::Ended),
            (None, length) => words.consume(length),
        }
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
    // That command may have gone.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(&[STAYS]).and_then(|()| stdout.flush());
    for target in [STDERR, STDOUT] {
        dup2(file.as_raw_fd(), target).context("redirecting to the log")?;
    }
    Ok(())
}
