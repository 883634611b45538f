//! Numbers that stand for lists and endpoints in the kernel's maps, and for what is to be done with a list.
//!
//! The ranges do not meet, so that a priority that means one thing never finds an entry of a map that means another.

use std::collections::HashSet;

/// Stands for the backends of one service port: 8000:1 – 9fff:ffff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListId(pub(crate) u32);

/// Stands for one backend of one list: c000:1 – ffff:fffe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointId(pub(crate) u32);

pub(crate) const LISTS: Range = Range { first: 0x8000_0001, last: 0x9fff_ffff };
pub(crate) const ENDPOINTS: Range = Range { first: 0xc000_0001, last: 0xffff_fffe };

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Range {
    pub(crate) fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// Gives numbers away in ascending order and begins anew behind the last, so that a number that was given up comes back as late as can be:
/// an affinity entry that still names it must have expired by then.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    range: Range,
    next: u32,
    /// Numbers in use when the cursor last began anew.
    taken: HashSet<u32>,
}

impl Cursor {
    pub(crate) fn new(range: Range) -> Self {
        Self { range, next: range.first, taken: HashSet::new() }
    }

    /// Goes on behind `id`, and at `id` itself nothing is given away.
    pub(crate) fn skip_past(&mut self, id: u32) {
        if self.range.contains(id) && id >= self.next {
            self.next = if id == self.range.last { self.range.first } else { id + 1 };
        }
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Must be called before [`Cursor::allocate`] is called `count` times; `in_use` is asked only when numbers begin anew.
    pub(crate) fn prepare(&mut self, count: usize, in_use: impl FnOnce() -> HashSet<u32>) {
        // Numbers in use have to be skipped, and there can be as many of them as are wanted.
        let skips = self.taken.len();
        if ((self.range.last - self.next) as usize) < count + skips {
            self.taken = in_use();
            self.next = self.range.first;
        }
    }

    pub(crate) fn allocate(&mut self) -> u32 {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        let id = self.next;
        self.next += 1;
        id
    }
}

/// What is done with a connection to a list, as the map `lists` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kind {
    pub(crate) clients: Clients,
    pub(crate) choice: Choice,
}

/// Whom a list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Clients {
    /// a0…, a2…, a4…
    All,
    /// a1…, a3…, a5…: pods look into the map `inside` first.
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Choice {
    /// a000:0
    Reject,
    /// a000:ffff
    Drop,
    /// a000:N, N slots to choose from
    Spread { slots: u16 },
    /// a0CC:N, CC the class of the affinity's timeout
    Sticky { class: Class, slots: u16 },
    /// a2CC:N, CC the counter of those who take turns at N slots
    Turn { counter: u8, slots: u16 },
    /// a400:N, a401:N
    Hash { by: HashBy, slots: u16 },
}

/// What of a packet says which slot it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HashBy {
    Source,
    /// Addresses and ports of both ends, and the protocol.
    Flow,
}

/// A number for an affinity timeout in use: 1 – 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class(pub(crate) u8);

/// The map by which a packet comes to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    Frontends,
    /// Of pods and the node to frontends whose policy is `Local`.
    Inside,
}

impl Kind {
    pub(crate) fn number(self) -> u32 {
        let clients = match self.clients {
            Clients::All => 0,
            Clients::Outside => 1,
        };
        let (form, class, slots) = match self.choice {
            Choice::Reject => (0, 0, 0),
            Choice::Drop => (0, 0, 0xffff),
            Choice::Spread { slots } => (0, 0, slots),
            Choice::Sticky { class, slots } => (0, class.0, slots),
            Choice::Turn { counter, slots } => (2, counter, slots),
            Choice::Hash { by: HashBy::Source, slots } => (4, 0, slots),
            Choice::Hash { by: HashBy::Flow, slots } => (4, 1, slots),
        };
        (0xa0 | form | clients) << 24 | u32::from(class) << 16 | u32::from(slots)
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let (form, class, slots) = (number >> 24, (number >> 16) as u8, number as u16);
        let clients = if form & 1 == 0 { Clients::All } else { Clients::Outside };
        let choice = match (form & !1, class, slots) {
            (0xa0, 0, 0) => Choice::Reject,
            (0xa0, 0, 0xffff) => Choice::Drop,
            (_, _, 0 | 0xffff) => return None,
            (0xa0, 0, slots) => Choice::Spread { slots },
            (0xa0, class, slots) => Choice::Sticky { class: Class(class), slots },
            (0xa2, counter, slots) => Choice::Turn { counter, slots },
            (0xa4, 0, slots) => Choice::Hash { by: HashBy::Source, slots },
            (0xa4, 1, slots) => Choice::Hash { by: HashBy::Flow, slots },
            _ => return None,
        };
        Some(Self { clients, choice })
    }
}

/// The slots that `backends` are spread over: as many, up to 128; beyond, the next of a ladder of steps so that few counts are in use.
///
/// Slots beyond the number of backends repeat backends, each at most once; the result is at most 1/64 more than `backends`.
pub(crate) fn slots(backends: usize) -> u16 {
    let step = match backends {
        0..=128 => 1,
        more => 1 << (more.ilog2() - 6),
    };
    backends.next_multiple_of(step).min(usize::from(u16::MAX) - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_round() {
        let class = Class(7);
        for clients in [Clients::All, Clients::Outside] {
            let choices = [
                Choice::Reject,
                Choice::Drop,
                Choice::Spread { slots: 3 },
                Choice::Sticky { class, slots: 65_000 },
                Choice::Turn { counter: 255, slots: 3 },
                Choice::Hash { by: HashBy::Source, slots: 8_191 },
                Choice::Hash { by: HashBy::Flow, slots: 65_521 },
            ];
            for choice in choices {
                let kind = Kind { clients, choice };
                assert_eq!(Kind::from_number(kind.number()), Some(kind));
            }
        }
        for number in [0, 0xa600_0001, 0xa402_0001, 0xa200_0000, 0xa007_0000, 0xa007_ffff, 0x8000_0001, 0xc000_0001] {
            assert_eq!(Kind::from_number(number), None);
        }
        let sticky = Kind { clients: Clients::Outside, choice: Choice::Sticky { class, slots: 3 } };
        assert_eq!(sticky.number(), 0xa107_0003);
    }

    #[test]
    fn slots_are_exact_then_few() {
        let counts = (0..=stead_plan::MAX_BACKENDS).map(slots).collect::<HashSet<_>>();
        assert!(counts.len() < 129 + 64 * 10, "{}", counts.len());
        for backends in 0..=stead_plan::MAX_BACKENDS {
            let slots = usize::from(slots(backends));
            assert!(slots >= backends && slots - backends <= backends / 64, "{backends} on {slots}");
            assert!(backends > 128 || slots == backends);
        }
    }

    #[test]
    fn numbers_come_back_late_and_never_twice() {
        let mut cursor = Cursor::new(Range { first: 1, last: 10 });
        cursor.prepare(4, || unreachable!("plenty left"));
        assert_eq!([(); 4].map(|()| cursor.allocate()), [1, 2, 3, 4]);
        cursor.skip_past(6);
        cursor.prepare(4, || HashSet::from([1, 3, 6]));
        assert_eq!([(); 4].map(|()| cursor.allocate()), [2, 4, 5, 7]);
    }
}
