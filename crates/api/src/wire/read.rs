//! Reading: the fields of a message one after another, each as a number and a value that lies in the message.

/// A value as it lies in a message. What it stands for depends on the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RawValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A text, bytes, a message, or several numbers.
    Bytes(&'a [u8]),
}

/// Why bytes are no message. Texts are those of Go's decoder, which clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
}

/// A field whose value is of another form than the field's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) u8);

/// The fields of a message in their order. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Several numbers in one value, one behind the other.
    pub(crate) fn packed(mut bytes: &'a [u8]) -> impl Iterator<Item = Result<u64, WireError>> {
        std::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            let number = varint(&mut bytes);
            if number.is_err() {
                bytes = &[];
            }
            Some(number)
        })
    }

    fn field(&mut self) -> Result<(u32, RawValue<'a>), WireError> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or(WireError::Tag(tag >> 3))?;
        let value = match (tag & 7) as u8 {
            0 => RawValue::Varint(varint(&mut self.0)?),
            1 => RawValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| WireError::Overflow)?;
                let (value, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.0 = rest;
                RawValue::Bytes(value)
            }
            5 => RawValue::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(WireError::WireType(other)),
        };
        Ok((number, value))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (value, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, RawValue<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> RawValue<'a> {
    pub(crate) fn varint(self) -> Result<u64, Wrong> {
        match self {
            Self::Varint(number) => Ok(number),
            other => Err(other.wrong()),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Wrong> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong()),
        }
    }

    pub(crate) const fn wrong(self) -> Wrong {
        Wrong(match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        })
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(WireError::Overflow);
        }
        number |= bits << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &[u8], expected: &[Result<(u32, RawValue<'_>), WireError>]) {
        assert_eq!(Fields::of(message).collect::<Vec<_>>(), expected, "{message:?}");
    }

    #[test]
    fn fields_come_one_after_another_until_something_is_wrong() {
        check(&[], &[]);
        check(&[8, 0x96, 1, 0x12, 2, b'h', b'i'], &[Ok((1, RawValue::Varint(150))), Ok((2, RawValue::Bytes(b"hi")))]);
        check(
            &[9, 1, 0, 0, 0, 0, 0, 0, 0, 13, 2, 0, 0, 0],
            &[Ok((1, RawValue::Fixed64(1))), Ok((1, RawValue::Fixed32(2)))],
        );
        check(&[8], &[Err(WireError::Truncated)]);
        check(&[0x12, 5, b'h'], &[Err(WireError::Truncated)]);
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[Err(WireError::Truncated)]);
        check(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], &[Err(WireError::Overflow)]);
        check(&[0, 1], &[Err(WireError::Tag(0))]);
        check(&[11, 1], &[Err(WireError::WireType(3))]);
        let packed = Fields::packed(&[1, 0x80, 1, 0x80]).collect::<Vec<_>>();
        assert_eq!(packed, [Ok(1), Ok(128), Err(WireError::Truncated)]);
    }
}
