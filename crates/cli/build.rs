//! How the binary is linked: the places that the loader puts right are written down as a bitmap, 20 kB instead of 1.7 MB that every process of it
//! would read.
//!
//! A linker that does not know that form, or a C library that cannot load it (glibc before 2.36), goes without.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

const WISH: &str = "-Wl,-z,pack-relative-relocs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    // A debug build is linked often; another machine's program cannot be tried here, and a static one loads itself.
    if is_static || variable("PROFILE") != "release" || variable("HOST") != variable("TARGET") {
        return;
    }
    if is_granted(Path::new(&variable("OUT_DIR")), &variable("RUSTC")) {
        println!("cargo::rustc-link-arg-bins={WISH}");
    }
}

/// Whether a program that is linked so can be made, and runs.
fn is_granted(room: &Path, rustc: &str) -> bool {
    let (source, program) = (room.join("probe.rs"), room.join("probe"));
    let mut compile = Command::new(rustc);
    compile.args(["--edition=2024", "-C", &format!("link-arg={WISH}"), "-o"]).args([&program, &source]);
    let succeeds = |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    fs::write(&source, "fn main() {}").is_ok() && succeeds(&mut compile) && succeeds(&mut Command::new(&program))
}
