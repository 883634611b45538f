//! What of its memory a process gives back to the kernel, where its allocator is mimalloc. Who allocates how much is not its business.
#![expect(unsafe_code, reason = "the allocator's options have no safe binding")]

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc's `mi_option_e`, which the binding does not name: milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// From now on pages go back to the kernel as soon as nothing in them is used, instead of a second later. For a process that takes its most while it
/// starts, and little then.
pub fn give_back_at_once() {
    // SAFETY: the option exists, any value is one of it, and it may be set at any time.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_a_second() {
        // SAFETY: only reads.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000);
        give_back_at_once();
        assert_eq!(delay(), 0);
    }
}
