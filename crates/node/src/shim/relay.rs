//! What passes between a container's program, its log and those who are attached to it, until the container has ended.
//!
//! A program whose output somebody does not take waits for him, as at a terminal, but not for ever: who takes nothing for a
//! minute is let go. Input waits until the program reads it, and meanwhile nobody's is read. So nothing gathers here.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};
use rustix::{
    net::{SendFlags, send},
    termios::{Winsize, tcsetwinsize},
};

use super::{
    frame::{self, Kind},
    stdio::Ends,
};
use crate::{
    container::{Container, Input, Stdio},
    log::{LogFile, Stream},
};

/// How long output may still come, and be taken, after the container's first process, and so all of them, has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// Who takes nothing for so long is attached no longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// More are not let in before others have gone.
const MAX_CLIENTS: usize = 64;
/// Input that waits for the program; nobody's is read beyond it.
const MAX_TYPED: usize = 64 << 10;
/// Bytes read at a time.
const PIECE: usize = 16 << 10;

pub(super) struct Relay {
    log: LogFile,
    ends: Ends,
    /// What the program has not taken yet of what clients gave.
    typed: Vec<u8>,
    /// No more input will come; the program is told so once it has taken what there is.
    is_typed_all: bool,
    /// The first client's end of input is the program's.
    ends_with_client: bool,
    listener: Option<UnixListener>,
    clients: Vec<Client>,
}

/// Somebody who is attached.
struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    /// Frames that he has not taken yet, and since when he takes none.
    waiting: Vec<u8>,
    stalled_since: Option<Instant>,
    /// He gives input.
    types: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Attached,
    /// His input has ended, and with it his stay, once the program has taken all of it and he what waits for him.
    Leaving,
    Gone,
}

/// What a look at the descriptors found to be possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Signals,
    Attaching,
    Output(usize),
    Input,
    Client(usize),
}

impl Relay {
    /// `listener` is where clients come; it does not block.
    pub(super) fn new(container: &Container, ends: Ends, listener: UnixListener) -> io::Result<Self> {
        Ok(Self {
            log: LogFile::open(&container.log)?,
            ends,
            typed: Vec::new(),
            is_typed_all: false,
            ends_with_client: container.input == Input::Once && container.stdio == Stdio::Pipes,
            listener: Some(listener),
            clients: Vec::new(),
        })
    }

    /// Carries on until the container has ended, as `on_signals` tells it then, and all its output is read.
    pub(super) fn run<Exit: Copy>(
        mut self,
        signals: &SignalFd,
        mut ended: Option<Exit>,
        mut on_signals: impl FnMut() -> Option<Exit>,
    ) -> io::Result<Exit> {
        loop {
            if let (Some(ended), true) = (ended, self.ends.outputs.is_empty()) {
                self.finish();
                return Ok(ended);
            }
            let ready = self.poll(signals, ended.is_some())?;
            if ready.is_empty() && ended.is_some() {
                self.ends.outputs.clear();
            }
            let mut closed = Vec::new();
            for ready in ready {
                match ready {
                    Ready::Signals => ended = ended.or_else(&mut on_signals),
                    Ready::Attaching => self.let_in(),
                    Ready::Output(number) => closed.extend(self.copy_output(number).is_break().then_some(number)),
                    Ready::Input => {}
                    Ready::Client(number) => self.hear(number),
                }
            }
            // The last first, so that what goes does not change the numbers of others.
            for number in closed.into_iter().rev() {
                self.ends.outputs.remove(number);
            }
            self.type_on();
            self.let_go();
        }
    }

