//! Containers from image to exit code, and their life beyond the agent's.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use stead_node::{
    container::{Container, Input, Limits, Process, Stdio},
    image::Store,
    runtime::{
        AttachedOutput, ContainerKey, ContainerRuntime, ExecIo, Found, OciRuntime, Piece, RuntimeError, ShimCommand,
        Stop, Wanted,
    },
    shim::ExitCause,
};
use stead_sys::namespace::Namespace;

use crate::eventually;

pub(crate) const TESTS: &[super::Test] = &[
    ("hello_app_answers_in_its_namespace_and_ends_when_asked", hello_app_answers_in_its_namespace_and_ends_when_asked),
    ("hello_app_answers_many_and_finishes_what_it_began", hello_app_answers_many_and_finishes_what_it_began),
    ("containers_are_fenced", containers_are_fenced),
    ("programs_find_their_environment_in_its_order", programs_find_their_environment_in_its_order),
    ("exit_codes_and_logs_are_kept", exit_codes_and_logs_are_kept),
    ("without_cgroups_containers_run_all_the_same", without_cgroups_containers_run_all_the_same),
    ("with_cgroup_v2_alone_containers_run_and_leave_nothing", with_cgroup_v2_alone_containers_run_and_leave_nothing),
    ("what_cannot_run_says_why", what_cannot_run_says_why),
    ("processes_run_beside_a_containers_own", processes_run_beside_a_containers_own),
    ("programs_read_what_is_typed_by_those_who_attach", programs_read_what_is_typed_by_those_who_attach),
    ("a_programs_terminal_is_shared_by_those_who_attach", a_programs_terminal_is_shared_by_those_who_attach),
    ("a_killed_shim_takes_its_container_along", a_killed_shim_takes_its_container_along),
    ("a_program_with_too_much_memory_is_named_so", a_program_with_too_much_memory_is_named_so),
];

/// A machine's worth of directories, gone at the end.
struct Node {
    dir: tempfile::TempDir,
    store: Store,
    tokio: tokio::runtime::Runtime,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, store, tokio }
    }

    /// As a newly started agent would open it.
    fn runtime(&self) -> OciRuntime {
        let shim = ShimCommand { program: std::env::current_exe().unwrap(), args: vec!["shim".into()] };
        OciRuntime::open(self.dir.path().join("containers"), shim).unwrap()
    }

    fn container(&self, key: &ContainerKey, image: &str, args: &[&str]) -> Container {
        let image = self.store.resolve(image).unwrap();
        let mut all = image.config.entrypoint.clone();
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let unique = self.dir.path().file_name().unwrap().to_str().unwrap().replace('.', "x");
        Container {
            id: format!("{unique}-{}-{}", key.container, key.attempt),
            process: Process {
                args: all,
                env: vec!["PATH=/bin:/usr/bin:/sbin:/usr/sbin".to_owned()],
                working_dir: "/made/for/it".to_owned(),
                user: image.config.user.clone(),
            },
            hostname: "pod-1".to_owned(),
            lower_dirs: image.lower_dirs,
            mounts: Vec::new(),
            network: None,
            cgroup: PathBuf::from(format!("/stead-test/{unique}/{}-{}", key.container, key.attempt)),
            limits: Limits::default(),
            stdio: Stdio::Pipes,
            input: Input::Nobody,
            log: self.runtime().log(key),
            stop_signal: 15,
        }
    }

    fn shell(&self, key: &ContainerKey, script: &str) -> Container {
        self.container(key, "stead.local/busybox", &["/bin/sh", "-c", script])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tokio.block_on(async {
            let runtime = self.runtime();
            for (key, _) in runtime.list().await.unwrap_or_default() {
                let _ = runtime.stop(&key, Stop::Kill).await;
                let _ = runtime.wait(&key).await;
            }
        });
        let unique = self.dir.path().file_name().unwrap().to_str().unwrap().replace('.', "x");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            for left in [format!("stead-test/{unique}"), "stead-test".to_owned()] {
                let _ = fs::remove_dir(hierarchy.path().join(left));
            }
        }
    }
}

fn key(container: &str) -> ContainerKey {
    ContainerKey { pod_uid: "pod".to_owned(), container: container.to_owned(), attempt: 0 }
}

fn get(namespace: &Namespace) -> std::io::Result<String> {
    namespace.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", 8080))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?
}

