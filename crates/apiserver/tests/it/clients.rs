//! Clients in other languages, each as its registry has it, against a served API. Their programs are in `tests/clients`: this
//! runs one, and restarts the server with its history gone when it says `restart`. The one in Rust is driven by [`rust`].

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::served::Served;

mod rust;

/// For all parts together, most of which wait for nothing.
const PATIENCE: Duration = Duration::from_secs(180);

/// What `make clients` has put below `target/clients`.
#[track_caller]
pub(crate) fn fetched(path: &str) -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients").join(path);
    assert!(found.exists(), "{} is not there: `make clients` fetches it", found.display());
    found
}

fn program(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_drives_a_served_cluster() {
    let mut command = Command::new(fetched("python/bin/python"));
    command.arg(program("python/drive.py"));
    // Compiling what is imported takes longer than all else: kept, and not among our sources.
    command.env("PYTHONPYCACHEPREFIX", fetched("python").join("cache"));
    let parts = ["kinds", "services", "applies", "lists", "watches", "restarts", "elections"];
    run(command, &parts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_drives_a_served_cluster() {
    let mut command = Command::new("node");
    command.arg(program("javascript/drive.mjs"));
    command.env("CLIENT", fetched("javascript/node_modules/@kubernetes/client-node/dist/index.js"));
    let parts = ["kinds", "services", "applies", "lists", "watches", "restarts", "elections"];
    run(command, &parts).await;
}

/// Runs a program with a kubeconfig as its argument; it must say `done PART` for each of `parts`, and end well.
async fn run(mut command: Command, parts: &[&str]) {
    let mut served = Served::new().await;
    command
        .arg(served.kubeconfig())
        .env("HOME", served.directory())
        .env_remove("PYTHONPATH")
        .env_remove("NODE_OPTIONS");
    let name = command.as_std().get_program().to_owned();
    let mut child = spawn(command, &name);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = child.stderr.take().unwrap();
    let errors = tokio::spawn(async move {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut done = Vec::new();
    let conversation = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.split_once(' ') {
                None if line == "restart" => {
                    served.restart().await;
                    // One that has ended meanwhile is found out below.
                    let _ = stdin.write_all(b"restarted\n").await;
                }
                Some(("done", part)) => done.push(part.to_owned()),
                _ => eprintln!("{line}"),
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, conversation).await;
    if ended.is_err() {
        child.start_kill().unwrap();
    }
    let status = child.wait().await.unwrap();
    let errors = errors.await.unwrap();
    assert!(ended.is_ok() && status.success(), "{name:?} got through {done:?} and no further ({status}): {errors}");
    assert_eq!(done, parts);
    served.end().await;
}

fn spawn(mut command: Command, name: &OsStr) -> tokio::process::Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("{name:?}: {error}; `make clients` installs what is missing"))
}
