use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn opened(stream: u32) -> Frame {
    Frame::SynStream { stream, is_last: false, headers: Headers::new([("streamtype", "data")]) }
}

fn data(stream: u32, is_last: bool, text: &'static str) -> Frame {
    Frame::Data { stream, is_last, bytes: Bytes::from_static(text.as_bytes()) }
}

/// The life of a connection, a line for each frame and each thing that follows.
fn transcript(frames: Vec<Frame>) -> Vec<String> {
    let mut session = Session::new(2);
    let line = |output: Output| match output {
        Output::Send(Frame::SynReply { stream, .. }) => format!("reply {stream}"),
        Output::Send(Frame::Reset { stream, status }) => format!("send reset {stream} {status}"),
        Output::Send(Frame::Ping(id)) => format!("send ping {id}"),
        Output::Send(frame) => format!("send {frame:?}"),
        Output::Opened { stream, headers } => format!("opened {stream} {}", headers.get("streamtype").unwrap_or("")),
        Output::Data { stream, bytes } => format!("data {stream} {}", String::from_utf8_lossy(&bytes)),
        Output::Ended { stream } => format!("ended {stream}"),
        Output::Reset { stream } => format!("reset {stream}"),
        Output::GoneAway => "gone away".to_owned(),
    };
    frames.into_iter().flat_map(|frame| session.on_frame(frame)).map(line).collect()
}

#[test]
fn streams_live_from_open_to_end() {
    assert_eq!(
        transcript(vec![opened(1), data(1, false, "a"), data(1, true, "b"), data(1, false, "late")]),
        ["reply 1", "opened 1 data", "data 1 a", "data 1 b", "ended 1"]
    );
    assert_eq!(transcript(vec![opened(1), data(1, true, "")]), ["reply 1", "opened 1 data", "ended 1"]);
    assert_eq!(transcript(vec![opened(2)]), ["send reset 2 1"]);
    assert_eq!(transcript(vec![opened(3), opened(3)]), ["reply 3", "opened 3 data", "send reset 3 1"]);
    assert_eq!(transcript(vec![data(7, false, "x")]), ["send reset 7 2"]);
    assert_eq!(
        transcript(vec![opened(1), opened(3), opened(5)])[4..],
        ["send reset 5 3"],
        "no more than two at a time"
    );
    assert_eq!(
        transcript(vec![opened(1), Frame::Reset { stream: 1, status: 5 }, Frame::Reset { stream: 1, status: 5 }])[2..],
        ["reset 1"]
    );
    assert_eq!(
        transcript(vec![Frame::Ping(1), Frame::Ping(2), Frame::GoAway { last_stream: 0, status: 0 }]),
        ["send ping 1", "gone away"]
    );
}

#[test]
fn both_halves_end_before_a_stream_is_forgotten() {
    let mut session = Session::new(2);
    session.on_frame(opened(1));
    assert!(session.send(1, Bytes::from_static(b"x")).is_some());
    assert!(session.finish(1).is_some() && session.finish(1).is_none() && session.send(1, Bytes::new()).is_none());
    assert_eq!(session.open(), 1);
    session.on_frame(data(1, true, ""));
    assert_eq!((session.open(), session.reset(1, Reset::Cancel)), (0, None));
}

#[test]
fn a_client_opens_streams_and_a_server_takes_them() {
    let (mut client, mut server) = (Session::client(2), Session::new(2));
    let headers = || Headers::new([("streamtype", "data")]);
    let (first, frame) = client.open_stream(headers()).unwrap();
    assert_eq!(frame, opened(1));
    for output in server.on_frame(frame) {
        let Output::Send(reply) = output else { continue };
        assert_eq!(client.on_frame(reply), [], "a reply says nothing new");
    }
    assert_eq!(client.open_stream(headers()).map(|(stream, _)| stream), Some(3));
    assert!(client.open_stream(headers()).is_none() && server.open_stream(headers()).is_none());
    let sent = server.send(first, Bytes::from_static(b"x")).unwrap();
    assert_eq!(client.on_frame(sent), [Output::Data { stream: 1, bytes: Bytes::from_static(b"x") }]);
    assert_eq!(client.on_frame(server.finish(first).unwrap()), [Output::Ended { stream: 1 }]);
    assert_eq!(server.on_frame(client.finish(first).unwrap()), [Output::Ended { stream: 1 }]);
    assert_eq!((client.open(), server.open()), (1, 0));
    assert_eq!(client.on_frame(Frame::Ping(2)), [Output::Send(Frame::Ping(2))]);
    assert_eq!(client.on_frame(Frame::Ping(1)), []);
    assert_eq!(client.on_frame(opened(2)), [Output::Send(Frame::reset(2, Reset::RefusedStream))]);
}

#[test]
fn frames_that_are_none_are_refused() {
    let check = |bytes: &[u8], expected: &str| {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        assert_eq!(decoder.next().unwrap_err().to_string(), expected);
    };
    check(&[0x80, 2, 0, 1, 0, 0, 0, 0], "a control frame of version 2, not 3");
    check(&[0x80, 3, 0, 99, 0, 0, 0, 0], "an unknown control frame of type 99");
    check(&[0x80, 3, 0, 1, 0, 1, 0, 1], "a control frame of type 1 with 65537 bytes");
    check(&[0x80, 3, 0, 6, 0, 0, 0, 0], "a control frame of type 6 with 0 bytes");
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let number = 1u32..100;
    let text = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let frame = prop_oneof![
        (number.clone(), any::<bool>(), "[a-z]{1,9}", "[ -~]{0,30}").prop_map(|(stream, is_last, name, value)| {
            Frame::SynStream { stream, is_last, headers: Headers::new([(name.as_str(), value.as_str())]) }
        }),
        (number.clone(), any::<bool>(), text).prop_map(|(stream, is_last, bytes)| Frame::Data {
            stream,
            is_last,
            bytes
        }),
        (number.clone(), 1u32..9).prop_map(|(stream, status)| Frame::Reset { stream, status }),
        number.clone().prop_map(Frame::Ping),
        number.prop_map(|last_stream| Frame::GoAway { last_stream, status: 0 }),
    ];
    prop::collection::vec(frame, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_whatever_the_pieces(frames in frames(), size in 1usize..50) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encoder.encode(frame, &mut bytes));
        let mut found: Vec<Frame> = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.push(piece);
            while let Some(frame) = decoder.next().unwrap() {
                match (found.last_mut(), frame) {
                    // Data of one frame may come in pieces.
                    (
                        Some(Frame::Data { stream, is_last: last @ false, bytes }),
                        Frame::Data { stream: same, is_last, bytes: more },
                    ) if *stream == same => {
                        *bytes = [bytes.as_ref(), &more].concat().into();
                        *last = is_last;
                    }
                    (_, frame) => found.push(frame),
                }
            }
        }
        let mut expected: Vec<Frame> = Vec::new();
        for frame in frames {
            match (expected.last_mut(), frame) {
                (
                    Some(Frame::Data { stream, is_last: last @ false, bytes }),
                    Frame::Data { stream: same, is_last, bytes: more },
                ) if *stream == same => {
                    *bytes = [bytes.as_ref(), &more].concat().into();
                    *last = is_last;
                }
                (_, frame) => expected.push(frame),
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (mut decoder, mut session) = (Decoder::default(), Session::new(4));
        decoder.push(&bytes);
        while let Ok(Some(frame)) = decoder.next() {
            session.on_frame(frame);
            prop_assert!(session.open() <= 4);
        }
    }
}
