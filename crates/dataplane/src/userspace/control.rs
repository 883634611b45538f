//! A plane's end of the talk with the keeper, and how the keeper is started.

use std::{
    ffi::OsString,
    fs,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::DirBuilderExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use stead_sys::namespace::Namespace;

use super::{
    keeper,
    wire::{self, Reply, Request},
};

/// As long as 10,000 ports take on a loaded machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const STARTS_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// Descriptors in one message.
const DESCRIPTORS: usize = 128;

/// How a keeper comes to be where none is.
#[derive(Clone, Debug)]
pub enum Launch {
    /// A process of its own: this program with these words, and the path of the socket behind them.
    Program(Vec<OsString>),
    /// Threads of this process.
    Threads,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("start the relay")]
    Start(#[source] io::Error),
    #[error("the relay has not begun to answer after {} s", STARTS_WITHIN.as_secs())]
    Late,
    #[error("ask the relay")]
    Ask(#[source] io::Error),
    #[error("the relay answers something else than it was asked")]
    Confused,
}

/// A conversation with a keeper.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) stream: UnixStream,
}

impl Control {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { stream })
    }

    /// The keeper at this path; one is started where there is none of this version.
    pub(crate) fn open(path: &Path, launch: &Launch, namespace: Option<&Namespace>) -> Result<Self, Error> {
        if let Ok(control) = Self::greet(path) {
            return Ok(control);
        }
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::Start)?;
        }
        match namespace {
            Some(namespace) => namespace.run(|| start(path, launch)).map_err(Error::Start)?,
            None => start(path, launch),
        }
        .map_err(Error::Start)?;
        let start = Instant::now();
        while start.elapsed() < STARTS_WITHIN {
            match Self::greet(path) {
                Ok(control) => return Ok(control),
                Err(_) => thread::sleep(POLL),
            }
        }
        Err(Error::Late)
    }

    fn greet(path: &Path) -> Result<Self, Error> {
        let mut control = Self::connect(path).map_err(Error::Ask)?;
        match control.ask(&Request::Hello).map_err(Error::Ask)? {
            Reply::Hello { version } if version == wire::version() => Ok(control),
            _ => Err(Error::Confused),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        wire::write(&self.stream, request)?;
        wire::read(&self.stream)
    }
}

fn start(path: &Path, launch: &Launch) -> io::Result<()> {
    match launch {
        Launch::Program(words) => {
            let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let mut command = Command::new(program);
            command.args(arguments).arg(path);
            // It stays when this process and its terminal go.
            let child =
                command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            reap(child);
        }
        Launch::Threads => {
            let path = path.to_owned();
            thread::Builder::new().name("relay-keeper".to_owned()).spawn(move || {
                if let Err(error) = keeper::run(&path) {
                    tracing::warn!(%error, "the relay has ended");
                }
            })?;
        }
    }
    Ok(())
}

/// So that one that ends leaves no zombie while this process lives.
fn reap(mut child: std::process::Child) {
    let _ = thread::Builder::new().name("relay-reaper".to_owned()).spawn(move || child.wait());
}

pub(crate) fn send_sockets(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for chunk in sockets.chunks(DESCRIPTORS) {
        let fds: Vec<_> = chunk.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

pub(crate) fn receive_sockets(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let (mut control, mut byte) = (RecvAncillaryBuffer::new(&mut space), [0]);
        let message = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = sockets.len();
        for received in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = received {
                sockets.extend(fds);
            }
        }
        if message.bytes == 0 || sockets.len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(sockets)
}
