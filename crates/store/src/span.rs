//! A span of keys, `start..end` bytewise, where an empty end means "no end".

use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

#[derive(Clone, Debug)]
pub(crate) struct Span {
    start: Bytes,
    end: Bytes,
}

impl Span {
    /// A span whose end lies before its start holds nothing.
    pub(crate) fn new(start: Bytes, end: Bytes) -> Self {
        let end = if end.is_empty() || end >= start { end } else { start.clone() };
        Self { start, end }
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        RangeBounds::<Bytes>::contains(self, key)
    }
}

impl RangeBounds<Bytes> for Span {
    fn start_bound(&self) -> Bound<&Bytes> {
        Bound::Included(&self.start)
    }

    fn end_bound(&self) -> Bound<&Bytes> {
        if self.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(&self.end) }
    }
}
