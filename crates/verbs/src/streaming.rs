//! Several streams to a container or pod over one upgraded connection: SPDY/3.1, which every Kubernetes server speaks.
//!
//! Owns the upgrade and the queues between the connection and whoever reads a stream; what follows from a frame is
//! `stead_streams::spdy`'s. What the streams mean is `exec`'s and `port_forward`'s.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use stead_streams::spdy::{Decoder, Encoder, Frame, Headers, Output, Reset, Session};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{Mutex, mpsc, watch},
};

use crate::{api::Api, error::VerbError};

const STREAM_VERSION: &str = "x-stream-protocol-version";
/// Pieces that wait for one stream's reader.
const QUEUE: usize = 32;
const MAX_STREAMS: usize = 1024;
/// Bytes read at a time.
pub(crate) const PIECE: usize = 16 << 10;

/// One upgraded connection. Clones are the same; it ends when the server or the process does.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: Arc<Mutex<Inner>>,
    queues: Queues,
    lost: watch::Receiver<()>,
}

/// Whom the data of each open stream goes to.
type Queues = Arc<std::sync::Mutex<BTreeMap<u32, mpsc::Sender<Bytes>>>>;

struct Inner {
    session: Session,
    encoder: Encoder,
    writer: WriteHalf<TokioIo<Upgraded>>,
}

/// One stream, both ways.
pub(crate) struct Stream {
    /// Ends when the server sends no more.
    pub(crate) reader: mpsc::Receiver<Bytes>,
    pub(crate) writer: StreamWriter,
}

#[derive(Clone)]
pub(crate) struct StreamWriter {
    connection: Connection,
    stream: u32,
}

/// Asks for `path`, and takes the connection over to speak `protocol` on it. A refusal is an error.
pub(crate) async fn open(api: &Api, path: &str, protocol: &str) -> Result<Connection, VerbError> {
    let name = format!("POST {path}");
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header(STREAM_VERSION, protocol)
        .body(Body::empty())
        .map_err(|source| VerbError::Request { request: name.clone(), source })?;
    let sent = api.client.send(request).await;
    let response = sent.map_err(|source| VerbError::Transport { request: name.clone(), source })?;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.into_body().collect().await;
        let body = body.map_err(|source| VerbError::Body { request: name, source })?;
        return Err(VerbError::refused(code, &body.to_bytes()));
    }
    let upgraded = hyper::upgrade::on(response).await;
    Ok(start(upgraded.map_err(|source| VerbError::Upgrade { request: name, source })?))
}

fn start(upgraded: Upgraded) -> Connection {
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let inner = Inner { session: Session::client(MAX_STREAMS), encoder: Encoder::default(), writer };
    let (tell, lost) = watch::channel(());
    let connection = Connection { inner: Arc::new(Mutex::new(inner)), queues: Queues::default(), lost };
    let reading = connection.clone();
    tokio::spawn(async move {
        // However it ended, every stream ends with it.
        let _ = reading.read(reader).await;
        lock(&reading.queues).clear();
        drop(tell);
    });
    connection
}

fn lock(queues: &Queues) -> std::sync::MutexGuard<'_, BTreeMap<u32, mpsc::Sender<Bytes>>> {
    queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Connection {
    /// A new stream with these headers. An error means that the connection is gone.
    pub(crate) async fn stream(&self, headers: Headers) -> io::Result<Stream> {
        let (queue, reader) = mpsc::channel(QUEUE);
        let mut inner = self.inner.lock().await;
        let (stream, frame) = inner.session.open_stream(headers).ok_or(io::ErrorKind::QuotaExceeded)?;
        lock(&self.queues).insert(stream, queue);
        inner.send(&frame).await?;
        Ok(Stream { reader, writer: StreamWriter { connection: self.clone(), stream } })
    }

    /// Ready when the connection is gone.
    pub(crate) async fn lost(&self) {
        // Nothing is ever sent: the only news is that the sender is gone.
        let _ = self.lost.clone().changed().await;
    }

    async fn read(&self, mut reader: ReadHalf<TokioIo<Upgraded>>) -> io::Result<()> {
        let mut decoder = Decoder::default();
        let mut piece = vec![0; PIECE];
        loop {
            let length = reader.read(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            decoder.push(&piece[..length]);
            while let Some(frame) = decoder.next().map_err(io::Error::other)? {
                let outputs = self.inner.lock().await.session.on_frame(frame);
                for output in outputs {
                    self.on_output(output).await?;
                }
            }
        }
    }

    async fn on_output(&self, output: Output) -> io::Result<()> {
        match output {
            Output::Send(frame) => self.inner.lock().await.send(&frame).await,
            Output::Data { stream, bytes } => {
                let queue = lock(&self.queues).get(&stream).cloned();
                if let Some(queue) = queue {
                    // Whoever reads it may want no more.
                    let _ = queue.send(bytes).await;
                }
                Ok(())
            }
            Output::Ended { stream } | Output::Reset { stream } => {
                lock(&self.queues).remove(&stream);
                Ok(())
            }
            Output::Opened { .. } | Output::GoneAway => Ok(()),
        }
    }
}

impl Inner {
    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.encoder.encode(frame, &mut bytes);
        self.writer.write_all(&bytes).await?;
        self.writer.flush().await
    }
}

impl StreamWriter {
    /// Waits until the connection has taken it. An error means that the server takes no more on this stream.
    pub(crate) async fn write(&self, bytes: Bytes) -> io::Result<()> {
        let mut inner = self.connection.inner.lock().await;
        let frame = inner.session.send(self.stream, bytes).ok_or(io::ErrorKind::BrokenPipe)?;
        inner.send(&frame).await
    }

    /// No more follows.
    pub(crate) async fn finish(&self) {
        let mut inner = self.connection.inner.lock().await;
        if let Some(frame) = inner.session.finish(self.stream) {
            // The server may be gone.
            let _ = inner.send(&frame).await;
        }
    }

    /// Ends the stream in both directions.
    pub(crate) async fn reset(&self) {
        let mut inner = self.connection.inner.lock().await;
        lock(&self.connection.queues).remove(&self.stream);
        if let Some(frame) = inner.session.reset(self.stream, Reset::Cancel) {
            let _ = inner.send(&frame).await;
        }
    }
}
