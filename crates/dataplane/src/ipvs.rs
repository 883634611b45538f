//! The IPVS data plane: virtual servers in the kernel, and a few rules of nf_tables around them.
//!
//! [`available`] tells whether this kernel can carry it.

mod available;

pub use available::{Availability, SCHEDULERS, available};
