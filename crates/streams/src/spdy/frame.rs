//! Frames and bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{
    Reset,
    header::{Compressor, Decompressor, HeaderError, Headers},
};

/// One frame. Data is given as it comes, so one frame on the wire may be several here, the last of which has the end mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: u32,
        is_last: bool,
        headers: Headers,
    },
    SynReply {
        stream: u32,
        is_last: bool,
        headers: Headers,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    GoAway {
        last_stream: u32,
        status: u32,
    },
    Data {
        stream: u32,
        is_last: bool,
        bytes: Bytes,
    },
    /// One that asks for nothing here: SETTINGS, HEADERS, WINDOW_UPDATE.
    Other,
}

#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    #[error("a control frame of version {0}, not 3")]
    Version(u16),
    #[error("a control frame of type {kind} with {length} bytes")]
    Length { kind: u16, length: usize },
    #[error("an unknown control frame of type {0}")]
    Kind(u16),
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// Bytes of data that one frame carries at most when it is sent from here.
pub const MAX_PAYLOAD: usize = 16 << 10;
/// Of a control frame.
const MAX_CONTROL: usize = 64 << 10;
const FIN: u8 = 1;
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// From bytes to frames.
#[derive(Debug, Default)]
pub struct Decoder {
    waiting: BytesMut,
    /// Of the data frame under way: stream, bytes still to come, whether it is the stream's last.
    data: Option<(u32, usize, bool)>,
    headers: Decompressor,
}

impl Decoder {
    /// Takes bytes as they come. What is kept is at most these and one control frame; call [`next`](Self::next) until it has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next frame, if it is all there. After an error the connection is of no more use.
    #[expect(clippy::should_implement_trait, reason = "a decoder that has nothing now is not at its end")]
    pub fn next(&mut self) -> Result<Option<Frame>, SpdyError> {
        if let Some((stream, left, is_last)) = self.data.take() {
            let now = left.min(self.waiting.len());
            if now == 0 && left > 0 {
                self.data = Some((stream, left, is_last));
                return Ok(None);
            }
            let bytes = self.waiting.split_to(now).freeze();
            if left > now {
                self.data = Some((stream, left - now, is_last));
            }
            return Ok(Some(Frame::Data { stream, is_last: is_last && left == now, bytes }));
        }
        let Some(head) = self.waiting.first_chunk::<8>() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if first >> 31 == 0 {
            self.waiting.advance(8);
            self.data = Some((first, length, flags & FIN != 0));
            return self.next();
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        if length > MAX_CONTROL {
            return Err(SpdyError::Length { kind, length });
        }
        if self.waiting.len() < 8 + length {
            return Ok(None);
        }
        self.waiting.advance(8);
        let body = self.waiting.split_to(length).freeze();
        self.control(kind, flags, body).map(Some)
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Frame, SpdyError> {
        let length = body.len();
        let least = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | PING | HEADERS => 4,
            RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
            SETTINGS => 4,
            _ => return Err(SpdyError::Kind(kind)),
        };
        if length < least {
            return Err(SpdyError::Length { kind, length });
        }
        let is_last = flags & FIN != 0;
        let number = body.get_u32();
        let stream = number & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                // The stream it belongs to, priority and slot mean nothing here.
                body.advance(6);
                Frame::SynStream { stream, is_last, headers: self.headers.read(&body)? }
            }
            SYN_REPLY => Frame::SynReply { stream, is_last, headers: self.headers.read(&body)? },
            HEADERS => {
                // Read all the same: what is compressed later builds on it.
                self.headers.read(&body)?;
                Frame::Other
            }
            RST_STREAM => Frame::Reset { stream, status: body.get_u32() },
            PING => Frame::Ping(number),
            GOAWAY => Frame::GoAway { last_stream: stream, status: body.get_u32() },
            _ => Frame::Other,
        })
    }
}

/// From frames to bytes.
#[derive(Debug, Default)]
pub struct Encoder {
    headers: Compressor,
}

impl Encoder {
    /// Appends a frame. Data longer than [`MAX_PAYLOAD`] becomes several.
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::SynStream { stream, is_last, headers } => {
                let mut body = stream.to_be_bytes().to_vec();
                body.extend_from_slice(&[0; 6]);
                self.headers.write(headers, &mut body);
                control(SYN_STREAM, *is_last, &body, out);
            }
            Frame::SynReply { stream, is_last, headers } => {
                let mut body = stream.to_be_bytes().to_vec();
                self.headers.write(headers, &mut body);
                control(SYN_REPLY, *is_last, &body, out);
            }
            Frame::Reset { stream, status } => control(RST_STREAM, false, &pair(*stream, *status), out),
            Frame::Ping(id) => control(PING, false, &id.to_be_bytes(), out),
            Frame::GoAway { last_stream, status } => control(GOAWAY, false, &pair(*last_stream, *status), out),
            Frame::Data { stream, is_last, bytes } if bytes.is_empty() => data(*stream, *is_last, bytes, out),
            Frame::Data { stream, is_last, bytes } => {
                let pieces = bytes.len().div_ceil(MAX_PAYLOAD);
                for (number, piece) in bytes.chunks(MAX_PAYLOAD).enumerate() {
                    data(*stream, *is_last && number + 1 == pieces, piece, out);
                }
            }
            Frame::Other => {}
        }
    }
}

impl Frame {
    /// One that ends a stream.
    pub fn reset(stream: u32, why: Reset) -> Self {
        Self::Reset { stream, status: why as u32 }
    }
}

fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

fn control(kind: u16, is_last: bool, body: &[u8], out: &mut Vec<u8>) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    put_length(is_last, body.len(), out);
    out.put_slice(body);
}

fn data(stream: u32, is_last: bool, bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u32(stream & 0x7fff_ffff);
    put_length(is_last, bytes.len(), out);
    out.put_slice(bytes);
}

/// Flags and length, which is in 24 bits.
fn put_length(is_last: bool, length: usize, out: &mut Vec<u8>) {
    let flags = if is_last { FIN } else { 0 };
    out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
}
