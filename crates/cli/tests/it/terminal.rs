//! What the end of a terminal means for the lab that was started in it. `script` is the terminal; it ends when `script` is killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::lab::{alive, eventually, ok, run, stead};

/// A shell command in a terminal of its own.
struct Terminal {
    script: Child,
    screen: BufReader<std::process::ChildStdout>,
}

impl Terminal {
    fn open(command: &str) -> Self {
        // The terminal goes with the test, also when that is killed.
        let mut script = Command::new("setpriv");
        script.args(["--pdeathsig", "KILL", "script", "-qfc", command, "/dev/null"]);
        let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let screen = BufReader::new(script.stdout.take().unwrap());
        Self { script, screen }
    }

    /// The first line from now on that has `wanted` in it.
    fn line(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.screen.read_line(&mut line).unwrap() > 0, "the terminal ended after {seen}");
            if line.contains(wanted) {
                return line;
            }
            seen += &line;
        }
    }

    fn close(mut self) {
        self.script.kill().unwrap();
        self.script.wait().unwrap();
    }
}

/// Ends a lab that would outlive the test.
struct Down<'a>(&'a str);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let mut down = stead();
        down.args(["down", "--name", self.0]);
        let output = run(down, "");
        assert!(output.status.success() || std::thread::panicking(), "{output:?}");
    }
}

#[test]
fn the_end_of_a_terminal_ends_its_lab_and_leaves_a_detached_one() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let up = |name: &str, flags: &str| {
        let [binary, kubeconfig] = [Path::new(env!("CARGO_BIN_EXE_stead")), &kubeconfig].map(Path::display);
        format!("{binary} up --name {name} --nodes 1 --kubeconfig {kubeconfig} {flags}")
    };
    let name = format!("t{}-terminal", std::process::id());
    let place = Path::new("/run/stead").join(&name);
    let mut terminal = Terminal::open(&format!("exec {}", up(&name, "--demo")));
    terminal.line("is ready");
    let hint = terminal.line(" outside -- curl ");
    let binary = Path::new(env!("CARGO_BIN_EXE_stead")).canonicalize().unwrap();
    assert!(hint.contains(&format!("{} exec-node --name {name}", binary.display())), "not on PATH: {hint}");
    assert!(terminal.line("$ curl http://10.96.").contains("$ curl"));
    terminal.line("The lab keeps running");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(place.join("lab.json")).unwrap()).unwrap();
    let pids: Vec<u32> =
        state["processes"].as_array().unwrap().iter().map(|entry| entry["pid"].as_u64().unwrap() as u32).collect();
    terminal.close();
    eventually("the lab to be gone with its terminal", || (!place.exists()).then_some(()));
    assert!(pids.len() == 2 && pids.iter().all(|pid| !alive(*pid)), "{pids:?}");
    assert!(!kubeconfig.exists());

    let detached = format!("t{}-detached", std::process::id());
    // Should the test be killed, the end of its pipe ends the lab.
    let mut guard = Command::new("sh");
    guard.args(["-c", &format!("read end; exec {} down --name {detached}", env!("CARGO_BIN_EXE_stead"))]);
    let mut guard = guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let down = Down(&detached);
    let mut terminal = Terminal::open(&format!("{}; echo shell $$; read end", up(&detached, "--detach")));
    terminal.line("is ready");
    let shell = terminal.line("shell ");
    let shell: u32 = shell.trim().trim_start_matches("shell ").parse().unwrap();
    terminal.close();
    eventually("the shell to be gone with its terminal", || (!alive(shell)).then_some(()));
    let supervisor = stead_lab::find(Path::new("/run/stead"), &detached).unwrap().supervisor;
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // proc(5): its session and its terminal.
    assert_eq!((fields[3], fields[4]), (supervisor.to_string().as_str(), "0"));
    let mut nodes = Command::new("timeout");
    nodes.args(["60", "kubectl", "get", "nodes"]).env("KUBECONFIG", &kubeconfig).env("HOME", directory.path());
    assert!(ok("nodes", run(nodes, "")).contains("node1"));
    drop(down);
    drop(guard.stdin.take());
    guard.wait().unwrap();
    assert!(!Path::new("/run/stead").join(&detached).exists());
}
