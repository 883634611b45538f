//! What `make image` and `make deb` write, by the scripts that they call.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("DEB_COMPRESSION", "none").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_image_archive_is_loaded_and_the_same_each_time() {
    let work = tempfile::tempdir().unwrap();
    let archive = |name: &str| {
        let path = work.path().join(name);
        run(repository().join("build/make-image.sh"), &["/bin/busybox", path.to_str().unwrap()]);
        path
    };
    let first = archive("first.tar");
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(archive("second.tar")).unwrap());
    let config = work.path().join("config.yaml");
    std::fs::write(&config, format!("node:\n  images: {}\n", work.path().join("images").display())).unwrap();
    let config = config.to_str().unwrap();
    let loaded = run(env!("CARGO_BIN_EXE_stead"), &["image", "--config", config, "load", first.to_str().unwrap()]);
    assert!(loaded.contains("stead.local/stead:"), "{loaded}");

    // What Docker before version 25 goes by.
    let first = first.to_str().unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&run("tar", &["-xOf", first, "./manifest.json"])).unwrap();
    let members = run("tar", &["-tf", first]);
    for file in [&manifest[0]["Config"], &manifest[0]["Layers"][0]] {
        assert!(members.contains(&format!("./{}\n", file.as_str().unwrap())), "{file} in {members}");
    }
}

#[test]
fn the_package_holds_the_binary_units_manuals_and_completions() {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().to_str().unwrap();
    run(repository().join("build/make-deb.sh"), &[env!("CARGO_BIN_EXE_stead"), out]);
    let package = std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path();
    let package = package.to_str().unwrap();
    let listed = run("dpkg-deb", &["--contents", package]);
    for wanted in [
        "root/root",
        "./usr/bin/stead\n",
        "./usr/lib/systemd/system/stead-proxy.service\n",
        "./etc/default/stead-server\n",
        "./usr/share/man/man1/stead-proxy.1.gz\n",
        "./usr/share/bash-completion/completions/stead\n",
        "./usr/share/doc/stead/examples/stead-proxy.yaml\n",
    ] {
        assert!(listed.contains(wanted), "{wanted:?} in {listed}");
    }
    let scripts = work.path().join("control");
    run("dpkg-deb", &["--control", package, scripts.to_str().unwrap()]);
    for script in ["postinst", "prerm", "postrm"] {
        run("sh", &["-n", scripts.join(script).to_str().unwrap()]);
    }
    let fields = run("dpkg-deb", &["--field", package]);
    assert!(fields.contains("Package: stead\n") && fields.contains(env!("CARGO_PKG_VERSION")), "{fields}");
}
