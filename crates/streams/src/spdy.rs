//! SPDY/3.1, both sides, as far as streaming requests use it (SPDY protocol draft 3.1).
//!
//! [`Decoder`] turns bytes into [`Frame`]s, [`Encoder`] frames into bytes, and [`Session`] says what follows from a frame. Flow control
//! windows are neither kept nor announced, as the clients of this protocol keep none: what bounds the bytes under way is that
//! nobody reads on while a stream's queue is full.

mod frame;
mod header;
mod session;

pub use frame::{Decoder, Encoder, Frame, MAX_PAYLOAD, SpdyError};
pub use header::Headers;
pub use session::{Output, Session};

/// Why a stream is ended by a RST_STREAM frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    ProtocolError = 1,
    InvalidStream = 2,
    RefusedStream = 3,
    Cancel = 5,
    InternalError = 6,
}

#[cfg(test)]
mod tests;
