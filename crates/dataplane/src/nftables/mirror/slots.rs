//! Which slot of a list leads to which endpoint: by weights, or by a Maglev table.
//!
//! What a connection does to find a slot is the list's kind, which [`layout`](crate::nftables::layout) carries out.

use std::collections::HashMap;

use stead_plan::{
    Algorithm, ServicePortPlan,
    maglev::{self, Member},
};

use super::port::Endpoint;
use crate::nftables::id::{EndpointId, slots};

/// What each slot of a list leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slots {
    /// So many, to the list's endpoints in their order and then again from the first.
    Even(u16),
    Listed(Box<[EndpointId]>),
}

/// The most slots that weights are given exactly; four for each endpoint where that is more, up to the last step of the ladder.
const EXACT_SLOTS: usize = 4_096;
const MOST_SLOTS: usize = 65_024;

impl Slots {
    pub(super) fn count(&self) -> u16 {
        match self {
            Self::Even(count) => *count,
            Self::Listed(ids) => ids.len() as u16,
        }
    }

    /// The slots' endpoints, in order.
    pub(super) fn ids(&self, endpoints: &[Endpoint]) -> impl Iterator<Item = EndpointId> {
        (0..usize::from(self.count())).map(move |slot| match self {
            Self::Even(_) => endpoints[slot % endpoints.len()].id,
            Self::Listed(ids) => ids[slot],
        })
    }

    /// What was listed, so that it is kept where it can be.
    pub(super) fn listed(&self) -> &[EndpointId] {
        match self {
            Self::Even(_) => &[],
            Self::Listed(ids) => ids,
        }
    }
}

/// The slots of a list of these endpoints. What `previous` had is kept where shares allow it, so that a change of one endpoint touches few.
pub(super) fn assign(port: &ServicePortPlan, endpoints: &[Endpoint], previous: &[EndpointId]) -> Slots {
    let weights = || endpoints.iter().map(|endpoint| port.weights.of(endpoint.address().ip())).collect::<Vec<_>>();
    let weighted = |count: fn(usize) -> u16| {
        let ids = endpoints.iter().map(|endpoint| endpoint.id);
        Slots::Listed(fill(previous, ids.zip(shares(&weights(), count)).collect()))
    };
    match (port.algorithm, port.weights.is_even()) {
        (Algorithm::Random, true) => Slots::Even(slots(endpoints.len())),
        (Algorithm::RoundRobin, true) => Slots::Even(endpoints.len() as u16),
        (Algorithm::Random, false) => weighted(slots),
        // Each list has a chain of its own anyway.
        (Algorithm::RoundRobin, false) => weighted(|count| count as u16),
        (Algorithm::SourceHash | Algorithm::Maglev, _) => {
            let members = endpoints.iter().zip(weights());
            let members = members.map(|(endpoint, weight)| Member { address: endpoint.address(), weight });
            let table = maglev::table(&members.collect::<Vec<_>>());
            Slots::Listed(table.into_iter().map(|at| endpoints[usize::from(at)].id).collect())
        }
    }
}

/// How many slots each weight gets: as many as it says, without what all have in common. Where these are too many, or `count` has no such
/// number, in proportion, rounded to the nearest; everybody has one at least.
fn shares(weights: &[u8], count: impl Fn(usize) -> u16) -> Vec<u16> {
    let common = weights.iter().copied().fold(0, common_divisor).max(1);
    let weights: Vec<_> = weights.iter().map(|weight| usize::from(weight / common)).collect();
    let sum: usize = weights.iter().sum();
    let bound = (4 * weights.len()).clamp(EXACT_SLOTS, MOST_SLOTS);
    let total = usize::from(count(sum.min(bound)));
    let mut shares: Vec<_> = weights.iter().map(|weight| (weight * total / sum.max(1)).max(1)).collect();
    let given: usize = shares.iter().sum();
    let mut order: Vec<_> = (0..weights.len()).collect();
    if given < total {
        order.sort_by_key(|at| std::cmp::Reverse(weights[*at] * total % sum));
        order.iter().take(total - given).for_each(|at| shares[*at] += 1);
    }
    // Only where somebody was given more than is due.
    let mut excess = given.saturating_sub(total);
    while excess > 0 {
        order.sort_by_key(|at| std::cmp::Reverse(shares[*at]));
        let rich = order.iter().copied().take_while(|at| shares[*at] > 1).take(excess).collect::<Vec<_>>();
        if rich.is_empty() {
            break;
        }
        excess -= rich.len();
        rich.into_iter().for_each(|at| shares[at] -= 1);
    }
    shares.into_iter().map(|share| share as u16).collect()
}

