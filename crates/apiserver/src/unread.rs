//! Clients that read nothing of what they asked for: a watch that takes nothing more for a while is cut.
//!
//! Only watches are: whoever stops reading a log or a shell does so on purpose, and finds it again. Over HTTP/1 the connection goes with
//! its watch ([`Socket`]); over HTTP/2 the watch goes alone ([`Watches`]), and a connection that is not read at all answers no ping.

mod streams;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use http::{Response, Version};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

pub(crate) use streams::Watches;

/// An extension of an answer that goes on for as long as its client reads it, and no longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndsUnread;

/// What is being sent over a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answering {
    /// It is to end when the socket takes no more of it.
    ends_unread: Arc<AtomicBool>,
    pub(crate) watches: Watches,
}

impl Answering {
    /// The connection begins to send this. Over HTTP/1 nothing else is sent meanwhile.
    pub(crate) fn begin(&self, version: Version, response: Response<Body>) -> Response<Body> {
        let (ends, alone) = (response.extensions().get::<EndsUnread>().is_some(), version < Version::HTTP_2);
        self.ends_unread.store(ends && alone, Ordering::Relaxed);
        if ends && !alone { response.map(|watch| self.watches.add(watch)) } else { response }
    }

    fn ends_unread(&self) -> bool {
        self.ends_unread.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

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
        assert_eq!(write_unread(Version::HTTP_2, watch()).await, None, "it is for the watch to end");
    }
}
