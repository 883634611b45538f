//! `--detach`: the same command again in a session of its own; this one shows its words until it is ready and then leaves.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::parent_id,
    },
    path::Path,
    process::{self, Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{dup2, setsid},
};

use super::programs;

/// The last byte of a lab's words where it stays: an end of them alone may also be its own.
const STAYS: u8 = 0;

/// Ends as that command has ended where it has, which then has said why.
pub(super) fn run() -> Result<ExitCode> {
    let mut child = Command::new(programs::executable()?)
        .args(env::args_os().skip(1))
        .args(["--detached", &process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the lab in the background")?;
    let words = child.stdout.take().context("standard output is piped")?;
    if show(words, io::stdout()).context("reading what the lab says")? == Said::Stays {
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
fn show(words: impl Read, mut shown: impl Write) -> io::Result<Said> {
    let mut words = BufReader::new(words);
    loop {
        let heard = words.fill_buf()?;
        let end = heard.iter().position(|byte| *byte == STAYS);
        // Whoever reads them may have gone; how it ends counts.
        let _ = shown.write_all(&heard[..end.unwrap_or(heard.len())]).and_then(|()| shown.flush());
        match (end, heard.len()) {
            (Some(_), _) => return Ok(Said::Stays),
            (None, 0) => return Ok(Said::Ended),
            (None, length) => words.consume(length),
        }
    }
}

/// In the process that stays: the end of the terminal, or Ctrl-C there, is none of its business from now on. Until it is ready it
/// ends with the command that waits for it, the process `waiting`.
pub(super) fn leave_terminal(waiting: u32) -> Result<()> {
    setsid().context("leaving the terminal's session")?;
    set_pdeathsig(Signal::SIGTERM).context("tying the lab to the command that waits for it")?;
    // A parent that ended before this sends no signal.
    ensure!(parent_id() == waiting, "the command that waits for the lab has ended");
    Ok(())
}

/// Gives standard output and error, which the waiting command shows, up for a log file.
pub(super) fn let_go(log: &Path) -> Result<()> {
    const STDOUT: RawFd = 1;
    const STDERR: RawFd = 2;
    set_pdeathsig(None).context("untying the lab from the command that waited for it")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_up_to_the_mark_or_the_end() {
        let check = |words: &[&[u8]], shown: &str, said: Said| {
            let (mut out, chunks) = (Vec::new(), words.concat());
            let (first, second) = chunks.split_at(words.first().map_or(0, |first| first.len()));
            assert_eq!(show(first.chain(second), &mut out).unwrap(), said);
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        };
        check(&[], "", Said::Ended);
        check(&[b"Error: no\n"], "Error: no\n", Said::Ended);
        check(&[b"ready\n\0"], "ready\n", Said::Stays);
        check(&[b"rea", b"dy\n\0"], "ready\n", Said::Stays);
        check(&[b"ready\n", b"\0of nobody's interest"], "ready\n", Said::Stays);
    }
}
