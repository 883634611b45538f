//! One direction of a connection: what was read and not written yet, and whether its end was passed on.
//!
//! Little is copied through a buffer that all connections of a thread share, since two calls move it; as soon as a read fills that, bytes are spliced through
//! a pipe. What the other side does not take stays here, so that no more than one buffer or pipe is held back.

use std::io;

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
    pipe::{SpliceFlags, splice},
};

use crate::{
    pipes::{PIPE_SIZE, Pipe, Pipes},
    socket::Socket,
};

/// What a thread has for all of its connections.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) scratch: Box<[u8]>,
    pub(crate) pipes: Pipes,
}

pub(crate) const SCRATCH: usize = 16 * 1024;

/// A read by splicing that got less than this is followed by one that copies.
const BULK: usize = 8 * 1024;

/// Bytes that one connection moves before others have their turn.
const TURN: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Half {
    held: Held,
    by: Way,
    state: State,
}

/// Read and not written yet.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Bytes {
        bytes: Box<[u8]>,
        written: usize,
    },
    /// In the pipe; `left` > 0.
    Piped {
        pipe: Pipe,
        left: usize,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Copying,
    Splicing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The sender has ended, the receiver has not been told.
    Ended,
    /// The receiver has all, and knows that it has.
    Done,
}

/// Why a half stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Until epoll tells more.
    Waits,
    /// Others are to have their turn.
    Turn,
    Done,
}

/// What the end of one direction is to the socket it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Open,
    /// The other direction is over, so that the socket is closed anyway.
    Over,
}

impl Half {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what there is.
    ///
    /// # Errors
    /// Those of either socket: the connection is broken.
    pub(crate) fn pump(
        &mut self,
        from: &mut Socket,
        to: &mut Socket,
        other: Other,
        means: &mut Means,
    ) -> io::Result<Stop> {
        let mut moved = 0;
        while self.state != State::Done {
            if !self.flush(to, means)? {
                return Ok(Stop::Waits);
            }
            if self.state == State::Ended {
                if other == Other::Open {
                    shutdown(&to.fd, Shutdown::Write)?;
                }
                self.state = State::Done;
                break;
            }
            if !from.readable {
                return Ok(Stop::Waits);
            }
            if moved >= TURN {
                return Ok(Stop::Turn);
            }
            moved += match self.by {
                Way::Copying => self.copy(from, to, means)?,
                Way::Splicing => self.splice(from, means)?,
            };
        }
        Ok(Stop::Done)
    }

    /// Whether nothing is held any more.
    fn flush(&mut self, to: &mut Socket, means: &mut Means) -> io::Result<bool> {
        loop {
            if matches!(self.held, Held::Nothing) {
                return Ok(true);
            }
            if !to.writable {
                return Ok(false);
            }
            let result = match &self.held {
                Held::Nothing => Ok(0),
                Held::Bytes { bytes, written } => send(&to.fd, &bytes[*written..], SendFlags::NOSIGNAL),
                Held::Piped { pipe, left } => {
                    splice(&pipe.read, None, &to.fd, None, *left, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
                }
            };
            let count = match result {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    to.writable = false;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            };
            match &mut self.held {
                Held::Bytes { bytes, written } if *written + count < bytes.len() => *written += count,
                Held::Piped { left, .. } if count < *left => *left -= count,
                held => {
                    if let Held::Piped { pipe, .. } = std::mem::take(held) {
                        means.pipes.put_back(pipe);
                    }
                }
            }
        }
    }

    /// Reads into the thread's buffer and writes at once; what is not taken is held.
    fn copy(&mut self, from: &mut Socket, to: &mut Socket, means: &mut Means) -> io::Result<usize> {
        let count = match recv(&from.fd, &mut means.scratch[..], RecvFlags::empty()) {
            Ok((0, _)) => {
                self.state = State::Ended;
                return Ok(0);
            }
            Ok((count, _)) => count,
            Err(Errno::INTR) => return Ok(0),
            Err(Errno::AGAIN) => {
                from.readable = false;
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        match count == means.scratch.len() {
            true => self.by = Way::Splicing,
            // There was no more; epoll tells of what comes.
            false if !from.ended => from.readable = false,
            false => {}
        }
        let mut written = 0;
        while to.writable && written < count {
            match send(&to.fd, &means.scratch[written..count], SendFlags::NOSIGNAL) {
                Ok(taken) => written += taken,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => to.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        if written < count {
            self.held = Held::Bytes { bytes: means.scratch[written..count].into(), written: 0 };
        }
        Ok(count)
    }

    fn splice(&mut self, from: &mut Socket, means: &mut Means) -> io::Result<usize> {
        let Ok(pipe) = means.pipes.take() else {
            self.by = Way::Copying;
            return Ok(0);
        };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(&from.fd, None, &pipe.write, None, PIPE_SIZE, flags) {
            Ok(count) if count > 0 => {
                if count < BULK {
                    self.by = Way::Copying;
                }
                self.held = Held::Piped { pipe, left: count };
                return Ok(count);
            }
            Ok(_) => self.state = State::Ended,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => from.readable = false,
            // A socket that cannot be spliced from.
            Err(Errno::INVAL) => self.by = Way::Copying,
            Err(error) => return Err(error.into()),
        }
        means.pipes.put_back(pipe);
        Ok(0)
    }
}

impl Means {
    pub(crate) fn new() -> Self {
        Self { scratch: vec![0; SCRATCH].into(), pipes: Pipes::default() }
    }
}
