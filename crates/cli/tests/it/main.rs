//! The workspace's own rules, and the binary as a user runs it.

mod faults;
mod input;
mod lab;
mod services;
mod sockets;
mod transcript;
mod workspace;
