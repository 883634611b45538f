//! `stead down`: ends a lab by asking its supervisor, and waits until nothing of it is left.

use std::{
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

use crate::{args::LabArgs, up::BASE};

const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(10);

pub(crate) fn run(args: &LabArgs) -> Result<()> {
    let state = stead_lab::find(Path::new(BASE), &args.name)?;
    let supervisor = Pid::from_raw(state.supervisor);
    kill(supervisor, Signal::SIGTERM)
        .with_context(|| format!("asking process {supervisor} to end (run this as the user that started it)"))?;
    let deadline = Instant::now() + PATIENCE;
    while kill(supervisor, None) != Err(Errno::ESRCH) {
        if Instant::now() >= deadline {
            bail!("process {supervisor} of lab {} has not ended after {} s", args.name, PATIENCE.as_secs());
        }
        thread::sleep(STEP);
    }
    Ok(())
}
