//! Streams as numbered channels in WebSocket messages: the first byte of a message says which channel the rest belongs to.
//!
//! Subprotocols `v5.channel.k8s.io` and `v4.channel.k8s.io`, and `channel.k8s.io` for what is older; the messages are the same, but
//! for version 5's message 255, which closes one channel. Port-forward numbers its channels by port: [`port_channel`].

use bytes::{BufMut as _, Bytes, BytesMut};

/// The version that client and server agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

/// The channels of a remote command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Stdin,
    Stdout,
    Stderr,
    /// A Status at the end.
    Error,
    /// `{"Width":…,"Height":…}`.
    Resize,
}

/// What a message of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Data(u8, Bytes),
    /// No more will come on this channel.
    Close(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    #[error("a message without a channel")]
    Empty,
    #[error("a close message that names no channel")]
    Close,
}

/// The number of version 5's message that closes a channel.
const CLOSE: u8 = 255;

impl Version {
    /// Of the subprotocols that a client offers, in its order, the best that is spoken here, by its name.
    pub fn choose<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<(Self, &'a str)> {
        let known = |name: &str| match name {
            "v5.channel.k8s.io" => Some(Self::V5),
            "v4.channel.k8s.io" => Some(Self::V4),
            _ => None,
        };
        offered.into_iter().find_map(|name| known(name).map(|version| (version, name)))
    }

    /// Reads a binary message.
    pub fn parse(self, message: Bytes) -> Result<Message, InvalidMessage> {
        let mut rest = message;
        let first = *rest.first().ok_or(InvalidMessage::Empty)?;
        let _ = rest.split_to(1);
        match (self, first) {
            (Self::V5, CLOSE) => rest.first().map(|channel| Message::Close(*channel)).ok_or(InvalidMessage::Close),
            (_, channel) => Ok(Message::Data(channel, rest)),
        }
    }
}

impl Channel {
    pub const fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Error => 3,
            Self::Resize => 4,
        }
    }
}

/// Data and error channel of the port that is `index`th in the request.
pub const fn port_channel(index: u8) -> (u8, u8) {
    (index * 2, index * 2 + 1)
}

/// A message with `data` on a channel.
pub fn render(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_their_channel() {
        let check = |version: Version, bytes: &'static [u8], expected: Result<Message, InvalidMessage>| {
            assert_eq!(version.parse(Bytes::from_static(bytes)), expected, "{bytes:?}");
        };
        check(Version::V4, b"\x00abc", Ok(Message::Data(0, Bytes::from_static(b"abc"))));
        check(Version::V4, b"\x01", Ok(Message::Data(1, Bytes::new())));
        check(Version::V5, b"\xff\x00", Ok(Message::Close(0)));
        check(Version::V5, b"\xff", Err(InvalidMessage::Close));
        check(Version::V4, b"\xff\x00", Ok(Message::Data(255, Bytes::from_static(b"\x00"))));
        check(Version::V5, b"", Err(InvalidMessage::Empty));
        assert_eq!(render(2, b"no"), Bytes::from_static(b"\x02no"));
    }

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let check = |offered: &[&'static str], expected| assert_eq!(Version::choose(offered.iter().copied()), expected);
        check(&["v5.channel.k8s.io", "v4.channel.k8s.io"], Some((Version::V5, "v5.channel.k8s.io")));
        check(&["other", "v4.channel.k8s.io"], Some((Version::V4, "v4.channel.k8s.io")));
        check(&["other"], None);
    }
}
