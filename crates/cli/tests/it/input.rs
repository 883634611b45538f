//! Bad input: each is told what is wrong by field and cause, and nothing else is disturbed.

use std::{
    fs,
    os::unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    process::{Child, Stdio},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

use crate::lab::{Lab, eventually, ok, run, stead};

fn service(spec: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"bad"}},"spec":{spec}}}"#)
}

#[test]
fn bad_objects_are_refused_by_field_and_disturb_nothing() {
    let lab = Lab::up("input", 1);
    ok(
        "a good service",
        lab.kubectl_words(
            &["create", "-f", "-"],
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"good"},"spec":{"type":"NodePort","clusterIP":"10.96.7.7","ports":[{"port":80,"nodePort":30080}]}}"#,
        ),
    );
    let before = lab.kubectl_ok("get svc good -o yaml");
    let refused = |manifest: &str, expect: &str| {
        let error = lab.kubectl_refused(&["create", "-f", "-"], manifest);
        assert!(error.contains(expect), "{manifest}\ngave {error}\ninstead of {expect}");
    };
    refused("kind: [", "yaml: ");
    // kubectl before 1.24 looks for itself, in the schema it was given, and has words of its own.
    let unknown = lab.kubectl_refused(&["create", "-f", "-"], &service(r#"{"ports":[{"port":80,"foo":1}]}"#));
    let words = [r#"unknown field "spec.ports[0].foo""#, r#"Service.spec.ports[0]): unknown field "foo""#];
    assert!(words.iter().any(|words| unknown.contains(words)), "{unknown}");
    refused(&service(r#"{"ports":[{"port":70000}]}"#), "spec.ports[0].port: Invalid value: 70000");
    refused(&service(r#"{"ports":[{"port":80},{"port":81}]}"#), "spec.ports[0].name: Required value");
    refused(
        &service(r#"{"clusterIP":"192.0.2.1","ports":[{"port":80}]}"#),
        r#"spec.clusterIPs: Invalid value: ["192.0.2.1"]: failed to allocate IP 192.0.2.1"#,
    );
    refused(
        &service(r#"{"clusterIP":"10.96.7.7","ports":[{"port":80}]}"#),
        "failed to allocate IP 10.96.7.7: provided IP is already allocated",
    );
    refused(
        &service(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":30080}]}"#),
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
    );
    refused(
        &service(r#"{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}"#),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
    refused(&service(r#"{"externalIPs":["192.0.2.1"],"ports":[{"port":80}]}"#), "--allow-external-ips");
    let doubled =
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad"},"spec":{"ports":[{"port":80,"port":81}]}}"#;
    assert!(raw(&lab, doubled.as_bytes()).contains(r#"duplicate field \"spec.ports[0].port\""#));
    assert!(raw(&lab, &[b' '; 4 << 20]).contains("RequestEntityTooLarge"));
    assert!(raw(&lab, b"\xff\xfe not json").contains("BadRequest"));

    assert_eq!(lab.kubectl_ok("get svc good -o yaml"), before);
    assert!(!lab.kubectl_ok("get svc").contains("bad"));
    assert!(lab.kubectl("get --raw /readyz").status.success());
}

/// A body posted as it is, with strict field validation; what the server answers.
fn raw(lab: &Lab, body: &[u8]) -> String {
    let file = lab.directory.path().join("body");
    fs::write(&file, body).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let client = stead_client::connect(&lab.kubeconfig()).await.unwrap();
        let request = http::Request::post("/api/v1/namespaces/default/services?fieldValidation=Strict")
            .header("content-type", "application/json")
            .body(kube::client::Body::from(body.to_vec()))
            .unwrap();
        let answer = client.send(request).await.unwrap();
        answer.into_body().collect_bytes().await.unwrap()
    });
    String::from_utf8(answer.to_vec()).unwrap()
}

#[test]
fn a_lab_that_cannot_be_is_refused_in_one_line_before_anything_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("t{}-refused", std::process::id());
    let refused = |config: &str, flags: &[&str], expect: &str| {
        let file = directory.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let mut command = stead();
        command.args(["up", "--name", &name, "--config"]).arg(&file).args(flags).current_dir(directory.path());
        let output = run(command, "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expect), "{config} {flags:?} gave {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "more than a line: {error}");
        assert!(!std::path::Path::new("/run/stead").join(&name).exists());
    };
    refused(
        "server:\n  serviceRanges: [10.244.0.0/20, 'fd56:96::/112']",
        &[],
        "overlaps server.serviceRanges 10.244.0.0/20",
    );
    refused(
        "server:\n  serviceRanges: [10.96.0.0/16, 'fd77:96::/48']",
        &[],
        "server.serviceRanges: fd77:96::/48 is too",
    );
    refused("lab:\n  fabric: [239.1.2.0/24, 'fd56::/64']", &[], "lab.fabric: 239.1.2.0/24 holds multicast");
    refused("lab:\n  knots: 2", &[], "knots");
    refused("proxy:\n  proxyMode: ebpf", &[], "proxyMode: must be one of nftables, iptables, ipvs, userspace");
    refused("proxy:\n  proxyMode: ipvs\n  ipvsFallback: [ebpf]", &[], "section proxy: --ipvs-fallback: \"ebpf\"");
    refused("node:\n  images: /proc/x", &[], "node.images: image store /proc/x: create directory: ");
    refused("node:\n  images: ''", &[], "node.images: \"\" is no directory");
    let here = directory.path().display();
    refused("node:\n  images: .", &[], &format!("node.images: {here} holds other files than an image store's: name"));
    assert!(!directory.path().join("layers").exists());
    refused("", &["--kubeconfig", "/dev/null"], "--kubeconfig /dev/null is no file");
    refused("", &["--kubeconfig", "/proc/kubeconfig"], "--kubeconfig /proc/kubeconfig cannot be written");
    refused("", &["--nodes", "0"], "a lab has 1 to 99 nodes, not 0: change --nodes");
    refused("", &["--nodes", "0", "--detach"], "a lab has 1 to 99 nodes, not 0: change --nodes");
    // Its parent is not, or no longer, who waits for it.
    refused("", &["--nodes", "0", "--detached", "4294967295"], "the command that waits for the lab has ended");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refused(&format!("lab:\n  hostPort: {port}"), &[], &format!("lab.hostPort: 127.0.0.1:{port} cannot be taken"));

    let lab = Lab::up("taken", 1);
    let mut command = stead();
    command.args(["up", "--name", &lab.name]);
    let output = run(command, "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("is running already: choose another name with --name"), "{error}");
    let mut command = stead();
    command.args(["up", "--name", &name, "--data"]).arg(lab.directory.path().join("data"));
    let error = String::from_utf8(run(command, "").stderr).unwrap();
    assert!(error.contains("is used by another lab") && error.trim_end().lines().count() == 1, "{error}");
    let kubeconfig = lab.kubeconfig();
    let expect =
        format!("--kubeconfig {} is that of lab {}, which runs: name another file", kubeconfig.display(), lab.name);
    refused("", &["--kubeconfig", kubeconfig.to_str().unwrap()], &expect);
    assert!(lab.kubectl("get nodes").status.success());
}

#[test]
fn a_signal_ends_what_is_not_yet_a_lab_and_is_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("t{}-early", std::process::id());
    let place = std::path::Path::new("/run/stead").join(&name);
    let up = |flags: &[&str]| {
        let mut command = stead();
        command.args(["up", "--name", &name]).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let end = |child: &Child| kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();

    let pipe = directory.path().join("config.yaml");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let waiting = up(&["--config", pipe.to_str().unwrap()]);
    // Can be opened once it is read from, and is at its end only when this is closed.
    let writer = eventually("the configuration to be read", || {
        fs::File::options().write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(&pipe).ok()
    });
    end(&waiting);
    assert_eq!(waiting.wait_with_output().unwrap().status.signal(), Some(Signal::SIGTERM as i32));
    drop(writer);

    let before = |flags: &[&str], what: &str| {
        let early = up(flags);
        eventually("its name to be taken", || place.join("lock").exists().then_some(()));
        end(&early);
        let output = early.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(error, format!("stead: ended by a signal before {what}\n"));
        assert!(!place.exists(), "something of it stayed");
    };
    before(&[], "it was ready");
    before(&["--demo"], "the demo was done");
    before(&["--demo", "--check"], "everything was checked");
}
