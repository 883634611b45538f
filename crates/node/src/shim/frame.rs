//! What a shim and those who attach to its container say to each other on the socket [`ATTACH`]: pieces of streams, one frame each.
//!
//! A frame is a byte for what it is, the length of its content as four bytes, the lowest first, and the content.

/// The socket's name in the shim's directory.
pub(crate) const ATTACH: &str = "attach";

/// Longer contents are refused.
pub(crate) const MAX_CONTENT: usize = 64 << 10;
const HEAD: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// To the program. An empty one says that this client has input to give.
    Input,
    /// The client has no more input.
    InputEnd,
    /// The client's terminal: columns and rows, two bytes each, the lower first.
    Size,
    /// From the program, or from its terminal.
    Output,
    ErrorOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame is of kind {kind} with {length} bytes")]
pub(crate) struct InvalidFrame {
    kind: u8,
    length: usize,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [Self::Input, Self::InputEnd, Self::Size, Self::Output, Self::ErrorOutput]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Adds a frame to `to`. `content` has at most [`MAX_CONTENT`] bytes.
pub(crate) fn encode(kind: Kind, content: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(content.len()).expect("contents are short");
    to.push(kind as u8);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(content);
}

/// Takes the first frame out of `received`; `None` where it is not whole yet.
pub(crate) fn decode(received: &mut Vec<u8>) -> Result<Option<(Kind, Vec<u8>)>, InvalidFrame> {
    let [byte, a, b, c, d, ..] = received[..] else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let kind = Kind::parse(byte).filter(|_| length <= MAX_CONTENT).ok_or(InvalidFrame { kind: byte, length })?;
    if received.len() < HEAD + length {
        return Ok(None);
    }
    let content = received[HEAD..HEAD + length].to_vec();
    received.drain(..HEAD + length);
    Ok(Some((kind, content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not_yet() {
        let mut bytes = Vec::new();
        encode(Kind::Input, b"", &mut bytes);
        encode(Kind::ErrorOutput, b"text", &mut bytes);
        let last = bytes.pop().unwrap();
        assert_eq!(decode(&mut bytes), Ok(Some((Kind::Input, Vec::new()))));
        assert_eq!(decode(&mut bytes), Ok(None));
        bytes.push(last);
        assert_eq!(decode(&mut bytes), Ok(Some((Kind::ErrorOutput, b"text".to_vec()))));
        assert_eq!((decode(&mut bytes), bytes.len()), (Ok(None), 0));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let check = |bytes: &[u8], kind, length| {
            assert_eq!(decode(&mut bytes.to_vec()), Err(InvalidFrame { kind, length }));
        };
        check(&[9, 0, 0, 0, 0], 9, 0);
        check(&[0, 1, 0, 1, 0], 0, MAX_CONTENT + 1);
        check(&[0, 255, 255, 255, 255], 0, u32::MAX as usize);
    }
}
