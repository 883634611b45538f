//! The server driven as clients drive it: requests in, answers checked. In process where no socket is needed.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod served;
mod support;

mod access;
mod apply;
mod bad_input;
mod clients;
mod deletion;
mod external_addresses;
mod flaky_store;
mod kubectl;
mod large_bodies;
mod legacy;
mod lists;
mod logs;
mod metrics;
mod peculiarities;
mod proxy;
mod repairs;
mod secrets;
mod service_ranges;
mod services;
mod shares;
mod smoke;
mod subresources;
mod tokens;
mod unread;
mod watches;
