//! `stead server` on a store file that is damaged, and what `stead store export` makes of that.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::lab::{eventually, ok, run, stead};

/// What the damaged object says, and nothing else in the file.
const MARK: &[u8] = b"some words that are nowhere else";

fn server(data: &Path) -> Command {
    let mut command = stead();
    command.args(["server", "--listen", "192.168.9.1:6443", "--data"]).arg(data).stdin(Stdio::null());
    command
}

/// A network of this thread's own, and of what it starts: a server's address may not be loopback.
fn enter_own_network() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for words in ["link set lo up", "address add 192.168.9.1/32 dev lo"] {
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success());
    }
}

fn as_admin(data: &Path, words: &[&str], stdin: &str) -> std::process::Output {
    let mut command = stead();
    command.args(words).env("KUBECONFIG", data.join("admin.kubeconfig")).env("HOME", data);
    run(command, stdin)
}

/// Ends it as an init system would, and waits.
fn end(mut server: Child) {
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_damaged_store_is_told_in_a_line_and_what_is_left_of_it_can_be_read() {
    enter_own_network();
    let directory = tempfile::tempdir().unwrap();
    let data = &directory.path().join("data");
    // Nothing that it has to say is lost on it: it serves all the same.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let running = server(data).stdout(Stdio::null()).stderr(full).spawn().unwrap();
    eventually("the server", || as_admin(data, &["get", "svc", "kubernetes"], "").status.success().then_some(()));
    let mark = std::str::from_utf8(MARK).unwrap();
    for words in [
        &["create", "configmap", "first", "--from-literal=a=b"][..],
        &["create", "configmap", "damaged", &format!("--from-literal=a={mark}")],
        &["create", "secret", "generic", "sealed", "--from-literal=password=hunter2"],
    ] {
        ok("create", as_admin(data, words, ""));
    }
    end(running);
    let export = || {
        let mut command = stead();
        command.args(["store", "export", "--data"]).arg(data);
        run(command, "")
    };
    let whole = ok("export", export());
    assert!(whole.contains(mark) && whole.contains("name: first") && whole.contains("aHVudGVyMg=="), "{whole}");

    // The log still has what went into the tables last.
    let [path, log] = ["store/store.redb", "store/store.log"].map(|file| data.join(file));
    for path in [&path, &log] {
        let mut file = fs::read(path).unwrap();
        let places: Vec<usize> = (0..file.len() - MARK.len()).filter(|at| file[*at..].starts_with(MARK)).collect();
        assert!(!places.is_empty(), "{}", path.display());
        for at in places {
            file[at] ^= 1;
        }
        fs::write(path, &file).unwrap();
    }

    let refused = run(server(data), "");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [path.to_str().unwrap(), "is damaged", "restore a copy", "`stead store export` prints what can be read"]
    {
        assert!(said.contains(part), "{said}");
    }

    let output = export();
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/registry/configmaps/default/damaged: its value is damaged"), "{said}");
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    assert!(!text.contains("name: damaged") && text.contains("name: first") && text.contains("aHVudGVyMg=="), "{text}");

    // Whoever starts anew gets back what is left.
    fs::remove_dir_all(data.join("store")).unwrap();
    let running = server(data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the server", || as_admin(data, &["get", "svc", "kubernetes"], "").status.success().then_some(()));
    as_admin(data, &["create", "-f", "-"], &text);
    let restored = ok("get", as_admin(data, &["get", "cm/first", "secret/sealed", "-o", "name"], ""));
    assert_eq!(restored, "configmap/first\nsecret/sealed\n");
    end(running);
}
