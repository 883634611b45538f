//! Maglev tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, section 3.4), with weights.
//!
//! A table is a function of its members alone: not of the order in which they came, of the table before, or of the node. Each member has
//! its own order of all slots and takes the next free one whenever it is its turn, so that a member that leaves moves few of the others'
//! slots. The paper's orders are steps of one width; two members whose widths are akin get into each other's way and move several per
//! cent. Ours go by inverses modulo the size, which have no widths. What a slot means in the kernel is the data plane's.

use std::net::SocketAddr;

use crate::jhash::Registers;

/// Sizes of tables, primes, and up to how many members each is for. The larger a table for its members, the fewer slots move with a
/// change that is not about them. Between two sizes nearly all slots move, so there are few.
const SIZES: [(usize, u16); 3] = [(80, 8_191), (320, 32_749), (usize::MAX, 65_521)];

/// Seeds of the numbers that make a member's order of the slots. Never to be changed: nodes of two versions must agree.
const SEEDS: [u32; 3] = [0x6d61_676c, 0x6576_2131, 0x6576_2132];

/// Who gets slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: SocketAddr,
    /// At least 1. Slots are shared out in proportion.
    pub weight: u8,
}

/// How many slots a table has: at least 100 for each of up to 655 members, and never fewer than members.
pub fn table_size(members: usize) -> u16 {
    let fits = |(most, _): &&(usize, u16)| members <= *most;
    SIZES.iter().find(fits).map_or(0, |(_, size)| *size)
}

/// For each slot the position in `members` of who has it; empty where nobody is there. The members' addresses differ, and there
/// are at most [`MAX_BACKENDS`](crate::MAX_BACKENDS).
pub fn table(members: &[Member]) -> Vec<u16> {
    let Some(greatest) = members.iter().map(|member| u32::from(member.weight).max(1)).max() else { return Vec::new() };
    let size = table_size(members.len());
    let inverses = inverses(size.into());
    let mut order: Vec<_> = members.iter().enumerate().collect();
    order.sort_unstable_by_key(|(_, member)| member.address);
    let mut turns: Vec<_> =
        order.into_iter().map(|(at, member)| Turn::new(at as u16, member, greatest, size)).collect();
    let mut slots = vec![FREE; usize::from(size)];
    let mut free = size;
    loop {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit >= greatest {
                turn.credit -= greatest;
                turn.take(&mut slots, &inverses);
                free -= 1;
                if free == 0 {
                    return slots;
                }
            }
        }
    }
}

const FREE: u16 = u16::MAX;

/// How far a member is in its order of the slots: `factor / step + offset` modulo the size, for all steps below it (and 1/0 = 0), which names
/// each slot once.
struct Turn {
    member: u16,
    weight: u32,
    /// Who has as much as the greatest weight may take a slot. Begins with half of it, so that shares are rounded to the nearest.
    credit: u32,
    step: u32,
    factor: u32,
    offset: u32,
}

impl Turn {
    fn new(at: u16, member: &Member, greatest: u32, size: u16) -> Self {
        let name = Registers::default().address(member.address.ip()).port(member.address.port());
        let size = u32::from(size);
        let [step, factor, offset] = SEEDS.map(|seed| name.hash(seed));
        Self {
            member: at,
            weight: u32::from(member.weight).max(1),
            credit: greatest / 2,
            step: step % size,
            factor: factor % (size - 1) + 1,
            offset: offset % size,
        }
    }

    /// Takes the next slot that is free; there must be one.
    fn take(&mut self, slots: &mut [u16], inverses: &[u32]) {
        let size = slots.len() as u64;
        loop {
            let inverse = u64::from(inverses[self.step as usize]);
            let slot = (u64::from(self.factor) * inverse + u64::from(self.offset)) % size;
            self.step = if u64::from(self.step) + 1 == size { 0 } else { self.step + 1 };
            let slot = &mut slots[slot as usize];
            if *slot == FREE {
                *slot = self.member;
                return;
            }
        }
    }
}

