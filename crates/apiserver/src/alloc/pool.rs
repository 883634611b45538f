//! Which numbers of a range are free, as far as this process knows.
//!
//! Only a hint for choosing well: what counts are the claims in the store. A number handed out here is marked at once, so
//! that concurrent requests choose different ones.

use std::{collections::HashSet, sync::Mutex};

/// Numbers `0..size`. Those below `band` are chosen last: people who choose by hand are asked to take them.
#[derive(Debug)]
pub(crate) struct Pool {
    size: u64,
    band: u64,
    used: Mutex<HashSet<u64>>,
}

impl Pool {
    /// `band < size`, or both are 0.
    pub(crate) fn new(size: u64, band: u64) -> Self {
        Self { size, band, used: Mutex::new(HashSet::new()) }
    }

    /// Chooses a free number and marks it used: from a random place above the band, around, then below the band.
    /// `None`: all are used.
    pub(crate) fn pick(&self, random: u64) -> Option<u64> {
        let mut used = self.used.lock().expect("no code panics while it holds a pool");
        if used.len() as u64 >= self.size {
            return None;
        }
        let upper = self.size - self.band;
        let start = self.band + random.checked_rem(upper).unwrap_or_default();
        let free = (start..self.size).chain(self.band..start).chain(0..self.band).find(|n| !used.contains(n))?;
        used.insert(free);
        Some(free)
    }

    /// Marks `number` used; false if it was, or is none of the pool's.
    pub(crate) fn mark(&self, number: u64) -> bool {
        number < self.size && self.used.lock().expect("no code panics while it holds a pool").insert(number)
    }

    pub(crate) fn release(&self, number: u64) {
        self.used.lock().expect("no code panics while it holds a pool").remove(&number);
    }

    /// Forgets everything and starts over with these.
    pub(crate) fn refill(&self, used: impl Iterator<Item = u64>) {
        let used = used.filter(|number| *number < self.size).collect();
        *self.used.lock().expect("no code panics while it holds a pool") = used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_handed_out_once_and_the_band_last() {
        let pool = Pool::new(20, 4);
        let picked = (0..20).map(|n| pool.pick(n * 7919).unwrap()).collect::<Vec<_>>();
        assert_eq!(picked.iter().collect::<HashSet<_>>().len(), 20);
        assert_eq!(picked[16..], [0, 1, 2, 3]);
        assert_eq!(pool.pick(1), None);
        pool.release(7);
        assert_eq!(pool.pick(3), Some(7));
    }

    #[test]
    fn marked_numbers_are_left_out() {
        let pool = Pool::new(3, 0);
        assert!(pool.mark(1) && !pool.mark(1) && !pool.mark(3));
        assert_eq!((pool.pick(1), pool.pick(1), pool.pick(1)), (Some(2), Some(0), None));
        pool.refill([0, 9].into_iter());
        assert_eq!(pool.pick(0), Some(1));
    }
}
