//! Which numbers are free, as far as this process knows.
//!
//! Only a hint for choosing well: what counts are the claims in the store. A number handed out here is marked at once, so
//! that concurrent requests choose different ones. What is used is kept as runs, so that a free number is found in a few
//! steps however large a range is and however full.

use std::{collections::BTreeMap, sync::Mutex};

/// Numbers in use. Which may be used is each request's to say: ranges come and go, and may overlap.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    used: Mutex<Runs>,
}

/// The numbers that may be chosen, `first` to `last`. The first `band` of them are chosen last: people who choose by hand are
/// asked to take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u128,
    pub(crate) last: u128,
    /// `band <= last - first`.
    pub(crate) band: u128,
}

/// A set of numbers as runs, from the first number of each to its last; no two touch.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u128, u128>);

impl Span {
    pub(crate) fn contains(self, number: u128) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl Pool {
    /// Chooses a free number and marks it used: from a random place above the band, around, then from a random place of the
    /// band. `None`: all are used.
    pub(crate) fn pick(&self, span: Span, random: u128) -> Option<u128> {
        let mut used = self.used.lock().expect("no code panics while it holds a pool");
        let upper = span.first + span.band;
        let free = used.free_around(upper, span.last, random);
        let free = match upper.checked_sub(1).filter(|_| span.band > 0) {
            Some(end) => free.or_else(|| used.free_around(span.first, end, random)),
            None => free,
        }?;
        used.insert(free);
        Some(free)
    }

    /// Marks `number` used; false if it was.
    pub(crate) fn mark(&self, number: u128) -> bool {
        self.used.lock().expect("no code panics while it holds a pool").insert(number)
    }

    pub(crate) fn release(&self, number: u128) {
        self.used.lock().expect("no code panics while it holds a pool").remove(number);
    }

    /// Forgets everything and starts over with these.
    pub(crate) fn refill(&self, used: impl Iterator<Item = u128>) {
        let mut runs = Runs::default();
        for number in used {
            runs.insert(number);
        }
        *self.used.lock().expect("no code panics while it holds a pool") = runs;
    }
}

impl Runs {
    /// The first free number from a random place of `first..=last` on, else the first from `first` on.
    fn free_around(&self, first: u128, last: u128, random: u128) -> Option<u128> {
        let start = first + random % (last - first + 1);
        self.free(start, last).or_else(|| self.free(first, start))
    }

    fn free(&self, first: u128, last: u128) -> Option<u128> {
        let free = match self.run_of(first) {
            Some((_, end)) => end.checked_add(1)?,
            None => first,
        };
        (free <= last).then_some(free)
    }

    fn run_of(&self, number: u128) -> Option<(u128, u128)> {
        let (start, end) = self.0.range(..=number).next_back()?;
        (*end >= number).then_some((*start, *end))
    }

    fn insert(&mut self, number: u128) -> bool {
        if self.run_of(number).is_some() {
            return false;
        }
        let before = number.checked_sub(1).and_then(|before| self.run_of(before));
        let after = number.checked_add(1).and_then(|after| self.0.remove(&after));
        let start = before.map_or(number, |(start, _)| start);
        self.0.insert(start, after.unwrap_or(number));
        true
    }

    fn remove(&mut self, number: u128) {
        let Some((start, end)) = self.run_of(number) else { return };
        self.0.remove(&start);
        if start < number {
            self.0.insert(start, number - 1);
        }
        if number < end {
            self.0.insert(number + 1, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeSet, HashSet},
        time::{Duration, Instant},
    };

    use super::*;

    fn span(first: u128, last: u128, band: u128) -> Span {
        Span { first, last, band }
    }

    #[test]
    fn every_number_is_handed_out_once_and_the_band_last() {
        let pool = Pool::default();
        let picked = (0..20).map(|n| pool.pick(span(100, 119, 4), n * 7919).unwrap()).collect::<Vec<_>>();
        assert_eq!(picked.iter().collect::<HashSet<_>>().len(), 20);
        assert!(picked[..16].iter().all(|n| *n >= 104) && picked[16..].iter().all(|n| (100..104).contains(n)));
        assert_eq!(pool.pick(span(100, 119, 4), 1), None);
        pool.release(107);
        assert_eq!(pool.pick(span(100, 119, 4), 3), Some(107));
    }

    #[test]
    fn ranges_may_overlap() {
        let pool = Pool::default();
        assert_eq!(pool.pick(span(0, 0, 0), 0), Some(0));
        assert_eq!(pool.pick(span(0, 1, 0), 0), Some(1));
        assert_eq!((pool.pick(span(0, 1, 0), 0), pool.pick(span(0, 2, 0), 0)), (None, Some(2)));
    }

    #[test]
    fn marked_numbers_are_left_out() {
        let (pool, three) = (Pool::default(), span(0, 2, 0));
        assert!(pool.mark(1) && !pool.mark(1));
        assert_eq!((pool.pick(three, 1), pool.pick(three, 1), pool.pick(three, 1)), (Some(2), Some(0), None));
        pool.refill([0, 9].into_iter());
        assert_eq!(pool.pick(three, 0), Some(1));
        let end = span(u128::MAX - 1, u128::MAX, 0);
        assert_eq!(
            (pool.pick(end, 1), pool.pick(end, 1), pool.pick(end, 1)),
            (Some(u128::MAX), Some(u128::MAX - 1), None)
        );
    }

    #[test]
    fn runs_are_a_set() {
        let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
        let mut random = 7_u128;
        for _ in 0..20_000 {
            random = random * 6_364_136_223_846_793_005 % 18_446_744_073_709_551_557;
            let number = (random >> 8) % 64;
            if random.is_multiple_of(3) {
                runs.remove(number);
                set.remove(&number);
            } else {
                assert_eq!(runs.insert(number), set.insert(number));
            }
            assert_eq!(runs.free(0, 63), (0..64).find(|n| !set.contains(n)));
            assert!(runs.0.iter().zip(runs.0.iter().skip(1)).all(|((_, end), (start, _))| end + 1 < *start));
        }
    }

    /// A /12 with one address left: what is asked a thousand times must not look at a million.
    #[test]
    fn the_last_free_number_of_a_large_range_is_found_at_once() {
        let (pool, range) = (Pool::default(), span(0, (1 << 20) - 3, 256));
        pool.refill((0..(1 << 20) - 2).filter(|n| *n != 77));
        let begin = Instant::now();
        for n in 0..1000_u128 {
            assert_eq!(pool.pick(range, n * 1_234_567), Some(77));
            assert_eq!(pool.pick(range, n), None);
            pool.release(77);
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
