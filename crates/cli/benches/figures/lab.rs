//! A lab of the release binary, and what its processes use.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use crate::stats;

pub(crate) struct Lab {
    pub(crate) name: String,
    child: Child,
    words: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Lab {
    /// Starts `stead up` and returns at once; [`wait_for`](Self::wait_for) says how far it is.
    pub(crate) fn start(nodes: usize, more: &[&str]) -> Self {
        let name = format!("bench{}", std::process::id());
        let directory = TempDir::new().expect("a temporary directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_stead"))
            .args(["up", "--name", &name, "--nodes", &nodes.to_string()])
            .args(more)
            .arg("--kubeconfig")
            .arg(directory.path().join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("stead starts");
        let words = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Self { name, child, words, _directory: directory }
    }

    pub(crate) fn wait_for(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            let length = self.words.read_line(&mut line).expect("standard output is text");
            assert!(length > 0, "the lab ended before it said {words:?}");
        }
    }

    pub(crate) fn state(&self) -> stead_lab::State {
        stead_lab::find(std::path::Path::new("/run/stead"), &self.name).expect("the lab runs")
    }

    /// Proportional set size of every process of the lab, pods included, in KiB by name and in sum.
    pub(crate) fn pss(&self) -> (Vec<(String, u64)>, u64) {
        let supervisor = self.child.id();
        let inside = self.state().processes.first().and_then(|process| pid_namespace(process.pid)).expect("a process");
        let pids = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = pids.filter(|pid| *pid == supervisor || below(*pid, &inside));
        let each: Vec<_> = ours.filter_map(|pid| Some((command(pid), stats::pss_of(pid)?))).collect();
        let sum = each.iter().map(|(_, size)| size).sum();
        (each, sum)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

fn pid_namespace(pid: u32) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?.display().to_string())
}

/// Whether a process lives in the PID namespace or in one below it (a container): then its status lists two ids or more.
fn below(pid: u32, namespace: &str) -> bool {
    let own = pid_namespace(pid);
    if own.as_deref() == Some(namespace) {
        return true;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let depth =
        status.lines().find_map(|line| line.strip_prefix("NSpid:")).map_or(0, |ids| ids.split_whitespace().count());
    depth > 2
}

fn command(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = text.split(|byte| *byte == 0).take(2).map(String::from_utf8_lossy).collect();
    words.join(" ")
}
