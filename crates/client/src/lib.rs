//! The loops that fill a snapshot by list and watch, and the in-process transport.
