//! Pipes through which bytes go from socket to socket without being copied. One is held only while bytes are in it.

use std::{io, os::fd::OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// An empty pipe, or one with bytes under way.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// As much as one system call moves.
pub(crate) const PIPE_SIZE: usize = 256 * 1024;

/// Empty ones that are kept.
const KEPT: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: Vec<Pipe>,
}

impl Pipes {
    pub(crate) fn take(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one serves as well.
        let _ = fcntl_setpipe_size(&write, PIPE_SIZE);
        Ok(Pipe { read, write })
    }

    /// `pipe` is empty.
    pub(crate) fn put_back(&mut self, pipe: Pipe) {
        if self.idle.len() < KEPT {
            self.idle.push(pipe);
        }
    }
}
