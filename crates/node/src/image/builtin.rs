//! The images that come with Stead, made into archives and loaded like any other when they are first asked for.
//!
//! `hello-app` is a small static program, compiled by this crate's build script. `busybox` is the host's own, never part of our
//! binary.

use std::{
    env, fs,
    io::{self, Cursor},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Digest, ImageName, Store, StoreError, config::architecture_here};

pub const HELLO_APP_1: &str = "stead.local/hello-app:1.0";
pub const HELLO_APP_2: &str = "stead.local/hello-app:2.0";
pub const BUSYBOX: &str = "stead.local/busybox:latest";

static HELLO_APP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello-app"));
const HELLO_APP_SOURCE: &str = env!("HELLO_APP_SOURCE");
/// What program an image was made from; another program makes the image anew.
const SOURCE_LABEL: &str = "stead.local/source";

#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    #[error(
        "image {BUSYBOX} is made from the machine's busybox, which is not here: install the package busybox-static"
    )]
    NoBusybox,
    #[error(
        "image {BUSYBOX} needs a static busybox, {path} is not: install the package busybox-static",
        path = .0.display()
    )]
    NotStatic(PathBuf),
    #[error("cannot read {path}", path = path.display())]
    Busybox { path: PathBuf, source: io::Error },
    #[error("cannot build the archive of a built-in image")]
    Archive(#[from] io::Error),
}

/// Makes the image that `name` means, where it is a built-in one that is not here yet or was made from another program.
pub(super) fn ensure(store: &Store, name: &ImageName) -> Result<(), StoreError> {
    let name = name.to_string();
    let here = |source: Option<&str>| {
        let image = store.find(&name);
        image.is_some_and(|image| {
            source.is_none_or(|source| image.config.labels.get(SOURCE_LABEL).is_some_and(|label| label == source))
        })
    };
    let version = match name.as_str() {
        HELLO_APP_1 => "1.0.0",
        HELLO_APP_2 => "2.0.0",
        BUSYBOX if here(None) => return Ok(()),
        BUSYBOX => return store.load_unless(|| here(None), busybox),
        _ => return Ok(()),
    };
    let source = HELLO_APP_SOURCE;
    if here(Some(source)) {
        return Ok(());
    }
    store.load_unless(|| here(Some(source)), || hello_app(&name, version, source))
}

fn hello_app(name: &str, version: &str, source: &str) -> Result<Cursor<Vec<u8>>, BuiltinError> {
    let mut layer = tar::Builder::new(Vec::new());
    add_file(&mut layer, "hello-app", 0o755, HELLO_APP)?;
    let run = json!({
        "Entrypoint": ["/hello-app"],
        "Cmd": [version],
        "Env": ["PATH=/"],
        "ExposedPorts": {"8080/tcp": {}, "8080/udp": {}},
        "User": "65532:65532",
        "Labels": {SOURCE_LABEL: source},
    });
    Ok(archive(name, layer.into_inner()?, run)?)
}

fn busybox() -> Result<Cursor<Vec<u8>>, BuiltinError> {
    let path = find_in_path("busybox").ok_or(BuiltinError::NoBusybox)?;
    let failed = |source| BuiltinError::Busybox { path: path.clone(), source };
    let program = fs::read(&path).map_err(failed)?;
    if has_interpreter(&program) {
        return Err(BuiltinError::NotStatic(path));
    }
    let listed = Command::new(&path).arg("--list-full").output().map_err(failed)?;
    let mut layer = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin", 0o755), ("sbin", 0o755), ("usr", 0o755), ("usr/bin", 0o755), ("usr/sbin", 0o755)] {
        add_entry(&mut layer, folder, tar::EntryType::Directory, mode)?;
    }
    for (folder, mode) in [("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)] {
        add_entry(&mut layer, folder, tar::EntryType::Directory, mode)?;
    }
    add_file(&mut layer, "bin/busybox", 0o755, &program)?;
    add_file(
        &mut layer,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    add_file(&mut layer, "etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let applets = String::from_utf8_lossy(&listed.stdout);
    for applet in applets.lines().filter(|applet| is_applet(applet)) {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, applet, "/bin/busybox")?;
    }
    let run = json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
    Ok(archive(BUSYBOX, layer.into_inner()?, run)?)
}

/// An image of one layer, in the form that `docker save` writes.
fn archive(name: &str, layer: Vec<u8>, run: Value) -> io::Result<Cursor<Vec<u8>>> {
    let config = json!({
        "architecture": architecture_here(),
        "os": env::consts::OS,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::with_capacity(layer.len() + 8192));
    add_file(&mut tar, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
    add_file(&mut tar, "config.json", 0o644, config.to_string().as_bytes())?;
    add_file(&mut tar, "layer.tar", 0o644, &layer)?;
    tar.into_inner().map(Cursor::new)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add_file(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(tar::EntryType::Regular, mode, bytes.len() as u64), path, bytes)
}

fn add_entry(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32) -> io::Result<()> {
    tar.append_data(&mut header(kind, mode, 0), path, io::empty())
}

/// `bin/cat`, `usr/bin/awk`; the program itself is no applet of its own.
fn is_applet(path: &str) -> bool {
    let known = ["bin/", "sbin/", "usr/bin/", "usr/sbin/"]
        .iter()
        .any(|folder| path.strip_prefix(folder).is_some_and(|name| !name.is_empty() && !name.contains('/')));
    known && path != "bin/busybox"
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a 64-bit little-endian ELF program asks for a dynamic loader (a segment of type `PT_INTERP`, elf(5)).
fn has_interpreter(program: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let bytes = program.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0usize, |value, byte| (value << 8) | usize::from(*byte)))
    };
    let segments = || Some((number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?));
    let Some((start, size, count)) = segments() else {
        return false;
    };
    (0..count).any(|n| number(start.saturating_add(n * size), 4) == Some(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_applet_paths_become_links() {
        for (path, expect) in [
            ("bin/cat", true),
            ("usr/bin/awk", true),
            ("bin/busybox", false),
            ("linuxrc", false),
            ("bin/../etc/passwd", false),
            ("bin/", false),
        ] {
            assert_eq!(is_applet(path), expect, "{path}");
        }
    }

    #[test]
    fn a_program_with_a_loader_is_told_from_a_static_one() {
        assert!(!has_interpreter(HELLO_APP), "the built-in program is static");
        assert!(has_interpreter(&fs::read("/proc/self/exe").unwrap()), "a test binary is dynamic");
        assert!(!has_interpreter(b"#!/bin/sh"));
    }
}
