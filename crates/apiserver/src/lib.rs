//! The Kubernetes API over a store: resources, admission, allocators, watch streams, tables, discovery, TLS.

pub mod pki;
