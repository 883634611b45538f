//! Watches over HTTP/2, which share a connection with what else its client asks for.
//!
//! A watch is unread while it has handed on a piece and is not asked for the next: HTTP keeps one piece back until there is room for it,
//! in the stream's window and in the connection's. Such a watch ends; its stream stays until its client opens the window or leaves, with
//! two pieces at most.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// What one DATA frame takes, unless a client says otherwise. What is handed on is kept by HTTP until there is room for it, however much.
const PIECE: usize = 16 << 10;

/// The watches of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches(Arc<Mutex<Vec<Weak<Watch>>>>);

#[derive(Debug)]
struct Watch(Mutex<State>);

#[derive(Debug)]
enum State {
    /// The client asks for the next piece.
    Read(Body),
    /// A piece was handed on at that time.
    Unread(Body, Instant),
    /// Whoever asks for more is told so.
    Ended,
}

impl Watches {
    /// `watch`, as one of these.
    pub(super) fn add(&self, watch: Body) -> Body {
        let watch = Arc::new(Watch(Mutex::new(State::Read(watch))));
        let mut watches = lock(&self.0);
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        Body::new(Watched { watch, rest: Bytes::new() })
    }

    /// Ends each watch that was not read for `patience`; how many streams the connection has that ended so.
    pub(crate) fn end_unread(&self, patience: Duration) -> usize {
        let watches = lock(&self.0);
        watches.iter().filter_map(Weak::upgrade).filter(|watch| watch.has_ended(patience)).count()
    }
}

impl Watch {
    fn has_ended(&self, patience: Duration) -> bool {
        let mut state = lock(&self.0);
        if let State::Unread(_, since) = &*state
            && since.elapsed() >= patience
        {
            tracing::debug!("a client does not read its watch");
            *state = State::Ended;
        }
        matches!(*state, State::Ended)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch in pieces.
struct Watched {
    watch: Arc<Watch>,
    /// Of what the watch had for its client.
    rest: Bytes,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { watch, rest } = self.get_mut();
        let mut state = lock(&watch.0);
        let (State::Read(mut body) | State::Unread(mut body, _)) = std::mem::replace(&mut *state, State::Ended) else {
            let unread = io::Error::new(io::ErrorKind::TimedOut, "the client does not read its watch");
            return Poll::Ready(Some(Err(axum::Error::new(unread))));
        };
        let polled = if rest.is_empty() {
            Pin::new(&mut body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(rest)))))
        };
        *state = if polled.is_ready() { State::Unread(body, Instant::now()) } else { State::Read(body) };
        polled.map_ok(|frame| {
            frame.map_data(|mut data| {
                *rest = data.split_off(data.len().min(PIECE));
                data
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;
    use tokio::time::{advance, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_once_its_next_piece_is_not_asked_for() {
        let watches = Watches::default();
        let piece = futures::stream::iter([Ok::<_, Infallible>(Bytes::from("piece"))]);
        let mut watch = watches.add(Body::from_stream(piece.chain(futures::stream::pending())));
        let check = async |seconds: u64, ended: usize, why: &str| {
            advance(Duration::from_secs(seconds)).await;
            assert_eq!(watches.end_unread(PATIENCE), ended, "{why}");
        };
        check(600, 0, "nothing was asked for").await;
        watch.frame().await.unwrap().unwrap();
        check(30, 0, "unread for less").await;
        timeout(Duration::ZERO, watch.frame()).await.unwrap_err();
        check(600, 0, "all was read").await;

        let mut full = watches.add(Body::from_stream(futures::stream::repeat(Ok::<_, Infallible>("piece"))));
        full.frame().await.unwrap().unwrap();
        check(60, 1, "one is unread").await;
        check(60, 1, "its stream is still there").await;
        full.frame().await.unwrap().unwrap_err();
        drop(full);
        check(0, 0, "its stream is gone").await;
        timeout(Duration::ZERO, watch.frame()).await.unwrap_err();

        let mut large = watches.add(Body::from("x".repeat(PIECE + 1)));
        for size in [PIECE, 1] {
            let frame = large.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().unwrap().len(), size);
            check(59, 0, "it is read slowly").await;
        }
        assert!(large.frame().await.is_none());
    }
}
