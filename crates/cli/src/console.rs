//! What a command says to people. Whoever reads it may have gone; the command goes on all the same.

use std::io::{self, Write as _};

/// Prints text as it is to standard output.
pub(crate) fn say(text: &str) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a line to standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
