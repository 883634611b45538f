//! What leads from a client into pods: the proxy subresources, `exec`, `port-forward` and `logs`, with the installed kubectl
//! (WebSocket) and the one of 2020 that `build/get-clients.sh` unpacks or `STEAD_KUBECTL_OLD` names, which speaks SPDY only.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::lab::{Lab, eventually, ok, run};

fn kubectls() -> Vec<OsString> {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/clients/kubectl-older/usr/bin/kubectl");
    let older = std::env::var_os("STEAD_KUBECTL_OLD").unwrap_or_else(|| fetched.into());
    assert!(Path::new(&older).exists(), "{} is not there: `make clients` fetches it", older.display());
    vec![std::env::var_os("STEAD_KUBECTL").unwrap_or_else(|| "kubectl".into()), older]
}

fn command(lab: &Lab, kubectl: &OsString, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60"]).arg(kubectl).args(arguments);
    command.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path());
    command
}

/// A kubectl that runs until it is dropped, and the lines it says on standard output and error.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        Self { child, lines }
    }

    /// The first line from now on that has `wanted` in it.
    pub(crate) fn line(&self, wanted: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(crate::lab::PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("nothing with {wanted:?} was said"));
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

pub(crate) fn http_get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The number behind the last colon before a blank or the end: `127.0.0.1:4711 -> 8080`.
pub(crate) fn port_in(line: &str) -> u16 {
    let word = line.split(' ').find(|word| word.contains("127.0.0.1:")).unwrap();
    word.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn clients_get_into_pods() {
    let lab = Lab::up("streams", 2);
    let objects = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{
            "containers":[{"name":"main","image":"stead.local/hello-app:1.0","ports":[{"containerPort":8080}]}]}},
        {"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"web"},
            "ports":[{"name":"http","port":80,"targetPort":8080}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"box"},"spec":{"terminationGracePeriodSeconds":0,
            "containers":[{"name":"main","image":"stead.local/busybox","env":[{"name":"COLOUR","value":"blue"}],
                "workingDir":"/work","command":["sh","-c","echo begun; echo odd >&2; while :; do sleep 1; done"]}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"ticker"},"spec":{"terminationGracePeriodSeconds":0,
            "containers":[{"name":"main","image":"stead.local/busybox",
                "command":["sh","-c","while :; do echo tick; echo tock >&2; sleep 0.2; done"]}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"twice"},"spec":{"terminationGracePeriodSeconds":0,
            "volumes":[{"name":"lives","emptyDir":{}}],
            "containers":[{"name":"main","image":"stead.local/busybox","volumeMounts":[{"name":"lives","mountPath":"/lives"}],
                "command":["sh","-c","if mkdir /lives/first 2>/dev/null; then echo first life; exit 3; fi; echo second life; sleep 3600"]}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"reader"},"spec":{"terminationGracePeriodSeconds":0,
            "containers":[{"name":"main","image":"stead.local/busybox","stdin":true,"tty":true,
                "command":["sh","-c","while read word; do echo got $word; done"]}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"missing"},"spec":{
            "containers":[{"name":"main","image":"stead.local/none"}]}}]}"#;
    ok("create", lab.kubectl_words(&["create", "-f", "-"], objects));
    lab.kubectl_ok("wait --for=condition=Ready pod/web pod/box pod/ticker pod/reader --timeout=60s");
    proxies_lead_to_services_pods_and_nodes(&lab);
    for kubectl in kubectls() {
        commands_run_in_containers(&lab, &kubectl);
        terminals_have_a_size(&lab, &kubectl);
        ports_are_forwarded(&lab, &kubectl);
        logs_are_read(&lab, &kubectl);
        an_earlier_life_is_read(&lab, &kubectl);
    }
    let own = env!("CARGO_BIN_EXE_stead").into();
    an_earlier_life_is_read(&lab, &own);
    logs_of_many_are_read(&lab, &own);
    for (number, client) in kubectls().into_iter().chain([own]).enumerate() {
        programs_are_run_and_typed_to(&lab, &client, number);
        terminals_are_attached_to(&lab, &client);
    }
}

/// A pod for one program: typed to, shown, its end taken over, and gone with it.
fn programs_are_run_and_typed_to(lab: &Lab, client: &OsString, number: usize) {
    let image = "--image=stead.local/busybox";
    let name = format!("once{number}");
    let script = "while read word; do echo got $word; done; echo odd >&2; exit 4";
    let words = ["run", &name, image, "-i", "--rm", "--restart=Never", "--", "sh", "-c", script];
    let output = run(command(lab, client, &words), "one\ntwo\n");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (shown, told) = (text(&output.stdout), text(&output.stderr));
    assert!(shown.starts_with("got one\ngot two\n"), "{output:?}");
    assert!(shown.contains(&format!("pod \"{name}\" deleted")), "{output:?}");
    assert!(told.contains("odd") && told.contains(&format!("pod default/{name} terminated (Error)")), "{output:?}");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    eventually("the pod to be gone", || (!lab.kubectl(&format!("get pod {name}")).status.success()).then_some(()));
    // Left open, the program's input outlives its first client's.
    let name = format!("open{number}");
    let words =
        ["run", &name, image, "-i", "--leave-stdin-open", "--restart=Never", "--", "sh", "-c", "cat; echo never"];
    ok("run", run(command(lab, client, &words), "first\n"));
    let logs = || text(&lab.kubectl(&format!("logs {name}")).stdout);
    eventually("the first words", || (logs() == "first\n").then_some(()));
    let attached = run(command(lab, client, &["attach", "-i", &name]), "second\n");
    assert!(attached.status.success(), "{attached:?}");
    eventually("the second words", || (logs() == "first\nsecond\n").then_some(()));
    lab.kubectl_ok(&format!("delete pod {name} --grace-period=0 --force"));
}

/// The program's own terminal, which outlives those who sit at it.
fn terminals_are_attached_to(lab: &Lab, client: &OsString) {
    let line = format!("timeout --foreground 60 {} attach -it reader", client.to_string_lossy());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path()).env("SHELL", "/bin/sh");
    let mut session = Running::start(script);
    session.line("If you don't see a command prompt");
    // What is typed before the terminal is the program's own may be lost.
    eventually("an answer", || {
        session.child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
        let mut lines = std::iter::from_fn(|| session.lines.recv_timeout(Duration::from_millis(200)).ok());
        lines.any(|line| line.contains("got word")).then_some(())
    });
}

/// What people without kubectl read of many pods.
fn logs_of_many_are_read(lab: &Lab, own: &OsString) {
    let chosen = ["-l", "app=many", "--all-containers", "--prefix"];
    let objects = (0..3).map(|number| {
        let script = format!("for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n of {number}; done; sleep 1000");
        serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("many{number}"), "labels": {"app": "many"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "stead.local/busybox",
                "command": ["sh", "-c", script]}]}})
    });
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()});
    ok("create", lab.kubectl_words(&["create", "-f", "-"], &list.to_string()));
    lab.kubectl_ok("wait --for=condition=Ready pod -l app=many --timeout=60s");
    for words in [
        &chosen[..],
        &["-l", "app=many"],
        &["-l", "app=many", "--tail=2"],
        &["-l", "app=many", "--tail=-1", "--since=1h"],
        &["-l", "app=none"],
        &["many0", "main", "--since-time=2020-01-01T00:00:00Z"],
        &["many0", "--since-time=2100-01-01T00:00:00Z"],
        &["-l", "app=many", "-f", "--max-log-requests=2"],
    ] {
        // kubectl takes pods in no order.
        let both = [&"kubectl".into(), own].map(|client| {
            let output = run(command(lab, client, &[&["logs"], words].concat()), "");
            let [shown, told] =
                [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
            lines.sort();
            (output.status.code(), lines, told)
        });
        assert_eq!(both[0], both[1], "{words:?}");
    }
    for client in [&"kubectl".into(), own] {
        let following = Running::start(command(lab, client, &[&["logs", "-f"], &chosen[..]].concat()));
        let mut lines: Vec<String> = (0..30).map(|_| following.line("[pod/many")).collect();
        lines.sort();
        assert_eq!(lines[0], "[pod/many0/main] line 10 of 0");
        assert_eq!(lines.iter().filter(|line| line.starts_with("[pod/many2/main] line ")).count(), 10);
    }
    lab.kubectl_ok("delete pod -l app=many --grace-period=0 --force");
}

