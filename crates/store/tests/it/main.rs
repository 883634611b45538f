//! The store's tests: one suite of laws, properties and transcripts that every engine passes, and what only a durable engine has.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod crash;
mod disk;
mod faults;
mod files;
mod flips;
mod histories;
mod laws;
mod properties;
mod salvage;
mod slow;
mod subject;
mod transcripts;