fn text_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect::<Vec<_>>().join("\n")
}

fn hello_app_answers_in_its_namespace_and_ends_when_asked() {
    let node = Node::new();
    let namespace = Namespace::create().unwrap();
    let key = key("hello");
    let mut container = node.container(&key, "stead.local/hello-app:1.0", &["1.0.0"]);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&namespace));
    container.network = Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())));
    node.tokio.block_on(async {
        let begun = Instant::now();
        node.runtime().start(&key, &container).await.unwrap();
        println!("  started in {:?}", begun.elapsed());
        eventually("an answer", || get(&namespace).is_ok());
        let answer = get(&namespace).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, "Hello, world!\nVersion: 1.0.0\nHostname: pod-1\n");

        let status = fs::read_to_string(node.dir.path().join("containers/pod/hello/0/status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let kilobytes = |pid: &serde_json::Value| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u32>().unwrap()
        };
        let (shim, app) = (kilobytes(&status["shim"]), kilobytes(&status["state"]["running"]["pid"]));
        println!("  memory of its own: shim {shim} kB, hello-app {app} kB");
        assert!(shim < 4096 && app < 512);

        // Another agent finds it, and does not start it again.
        let other = node.runtime();
        let found = other.list().await.unwrap();
        assert!(matches!(found.as_slice(), [(k, Found::Running(_))] if *k == key), "{found:?}");
        assert!(matches!(other.start(&key, &container).await, Err(RuntimeError::Exists(_))));
        assert!(get(&namespace).is_ok());

        let begun = Instant::now();
        other.stop(&key, Stop::Ask).await.unwrap();
        let exit = other.wait(&key).await.unwrap();
        println!("  ended in {:?}", begun.elapsed());
        assert_eq!((exit.code, exit.signal, exit.cause), (0, None, ExitCause::Own));
        assert!(get(&namespace).is_err());
        let found = node.runtime().list().await.unwrap();
        assert!(matches!(found.as_slice(), [(_, Found::Exited(e))] if *e == exit), "{found:?}");
        assert!(text_of(&other.log(&key)).contains("listening on port 8080"));
        other.remove(&key).await.unwrap();
        assert_eq!(fs::read_dir(node.dir.path().join("containers")).unwrap().count(), 0);
    });
}

fn hello_app_answers_many_and_finishes_what_it_began() {
    let node = Node::new();
    let namespace = Namespace::create().unwrap();
    let key = key("many");
    let mut container = node.container(&key, "stead.local/hello-app:2.0", &["2.0.0"]);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&namespace));
    container.network = Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())));
    node.tokio.block_on(async { node.runtime().start(&key, &container).await.unwrap() });
    eventually("an answer", || get(&namespace).is_ok());
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", 8080)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let read = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let asked = |namespace: &Namespace| {
        namespace.run(|| {
            let many: Vec<TcpStream> = (0..400).map(|_| connect()).collect();
            for mut stream in &many {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            }
            assert!(many.into_iter().map(read).all(|answer| answer.contains("Version: 2.0.0")));
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            udp.send_to(b"who", "127.0.0.1:8080").unwrap();
            let mut buffer = [0; 64];
            let length = udp.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"pod-1\n");
            let mut kept = connect();
            for _ in 0..2 {
                kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                let mut buffer = [0; 1024];
                let length = kept.read(&mut buffer).unwrap();
                assert!(buffer[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
            let mut begun = connect();
            begun.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            begun
        })
    };
    let mut begun = asked(&namespace).unwrap();
    let exit = node.tokio.block_on(async {
        let runtime = node.runtime();
        runtime.stop(&key, Stop::Ask).await.unwrap();
        eventually("new connections are refused", || get(&namespace).is_err());
        begun.write_all(b"Host: x\r\n\r\n").unwrap();
        assert!(read(begun).contains("Version: 2.0.0"));
        runtime.wait(&key).await.unwrap()
    });
    assert_eq!(exit.code, 0);
}

