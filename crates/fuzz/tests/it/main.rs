//! Whatever bytes come: every decoder of the pure crates answers, in time and within bounds.

mod objects;
mod selectors;
mod streams;
