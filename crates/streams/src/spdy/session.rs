//! What follows from frames: streams that a client opens, their data, and their ends.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Frame, Headers, Reset};

/// Which streams there are, and which of their halves are open.
#[derive(Debug)]
pub struct Session {
    streams: BTreeMap<u32, Halves>,
    /// Every stream of the client is odd and larger than this.
    newest: u32,
    most: usize,
}

/// Never both false: such a stream is forgotten.
#[derive(Clone, Copy, Debug)]
struct Halves {
    /// The client may still send.
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
    /// The client will send no more on it.
    Ended {
        stream: u32,
    },
    /// The client wants nothing more of it.
    Reset {
        stream: u32,
    },
    /// The client will open no more streams.
    GoneAway,
}

impl Session {
    /// With at most `most` streams at a time.
    pub fn new(most: usize) -> Self {
        Self { streams: BTreeMap::new(), newest: 0, most }
    }

    /// What follows from a frame of the client.
    pub fn on_frame(&mut self, frame: Frame) -> Vec<Output> {
        match frame {
            Frame::SynStream { stream, is_last, headers } => self.on_open(stream, is_last, headers),
            Frame::Data { stream, is_last, bytes } => self.on_data(stream, is_last, bytes),
            Frame::Reset { stream, .. } => {
                self.streams.remove(&stream).map(|_| Output::Reset { stream }).into_iter().collect()
            }
            // Those with even numbers would answer ours, and there are none.
            Frame::Ping(id) if id % 2 == 1 => vec![Output::Send(Frame::Ping(id))],
            Frame::GoAway { .. } => vec![Output::GoneAway],
            Frame::SynReply { stream, .. } => vec![Output::Send(Frame::reset(stream, Reset::InvalidStream))],
            Frame::Ping(_) | Frame::Other => Vec::new(),
        }
    }

    fn on_open(&mut self, stream: u32, is_last: bool, headers: Headers) -> Vec<Output> {
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
            // What was under way when the stream ended here is no fault of the client's.
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

    /// Data for the client; `None` where the stream takes none any more.
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
