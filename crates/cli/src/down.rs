//! `stead down`: ends a lab by asking its supervisor, and waits until nothing of it is left.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use stead_lab::StateError;

use crate::{args::LabArgs, up::BASE};

const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(10);

pub(crate) fn run(args: &LabArgs) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let state = loop {
        match stead_lab::find(Path::new(BASE), &args.name) {
            Err(StateError::Unpublished { .. }) if Instant::now() < deadline => thread::sleep(STEP),
            found => break found?,
        }
    };
    let supervisor = Pid::from_raw(state.supervisor);
    kill(supervisor, Signal::SIGTERM)
        .with_context(|| format!("asking process {supervisor} to end (run this as the user that started it)"))?;
    while !is_over(supervisor) {
        if Instant::now() >= deadline {
            bail!("process {supervisor} of lab {} has not ended after {} s", args.name, PATIENCE.as_secs());
        }
        thread::sleep(STEP);
    }
    Ok(())
}

/// Whether the process is gone, or has ended and nobody has asked yet how.
fn is_over(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    // Field 3 of proc_pid_stat(5), behind a name that may hold anything.
    let state = stat.as_deref().ok().and_then(|stat| stat.rsplit_once(") ")).map(|(_, fields)| fields.as_bytes()[0]);
    state == Some(b'Z') || kill(process, None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_nobody_asks_after_is_over() {
        assert!(!is_over(Pid::this()));
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let begun = Instant::now();
        while !is_over(pid) {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(STEP);
        }
        child.wait().unwrap();
        assert!(is_over(pid));
    }
}