/// For each number below a prime, what it gives 1 with when multiplied; 0 for 0.
fn inverses(prime: u32) -> Vec<u32> {
    let mut inverses = vec![0, 1];
    for number in 2..prime {
        let below = inverses[(prime % number) as usize];
        inverses.push(((u64::from(prime - prime / number) * u64::from(below)) % u64::from(prime)) as u32);
    }
    inverses
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::btree_set, prelude::*, sample::Index};

    use super::*;

    /// Distinct addresses as pods have them: near each other.
    fn members(count: usize) -> impl Strategy<Value = Vec<Member>> {
        btree_set((0..8u8, any::<u8>(), 1..9u16), count).prop_map(|all| {
            let address = |(node, pod, port)| SocketAddr::new([10, 244, node, pod].into(), 8080 + port);
            all.into_iter().map(|place| Member { address: address(place), weight: 1 }).collect()
        })
    }

    fn owners(members: &[Member]) -> Vec<SocketAddr> {
        table(members).iter().map(|at| members[usize::from(*at)].address).collect()
    }

    fn counts(members: &[Member]) -> BTreeMap<SocketAddr, usize> {
        let mut counts = BTreeMap::new();
        owners(members).into_iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
        counts
    }

    fn is_prime(number: u16) -> bool {
        (2..number)
            .take_while(|factor| u32::from(*factor).pow(2) <= number.into())
            .all(|factor| !number.is_multiple_of(factor))
    }

    #[test]
    fn sizes_are_primes_with_a_hundred_slots_for_each() {
        assert!(SIZES.iter().all(|(_, size)| is_prime(*size)));
        assert!((0..=655).all(|members| usize::from(table_size(members)) >= 100 * members));
        assert!(usize::from(table_size(crate::MAX_BACKENDS)) > crate::MAX_BACKENDS);
        assert_eq!(table(&[]), Vec::<u16>::new());
        for (number, inverse) in (1..).zip(&inverses(8_191)[1..]) {
            assert_eq!(number * inverse % 8_191, 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The paper's balance: turns go round, so no two differ by more than one slot.
        #[test]
        fn everybody_has_as_many_slots(members in (1..40usize).prop_flat_map(members)) {
            let counts = counts(&members);
            prop_assert_eq!(counts.len(), members.len());
            prop_assert!(counts.values().max().unwrap() - counts.values().min().unwrap() <= 1);
        }

        #[test]
        fn the_order_of_members_means_nothing(members in (1..40usize).prop_flat_map(members), turn: Index) {
            let mut turned = members.clone();
            turned.rotate_left(turn.index(members.len()));
            turned.reverse();
            prop_assert_eq!(owners(&members), owners(&turned));
        }

        #[test]
        fn weights_are_kept_to_a_per_cent(members in (1..40usize).prop_flat_map(members), weights in prop::collection::vec(1..=100u8, 40)) {
            let weighted: Vec<_> = members.iter().zip(weights).map(|(member, weight)| Member { weight, ..*member }).collect();
            let all: f64 = weighted.iter().map(|member| f64::from(member.weight)).sum();
            let counts = counts(&weighted);
            let size = f64::from(table_size(members.len()));
            for member in &weighted {
                let share = counts.get(&member.address).copied().unwrap_or(0) as f64 / size;
                prop_assert!((share - f64::from(member.weight) / all).abs() < 0.005, "{member:?} has {share}");
            }
        }

        /// Of the slots that the one did not have, few go to somebody else; and the same where it comes back.
        #[test]
        fn one_of_ten_that_leaves_moves_at_most_2_per_cent_of_the_others(members in members(10), gone: Index) {
            let before = owners(&members);
            let gone = gone.index(members.len());
            let rest: Vec<_> = members.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, member)| *member).collect();
            let after = owners(&rest);
            let others = before.iter().zip(&after).filter(|(owner, _)| **owner != members[gone].address);
            let (all, moved) = others.fold((0, 0), |(all, moved), (old, new)| (all + 1, moved + usize::from(old != new)));
            prop_assert!(moved * 50 <= all, "{moved} of {all}");
        }
    }
}
