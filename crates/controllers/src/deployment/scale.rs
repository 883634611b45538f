//! How many pods each ReplicaSet of a Deployment is to have: arithmetic on counts, with upstream's results.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a rollout has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// `spec.replicas`.
    pub wanted: i32,
    /// Pods above that at any time.
    pub surge: i32,
    /// Pods below that which may be unavailable.
    pub unavailable: i32,
}

/// One ReplicaSet in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// `spec.replicas`.
    pub replicas: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// The total with surge when it was last scaled.
    pub most: Option<i32>,
}

impl Bounds {
    /// Reads numbers and percentages (25 % where nothing is given); surge is rounded up, unavailable down. One of them is at least one,
    /// else no rollout could move.
    pub(super) fn resolve(wanted: i32, surge: Option<&IntOrString>, unavailable: Option<&IntOrString>) -> Self {
        let wanted_big = i64::from(wanted);
        let number = |value: Option<&IntOrString>, round_up: i64| match value {
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(text)) => percent(text, wanted_big, round_up),
            None => percent("25%", wanted_big, round_up),
        };
        let (surge, unavailable) = (number(surge, 99).max(0), number(unavailable, 0).max(0));
        Self { wanted, surge, unavailable: if surge == 0 && unavailable == 0 { 1 } else { unavailable } }
    }

    /// Pods at any time, at most.
    pub(super) fn most(&self) -> i32 {
        self.wanted.saturating_add(self.surge)
    }

    /// Available pods, at least.
    pub(super) fn least(&self) -> i32 {
        self.wanted - self.unavailable.min(self.wanted)
    }
}

fn percent(text: &str, whole: i64, round_up: i64) -> i32 {
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
    i32::try_from((percent.saturating_mul(whole) + round_up) / 100).unwrap_or(i32::MAX)
}

fn total(shares: &[Share]) -> i32 {
    shares.iter().map(|share| share.replicas).sum()
}

/// What the new ReplicaSet is to have in a rolling update: as much as fits under the surge.
pub(super) fn new_replicas(bounds: &Bounds, new: Option<&Share>, old: &[Share]) -> i32 {
    let have = new.map_or(0, |new| new.replicas);
    if have > bounds.wanted {
        return bounds.wanted;
    }
    let room = bounds.most() - have - total(old);
    have + room.min(bounds.wanted - have).max(0)
}

/// What the old ReplicaSets, oldest first, are to have in a rolling update: those of their pods that are not available go first, then
/// as many as the new one's available pods make up for.
pub(super) fn old_replicas(bounds: &Bounds, new: &Share, old: &[Share]) -> Vec<i32> {
    let mut targets: Vec<i32> = old.iter().map(|share| share.replicas).collect();
    let spare = total(old) + new.replicas - bounds.least() - (new.replicas - new.available);
    if spare <= 0 {
        return targets;
    }
    let mut unhealthy = spare;
    for (target, share) in targets.iter_mut().zip(old) {
        let gone = (share.replicas - share.available).clamp(0, unhealthy);
        *target -= gone;
        unhealthy -= gone;
    }
    let available = new.available + old.iter().map(|share| share.available).sum::<i32>();
    let mut surplus = available - bounds.least();
    for target in &mut targets {
        let gone = (*target).min(surplus.max(0));
        *target -= gone;
        surplus -= gone;
    }
    targets
}

/// The shares after `bounds.wanted` changed, outside of or during a rollout. `newest` is the index of the current template's.
pub(super) fn proportional(bounds: &Bounds, shares: &[Share], newest: Option<usize>) -> Vec<i32> {
    let mut targets: Vec<i32> = shares.iter().map(|share| share.replicas).collect();
    let active: Vec<usize> = (0..shares.len()).filter(|index| shares[*index].replicas > 0).collect();
    let only = match active[..] {
        [] => newest.or(shares.len().checked_sub(1)),
        [only] => Some(only),
        _ => None,
    };
    if let Some(only) = only {
        targets[only] = bounds.wanted;
        return targets;
    }
    if newest
        .is_some_and(|newest| shares[newest].replicas == bounds.wanted && shares[newest].available == bounds.wanted)
    {
        active.iter().filter(|index| Some(**index) != newest).for_each(|index| targets[*index] = 0);
        return targets;
    }
    let most = if bounds.wanted > 0 { bounds.most() } else { 0 };
    spread(&mut targets, &active, shares, most);
    targets
}

