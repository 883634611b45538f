//! How long to wait before the next try.

use std::time::Duration;

use rand::Rng;

/// Doubling waits with jitter; quick at first, since most failures are a peer that is just starting.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The n-th wait is between half and the whole of `base · 2ⁿ`, never above `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.base.saturating_mul(1 << self.failures.min(20)).min(self.cap);
        self.failures += 1;
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
        for whole in [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000] {
            let wait = backoff.next_wait();
            assert!(wait <= Duration::from_millis(whole) && wait >= Duration::from_millis(whole / 2), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(20));
    }
}
