//! Who counts where. A rule that takes turns has one counter, so each list that does has a rule of its own, told from others of as many
//! slots by a number.

use std::collections::HashSet;

use stead_model::Family;

use crate::nftables::id::{Choice, Kind};

/// Counters in use. Where 255 lists of one length take turns, further ones share the last, which then counts for all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(HashSet<(Family, u16, u8)>);

const SHARED: u8 = u8::MAX;

impl Counters {
    /// A choice by turns, with the counter that the list had or else the lowest that is free.
    pub(super) fn take(&mut self, family: Family, slots: u16, previous: Option<Kind>) -> Choice {
        let previous = match previous {
            Some(Kind { choice: Choice::Turn { counter, slots: before }, .. }) if before == slots => Some(counter),
            _ => None,
        };
        let is_free = |counter: &u8| !self.0.contains(&(family, slots, *counter));
        let counter = previous.into_iter().chain(0..SHARED).find(is_free).unwrap_or(SHARED);
        if counter != SHARED {
            self.0.insert((family, slots, counter));
        }
        Choice::Turn { counter, slots }
    }

    pub(super) fn release(&mut self, family: Family, choice: Choice) {
        if let Choice::Turn { counter, slots } = choice {
            self.0.remove(&(family, slots, counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nftables::id::Clients;

    #[test]
    fn each_list_has_a_counter_until_there_are_too_many() {
        let mut counters = Counters::default();
        let turn = |counter, slots| Choice::Turn { counter, slots };
        let kind = |choice| Some(Kind { clients: Clients::Outside, choice });
        assert_eq!(counters.take(Family::V4, 3, None), turn(0, 3));
        assert_eq!(counters.take(Family::V4, 3, None), turn(1, 3));
        assert_eq!(counters.take(Family::V4, 2, None), turn(0, 2));
        assert_eq!(counters.take(Family::V6, 3, None), turn(0, 3));
        counters.release(Family::V4, turn(0, 3));
        assert_eq!(counters.take(Family::V4, 3, kind(turn(7, 3))), turn(7, 3));
        assert_eq!(counters.take(Family::V4, 3, kind(turn(9, 4))), turn(0, 3));
        for _ in 0..300 {
            counters.take(Family::V4, 5, None);
        }
        assert_eq!(counters.take(Family::V4, 5, None), turn(SHARED, 5));
    }
}
