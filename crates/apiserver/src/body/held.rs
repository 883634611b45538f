//! Bodies that handlers leave unread: what is left of them is read before the answer goes.
//!
//! An answer that comes while the client still sends ends the stream under it, and over HTTP/2 it is then often lost. A body that
//! something still reads (what a proxy passes on) is left to that.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::MAX_DISCARDED;

/// How long an answer waits for the rest of its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body in the hands of a handler, seen from where the answer is sent.
#[derive(Debug)]
pub(crate) struct Held(Option<Arc<Mutex<Body>>>);

/// The handler's end.
struct Lent(Arc<Mutex<Body>>);

/// Lends `body` to a handler. What has no body, and what is sent only once it is asked for, costs nothing.
pub(crate) fn hold(headers: &HeaderMap, body: Body) -> (Body, Held) {
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return (body, Held(None));
    }
    let shared = Arc::new(Mutex::new(body));
    (Body::new(Lent(shared.clone())), Held(Some(shared)))
}

impl Held {
    /// Reads what no handler has read or will read, within bounds of size and time.
    pub(crate) async fn discard(self) {
        let Some(body) = self.0.and_then(Arc::into_inner) else { return };
        let body = body.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !body.is_end_stream() && body.size_hint().lower() <= MAX_DISCARDED as u64 {
            // Who takes longer than this gets the answer as it is.
            let _ = tokio::time::timeout(PATIENCE, read_out(body)).await;
        }
    }
}

async fn read_out(mut body: Body) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > MAX_DISCARDED {
            return;
        }
    }
}

impl Lent {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
