//! Relays over loopback: what clients and servers see of each other.
#![expect(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

mod bench;
mod datagrams;
mod shortage;
mod streams;