fn containers_are_fenced() {
    let node = Node::new();
    let key = key("fenced");
    let script = "hostname; pwd; id -u; echo pid $$; ls /sys/firmware | wc -l; \
        (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo no-sysctl; \
        mknod /tmp/disk b 254 0 2>/dev/null || echo no-mknod; \
        cat /proc/self/cgroup | head -1; grep -c . /proc/net/dev >/dev/null; grep CapBnd /proc/self/status; \
        grep SigIgn /proc/self/status; ls /proc/self/fd | wc -l; echo $HOME";
    node.tokio.block_on(async {
        let runtime = node.runtime();
        runtime.start(&key, &node.shell(&key, script)).await.unwrap();
        assert_eq!(runtime.wait(&key).await.unwrap().code, 0);
    });
    let log = text_of(&node.runtime().log(&key));
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(&lines[..4], ["pod-1", "/made/for/it", "0", "pid 1"], "{log}");
    assert!(log.contains("no-sysctl") && log.contains("no-mknod"), "{log}");
    // The last digits are signals 1 to 16, of which none is ignored; the descriptors are 0, 1, 2 and that of the listing.
    let ignored = lines.iter().find(|line| line.starts_with("SigIgn")).unwrap();
    assert!(ignored.ends_with("0000"), "{log}");
    assert!(log.ends_with("\n4\n/root"), "{log}");
}

fn programs_find_their_environment_in_its_order() {
    let node = Node::new();
    node.tokio.block_on(async {
        let runtime = node.runtime();
        let ordered = key("ordered");
        let mut container = node.container(&ordered, "stead.local/busybox", &["env"]);
        let lines: Vec<String> = (0..50).map(|n| format!("V{}={n}", n * 7 % 50)).collect();
        container.process.env.splice(0..0, lines.iter().cloned());
        runtime.start(&ordered, &container).await.unwrap();
        runtime.wait(&ordered).await.unwrap();
        let log = text_of(&runtime.log(&ordered));
        let printed: Vec<&str> = log.lines().filter(|line| line.starts_with('V')).collect();
        assert_eq!(printed, lines);
        assert!(log.contains("\nPATH=") && log.contains("HOME=/root"), "{log}");
    });
}

fn exit_codes_and_logs_are_kept() {
    let node = Node::new();
    node.tokio.block_on(async {
        let runtime = node.runtime();
        let three = key("three");
        runtime.start(&three, &node.shell(&three, "echo out; echo err >&2; exit 3")).await.unwrap();
        let exit = runtime.wait(&three).await.unwrap();
        assert_eq!((exit.code, exit.signal), (3, None));
        let log = fs::read_to_string(runtime.log(&three)).unwrap();
        assert!(log.contains(" stdout F out\n") && log.contains(" stderr F err\n"), "{log}");
        // One that ignores the request is killed; output without end is read all the while.
        let key = key("stubborn");
        runtime.start(&key, &node.shell(&key, "trap 'echo no' TERM; while true; do echo y; done")).await.unwrap();
        eventually("the loop", || text_of(&runtime.log(&key)).contains('y'));
        runtime.stop(&key, Stop::Ask).await.unwrap();
        eventually("the refusal", || text_of(&runtime.log(&key)).contains("no"));
        assert!(matches!(runtime.list().await.unwrap().first(), Some((_, Found::Running(_)))));
        runtime.stop(&key, Stop::Kill).await.unwrap();
        let exit = runtime.wait(&key).await.unwrap();
        assert_eq!((exit.code, exit.signal, exit.cause), (137, Some(9), ExitCause::Own));
    });
}

fn with_cgroup_v2_alone_containers_run_and_leave_nothing() {
    let (code, left) = std::thread::spawn(|| {
        // This thread's own mounts, in which the second version's tree is all there is.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, cgroups): (Option<&str>, _) = (None, "/sys/fs/cgroup");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        umount2(cgroups, MntFlags::MNT_DETACH).unwrap();
        mount(Some("cgroup2"), cgroups, Some("cgroup2"), MsFlags::empty(), none).unwrap();
        let node = Node::new();
        let key = key("unified");
        let container = node.shell(&key, "exit 5");
        let group = Path::new(cgroups).join(container.cgroup.strip_prefix("/").unwrap());
        let code = node.tokio.block_on(async {
            let runtime = node.runtime();
            runtime.start(&key, &container).await.unwrap();
            runtime.wait(&key).await.unwrap().code
        });
        let left = group.exists();
        let _ = fs::remove_dir(group.parent().unwrap());
        let _ = fs::remove_dir(group.parent().unwrap().parent().unwrap());
        (code, left)
    })
    .join()
    .unwrap();
    assert_eq!((code, left), (5, false));
}

