//! Tests of the testbed itself: who reaches whom in a lab, what clients count, and that nothing of a lab outlives its process.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod clients;
mod lab;
mod leftovers;
