//! The store's tests: one suite of properties and transcripts that every engine passes, and what only a durable engine has.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod laws;
mod subject;