fn what_cannot_run_says_why() {
    let node = Node::new();
    let key = key("absent");
    node.tokio.block_on(async {
        let runtime = node.runtime();
        let container = node.container(&key, "stead.local/busybox", &["/no/such/program"]);
        let error = runtime.start(&key, &container).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
        let found = runtime.list().await.unwrap();
        assert!(matches!(found.as_slice(), [(_, Found::Failed { .. })]), "{found:?}");
        runtime.remove(&key).await.unwrap();
        let mut container = node.container(&key, "stead.local/busybox", &["true"]);
        container.process.user = "nobody-knows".to_owned();
        let error = runtime.start(&key, &container).await.unwrap_err();
        assert!(error.to_string().contains("nobody-knows"), "{error}");
    });
}

fn a_killed_shim_takes_its_container_along() {
    let node = Node::new();
    let key = key("orphan");
    node.tokio.block_on(async {
        let runtime = node.runtime();
        let running = runtime.start(&key, &node.shell(&key, "sleep 1000")).await.unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", running.pid)).unwrap();
        let shim: i32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
        let exit = runtime.wait(&key).await.unwrap();
        assert_eq!((exit.code, exit.cause), (137, ExitCause::Unknown));
        let gone = || match fs::read_to_string(format!("/proc/{}/stat", running.pid)) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        eventually("the container is gone", gone);
    });
}

fn a_program_with_too_much_memory_is_named_so() {
    let node = Node::new();
    let key = key("hungry");
    let mut container = node.shell(&key, "x=$(yes | head -c 100000000); echo unreachable");
    container.limits.memory = Some(16 << 20);
    node.tokio.block_on(async {
        let runtime = node.runtime();
        runtime.start(&key, &container).await.unwrap();
        let exit = runtime.wait(&key).await.unwrap();
        assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory));
    });
}

fn without_cgroups_containers_run_all_the_same() {
    let node = Node::new();
    let key = key("free");
    let none: Option<&str> = None;
    let hierarchies: Vec<_> = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()).collect();
    let remount = |flags: MsFlags| {
        for hierarchy in hierarchies.iter().filter(|path| path.is_dir() && !path.is_symlink()) {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
            mount(none, hierarchy, none, flags, none).unwrap();
        }
    };
    remount(MsFlags::MS_RDONLY);
    let code = node.tokio.block_on(async {
        let runtime = node.runtime();
        runtime.start(&key, &node.shell(&key, "exit 5")).await.unwrap();
        runtime.wait(&key).await.unwrap().code
    });
    remount(MsFlags::empty());
    assert_eq!(code, 5);
    let said = fs::read_to_string(node.dir.path().join("containers/pod/free/0/shim.log")).unwrap();
    assert!(said.contains("runs without limits"), "{said}");
}

