//! Signal dispositions of the calling process.
#![expect(unsafe_code, reason = "sigaction(2) has no safe form")]

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives every signal that a program may handle its default meaning again. What is ignored stays so over exec: Rust's runtime
/// ignores SIGPIPE, `nohup` SIGHUP, and programs in containers count on the defaults.
pub fn restore_defaults() -> nix::Result<()> {
    for kind in Signal::iterator().filter(|kind| !matches!(kind, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action is no handler, so no code of ours runs at an arbitrary moment.
        unsafe { signal(kind, SigHandler::SigDfl) }?;
    }
    Ok(())
}
