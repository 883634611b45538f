//! The userspace plane, held to the suite and to what is its own.

use std::{fs, os::unix::fs::MetadataExt};

use stead_dataplane::{
    DataPlane,
    iptables::programs::Programs,
    userspace::{Comments, Launch, Listen, Options, UserSpace},
};
use stead_sys::namespace::Namespace;

use crate::limits::Limit;

const LIMITS: &[Limit] = &[Limit::SourceIsLost, Limit::NoSctp, Limit::LinksAreUnknown];

fn options(namespace: &Namespace) -> Options {
    let inode = namespace.run(|| fs::metadata("/proc/thread-self/ns/net").unwrap().ino()).unwrap();
    let path = std::env::temp_dir().join(format!("stead-relay-{}-{inode}.sock", std::process::id()));
    Options { path, launch: Launch::Threads, listen: Listen::Everywhere, redirect: Some(Comments::Name), range: None }
}

fn with_lock(programs: Programs, namespace: &Namespace) -> Programs {
    // Namespaces need not wait for each other.
    programs.with_lock(options(namespace).path.with_extension("lock"))
}

fn open(namespace: &Namespace) -> Box<dyn DataPlane> {
    let programs = with_lock(Programs::find_in(namespace).unwrap(), namespace);
    Box::new(UserSpace::open_in(namespace, options(namespace), Some(programs)).unwrap())
}

crate::behaviour_tests!(super::open, super::LIMITS);