/// Adds or takes away what is missing to `most`, in proportion to what each has; the largest gets the rest.
fn spread(targets: &mut [i32], active: &[usize], shares: &[Share], most: i32) {
    let change = most - total(shares);
    let mut order = active.to_vec();
    // Growing begins with the newest of equals, shrinking with the oldest.
    order.sort_by_key(|index| (-shares[*index].replicas, if change > 0 { -(*index as i64) } else { *index as i64 }));
    let mut left = change;
    for index in &order {
        let share = &shares[*index];
        let before = share.most.filter(|before| *before > 0).unwrap_or_else(|| total(shares).max(1));
        let exact = f64::from(share.replicas) * f64::from(most) / f64::from(before);
        let wish = exact.round() as i32 - share.replicas;
        let part = if change > 0 { wish.clamp(0, left.max(0)) } else { wish.clamp(left.min(0), 0) };
        targets[*index] += part;
        left -= part;
    }
    for index in order {
        let part = left.max(-targets[index]);
        targets[index] += part;
        left -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(wanted: i32, surge: i32, unavailable: i32) -> Bounds {
        Bounds { wanted, surge, unavailable }
    }

    fn share(replicas: i32, available: i32) -> Share {
        Share { replicas, available, most: None }
    }

    #[test]
    fn bounds_are_rounded_so_that_a_rollout_moves() {
        let check = |wanted, surge: &str, unavailable: &str, expect| {
            let read = |text: &str| match text.parse() {
                Ok(number) => IntOrString::Int(number),
                Err(_) => IntOrString::String(text.to_owned()),
            };
            let bounds = Bounds::resolve(wanted, Some(&read(surge)), Some(&read(unavailable)));
            assert_eq!((bounds.surge, bounds.unavailable), expect, "{wanted} {surge} {unavailable}");
        };
        check(2, "25%", "25%", (1, 0));
        check(10, "25%", "25%", (3, 2));
        check(3, "0", "25%", (0, 1));
        check(0, "25%", "25%", (0, 1));
        check(4, "100%", "0", (4, 0));
        check(4, "nonsense", "2", (0, 2));
    }

    #[test]
    fn the_new_set_grows_under_the_surge() {
        let check = |bounds, new: i32, old: &[i32], expect| {
            let old: Vec<_> = old.iter().map(|count| share(*count, *count)).collect();
            assert_eq!(new_replicas(&bounds, Some(&share(new, 0)), &old), expect);
        };
        check(bounds(10, 2, 2), 0, &[10], 2);
        check(bounds(10, 2, 2), 2, &[8], 4);
        check(bounds(10, 2, 2), 2, &[10], 2);
        check(bounds(10, 0, 2), 0, &[8], 2);
        check(bounds(5, 2, 2), 8, &[], 5);
        assert_eq!(new_replicas(&bounds(3, 1, 0), None, &[]), 3);
    }

    #[test]
    fn old_sets_shrink_as_new_pods_become_available() {
        let check = |bounds, new: (i32, i32), old: &[(i32, i32)], expect: &[i32]| {
            let old: Vec<_> = old.iter().map(|(replicas, available)| share(*replicas, *available)).collect();
            assert_eq!(old_replicas(&bounds, &share(new.0, new.1), &old), expect);
        };
        check(bounds(10, 2, 2), (2, 0), &[(10, 10)], &[8]);
        check(bounds(10, 2, 0), (2, 0), &[(10, 10)], &[10]);
        check(bounds(10, 2, 0), (2, 2), &[(10, 10)], &[8]);
        check(bounds(10, 2, 2), (2, 0), &[(4, 0), (6, 6)], &[2, 6]);
        check(bounds(10, 2, 2), (10, 10), &[(1, 1), (1, 0)], &[0, 0]);
        check(bounds(10, 2, 2), (0, 0), &[(8, 8)], &[8]);
    }

    #[test]
    fn a_new_total_is_spread_in_proportion() {
        let check = |bounds: Bounds, before: i32, shares: &[i32], newest, expect: &[i32]| {
            let shares: Vec<_> =
                shares.iter().map(|count| Share { replicas: *count, available: 0, most: Some(before) }).collect();
            assert_eq!(proportional(&bounds, &shares, newest), expect);
        };
        check(bounds(5, 1, 0), 3, &[0, 2], Some(1), &[0, 5]);
        check(bounds(3, 1, 0), 3, &[0, 0], Some(1), &[0, 3]);
        check(bounds(20, 0, 1), 10, &[5, 5], Some(1), &[10, 10]);
        check(bounds(5, 0, 1), 10, &[8, 2], Some(1), &[4, 1]);
        check(bounds(0, 3, 1), 10, &[8, 2], Some(1), &[0, 0]);
        check(bounds(12, 3, 1), 13, &[8, 5], Some(1), &[9, 6]);
    }
}