fn common_divisor(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// As many slots for each as it says. Who has a slot keeps it while it may have one; the others go round, so that turns are mixed.
fn fill(previous: &[EndpointId], shares: Vec<(EndpointId, u16)>) -> Box<[EndpointId]> {
    let total = shares.iter().map(|(_, share)| usize::from(*share)).sum();
    let mut left: HashMap<EndpointId, u16> = shares.iter().copied().collect();
    let mut take = |id: EndpointId| {
        let share = left.get_mut(&id).filter(|share| **share > 0)?;
        *share -= 1;
        Some(id)
    };
    let mut slots = vec![None; total];
    slots.iter_mut().zip(previous).for_each(|(slot, id)| *slot = take(*id));
    let mut waiting: Vec<_> = shares.into_iter().map(|(id, _)| id).collect();
    let mut arrived = Vec::new();
    while !waiting.is_empty() {
        waiting.retain(|id| {
            let taken = take(*id);
            arrived.extend(taken);
            taken.is_some()
        });
    }
    let mut arrived = arrived.into_iter();
    slots.into_iter().filter_map(|slot| slot.or_else(|| arrived.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_while_they_are_few_and_in_proportion_beyond() {
        let check = |weights: &[u8], expect: &[u16]| assert_eq!(shares(weights, slots), expect, "{weights:?}");
        check(&[], &[]);
        check(&[7], &[1]);
        check(&[50, 50], &[1, 1]);
        check(&[90, 10], &[9, 1]);
        check(&[100, 1], &[100, 1]);
        check(&[3, 2, 1], &[3, 2, 1]);
        // 131 in all, for which there are 132.
        check(&[100, 30, 1], &[101, 30, 1]);
        assert_eq!(shares(&[100, 30, 1], |count| count as u16), [100, 30, 1]);
    }

    #[test]
    fn shares_stay_within_a_per_cent_and_within_bounds() {
        for count in [2, 10, 100, 1_000, 20_000, stead_plan::MAX_BACKENDS] {
            let weights: Vec<u8> = (0..count).map(|number| (number * 37 % 100 + 1) as u8).collect();
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let shares = shares(&weights, slots);
            let total: f64 = shares.iter().map(|share| f64::from(*share)).sum();
            assert!(shares.iter().all(|share| *share > 0) && total <= MOST_SLOTS.max(count) as f64, "{count}: {total}");
            for (weight, share) in weights.iter().zip(shares) {
                let error = f64::from(share) / total - f64::from(*weight) / sum;
                assert!(error.abs() < 0.01, "{count}: {weight} has {share} of {total}");
            }
        }
    }

    #[test]
    fn a_change_of_one_share_moves_no_more_than_it() {
        let id = |number: u32| EndpointId(0xc000_0000 + number);
        let old = fill(&[], vec![(id(1), 3), (id(2), 1), (id(3), 2)]);
        assert_eq!(*old, [1, 2, 3, 1, 3, 1].map(id));
        assert_eq!(*fill(&old, vec![(id(1), 3), (id(2), 1), (id(3), 2), (id(4), 1)]), [1, 2, 3, 1, 3, 1, 4].map(id));
        assert_eq!(*fill(&old, vec![(id(1), 3), (id(3), 2)]), [1, 1, 3, 1, 3].map(id));
        assert_eq!(*fill(&old, vec![(id(1), 3), (id(2), 1), (id(4), 2)]), [1, 2, 4, 1, 4, 1].map(id));
        assert!(fill(&old, Vec::new()).is_empty());
    }
}
