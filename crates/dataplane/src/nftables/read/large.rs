//! Reads the two largest maps by their keys where they are large: a dump begins its walk anew for each 32 KiB of answer, so that it takes
//! the square of their size, while asking for keys takes its size.
//!
//! What the keys are is known from what was read before: a list's kind says how many slots it has, and slots say which endpoints there are. Elements
//! that nobody could name so show in the kernel's own count; then all is dumped after all.

use stead_model::Family;
use stead_sys::nft::{Elements, Error, Nftables, Words};

use crate::nftables::{
    id::Choice,
    layout::name,
    program::{Entry, SetId},
};

/// Elements from which asking for each takes less than a dump.
const LARGE: u32 = 150_000;

/// All elements of a set that the kernel counts so many in; `before` is what the sets before it hold.
pub(super) fn elements(
    nft: &mut Nftables,
    family: Family,
    set: SetId,
    count: Option<u32>,
    before: &[Entry],
) -> Result<Elements, Error> {
    if let (Some(count), Some(keys)) = (count.filter(|count| *count >= LARGE), keys(set, family, before)) {
        let found = nft.elements_of(name(family), set.name(), &keys)?;
        if found.len() == count as usize {
            return Ok(found);
        }
    }
    nft.elements(name(family), set.name(), set.shape(family))
}

/// `None` where what was read before names none.
fn keys(set: SetId, family: Family, before: &[Entry]) -> Option<Elements> {
    let mut keys = Elements::new(set.shape(family));
    let data = vec![0; set.shape(family).data_size()];
    let mut push = |key: Words| keys.push(key.as_bytes(), &data);
    match set {
        SetId::Slots => {
            for entry in before {
                let Entry::List(list, kind) = entry else { continue };
                let slots = match kind.choice {
                    Choice::Reject | Choice::Drop => 0,
                    Choice::Spread { slots }
                    | Choice::Sticky { slots, .. }
                    | Choice::Turn { slots, .. }
                    | Choice::Hash { slots, .. } => slots,
                };
                (0..slots).for_each(|slot| push(Words::new().number(list.0).number(slot.into())));
            }
        }
        SetId::Backends => {
            let endpoint = |entry: &Entry| match entry {
                Entry::Slot(_, _, endpoint) => Some(*endpoint),
                _ => None,
            };
            let mut endpoints: Vec<_> = before.iter().filter_map(endpoint).collect();
            endpoints.sort_unstable();
            // A slot beyond the number of backends repeats one.
            endpoints.dedup();
            endpoints.iter().for_each(|endpoint| push(Words::new().number(endpoint.0)));
        }
        _ => return None,
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nftables::id::{Clients, EndpointId, Kind, ListId};

    #[test]
    fn keys_are_those_that_lists_and_slots_name() {
        let list = |id, choice| Entry::List(ListId(id), Kind { clients: Clients::All, choice });
        let slot = |slot, endpoint| Entry::Slot(ListId(7), slot, EndpointId(endpoint));
        let before =
            [list(7, Choice::Spread { slots: 3 }), list(8, Choice::Reject), slot(0, 9), slot(1, 5), slot(2, 9)];
        let check = |set, expect: &[Words]| {
            let keys = keys(set, Family::V4, &before).unwrap();
            let keys: Vec<_> = keys.iter().map(|(key, _)| key.to_owned()).collect();
            let expect: Vec<_> = expect.iter().map(|words| words.as_bytes().to_owned()).collect();
            assert_eq!(keys, expect);
        };
        let number = |number| Words::new().number(number);
        check(SetId::Slots, &[number(7).number(0), number(7).number(1), number(7).number(2)]);
        check(SetId::Backends, &[number(5), number(9)]);
        assert!(keys(SetId::Frontends, Family::V4, &before).is_none());
    }
}
