//! The client verbs against a lab: what they print is what kubectl prints, and a whole session goes without kubectl.

use std::process::{Command, Output};

use crate::{
    lab::{Lab, eventually, ok, run, stead},
    names,
    streams::{Running, http_get, port_in},
};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello-world, labels: {tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello-world}}
  template:
    metadata: {labels: {app: hello-world}}
    spec:
      containers:
      - name: hello
        image: stead.local/hello-app:1.0
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: \"hello\\nworld\\n\", number: '1'}
";

fn command(lab: &Lab, words: &[&str]) -> Command {
    let mut command = stead();
    command.args(words).env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path());
    command
}

fn verb(lab: &Lab, words: &str, stdin: &str) -> Output {
    run(command(lab, &words.split_whitespace().collect::<Vec<_>>()), stdin)
}

fn told(lab: &Lab, words: &str) -> String {
    ok(&format!("stead {words}"), verb(lab, words, ""))
}

fn refused(lab: &Lab, words: &str) -> String {
    let output = verb(lab, words, "");
    assert_eq!(output.status.code(), Some(1), "stead {words}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_session_without_kubectl() {
    let lab = Lab::up("verbs", 2);
    let apply = || ok("apply", verb(&lab, "apply -f -", MANIFEST));
    assert_eq!(apply(), "deployment.apps/hello-world created\nconfigmap/words created\n");
    assert_eq!(
        told(&lab, "expose deployment hello-world --port=80 --target-port=8080"),
        "service/hello-world exposed\n"
    );
    assert_eq!(told(&lab, "create service nodeport other --tcp=80:8080"), "service/other created\n");
    assert_eq!(told(&lab, "scale deploy/hello-world --replicas=3"), "deployment.apps/hello-world scaled\n");
    let address = told(&lab, "get svc hello-world -o jsonpath={.spec.clusterIP}");
    let url = format!("http://{address}");
    eventually("three pods to answer", || {
        lab.curl("node1", &url)?;
        (lab.answering("node1", &url, 40).len() == 3).then_some(())
    });
    lab.kubectl_ok("rollout status deployment hello-world --timeout=60s");

    prints_what_kubectl_prints(&lab);
    prints_the_tables_of_2015(&lab, &address);

    runs_commands_in_containers(&lab);
    brings_ports_to_this_machine(&lab);

    let pod = told(&lab, "get pods -l app=hello-world -o jsonpath={.items[0].metadata.name}");
    assert!(told(&lab, &format!("logs {pod}")).contains("8080"));
    assert!(told(&lab, "logs deploy/hello-world --tail=1").lines().count() <= 1);
    assert_eq!(
        told(&lab, "run one --image=stead.local/hello-app:2.0 --port=8080 --expose"),
        "service/one created\npod/one created\n"
    );
    eventually("the pod that was run to answer", || {
        let answer =
            lab.curl("node2", &format!("http://{}:8080", told(&lab, "get svc one -o jsonpath={.spec.clusterIP}")))?;
        answer.contains("Version: 2.0.0").then_some(())
    });
    assert_eq!(told(&lab, "delete pod,svc one"), "pod \"one\" deleted\nservice \"one\" deleted\n");
    assert_eq!(told(&lab, "get pods,svc one --ignore-not-found"), "");

    assert_eq!(refused(&lab, "get svc nothing"), "Error from server (NotFound): services \"nothing\" not found\n");
    assert!(refused(&lab, "get routes").contains("doesn't have a resource type \"routes\""));
    let file = "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: 70000}]}\n";
    let output = verb(&lab, "create -f -", file);
    assert!(String::from_utf8_lossy(&output.stderr).contains("spec.ports[0].port"), "{output:?}");
    let output = verb(&lab, "apply -f -", "kind: [");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error converting YAML to JSON"), "{output:?}");
    names::lead_nowhere_else(&lab);
}

/// Every form that does not change with kubectl's version.
fn prints_what_kubectl_prints(lab: &Lab) {
    // The second apart in an age is no difference.
    let ageless = |text: String| {
        let columns = |line: &str| line.split_whitespace().filter(|word| !is_age(word)).collect::<Vec<_>>().join(" ");
        text.lines().map(columns).collect::<Vec<_>>()
    };
    for words in [
        "get svc",
        "get svc,deploy",
        "get all -A",
        "get pods -o wide --show-labels",
        "get nodes -L kubernetes.io/hostname",
        "get endpointslices -l kubernetes.io/service-name=hello-world",
        "get svc --sort-by=.metadata.name --no-headers",
        "get svc/hello-world deploy/hello-world",
        "get svc --field-selector spec.type=NodePort",
        "get cm words -o yaml",
        "get svc hello-world -o json",
        "get svc -o name",
        "get svc -o custom-columns=NAME:.metadata.name,PORT:.spec.ports[*].port",
    ] {
        let theirs = lab.kubectl_ok(words);
        // kubectl before 1.21 shows who set which field, unasked: then what it means counts, not how it is written.
        if theirs.contains("managedFields") {
            let read = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&told(lab, &format!("{words} --show-managed-fields"))), read(&theirs), "{words}");
            continue;
        }
        assert_eq!(ageless(told(lab, words)), ageless(theirs), "{words}");
    }
    let template = "{range .items[*]}{.metadata.name}{\"\\t\"}{.spec.ports[0].port}{\"\\n\"}{end}";
    let words = ["get", "svc", "-o", &format!("jsonpath={template}")];
    let mut command = stead();
    command.args(words).env("KUBECONFIG", lab.kubeconfig());
    assert_eq!(ok("jsonpath", run(command, "")), ok("kubectl", lab.kubectl_words(&words, "")));

    for words in [
        "explain svc",
        "explain svc.spec.ports",
        "explain deploy.spec",
        "explain svc.spec --recursive",
        "explain pod.spec.volumes",
    ] {
        let (ours, theirs) = (told(lab, words), lab.kubectl_ok(words));
        // kubectl before 1.27 lays its pages out in another way.
        let is_today = |page: &str| page.contains("KIND:       ");
        assert!(is_today(&ours), "{words}: {ours}");
        if is_today(&theirs) {
            assert_eq!(ours, theirs, "{words}");
        }
    }
    assert!(refused(lab, "explain svc.spec.nope").contains("field \"nope\" does not exist"));

    let page = told(lab, "describe svc hello-world");
    for line in [
        "Name:                     hello-world",
        "Selector:                 app=hello-world",
        "TargetPort:               8080/TCP",
    ] {
        assert!(page.lines().any(|found| found == line), "{line:?} is not in {page}");
    }
    for words in [
        "describe pods",
        "describe deploy hello-world",
        "describe nodes",
        "describe rs",
        "describe cm words",
        "describe ns default",
    ] {
        assert!(told(lab, words).starts_with("Name:  "), "{words}");
    }
}

