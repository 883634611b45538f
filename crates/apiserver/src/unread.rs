//! Clients that read nothing of what they asked for: a watch that takes nothing more for a while is cut.
//!
//! Only watches are: whoever stops reading a log or a shell does so on purpose, and finds it again. Over HTTP/1 the connection goes with
//! its watch ([`Socket`]). Over HTTP/2 only the watch's own stream does ([`Streams`]), whether its window or the connection's is shut.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Response, Version};
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// An extension of an answer that goes on for as long as its client reads it, and no longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndsUnread;

/// Whether what is being sent over a connection ends when it is not read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering(Arc<AtomicBool>);

impl Answering {
    /// The connection begins to send this. Over HTTP/1 nothing else is sent meanwhile; over HTTP/2 it is the answer of the stream whose
    /// task this is.
    pub(crate) fn begin(&self, version: Version, response: Response<Body>) -> Response<Body> {
        let ends = response.extensions().get::<EndsUnread>().is_some();
        self.0.store(ends && version < Version::HTTP_2, Ordering::Relaxed);
        match STREAM.try_with(Reader::clone) {
            Ok(reader) if ends => response.map(|body| Body::new(Watched::new(body, reader))),
            Ok(_) | Err(_) => response,
        }
    }

    fn ends_unread(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client's socket. Fails, and resets the connection, once nothing could be sent for `patience` of what ends unread.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    answering: Answering,
    patience: Duration,
    /// Since the socket took nothing more.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, answering: Answering, patience: Duration) -> Self {
        Self { stream, answering, patience, stalled: None }
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() || !self.answering.ends_unread() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // Else the kernel would keep what is unsent, and ask the client for minutes to take it.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its watch")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

tokio::task_local! {
    /// The client at the other end of the HTTP/2 stream that a task answers.
    static STREAM: Reader;
}

/// Runs the streams of HTTP/2 connections; drops, and so resets, one whose client has not read its watch for `patience`.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) patience: Duration,
}

impl<Answer> Executor<Answer> for Streams
where
    Answer: Future + Send + 'static,
    Answer::Output: Send,
{
    fn execute(&self, answer: Answer) {
        let (reader, patience) = (Reader::default(), self.patience);
        tokio::spawn(async move {
            tokio::select! {
                _ = STREAM.scope(reader.clone(), answer) => {}
                () = reader.lost(patience) => tracing::debug!("a client does not read its watch"),
            }
        });
    }
}

/// Whether a client takes what its watch has for it.
#[derive(Clone, Debug, Default)]
struct Reader(Arc<Reading>);

#[derive(Debug, Default)]
struct Reading {
    /// A watch has begun.
    begun: Notify,
    /// When the last piece was handed on to be sent; `None` once the next is asked for, which is when there is room for it.
    since: Mutex<Option<Instant>>,
}

impl Reader {
    fn set(&self, since: Option<Instant>) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Ready once a watch has begun, and nothing of it could be sent for `patience`.
    async fn lost(&self, patience: Duration) {
        self.0.begun.notified().await;
        loop {
            let (now, since) = (Instant::now(), *self.0.since.lock().unwrap_or_else(PoisonError::into_inner));
            let until = since.unwrap_or(now) + patience;
            if until <= now {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A watch that tells when its pieces are asked for.
struct Watched {
    body: Body,
    reader: Reader,
}

impl Watched {
    fn new(body: Body, reader: Reader) -> Self {
        reader.0.begun.notify_one();
        Self { body, reader }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.reader.set(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener, time::timeout};

    use super::*;

    /// How writing to somebody who never reads ends; `None`: it waits.
    async fn write_unread(version: Version, response: Response<Body>) -> Option<ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let answering = Answering::default();
        answering.begin(version, response);
        let mut socket = Socket::new(stream, answering, Duration::from_secs(60));
        let all = vec![0; 64 << 20];
        let written = timeout(Duration::from_secs(3_600), socket.write_all(&all)).await;
        drop(silent);
        written.ok().map(|failed| failed.unwrap_err().kind())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_ends_unread_is_cut() {
        let watch = || {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(EndsUnread);
            response
        };
        assert_eq!(write_unread(Version::HTTP_11, watch()).await, Some(ErrorKind::TimedOut));
        assert_eq!(write_unread(Version::HTTP_11, Response::default()).await, None);
        assert_eq!(write_unread(Version::HTTP_2, watch()).await, None, "it is for the stream to end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_lost_once_its_next_piece_is_not_asked_for() {
        let minute = Duration::from_secs(60);
        let is_lost = async |reader: &Reader, within: Duration| timeout(within, reader.lost(minute)).await.is_ok();
        let reader = Reader::default();
        assert!(!is_lost(&reader, 100 * minute).await, "no watch");
        let pieces =
            futures::stream::iter([Ok::<_, io::Error>(Bytes::from("piece"))]).chain(futures::stream::pending());
        let mut watched = Watched::new(Body::from_stream(pieces), reader.clone());
        reader.0.begun.notify_one();
        assert!(!is_lost(&reader, 100 * minute).await, "there is nothing to read yet");
        watched.frame().await.unwrap().unwrap();
        reader.0.begun.notify_one();
        assert!(!is_lost(&reader, minute / 2).await);
        let asked = timeout(minute / 4, watched.frame()).await;
        assert!(asked.is_err(), "there is no more");
        reader.0.begun.notify_one();
        assert!(!is_lost(&reader, 100 * minute).await, "all was read");
        reader.set(Some(Instant::now()));
        reader.0.begun.notify_one();
        assert!(is_lost(&reader, minute + Duration::from_secs(1)).await);
    }
}
