//! A SPDY connection: frames in and out, each stream with a queue of its own.
//!
//! Reading goes on as long as every queue has room, so a client is slowed by whoever takes its data; writing waits for the client.
//! What follows from a frame is `stead_streams::spdy`'s.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use stead_streams::spdy::{Decoder, Encoder, Frame, Headers, Output, Reset, Session};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};

use super::transport::{Activity, ByteReader, ByteWriter, LINGER};

/// Pieces that wait for one stream's reader, each of at most 16 KiB.
const QUEUE: usize = 32;
/// Streams that wait to be taken.
const NEW_STREAMS: usize = 64;
/// Streams of one connection at a time.
const MAX_STREAMS: usize = 1024;

/// A stream that the client opened.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) headers: Headers,
    pub(super) reader: mpsc::Receiver<Bytes>,
    pub(super) writer: StreamWriter,
}

/// The way to the client on one stream.
#[derive(Clone, Debug)]
pub(super) struct StreamWriter {
    connection: Connection,
    stream: u32,
}

/// The shared end of a connection. Clones are the same.
#[derive(Clone, Debug)]
struct Connection {
    inner: Arc<Mutex<Inner>>,
    activity: Activity,
}

struct Inner {
    session: Session,
    encoder: Encoder,
    writer: ByteWriter,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Serves the connection. New streams arrive at the first receiver; the connection is kept as long as that is. The second is
/// ready when the client is gone.
pub(super) fn start((mut reader, writer): (ByteReader, ByteWriter)) -> (mpsc::Receiver<Stream>, oneshot::Receiver<()>) {
    let inner = Inner { session: Session::new(MAX_STREAMS), encoder: Encoder::default(), writer };
    let connection = Connection { inner: Arc::new(Mutex::new(inner)), activity: Activity::new() };
    let (opened, streams) = mpsc::channel(NEW_STREAMS);
    let (left, gone) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = connection.read(&mut reader, &opened) => ended,
            () = connection.activity.idle() => Ok(()),
            // Nobody takes new streams any more: the connection is over.
            () = opened.closed() => Ok(()),
        };
        drop(left);
        if let Err(error) = ended {
            tracing::debug!(%error, "a SPDY connection ended");
        }
        connection.inner.lock().await.writer.close().await;
        // What the client still sends is read, or the kernel would cut off what it has not read yet itself.
        let rest = async { while let Ok(Some(_)) = reader.next().await {} };
        let _ = timeout(LINGER, rest).await;
    });
    (streams, gone)
}

impl Connection {
    async fn read(&self, reader: &mut ByteReader, opened: &mpsc::Sender<Stream>) -> io::Result<()> {
        let mut decoder = Decoder::default();
        let mut queues: BTreeMap<u32, mpsc::Sender<Bytes>> = BTreeMap::new();
        while let Some(bytes) = reader.next().await? {
            self.activity.mark();
            decoder.push(&bytes);
            while let Some(frame) = decoder.next().map_err(io::Error::other)? {
                let outputs = self.inner.lock().await.session.on_frame(frame);
                for output in outputs {
                    match output {
                        Output::Send(frame) => self.send(&frame).await?,
                        Output::Opened { stream, headers } => {
                            let (queue, reader) = mpsc::channel(QUEUE);
                            queues.insert(stream, queue);
                            let writer = StreamWriter { connection: self.clone(), stream };
                            if opened.send(Stream { headers, reader, writer }).await.is_err() {
                                return Ok(());
                            }
                        }
                        Output::Data { stream, bytes } => {
                            if let Some(queue) = queues.get(&stream) {
                                // Whoever took the stream may want no more of it.
                                let _ = queue.send(bytes).await;
                            }
                        }
                        Output::Ended { stream } | Output::Reset { stream } => drop(queues.remove(&stream)),
                        Output::GoneAway => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut inner = self.inner.lock().await;
        let inner = &mut *inner;
        let mut bytes = Vec::new();
        inner.encoder.encode(frame, &mut bytes);
        inner.writer.write(bytes).await?;
        self.activity.mark();
        Ok(())
    }
}

impl StreamWriter {
    /// Waits until the connection has taken it. An error means that the client takes no more on this stream.
    pub(super) async fn write(&self, bytes: Bytes) -> io::Result<()> {
        let frame = self.connection.inner.lock().await.session.send(self.stream, bytes);
        self.connection.send(&frame.ok_or(io::ErrorKind::BrokenPipe)?).await
    }

    /// No more follows. Doing it again does nothing.
    pub(super) async fn finish(&self) {
        let frame = self.connection.inner.lock().await.session.finish(self.stream);
        if let Some(frame) = frame {
            // The client may be gone.
            let _ = self.connection.send(&frame).await;
        }
    }

    /// Ends the stream in both directions.
    pub(super) async fn reset(&self, why: Reset) {
        let frame = self.connection.inner.lock().await.session.reset(self.stream, why);
        if let Some(frame) = frame {
            let _ = self.connection.send(&frame).await;
        }
    }
}
