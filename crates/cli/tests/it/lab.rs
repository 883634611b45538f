//! Labs started by the binary as a user starts it, and what is done to them. A lab goes with its test, also when that is killed:
//! the supervisor dies with the test process, and everything of the lab with the supervisor.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use stead_sys::namespace::Namespace;
use tempfile::TempDir;

/// Generous: a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);
/// How soon after the API has answered it must be so everywhere: what "at once" means on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long a refusal is looked at.
const LASTING: Duration = Duration::from_secs(1);

/// What a lab says on standard error.
const COMPLAINTS: &str = "complaints";

pub(crate) fn stead() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stead"))
}

/// A running `stead up`.
pub(crate) struct Lab {
    pub(crate) name: String,
    /// Holds its kubeconfig and data; goes with the test.
    pub(crate) directory: TempDir,
    child: Child,
}

impl Lab {
    /// A lab that has said that it is ready.
    pub(crate) fn up(purpose: &str, nodes: usize) -> Self {
        Self::up_with(purpose, nodes, &[])
    }

    /// The same, with more flags.
    pub(crate) fn up_with(purpose: &str, nodes: usize, flags: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}-{}-{purpose}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = TempDir::new().unwrap();
        let child = Self::start(&name, directory.path(), nodes, flags);
        Self { name, directory, child }
    }

    fn start(name: &str, directory: &Path, nodes: usize, more: &[&str]) -> Child {
        // As somebody made it who did not know what it is for; it stays from one lab of the name to the next.
        let made = fs::DirBuilder::new().mode(0o755).create(directory.join("data"));
        assert!(made.is_ok() || directory.join("data").is_dir(), "{made:?}");
        // Killed with the thread that runs the test, also when that is killed itself.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_stead")])
            .args(["up", "--name", name, "--nodes", &nodes.to_string()])
            .arg("--kubeconfig")
            .arg(directory.join("kubeconfig"))
            .arg("--data")
            .arg(directory.join("data"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command.stderr(fs::File::create(directory.join(COMPLAINTS)).unwrap());
        let mut child = command.spawn().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let ready = words.lines().any(|line| line.unwrap().contains("is ready"));
        if !ready {
            let logs = fs::read_dir(format!("/run/stead/{name}/log")).into_iter().flatten().flatten();
            let logs: String = logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default()).collect();
            let said = fs::read_to_string(directory.join(COMPLAINTS)).unwrap_or_default();
            panic!("lab {name} ended with {}: {said}{logs}", child.wait().unwrap());
        }
        child
    }

    /// Starts it again, under the same name and with the same data.
    pub(crate) fn up_again(&mut self, nodes: usize) {
        self.child = Self::start(&self.name, self.directory.path(), nodes, &[]);
    }

    /// As [`up_again`](Self::up_again), with `--config`.
    pub(crate) fn up_with_config(&mut self, nodes: usize, config: &Path) {
        let config = config.to_str().unwrap();
        self.child = Self::start(&self.name, self.directory.path(), nodes, &["--config", config]);
    }

    /// Process id of `server` or a node, as the state file says now.
    pub(crate) fn pid(&self, program: &str) -> Option<u32> {
        let text = fs::read_to_string(format!("/run/stead/{}/lab.json", self.name)).ok()?;
        let state: serde_json::Value = serde_json::from_str(&text).ok()?;
        let programs = state["processes"].as_array()?;
        let found = programs.iter().find(|entry| entry["name"] == program)?;
        u32::try_from(found["pid"].as_u64()?).ok()
    }

    /// Where a host's network is: `fabric`, `outside` or a node.
    pub(crate) fn namespace(&self, host: &str) -> Namespace {
        stead_lab::find(Path::new("/run/stead"), &self.name).unwrap().namespace(host).unwrap()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// A program that finds the lab's API server as kubectl does, and keeps what it caches to the lab.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["60", program]).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.directory.path());
        command
    }

    pub(crate) fn kubectl(&self, arguments: &str) -> Output {
        let words = arguments.split(' ').filter(|word| !word.is_empty());
        self.kubectl_words(&words.collect::<Vec<_>>(), "")
    }

    /// With words that hold spaces, or something to read on standard input.
    pub(crate) fn kubectl_words(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = self.command("kubectl");
        command.args(arguments);
        run(command, stdin)
    }

    /// Standard output of a `kubectl` that must succeed.
    pub(crate) fn kubectl_ok(&self, arguments: &str) -> String {
        ok(&format!("kubectl {arguments}"), self.kubectl(arguments))
    }

    /// Standard error of a `kubectl` that must fail.
    pub(crate) fn kubectl_refused(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.kubectl_words(arguments, stdin);
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn exec(&self, host: &str, command: &[&str]) -> Output {
        let mut stead = stead();
        stead.args(["exec-node", "--name", &self.name, host, "--"]).args(command);
        run(stead, "")
    }

    /// Body of an HTTP answer, as `curl` on a host gets it.
    pub(crate) fn curl(&self, host: &str, url: &str) -> Option<String> {
        let output = self.exec(host, &["curl", "-s", "-m", "2", "-g", url]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// How `curl` fails: 7 is refused, 28 is timed out.
    pub(crate) fn curl_code(&self, host: &str, url: &str) -> Option<i32> {
        self.exec(host, &["curl", "-s", "-o", "/dev/null", "-m", "2", "-g", url]).status.code()
    }

    /// Which pods answered `count` requests.
    pub(crate) fn answering(&self, host: &str, url: &str, count: usize) -> std::collections::BTreeMap<String, usize> {
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..count {
            let answer = self.curl(host, url).unwrap_or_else(|| panic!("{url} did not answer {host}"));
            let pod = answer.lines().find_map(|line| line.strip_prefix("Hostname: "));
            *seen.entry(pod.unwrap_or_else(|| panic!("no pod in {answer:?}")).to_owned()).or_default() += 1;
        }
        seen
    }

    /// Ends it as Ctrl-C does, and waits.
    pub(crate) fn down(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// Waits for it to end of itself: whether all was well, and what it complained of.
    pub(crate) fn ended(&mut self) -> (bool, String) {
        let status = eventually("the lab to end", || self.child.try_wait().unwrap());
        (status.success(), fs::read_to_string(self.directory.path().join(COMPLAINTS)).unwrap())
    }

    /// SIGKILL, as a crash or the kernel's out-of-memory killer would.
    pub(crate) fn kill_supervisor(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(format!("/run/stead/{}", self.name));
    }
}

pub(crate) fn ok(what: &str, output: Output) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn run(mut command: Command, stdin: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = thread::spawn(move || std::io::Write::write_all(&mut pipe, text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    output
}

/// Polls until `check` gives something; panics with `what` when it takes too long.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(STEP);
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Served,
    Refused,
    /// Of a datagram this may be a refusal: the kernel tells one address only so often (icmp(7): icmp_ratelimit).
    Silent,
}

impl Reply {
    /// Of a connection, where only a refusal is one.
    pub(crate) fn of_curl(code: Option<i32>) -> Self {
        if code == Some(7) { Self::Refused } else { Self::Served }
    }
}

/// Asks until it is refused, which must be so at once, and goes on asking: nobody may be served after the first refusal.
pub(crate) fn refused_at_once(what: &str, mut ask: impl FnMut() -> Reply) {
    let deadline = Instant::now() + AT_ONCE;
    while ask() != Reply::Refused {
        assert!(Instant::now() < deadline, "{what}: not refused within {AT_ONCE:?} of the API's answer");
        thread::sleep(STEP);
    }
    let end = Instant::now() + LASTING;
    while Instant::now() < end {
        assert_ne!(ask(), Reply::Served, "{what}: served after it was refused");
        thread::sleep(STEP);
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
