//! What follows from frames: streams that a client opens, their data, and their ends; for either side of a connection.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Frame, Headers, Reset};

/// Which streams there are, and which of their halves are open.
#[derive(Debug)]
pub struct Session {
    side: Side,
    streams: BTreeMap<u32, Halves>,
    /// Every later stream of the client is odd and larger than this.
    newest: u32,
    most: usize,
}

/// Only a client opens streams here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// Never both false: such a stream is forgotten.
#[derive(Clone, Copy, Debug)]
struct Halves {
    /// The peer may still send.
    receives: bool,
    /// It may still be sent to.
    sends: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send(Frame),
    /// A new stream; it has been accepted.
    Opened {
        stream: u32,
        headers: Headers,
    },
    Data {
        stream: u32,
        bytes: Bytes,
    },
    /// The peer will send no more on it.
    Ended {
        stream: u32,
    },
    /// The peer wants nothing more of it.
    Reset {
        stream: u32,
    },
    /// The peer takes or opens no more streams.
    GoneAway,
}

impl Session {
    /// The server's side, with at most `most` streams at a time.
    pub fn new(most: usize) -> Self {
        Self { side: Side::Server, streams: BTreeMap::new(), newest: 0, most }
    }

    /// The client's side, with at most `most` streams at a time.
    pub fn client(most: usize) -> Self {
        Self { side: Side::Client, ..Self::new(most) }
    }

    /// A new stream of this client and the frame that opens it; `None` where there are too many, and on the server's side.
    /// What is sent on it need not wait for the reply.
    pub fn open_stream(&mut self, headers: Headers) -> Option<(u32, Frame)> {
        let stream = if self.newest == 0 { 1 } else { self.newest.checked_add(2).filter(|next| next >> 31 == 0)? };
        if self.side == Side::Server || self.streams.len() >= self.most {
            return None;
        }
        self.newest = stream;
        self.streams.insert(stream, Halves { receives: true, sends: true });
        Some((stream, Frame::SynStream { stream, is_last: false, headers }))
    }

    /// What follows from a frame of the peer.
    pub fn on_frame(&mut self, frame: Frame) -> Vec<Output> {
        match frame {
            Frame::SynStream { stream, is_last, headers } => self.on_open(stream, is_last, headers),
            Frame::Data { stream, is_last, bytes } => self.on_data(stream, is_last, bytes),
            Frame::Reset { stream, .. } => {
                self.streams.remove(&stream).map(|_| Output::Reset { stream }).into_iter().collect()
            }
            // The others would answer ours, and there are none.
            Frame::Ping(id) if (id % 2 == 1) == (self.side == Side::Server) => vec![Output::Send(Frame::Ping(id))],
            Frame::GoAway { .. } => vec![Output::GoneAway],
            Frame::SynReply { stream, is_last, .. } if self.side == Side::Client => {
                self.on_data(stream, is_last, Bytes::new())
            }
            Frame::SynReply { stream, .. } => vec![Output::Send(Frame::reset(stream, Reset::InvalidStream))],
            Frame::Ping(_) | Frame::Other => Vec::new(),
        }
    }

    fn on_open(&mut self, stream: u32, is_last: bool, headers: Headers) -> Vec<Output> {
        if self.side == Side::Client {
            return vec![Output::Send(Frame::reset(stream, Reset::RefusedStream))];
        }
        if stream.is_multiple_of(2) || stream <= self.newest {
            self.streams.remove(&stream);
            return vec![Output::Send(Frame::reset(stream, Reset::ProtocolError))];
        }
        self.newest = stream;
        if self.streams.len() >= self.most {
            return vec![Output::Send(Frame::reset(stream, Reset::RefusedStream))];
        }
        self.streams.insert(stream, Halves { receives: !is_last, sends: true });
        let reply = Frame::SynReply { stream, is_last: false, headers: Headers::default() };
        let mut outputs = vec![Output::Send(reply), Output::Opened { stream, headers }];
        outputs.extend(is_last.then_some(Output::Ended { stream }));
        outputs
    }

    fn on_data(&mut self, stream: u32, is_last: bool, bytes: Bytes) -> Vec<Output> {
        let Some(halves) = self.streams.get_mut(&stream).filter(|halves| halves.receives) else {
            // What was under way when the stream ended here is no fault of the peer's.
            let was_ours = stream % 2 == 1 && stream <= self.newest;
            let reset = Output::Send(Frame::reset(stream, Reset::InvalidStream));
            return if was_ours { Vec::new() } else { vec![reset] };
        };
        halves.receives = !is_last;
        let mut outputs = Vec::new();
        if !bytes.is_empty() {
            outputs.push(Output::Data { stream, bytes });
        }
        outputs.extend(is_last.then_some(Output::Ended { stream }));
        self.forget_if_over(stream);
        outputs
    }

    /// Data for the peer; `None` where the stream takes none any more.
    pub fn send(&mut self, stream: u32, bytes: Bytes) -> Option<Frame> {
        self.streams.get(&stream).filter(|halves| halves.sends)?;
        Some(Frame::Data { stream, is_last: false, bytes })
    }

    /// The end of what is sent on a stream, once.
    pub fn finish(&mut self, stream: u32) -> Option<Frame> {
        let halves = self.streams.get_mut(&stream).filter(|halves| halves.sends)?;
        halves.sends = false;
        self.forget_if_over(stream);
        Some(Frame::Data { stream, is_last: true, bytes: Bytes::new() })
    }

    /// The end of both halves.
    pub fn reset(&mut self, stream: u32, why: Reset) -> Option<Frame> {
        self.streams.remove(&stream).map(|_| Frame::reset(stream, why))
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.streams.len()
    }

    fn forget_if_over(&mut self, stream: u32) {
        if self.streams.get(&stream).is_some_and(|halves| !halves.receives && !halves.sends) {
            self.streams.remove(&stream);
        }
    }
}