fn processes_run_beside_a_containers_own() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let node = Node::new();
    let key = key("host");
    let mut container = node.shell(&key, "while :; do sleep 1; done");
    container.process.env.push("COLOUR=blue".to_owned());
    let sh = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    node.tokio.block_on(async {
        let runtime = node.runtime();
        runtime.start(&key, &container).await.unwrap();
        let pipes = Wanted::Pipes { stdin: true, stdout: true, stderr: true };
        let script = "echo $COLOUR $(pwd) $$; cat; echo odd >&2; kill -9 $$";
        let running = runtime.exec(&key, sh(script), pipes).await.unwrap();
        let ExecIo::Pipes { stdin: Some(mut stdin), stdout: Some(mut stdout), stderr: Some(mut stderr) } = running.io
        else {
            panic!("no pipes")
        };
        stdin.write_all(b"typed").await.unwrap();
        drop(stdin);
        let (mut out, mut err) = (String::new(), String::new());
        stdout.read_to_string(&mut out).await.unwrap();
        stderr.read_to_string(&mut err).await.unwrap();
        // In the container's own PID namespace.
        let pid = out.strip_prefix("blue /made/for/it ").and_then(|out| out.strip_suffix("\ntyped"));
        assert!(pid.is_some_and(|pid| pid.parse::<u32>().unwrap() < 1000), "{out}");
        assert_eq!((err.as_str(), running.exit.await.unwrap()), ("odd\n", Ok(137)));

        let script =
            "tty; until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done; read word; echo got $word; exit 3";
        let running = runtime.exec(&key, sh(script), Wanted::Terminal { stdin: true }).await.unwrap();
        let ExecIo::Terminal(terminal) = running.io else { panic!("no terminal") };
        terminal.resize(77, 33).unwrap();
        terminal.write_all(b"word\n").await.unwrap();
        let (mut shown, mut piece) = (Vec::new(), [0; 256]);
        loop {
            let length = terminal.read(&mut piece).await.unwrap();
            if length == 0 {
                break;
            }
            shown.extend_from_slice(&piece[..length]);
        }
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("/dev/pts/0") && shown.contains("got word"), "{shown}");
        assert_eq!(running.exit.await.unwrap(), Ok(3));

        let nothing = Wanted::Pipes { stdin: false, stdout: true, stderr: false };
        let running = runtime.exec(&key, vec!["nothing".to_owned()], nothing).await.unwrap();
        let why = running.exit.await.unwrap().unwrap_err();
        assert_eq!(why, "exec: \"nothing\": executable file not found in $PATH");

        // Who has a terminal is hung up on when it is dropped.
        let running = runtime.exec(&key, sh("echo up; sleep 1000"), Wanted::Terminal { stdin: false }).await.unwrap();
        let ExecIo::Terminal(terminal) = running.io else { panic!("no terminal") };
        assert!(terminal.read(&mut piece).await.unwrap() > 0, "it runs before the terminal goes");
        drop(terminal);
        assert_eq!(running.exit.await.unwrap(), Ok(129));
        runtime.stop(&key, Stop::Kill).await.unwrap();
        runtime.wait(&key).await.unwrap();
        runtime.remove(&key).await.unwrap();
    });
}

/// What comes until it ends with `end`, or nothing more comes; each piece of standard error in brackets.
async fn output_until(output: &mut AttachedOutput, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        match output.next().await.unwrap() {
            Some(Piece::Output(bytes)) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Some(Piece::Error(bytes)) => text.push_str(&format!("[{}]", std::str::from_utf8(&bytes).unwrap())),
            None => return text,
        }
    }
    text
}

const NO_END: &str = "\0";

