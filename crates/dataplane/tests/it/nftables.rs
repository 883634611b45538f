//! The nftables plane, held to the suite and to what is its own.

use stead_dataplane::{DataPlane, NfTables};
use stead_sys::namespace::Namespace;

fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
    Box::new(NfTables::open_in(namespace).unwrap())
}

crate::behaviour_tests!(super::open);
