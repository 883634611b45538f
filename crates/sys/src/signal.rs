//! Signal dispositions of the calling process.
#![expect(unsafe_code, reason = "sigaction(2) has no safe form")]

use std::{mem::MaybeUninit, ptr};

use nix::{
    errno::Errno,
    sys::signal::{SigHandler, Signal, signal},
};

/// Gives every signal that a program may handle its default meaning again. What is ignored stays so over exec: Rust's runtime
/// ignores SIGPIPE, `nohup` SIGHUP, and programs in containers count on the defaults.
pub fn restore_defaults() -> nix::Result<()> {
    for kind in Signal::iterator().filter(|kind| !matches!(kind, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action is no handler, so no code of ours runs at an arbitrary moment.
        unsafe { signal(kind, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Whether the signal is ignored now: what started this program wants it to outlive the signal, as `nohup` does with SIGHUP.
pub fn is_ignored(kind: Signal) -> nix::Result<bool> {
    let mut current = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the current one, which is large enough for it.
    Errno::result(unsafe { libc::sigaction(kind as i32, ptr::null(), current.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it has filled the value in.
    Ok(unsafe { current.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ignored_is_told_so() {
        // Rust's runtime ignores SIGPIPE in every program.
        assert!(is_ignored(Signal::SIGPIPE).unwrap());
        assert!(!is_ignored(Signal::SIGCHLD).unwrap());
    }
}