fn is_age(word: &str) -> bool {
    word.ends_with(['s', 'm']) && word.starts_with(|letter: char| letter.is_ascii_digit())
}

fn runs_commands_in_containers(lab: &Lab) {
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"box"},"spec":{"terminationGracePeriodSeconds":0,
        "containers":[{"name":"main","image":"stead.local/busybox","command":["sleep","1000"]}]}}"#;
    ok("apply", verb(lab, "apply -f -", pod));
    lab.kubectl_ok("wait --for=condition=Ready pod/box --timeout=60s");
    let exec = |words: &[&str], stdin: &str| {
        let output = run(command(lab, &[&["exec", "box"], words].concat()), stdin);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code())
    };
    assert_eq!(
        exec(&["--", "sh", "-c", "echo out; echo err >&2; exit 7"], ""),
        ("out\n".to_owned(), "err\ncommand terminated with exit code 7\n".to_owned(), Some(7))
    );
    let long = "0123456789abcde\n".repeat(50_000);
    let (came_back, errors, code) = exec(&["-i", "-c", "main", "--", "sh", "-c", "cat; echo read >&2"], &long);
    assert!(came_back == long, "{} of {} bytes came back", came_back.len(), long.len());
    assert_eq!((errors.as_str(), code), ("read\n", Some(0)));
    let (_, errors, code) = exec(&["-it", "--", "true"], "");
    assert!(errors.contains("Unable to use a TTY") && code == Some(0), "{errors}");
    let (_, errors, code) = exec(&["-c", "none", "--", "true"], "");
    assert!(errors.contains("none") && code == Some(1), "{errors}");
    let (_, errors, code) = exec(&["--", "no-such-program"], "");
    assert!(errors.contains("no-such-program") && !matches!(code, Some(0)), "{code:?} {errors}");
}

