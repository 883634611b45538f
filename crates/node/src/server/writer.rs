//! The way to a client on one of several streams, whichever protocol carries them.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, stream::SplitSink};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use stead_streams::{channel, spdy::Reset};
use tokio::sync::Mutex;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    spdy,
    transport::{self, Activity},
};

/// A stream of SPDY, or a numbered channel of a WebSocket, which has neither an end nor a reset of its own.
#[derive(Clone)]
pub(super) enum Writer {
    Spdy(spdy::StreamWriter),
    Channel { socket: Arc<Socket>, number: u8 },
}

/// The sending side of a WebSocket that its channels share.
pub(super) struct Socket {
    sink: Mutex<SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>>,
    activity: Activity,
}

impl Socket {
    pub(super) fn new(sink: SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>, activity: Activity) -> Self {
        Self { sink: Mutex::new(sink), activity }
    }

    /// Says that nothing follows on any channel.
    pub(super) async fn finish(&self) {
        // The client may be gone.
        let _ = self.sink.lock().await.send(transport::all_said()).await;
    }
}

impl Writer {
    pub(super) async fn write(&self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Spdy(stream) => stream.write(bytes).await,
            Self::Channel { socket, number } => {
                let message = Message::Binary(channel::render(*number, &bytes));
                socket.sink.lock().await.send(message).await.map_err(transport::broken)?;
                socket.activity.mark();
                Ok(())
            }
        }
    }

    pub(super) async fn finish(&self) {
        if let Self::Spdy(stream) = self {
            stream.finish().await;
        }
    }

    /// Ends a stream in both directions.
    pub(super) async fn reset(&self, why: Reset) {
        if let Self::Spdy(stream) = self {
            stream.reset(why).await;
        }
    }
}
