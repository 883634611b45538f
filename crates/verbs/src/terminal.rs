//! The terminal that a person sits at: made raw while a remote one is in its place, and its size.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Standard input, raw until this is dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    pub(crate) fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // What else could be done about it is up to the person.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

pub(crate) fn is_at_stdin() -> bool {
    io::stdin().is_terminal()
}

/// As the resize stream says it; `None` where it is not known.
pub(crate) fn size() -> Option<String> {
    let size = tcgetwinsize(io::stdin()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)?;
    Some(format!("{{\"Width\":{},\"Height\":{}}}\n", size.ws_col, size.ws_row))
}
