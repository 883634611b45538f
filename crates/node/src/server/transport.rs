//! Bytes of an upgraded connection, directly or in the binary messages of a WebSocket; and when it was last of use.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

type Raw = TokioIo<Upgraded>;

/// Larger messages of a client end the connection.
const MAX_MESSAGE: usize = 1 << 20;
/// Bytes read at a time.
const PIECE: usize = 16 << 10;
/// A connection on which nothing moves for so long ends, as upstream's does.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);

/// How long a client may take to go when everything has been said.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// When something last moved on a connection.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn mark(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ready when nothing has moved for too long.
    pub(super) async fn idle(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + IDLE;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A WebSocket over an upgraded connection, the handshake being done.
pub(super) async fn web_socket(upgraded: Upgraded) -> WebSocketStream<Raw> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        // Nothing may wait in a buffer: keystrokes and answers to them are small.
        .write_buffer_size(0);
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

pub(super) enum ByteReader {
    Raw(ReadHalf<Raw>),
    WebSocket(SplitStream<WebSocketStream<Raw>>),
}

pub(super) enum ByteWriter {
    Raw(WriteHalf<Raw>),
    WebSocket(SplitSink<WebSocketStream<Raw>, Message>),
}

/// The connection as bytes.
pub(super) fn raw(upgraded: Upgraded) -> (ByteReader, ByteWriter) {
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    (ByteReader::Raw(reader), ByteWriter::Raw(writer))
}

/// The bytes in a WebSocket's binary messages.
pub(super) async fn tunnelled(upgraded: Upgraded) -> (ByteReader, ByteWriter) {
    let (writer, reader) = web_socket(upgraded).await.split();
    (ByteReader::WebSocket(reader), ByteWriter::WebSocket(writer))
}

impl ByteReader {
    /// What comes next; `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Raw(reader) => {
                let mut piece = vec![0; PIECE];
                let length = reader.read(&mut piece).await?;
                piece.truncate(length);
                Ok((length > 0).then_some(piece.into()))
            }
            Self::WebSocket(reader) => loop {
                match reader.next().await {
                    Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                    Some(Ok(Message::Close(_))) | None => return Ok(None),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(error)),
                }
            },
        }
    }
}

impl ByteWriter {
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Raw(writer) => {
                writer.write_all(&bytes).await?;
                writer.flush().await
            }
            Self::WebSocket(writer) => writer.send(Message::Binary(bytes.into())).await.map_err(broken),
        }
    }

    pub(super) async fn close(&mut self) {
        // The peer may be gone already.
        let _ = match self {
            Self::Raw(writer) => writer.shutdown().await,
            Self::WebSocket(writer) => writer.send(all_said()).await.map_err(broken),
        };
    }
}

/// The message that ends a WebSocket whose purpose is fulfilled.
pub(super) fn all_said() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Default::default() }))
}

pub(super) fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
