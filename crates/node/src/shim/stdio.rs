//! A container's standard streams: what its program gets, and what of them the shim keeps.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use libcontainer::container::builder::ContainerBuilder;
use nix::{fcntl::OFlag, unistd::pipe2};

use super::console::{self, TERMINAL};
use crate::{
    container::{Container, Input, Stdio},
    log::Stream,
};

/// The shim's ends.
pub(super) struct Ends {
    /// Written to without blocking; `None` where nobody may write.
    pub(super) input: Option<OwnedFd>,
    pub(super) outputs: Vec<(Stream, OwnedFd)>,
    /// The terminal, for its size.
    pub(super) terminal: Option<OwnedFd>,
}

/// The shim's ends before the container is made.
pub(super) enum Prepared {
    Pipes(Ends),
    /// The terminal will come from there.
    Terminal(UnixListener, Input),
}

/// Gives `builder` what the program is to have.
pub(super) fn prepare(
    dir: &Path,
    container: &Container,
    builder: ContainerBuilder,
) -> io::Result<(Prepared, ContainerBuilder)> {
    if container.stdio == Stdio::Terminal {
        let listener = console::listen(dir, TERMINAL)?;
        let builder = builder.with_console_socket(Some(dir.join(TERMINAL)));
        return Ok((Prepared::Terminal(listener, container.input), builder));
    }
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
    let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
    let (stdin_end, input) = match container.input {
        Input::Nobody => (OwnedFd::from(File::open("/dev/null")?), None),
        Input::Kept | Input::Once => {
            let (stdin_end, input) = pipe()?;
            rustix::io::ioctl_fionbio(&input, true)?;
            (stdin_end, Some(input))
        }
    };
    let builder = builder.with_stdin(stdin_end).with_stdout(stdout_end).with_stderr(stderr_end);
    let outputs = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
    Ok((Prepared::Pipes(Ends { input, outputs, terminal: None }), builder))
}

impl Prepared {
    /// The shim's ends once the container is made.
    pub(super) fn finish(self) -> io::Result<Ends> {
        let (listener, input) = match self {
            Self::Pipes(ends) => return Ok(ends),
            Self::Terminal(listener, input) => (listener, input),
        };
        // It was sent before the container was said to be made.
        let master = console::receive(&listener.accept()?.0)?;
        let input = if input == Input::Nobody { None } else { Some(master.try_clone()?) };
        let terminal = Some(master.try_clone()?);
        Ok(Ends { input, outputs: vec![(Stream::Stdout, master)], terminal })
    }
}