/// What the README promises a browser.
fn brings_ports_to_this_machine(lab: &Lab) {
    for (object, port) in [("svc/hello-world", ":80"), ("deploy/hello-world", ":8080")] {
        let forward = Running::start(command(lab, &["port-forward", object, port, "--address", "127.0.0.1"]));
        let line = forward.line("Forwarding from");
        let local = port_in(&line);
        assert_eq!(line, format!("Forwarding from 127.0.0.1:{local} -> 8080"));
        for _ in 0..3 {
            assert!(http_get(local).unwrap().contains("Hello, world!"), "{object}");
            assert_eq!(forward.line("Handling"), format!("Handling connection for {local}"));
        }
    }
    let forward = Running::start(command(lab, &["port-forward", "box", ":4711"]));
    let local = port_in(&forward.line("Forwarding from"));
    for _ in 0..2 {
        assert_eq!(http_get(local).unwrap_or_default(), "");
        assert!(forward.line("an error occurred").contains(&format!("forwarding {local} -> 4711")));
    }
    assert!(refused(lab, "port-forward svc/hello-world 8080:81").contains("does not have a port \"81\""));
}

fn prints_the_tables_of_2015(lab: &Lab, address: &str) {
    let table = told(lab, "get services hello-world --output-version v1beta1");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [
            vec!["NAME", "LABELS", "SELECTOR", "IP", "PORT"],
            vec!["hello-world", "tier=front", "app=hello-world", address, "80"]
        ]
    );
    let page = told(lab, "describe service hello-world --output-version v1beta1");
    let names: Vec<&str> = page.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
    assert_eq!(names, ["Name:", "Labels:", "Selector:", "Port:", "No events."]);
    let old: serde_json::Value =
        serde_json::from_str(&told(lab, "get svc hello-world --output-version v1beta1 -o json")).unwrap();
    assert_eq!((&old["id"], &old["portalIP"]), (&"hello-world".into(), &address.into()));
    assert!(refused(lab, "get deployments --output-version v1beta1").contains("there were no deployments"));
}

#[test]
fn completion_and_man_pages_know_every_verb() {
    let script = |shell: &str| {
        let mut command = stead();
        command.args(["completion", shell]);
        ok("completion", run(command, ""))
    };
    let mut help = stead();
    help.arg("--help");
    let help = ok("help", run(help, ""));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    // A command's line is two blanks deep; what goes on with its text is deeper.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names: Vec<&str> = names.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(names.len() > 35 && names.contains(&"expose") && names.contains(&"cluster-info"), "{names:?}");
    let mut command = stead();
    command.args(["__complete", ""]);
    let completed = ok("complete", run(command, ""));
    for name in &names {
        assert!(completed.lines().any(|line| line.split('\t').next() == Some(name)), "{name}");
    }
    for (shell, begins) in
        [("bash", "# Completion of stead for bash."), ("zsh", "#compdef stead\n"), ("fish", "# Completion of")]
    {
        assert!(script(shell).starts_with(begins) && script(shell).contains("__complete"), "{shell}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let mut syntax = std::process::Command::new(shell);
        syntax.args(["-n", "/dev/stdin"]);
        match syntax.stdin(std::process::Stdio::null()).output() {
            Ok(_) => drop(ok(shell, run(syntax, &script(shell)))),
            Err(_) => eprintln!("{shell} is not installed: its script is not read by it"),
        }
    }
    let directory = tempfile::TempDir::new().unwrap();
    let mut command = stead();
    command.arg("man").arg(directory.path());
    ok("man", run(command, ""));
    let pages = names.iter().map(|name| format!("stead-{name}.1"));
    for page in pages.chain(["stead.1".to_owned(), "stead-create-service-nodeport.1".to_owned()]) {
        let text = std::fs::read_to_string(directory.path().join(&page)).unwrap();
        assert!(text.contains(".SH"), "{page}");
    }
}
