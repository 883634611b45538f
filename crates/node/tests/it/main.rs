//! Tests against the kernel: containers, namespaces and cgroups. They need root, and say so where they cannot run.
//!
//! This binary is its own shim: `it shim DIR`. That is why it has a `main` of its own instead of the usual test harness.

#![expect(clippy::unwrap_used, reason = "tests")]

mod containers;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
};

/// A test: its name, and what it does. A failure is a panic.
pub(crate) type Test = (&'static str, fn());

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, dir] = args.as_slice()
        && verb == "shim"
    {
        return stead_node::shim::main(Path::new(dir));
    }
    let tests: Vec<Test> = containers::TESTS.to_vec();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if !nix::unistd::geteuid().is_root() {
        eprintln!("{} tests skipped: they need root", tests.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
