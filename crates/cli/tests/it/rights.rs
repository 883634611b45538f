//! What somebody without root's rights is told, and that nothing was changed before; and which files are for root alone.

use std::{
    fs,
    fs::File,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
};

use crate::lab::Lab;

/// Nobody, by Debian's numbers.
const NOBODY: u32 = 65_534;

/// The one line that `stead ARGUMENTS` ends with for a user without rights, in a directory where that user may write.
fn told(directory: &Path, arguments: &[&str]) -> String {
    // Opened by root: the way to the binary may be closed to others.
    let binary = File::open(env!("CARGO_BIN_EXE_stead")).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.args(arguments).current_dir(directory).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    said.trim_end().to_owned()
}

#[test]
fn whoever_lacks_rights_is_told_what_to_do_and_nothing_is_changed() {
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let closed = tempfile::tempdir().unwrap();
    let closed = closed.path();
    let before = || fs::read_dir(open.path()).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();

    let name = format!("t{}-rights", std::process::id());
    let up = ["up", "--name", &name, "--kubeconfig", "kubeconfig", "--data", "data"];
    assert_eq!(told(open.path(), &up), "stead: stead up makes network namespaces, which needs root: run it with sudo");
    assert!(!Path::new("/run/stead").join(&name).exists());
    assert_eq!(before(), [] as [&Path; 0]);

    assert_eq!(
        told(open.path(), &["exec-node", "--name", &name, "node1", "--", "true"]),
        "stead: stead exec-node enters the network of a lab's host, which needs root: run it with sudo"
    );

    let images = closed.join("images");
    fs::write(open.path().join("config.yaml"), format!("node:\n  images: {}\n", images.display())).unwrap();
    for command in [&["ls"][..], &["load", "-"], &["tag", "a", "b"]] {
        let said = told(open.path(), &[&["image", "--config", "config.yaml"], command].concat());
        let remedy = format!(
            ": run it with sudo, or name with --config (node.images) a directory of your own in place of {}",
            images.display()
        );
        assert!(said.contains("Permission denied") && said.ends_with(&remedy), "{said}");
    }

    let data = closed.join("data");
    let said = told(open.path(), &["server", "--listen", "192.0.2.1:6443", "--data", data.to_str().unwrap()]);
    let remedy =
        format!(": run it with sudo, or name with --data a directory of your own in place of {}", data.display());
    assert!(said.contains("Permission denied") && said.ends_with(&remedy), "{said}");
    assert_eq!(fs::read_dir(closed).unwrap().count(), 0);
}

#[test]
fn what_a_server_keeps_is_for_its_owner_alone_in_a_directory_of_others() {
    let mut lab = Lab::up("private", 1);
    let data = lab.directory.path().join("data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o755);
    assert_private(&data);
    lab.down();
    // As a copy that somebody put back.
    fs::set_permissions(data.join("store/store.redb"), fs::Permissions::from_mode(0o644)).unwrap();
    lab.up_again(1);
    assert_private(&data);
}

fn assert_private(directory: &Path) {
    let (files, open) = modes(directory);
    assert!(files >= 8 && open.is_empty(), "{files} files, of them for others: {open:?}");
}

/// How many files are below a directory, and which of them others may read.
fn modes(directory: &Path) -> (usize, Vec<String>) {
    let (mut count, mut open) = (0, Vec::new());
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            let (more, found) = modes(&entry.path());
            count += more;
            open.extend(found);
            continue;
        }
        count += 1;
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            open.push(format!("{} {mode:o}", entry.path().display()));
        }
    }
    (count, open)
}