fn proxies_lead_to_services_pods_and_nodes(lab: &Lab) {
    let raw = |path: &str| lab.kubectl(&format!("get --raw {path}"));
    let service = "/api/v1/namespaces/default/services/web:http/proxy/";
    eventually("the Service to be proxied", || raw(service).status.success().then_some(()));
    for path in
        [service, "/api/v1/namespaces/default/services/web:80/proxy/", "/api/v1/namespaces/default/pods/web/proxy/"]
    {
        assert!(ok(path, raw(path)).contains("Hello, world!"), "{path}");
    }
    for node in ["node1", "node2"] {
        assert_eq!(ok(node, raw(&format!("/api/v1/nodes/{node}/proxy/healthz"))), "ok\n");
    }
    let proxy = Running::start(command(lab, &"kubectl".into(), &["proxy", "--port=0"]));
    let port = port_in(&proxy.line("Starting to serve on"));
    let url = format!("http://127.0.0.1:{port}{service}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "10", &url]);
    assert!(ok("curl", run(curl, "")).contains("Hello, world!"));
    assert!(lab.kubectl_ok("cluster-info").contains("is running at"));
}

fn commands_run_in_containers(lab: &Lab, kubectl: &OsString) {
    let exec = |arguments: &[&str], stdin: &str| -> Output {
        run(command(lab, kubectl, &[&["exec"], arguments].concat()), stdin)
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output = exec(&["box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("out\n", Some(7)), "{output:?}");
    assert!(text(&output.stderr).starts_with("err\ncommand terminated with exit code 7"), "{output:?}");
    let output =
        exec(&["box", "-c", "main", "--", "sh", "-c", "echo $COLOUR; pwd; hostname; id -u; ls /proc/1/exe"], "");
    assert_eq!(text(&output.stdout), "blue\n/work\nbox\n0\n/proc/1/exe\n", "{output:?}");
    let long = "0123456789abcde\n".repeat(200_000);
    let output = exec(&["-i", "box", "--", "sh", "-c", "cat; echo read >&2"], &long);
    assert!(output.status.success() && text(&output.stdout) == long, "{} bytes came back", output.stdout.len());
    assert_eq!(text(&output.stderr), "read\n");
    let output = exec(&["box", "--", "sh", "-c", "head -c 20000000 /dev/zero"], "");
    assert_eq!((output.stdout.len(), output.status.code()), (20_000_000, Some(0)));
    let refused = |arguments: &[&str], expected: &str| {
        let output = exec(arguments, "");
        assert!(!output.status.success() && text(&output.stderr).contains(expected), "{arguments:?}: {output:?}");
    };
    refused(&["box", "--", "/no/such/program"], "exec: \"/no/such/program\": executable file not found in $PATH");
    refused(&["box", "-c", "none", "--", "true"], "container");
    refused(&["missing", "--", "true"], "container not found (\"main\")");
    refused(&["nobody", "--", "true"], "pods \"nobody\" not found");
}

fn terminals_have_a_size(lab: &Lab, kubectl: &OsString) {
    // The size arrives a moment after the program has started.
    let inside = "tty; until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done; echo resized $TERM; read word; echo got $word; exit 3";
    let line = format!(
        "stty rows 33 cols 77; timeout --foreground 60 {} exec -it box -- sh -c '{inside}'",
        kubectl.to_string_lossy()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path()).env("SHELL", "/bin/sh");
    let mut session = Running::start(script);
    session.line("/dev/pts/0");
    session.line("resized xterm");
    session.child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    session.line("got word");
    assert_eq!(session.child.wait().unwrap().code(), Some(3));
}

fn ports_are_forwarded(lab: &Lab, kubectl: &OsString) {
    let forward = Running::start(command(lab, kubectl, &["port-forward", "pod/web", ":8080", ":9"]));
    let (open, closed) = (port_in(&forward.line("-> 8080")), port_in(&forward.line("-> 9")));
    thread::scope(|scope| {
        let many: Vec<_> = (0..20).map(|_| scope.spawn(|| http_get(open).unwrap())).collect();
        for answer in many {
            assert!(answer.join().unwrap().contains("Hello, world!"));
        }
    });
    assert_eq!(http_get(closed).unwrap_or_default(), "");
    let line = forward.line("an error occurred forwarding");
    assert!(line.contains("error forwarding port 9 to pod") && line.contains("connection refused"), "{line}");
}

fn logs_are_read(lab: &Lab, kubectl: &OsString) {
    let logs = |arguments: &[&str]| {
        let output = run(command(lab, kubectl, &[&["logs"], arguments].concat()), "");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(logs(&["box"]), (true, "begun\nodd\n".to_owned()));
    assert_eq!(logs(&["box", "--tail=1", "--all-containers"]), (true, "odd\n".to_owned()));
    assert_eq!(logs(&["box", "--limit-bytes=3", "-c", "main"]), (true, "beg".to_owned()));
    assert_eq!(logs(&["box", "--since-time=2100-01-01T00:00:00Z"]), (true, String::new()));
    let stamped = logs(&["box", "--timestamps", "--since=1h", "--tail=1"]).1;
    assert!(stamped.starts_with("20") && stamped.ends_with("Z odd\n"), "{stamped}");
    let (_, problem) = logs(&["missing"]);
    assert!(problem.contains("container \"main\" in pod \"missing\" is waiting to start"), "{problem}");
    let (_, problem) = logs(&["box", "--previous"]);
    assert!(problem.contains("previous terminated container \"main\" in pod \"box\" not found"), "{problem}");
    let follow = Running::start(command(lab, kubectl, &["logs", "-f", "--tail=0", "ticker"]));
    assert_eq!([follow.line("t"), follow.line("t")].map(|line| line.len()), [4, 4]);
    for arguments in [&["attach", "ticker"][..], &["attach", "-i", "ticker"]] {
        let attached = Running::start(command(lab, kubectl, arguments));
        attached.line("tick");
        attached.line("tock");
    }
}

fn an_earlier_life_is_read(lab: &Lab, kubectl: &OsString) {
    let logs = |arguments: &[&str]| {
        let output = run(command(lab, kubectl, &[&["logs", "twice"], arguments].concat()), "");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("a second life", || (logs(&[]).ends_with("second life\n")).then_some(()));
    assert_eq!(logs(&["--previous"]), "first life\n");
    let state = ".status.containerStatuses[0]";
    let ended = format!("{{{state}.restartCount}} {{{state}.lastState.terminated.exitCode}}");
    assert_eq!(lab.kubectl_ok(&format!("get pod twice -o jsonpath={}", ended.replace(' ', ","))), "1,3");
}