    /// Waits for something to be possible; for ever while the container runs, unless a client's patience ends.
    fn poll(&self, signals: &SignalFd, has_ended: bool) -> io::Result<Vec<Ready>> {
        let mut polled: Vec<(Ready, BorrowedFd<'_>, PollFlags)> =
            vec![(Ready::Signals, signals.as_fd(), PollFlags::POLLIN)];
        if let Some(listener) = self.listener.as_ref().filter(|_| self.clients.len() < MAX_CLIENTS) {
            polled.push((Ready::Attaching, listener.as_fd(), PollFlags::POLLIN));
        }
        // What an ended container left is little, and is for the log before all.
        if has_ended || self.clients.iter().all(|client| client.waiting.is_empty()) {
            let outputs = self.ends.outputs.iter().enumerate();
            polled.extend(outputs.map(|(number, (_, fd))| (Ready::Output(number), fd.as_fd(), PollFlags::POLLIN)));
        }
        if let Some(input) = self.ends.input.as_ref().filter(|_| !self.typed.is_empty()) {
            polled.push((Ready::Input, input.as_fd(), PollFlags::POLLOUT));
        }
        let has_room = self.typed.len() < MAX_TYPED;
        for (number, client) in self.clients.iter().enumerate() {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::POLLIN, has_room && client.state == State::Attached);
            wanted.set(PollFlags::POLLOUT, !client.waiting.is_empty());
            if !wanted.is_empty() {
                polled.push((Ready::Client(number), client.stream.as_fd(), wanted));
            }
        }
        let stalled = self.clients.iter().filter_map(|client| client.stalled_since).min();
        let patience = stalled.map(|since| PATIENCE.saturating_sub(since.elapsed()));
        let limit = if has_ended { Some(LAST_OUTPUT) } else { patience };
        let limit = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut descriptors: Vec<PollFd<'_>> = polled.iter().map(|(_, fd, wanted)| PollFd::new(*fd, *wanted)).collect();
        match poll(&mut descriptors, limit) {
            Err(Errno::EINTR) => return Ok(vec![Ready::Signals]),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let is_ready = descriptors.iter().map(|descriptor| descriptor.any().unwrap_or(true));
        Ok(polled.iter().zip(is_ready).filter_map(|((ready, ..), is)| is.then_some(*ready)).collect())
    }

    fn let_in(&mut self) {
        let Some(listener) = &self.listener else { return };
        let accepted = listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream));
        // Who has gone again is no loss.
        let Ok(stream) = accepted else { return };
        let (received, waiting) = (Vec::new(), Vec::new());
        self.clients.push(Client {
            stream,
            received,
            waiting,
            stalled_since: None,
            types: false,
            state: State::Attached,
        });
    }

    /// Reads once from an output; breaks at its end. A log that cannot be written is no reason to stop the container.
    fn copy_output(&mut self, number: usize) -> ControlFlow<()> {
        let (stream, fd) = &self.ends.outputs[number];
        let mut piece = [0; PIECE];
        let bytes = match rustix::io::read(fd, &mut piece) {
            Ok(length @ 1..) => &piece[..length],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return ControlFlow::Continue(()),
            // A terminal that nobody has open any more is an error.
            Ok(0) | Err(_) => return ControlFlow::Break(()),
        };
        if let Err(error) = self.log.write(*stream, bytes, Timestamp::now()) {
            eprintln!("log: {error}");
        }
        let kind = match stream {
            Stream::Stdout => Kind::Output,
            Stream::Stderr => Kind::ErrorOutput,
        };
        for client in &mut self.clients {
            frame::encode(kind, bytes, &mut client.waiting);
            client.tell();
        }
        ControlFlow::Continue(())
    }

    /// Sends what waits for a client, and takes what he says.
    fn hear(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.tell();
        if client.state != State::Attached || self.typed.len() >= MAX_TYPED {
            return;
        }
        let mut piece = [0; PIECE];
        match rustix::io::read(&client.stream, &mut piece) {
            Ok(length @ 1..) => client.received.extend_from_slice(&piece[..length]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return,
            Ok(0) | Err(_) => client.state = State::Gone,
        }
        loop {
            let client = &mut self.clients[number];
            match frame::decode(&mut client.received) {
                Ok(Some((kind, content))) => self.on_frame(number, kind, &content),
                Ok(None) => break,
                Err(error) => {
                    eprintln!("attach: {error}");
                    client.state = State::Gone;
                    break;
                }
            }
        }
    }

    fn on_frame(&mut self, number: usize, kind: Kind, content: &[u8]) {
        let client = &mut self.clients[number];
        match (kind, content) {
            (Kind::Input, _) => {
                client.types = true;
                if self.ends.input.is_some() {
                    self.typed.extend_from_slice(content);
                }
            }
            // Where there is no input, none can end.
            (Kind::InputEnd, _) if self.ends.input.is_none() => {}
            (Kind::InputEnd, _) if self.ends_with_client => self.is_typed_all = true,
            (Kind::InputEnd, _) => client.state = State::Leaving,
            (Kind::Size, [a, b, c, d]) => {
                let (columns, rows) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
                let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                if let Some(terminal) = &self.ends.terminal
                    && let Err(error) = tcsetwinsize(terminal, size)
                {
                    eprintln!("terminal size: {error}");
                }
            }
            (Kind::Size | Kind::Output | Kind::ErrorOutput, _) => client.state = State::Gone,
        }
    }

    /// Gives the program what it takes of its input, and then, where there will be no more, the end of it.
    fn type_on(&mut self) {
        while let Some(input) = self.ends.input.as_ref().filter(|_| !self.typed.is_empty()) {
            match rustix::io::write(input, &self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // The program has closed it.
                Err(_) => {
                    self.typed.clear();
                    self.ends.input = None;
                }
            }
        }
        if self.is_typed_all {
            self.ends.input = None;
        }
    }

    /// Parts with clients who are gone, whose time is over, or who have lost patience with us.
    fn let_go(&mut self) {
        let (has_typed_all, ends_with_client) = (self.typed.is_empty(), self.ends_with_client);
        let mut is_typed_all = self.is_typed_all;
        self.clients.retain(|client| {
            let is_leaving = client.state == State::Leaving && has_typed_all && client.waiting.is_empty();
            let is_stalled = client.stalled_since.is_some_and(|since| since.elapsed() >= PATIENCE);
            let goes = is_leaving || is_stalled || client.state == State::Gone;
            is_typed_all |= goes && client.types && ends_with_client;
            !goes
        });
        if std::mem::replace(&mut self.is_typed_all, is_typed_all) != is_typed_all {
            self.type_on();
        }
    }

    /// Ends the log, and gives clients a moment to take what is left.
    fn finish(mut self) {
        let _ = self.log.finish(Timestamp::now());
        self.listener = None;
        let deadline = Instant::now() + LAST_OUTPUT;
        for client in self.clients.iter_mut().filter(|client| !client.waiting.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let patient =
                client.stream.set_nonblocking(false).and_then(|()| client.stream.set_write_timeout(Some(left)));
            // What he does not take now is in the log.
            let _ = patient.and_then(|()| client.stream.write_all(&client.waiting));
        }
    }
}

impl Client {
    /// Sends what he takes at once.
    fn tell(&mut self) {
        while !self.waiting.is_empty() {
            match send(&self.stream, &self.waiting, SendFlags::NOSIGNAL) {
                Ok(length) => {
                    self.waiting.drain(..length);
                    self.stalled_since = None;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return;
                }
                Err(_) => {
                    self.waiting.clear();
                    self.state = State::Gone;
                }
            }
        }
    }
}
