//! The Service proxy daemon: one event loop from watch events to kernel.
