//! How a terminal's master side comes from the process that has made it: as a descriptor over a socket in a directory.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The socket's name in the directory.
pub(crate) const TERMINAL: &str = "terminal";

/// A socket in a directory, which does not block. It is made by way of a descriptor, because a socket's path is short.
pub(crate) fn listen(dir: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = File::open(dir)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The terminal that comes over `stream`; reading and writing it does not block.
pub(crate) fn receive(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let master = descriptors.flatten().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok(master)
}
