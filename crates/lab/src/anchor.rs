//! The first process of a lab's PID namespace (`stead anchor`): it ends when its supervisor does, and the kernel then ends all others.
//!
//! It gives the lab a `/proc` of its own, says so on standard output, buries orphans, and watches standard input: the
//! supervisor holds the other end of that pipe, and the end of it is the end of the lab. Then it kills what is left and takes the
//! lab's control groups along, so that also a killed supervisor leaves none.

use std::{
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::leftovers;

/// What the anchor writes once the namespace is ready.
pub(crate) const READY: u8 = b'r';

/// How long processes may take to leave their control groups once they are killed.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// Runs until standard input ends, and then ends the lab of this name.
///
/// # Errors
/// Where `/proc` cannot be mounted or signals cannot be read; the lab must not start then.
pub fn run(lab: &str) -> io::Result<()> {
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut out = io::stdout();
    out.write_all(&[READY])?;
    out.flush()?;
    let stdin = io::stdin();
    while !ended_or_signalled(stdin.as_fd(), &signals)? {
        bury_orphans();
    }
    end(lab);
    Ok(())
}

/// Kills every other process of the namespace and removes the control groups they were in.
fn end(lab: &str) {
    // To process 1 of a PID namespace, -1 means all others of that namespace and no more.
    if std::process::id() != 1 {
        return;
    }
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    let deadline = Instant::now() + PATIENCE;
    while !leftovers::remove_cgroups(lab) && Instant::now() < deadline {
        bury_orphans();
        thread::sleep(STEP);
    }
}

/// Waits for something to happen. Whether standard input has ended.
fn ended_or_signalled(stdin: BorrowedFd<'_>, signals: &SignalFd) -> io::Result<bool> {
    let mut sources = [PollFd::new(stdin, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut sources, PollTimeout::NONE) {
        Err(Errno::EINTR) => return Ok(false),
        result => result?,
    };
    if sources[0].any().unwrap_or(true) {
        return Ok(true);
    }
    while signals.read_signal()?.is_some() {}
    Ok(false)
}

fn bury_orphans() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
