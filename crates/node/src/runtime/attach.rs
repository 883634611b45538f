//! The standard streams of a container's own program, by way of its shim.

use std::{fs::File, io, os::fd::AsRawFd, path::Path};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::shim::frame::{ATTACH, Kind, MAX_CONTENT, decode, encode};

/// Bytes read at a time.
const PIECE: usize = 16 << 10;

/// Both ways of somebody who is attached. What goes in is anybody's who is; what comes out everybody gets.
#[derive(Debug)]
pub struct Attached {
    pub input: AttachedInput,
    pub output: AttachedOutput,
}

#[derive(Debug)]
pub struct AttachedInput(OwnedWriteHalf);

#[derive(Debug)]
pub struct AttachedOutput {
    reader: OwnedReadHalf,
    received: Vec<u8>,
}

/// Some of what the program wrote. What comes from a terminal is its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Output(Bytes),
    Error(Bytes),
}

/// Joins the container whose run has the directory `run`, and which runs.
pub(super) async fn start(run: &Path) -> io::Result<Attached> {
    // By way of a descriptor, because a socket's path is short.
    let dir = File::open(run)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{ATTACH}", dir.as_raw_fd())).await?;
    let (reader, writer) = stream.into_split();
    Ok(Attached { input: AttachedInput(writer), output: AttachedOutput { reader, received: Vec::new() } })
}

impl AttachedInput {
    /// As if it were typed; returns once the shim has room for it. Nothing at all says that input is to come.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pieces = bytes.chunks(MAX_CONTENT);
        let mut next = Some(pieces.next().unwrap_or_default());
        while let Some(piece) = next {
            self.send(Kind::Input, piece).await?;
            next = pieces.next();
        }
        Ok(())
    }

    /// Says that there is no more input: the program's ends, or this attachment does, as the container is set up.
    pub async fn end(&mut self) -> io::Result<()> {
        self.send(Kind::InputEnd, &[]).await
    }

    /// The size of the terminal that stands for the container's; one without a terminal does not mind.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        let ([a, b], [c, d]) = (columns.to_le_bytes(), rows.to_le_bytes());
        self.send(Kind::Size, &[a, b, c, d]).await
    }

    async fn send(&mut self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(content.len() + 8);
        encode(kind, content, &mut frame);
        self.0.write_all(&frame).await
    }
}

impl AttachedOutput {
    /// What the program wrote next; `None` when it has ended, or the shim has parted with a client who did not read.
    pub async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            match decode(&mut self.received).map_err(io::Error::other)? {
                Some((Kind::Output, content)) => return Ok(Some(Piece::Output(content.into()))),
                Some((Kind::ErrorOutput, content)) => return Ok(Some(Piece::Error(content.into()))),
                Some(_) => {}
                None => {
                    self.received.reserve(PIECE);
                    if self.reader.read_buf(&mut self.received).await? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
