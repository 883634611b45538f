//! Signal dispositions of the calling process.
#![expect(unsafe_code, reason = "sigaction(2) has no safe form")]

use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives SIGPIPE its default meaning again, which Rust's runtime takes from every program. Signals that are ignored stay so
/// over exec, and programs in containers count on the default.
pub fn restore_sigpipe() -> nix::Result<()> {
    // SAFETY: the default action is no handler, so no code of ours runs at an arbitrary moment.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
