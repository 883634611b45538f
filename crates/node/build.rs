//! Compiles the built-in demo application to a static program, which `image::builtin` packs into an image.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    path::PathBuf,
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=hello-app/main.rs");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("hello-app");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "hello_app", "--target", &target])
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static", "-C", "opt-level=s"])
        .args(["-C", "lto=fat", "-C", "codegen-units=1", "-C", "panic=abort", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&out)
        .arg("hello-app/main.rs")
        .status();
    match status {
        Ok(status) if status.success() => {
            // Tells one program from another, so that an image is made anew when its program has changed.
            let mut hasher = DefaultHasher::new();
            hasher.write(&fs::read(&out).expect("rustc has just written it"));
            println!("cargo::rustc-env=HELLO_APP_SOURCE={:016x}", hasher.finish());
        }
        Ok(status) => panic!("rustc ended with {status} on hello-app/main.rs"),
        Err(error) => panic!("cannot run rustc for hello-app/main.rs: {error}"),
    }
}
