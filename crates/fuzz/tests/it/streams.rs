//! Frames of SPDY and messages of WebSockets: however they are cut, the same is read, and no more streams are open than may be.

use bytes::Bytes;
use stead_streams::{
    channel::Version,
    spdy::{Decoder, Session},
};

const STREAMS: usize = 4;

/// What is read of `input` by pieces, data as its bytes.
fn read(input: &[u8], piece: usize) -> (String, usize) {
    let (mut decoder, mut session) = (Decoder::default(), Session::new(STREAMS));
    let (mut said, mut data) = (String::new(), 0);
    for bytes in input.chunks(piece) {
        decoder.push(bytes);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Err(error) => return (said + &error.to_string(), data),
                Ok(Some(frame)) => {
                    if let stead_streams::spdy::Frame::Data { bytes, .. } = &frame {
                        data += bytes.len();
                    } else {
                        said += &format!("{frame:?} ");
                    }
                    session.on_frame(frame);
                    assert!(session.open() <= STREAMS);
                }
            }
        }
    }
    (said, data)
}

#[test]
fn spdy_frames() {
    stead_fuzz::run("spdy", |input| {
        let whole = read(input, usize::MAX);
        assert_eq!(whole, read(input, 3), "in pieces");
        whole.0
    });
}

#[test]
fn websocket_messages() {
    stead_fuzz::run("channel", |input| {
        let parse = |version: Version| format!("{:?}", version.parse(Bytes::copy_from_slice(input)));
        parse(Version::V4) + &parse(Version::V5)
    });
}