fn programs_read_what_is_typed_by_those_who_attach() {
    let node = Node::new();
    let runtime = node.runtime();
    node.tokio.block_on(async {
        let once = key("once");
        let script = "while read word; do echo got $word; done; cat >&2; echo all";
        let container = Container { input: Input::Once, ..node.shell(&once, script) };
        runtime.start(&once, &container).await.unwrap();
        let mut watcher = runtime.attach(&once).await.unwrap();
        let mut typist = runtime.attach(&once).await.unwrap();
        typist.input.write(b"one\nt").await.unwrap();
        assert_eq!(output_until(&mut typist.output, "one\n").await, "got one\n");
        typist.input.write(b"wo\n").await.unwrap();
        typist.input.end().await.unwrap();
        assert_eq!(output_until(&mut typist.output, NO_END).await, "got two\nall\n");
        assert_eq!(output_until(&mut watcher.output, NO_END).await, "got one\ngot two\nall\n", "everybody sees all");
        assert_eq!(runtime.wait(&once).await.unwrap().code, 0);
        assert_eq!(text_of(&runtime.log(&once)), "got one\ngot two\nall");

        // Who goes without a word has ended his input, too; who only looked has none to end.
        let gone = key("gone");
        runtime.start(&gone, &Container { input: Input::Once, ..node.shell(&gone, "cat; echo all") }).await.unwrap();
        drop(runtime.attach(&gone).await.unwrap());
        let mut typist = runtime.attach(&gone).await.unwrap();
        typist.input.write(b"word\n").await.unwrap();
        assert_eq!(output_until(&mut typist.output, "word\n").await, "word\n");
        drop(typist);
        assert_eq!(runtime.wait(&gone).await.unwrap().code, 0);

        let kept = key("kept");
        let script = "read a; echo got $a; read b; echo $b >&2; exec sleep 1000";
        runtime.start(&kept, &Container { input: Input::Kept, ..node.shell(&kept, script) }).await.unwrap();
        for (typed, shown) in [("first", "got first\n"), ("second", "[second\n]")] {
            let mut typist = runtime.attach(&kept).await.unwrap();
            typist.input.write(format!("{typed}\n").as_bytes()).await.unwrap();
            assert_eq!(output_until(&mut typist.output, &shown[shown.len() - 3..]).await, shown);
            typist.input.end().await.unwrap();
            assert_eq!(
                output_until(&mut typist.output, NO_END).await,
                "",
                "his stay has ended, not the program's input"
            );
        }
        let found = runtime.list().await.unwrap();
        assert!(matches!(found.iter().find(|(one, _)| *one == kept), Some((_, Found::Running(_)))), "{found:?}");

        // Much, both ways at once; and a program that has no input minds none.
        let much = key("much");
        let container = Container { input: Input::Once, ..node.shell(&much, "exec cat") };
        runtime.start(&much, &container).await.unwrap();
        let stead_node::runtime::Attached { mut input, mut output } = runtime.attach(&much).await.unwrap();
        let long = "0123456789abcde\n".repeat(100_000);
        let typed = async {
            input.write(long.as_bytes()).await.unwrap();
            input.end().await.unwrap();
        };
        let ((), back) = tokio::join!(typed, output_until(&mut output, NO_END));
        assert!(back == long, "{} of {} bytes came back", back.len(), long.len());
        let closed = key("closed");
        runtime.start(&closed, &node.shell(&closed, "cat; exec sleep 1000")).await.unwrap();
        let mut typist = runtime.attach(&closed).await.unwrap();
        typist.input.write(b"for nobody").await.unwrap();
        typist.input.end().await.unwrap();
        runtime.stop(&closed, Stop::Kill).await.unwrap();
        assert_eq!(output_until(&mut typist.output, NO_END).await, "", "he stays until the program ends");
        let deaf = key("deaf");
        let container = Container { input: Input::Kept, ..node.shell(&deaf, "exec <&-; echo deaf; sleep 1; echo on") };
        runtime.start(&deaf, &container).await.unwrap();
        let mut typist = runtime.attach(&deaf).await.unwrap();
        typist.input.write(&[b'x'; 200_000]).await.unwrap();
        assert!(
            output_until(&mut typist.output, NO_END).await.ends_with("on\n"),
            "closed input is no signal to the shim"
        );
    });
}

fn a_programs_terminal_is_shared_by_those_who_attach() {
    let node = Node::new();
    let runtime = node.runtime();
    let key = key("terminal");
    let script = "tty; echo $TERM; until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done; echo sized; \
                  while read word; do echo got $word; [ $word = end ] && exit 3; done";
    let container = Container { stdio: Stdio::Terminal, input: Input::Once, ..node.shell(&key, script) };
    node.tokio.block_on(async {
        runtime.start(&key, &container).await.unwrap();
        let mut first = runtime.attach(&key).await.unwrap();
        first.input.resize(77, 33).await.unwrap();
        let shown = output_until(&mut first.output, "sized\r\n").await;
        assert!(shown.ends_with("sized\r\n"), "{shown:?}");
        first.input.write(b"word\n").await.unwrap();
        assert_eq!(output_until(&mut first.output, "got word\r\n").await, "word\r\ngot word\r\n", "with its echo");
        first.input.end().await.unwrap();
        assert_eq!(output_until(&mut first.output, NO_END).await, "", "a terminal stays when somebody leaves it");
        // A process beside it has pipes all the same.
        let pipes = Wanted::Pipes { stdin: false, stdout: true, stderr: false };
        let beside = runtime.exec(&key, ["/bin/sh", "-c", "test -t 1; echo $?"].map(str::to_owned).to_vec(), pipes);
        let ExecIo::Pipes { stdout: Some(mut stdout), .. } = beside.await.unwrap().io else { panic!("no pipes") };
        let mut told = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut told).await.unwrap();
        assert_eq!(told, "1\n");
        let mut second = runtime.attach(&key).await.unwrap();
        second.input.write(b"end\n").await.unwrap();
        assert_eq!(output_until(&mut second.output, NO_END).await, "end\r\ngot end\r\n");
        assert_eq!(runtime.wait(&key).await.unwrap().code, 3);
    });
    let log = fs::read_to_string(runtime.log(&key)).unwrap();
    assert!(
        log.contains("stdout F /dev/pts/0\r\n") && log.contains(" xterm\r\n") && !log.contains(" stderr "),
        "{log}"
    );
}
