//! The workspace's own rules, and the binary as a user runs it.
#![expect(clippy::unwrap_used, reason = "a test may end where it cannot go on")]

mod damage;
mod endpoints;
mod equality;
mod faults;
mod flags;
mod forwarding;
mod input;
mod lab;
mod load;
mod machine;
mod names;
mod older;
mod packaging;
mod proxy;
mod removal;
mod rights;
mod services;
mod sockets;
mod streams;
mod switching;
mod terminal;
mod transcript;
mod verbs;
mod workspace;
