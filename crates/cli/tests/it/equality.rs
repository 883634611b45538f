//! `stead` beside the installed kubectl, command by command: each works in a namespace of its own that goes through the same
//! states, and what they print and end with must be the same.
//!
//! What differs from run to run is masked: ages, dates, addresses, uids, revisions of objects, the random ends of names.

use std::process::Output;

use crate::lab::{Lab, eventually, ok, run, stead};

/// The words of kubectl that `stead` speaks; other versions say some things in others.
const MINOR: u64 = 32;

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, labels: {tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: hello
        image: stead.local/hello-app:1.0
        ports: [{containerPort: 8080, name: http}]
        env: [{name: COLOR, value: blue}]
        readinessProbe: {httpGet: {path: /, port: http}}
        volumeMounts: [{name: words, mountPath: /words, readOnly: true}, {name: scratch, mountPath: /scratch}]
      volumes:
      - {name: words, configMap: {name: words}}
      - {name: scratch, emptyDir: {}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: "hello\nworld\n", number: '1'}
---
apiVersion: v1
kind: Service
metadata: {name: hello, annotations: {note: kept}}
spec:
  type: NodePort
  selector: {app: hello}
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: http, name: web}, {port: 9000, name: other, protocol: UDP, appProtocol: example.com/x}]
"#;

const TOLD: &str = r#"
apiVersion: v1
kind: Event
metadata: {name: told, namespace: default, annotations: {note: kept}}
involvedObject: {kind: Service, name: kubernetes, namespace: default, apiVersion: v1, fieldPath: spec.ports}
type: Warning
reason: Told
message: of nothing
count: 3
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:05:00Z"
source: {component: test}
"#;

/// A Deployment of the same name with another image, without what the first says besides.
const OTHER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: replaced}
";

struct Beside {
    lab: Lab,
}

impl Beside {
    fn kubectl(&self, words: &[&str], stdin: &str) -> Output {
        self.lab.kubectl_words(&[&["-n", "theirs"], words].concat(), stdin)
    }

    fn stead(&self, words: &[&str], stdin: &str) -> Output {
        let mut command = stead();
        command.args(["-n", "ours"]).args(words);
        command
            .env("KUBECONFIG", self.lab.kubeconfig())
            .env("HOME", self.lab.directory.path())
            .env("KUBE_EDITOR", EDITOR);
        run(command, stdin)
    }

    /// What both print on both streams, and how they end. `None` where they are alike. Behind a `~` a refusal is told in the same
    /// sense only: of flags that are read otherwise, and by `delete -f`, which does not name the file.
    fn difference(&self, line: &str, stdin: &str) -> Option<String> {
        let (line, in_sense) = line.strip_prefix("~ ").map_or((line, false), |line| (line, true));
        let words = split(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (theirs, ours) = (self.kubectl(&words, stdin), self.stead(&words, stdin));
        let shown = |output: &Output| {
            let errors = without_log(&String::from_utf8_lossy(&output.stderr));
            let told = masked(&String::from_utf8_lossy(&output.stdout));
            let told = if line.starts_with("describe rs") { in_any_order(&told) } else { told };
            (output.status.code(), told, masked(&errors))
        };
        let (theirs, ours) = (shown(&theirs), shown(&ours));
        let is_other = if in_sense { (theirs.0, &theirs.1) != (ours.0, &ours.1) } else { theirs != ours };
        is_other.then(|| {
            let whole = |(code, out, err): &(Option<i32>, String, String)| format!("{code:?}\n{out}{err}");
            format!("== {line}\n-- kubectl: {}\n-- stead: {}\n", whole(&theirs), whole(&ours))
        })
    }

    /// Both must do it; what they print may differ.
    fn both(&self, line: &str, stdin: &str) {
        let words = split(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ok(line, self.kubectl(&words, stdin));
        ok(line, self.stead(&words, stdin));
    }
}

const EDITOR: &str = "sed -i s/number:.*/number:\\ \\'7\\'/";

/// Words as a shell parts them, as far as single quotes go.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The text without lines such as `W1121 22:12:01.123456    1234 reflector.go:569] …`: kubectl's libraries write them as they find the
/// machine, not the command.
fn without_log(text: &str) -> String {
    let is_log = |line: &&str| {
        line.starts_with(['I', 'W', 'E', 'F'])
            && line.get(1..5).is_some_and(|date| date.bytes().all(|byte| byte.is_ascii_digit()))
            && line.contains(".go:")
    };
    text.lines().filter(|line| !is_log(line)).map(|line| format!("{line}\n")).collect()
}

/// Descriptions of several objects, in the order of their words: that of their names is that of hashes, into which the time of a restart goes.
fn in_any_order(text: &str) -> String {
    let mut parts: Vec<&str> = text.split("\n\n\n").map(str::trim).collect();
    parts.sort_unstable();
    parts.join("\n\n\n")
}

/// The text with a sign for what differs from run to run. Where there is such, columns are as wide as it makes them, and count
/// no more.
fn masked(text: &str) -> String {
    let bare = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let signed = |line: &str| line.split_whitespace().map(mask).collect::<Vec<_>>().join(" ");
    if text.lines().all(|line| signed(line) == bare(line)) {
        return text.to_owned();
    }
    let line = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        format!("{}{}\n", &line[..indent], signed(line))
    };
    text.lines().map(line).collect()
}

fn mask(word: &str) -> String {
    let word = word.replace("theirs", "NS").replace("ours", "NS");
    let is_age =
        |word: &str| word.ends_with(['s', 'm', 'h']) && word.starts_with(|letter: char| letter.is_ascii_digit());
    let part = |part: &str| {
        let bare = part.trim_matches(|letter: char| "\"',()[]".contains(letter));
        let is_uid = bare.len() == 36 && bare.bytes().filter(|&byte| byte == b'-').count() == 4;
        let is_time = bare.len() >= 20 && bare.as_bytes()[4] == b'-' && bare.contains('T');
        let is_clock = bare.len() == 8 && bare.bytes().filter(|&byte| byte == b':').count() == 2;
        let is_address = ["10.96.", "10.244.", "fd56:"].iter().any(|start| bare.contains(start));
        let is_number = bare.len() >= 5 && bare.bytes().all(|byte| byte.is_ascii_digit());
        let is_node_port = bare.contains(":3") && bare.contains("/TCP")
            || (bare.ends_with("/TCP") || bare.ends_with("/UDP")) && bare.starts_with('3') && bare.len() == 9;
        let is_hash = (9..=10).contains(&bare.len())
            && bare.bytes().any(|byte| byte.is_ascii_digit())
            && bare.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_uid || is_time || is_clock || is_address || is_number || is_node_port || is_hash || is_age(bare) {
            "~"
        } else {
            part
        }
        .to_owned()
    };
    let word = match word.rsplit_once('=') {
        Some((keys, value)) => format!("{keys}={}", part(value)),
        None => part(&word),
    };
    // `hello-7c9f8d5b6-x2x4z` and `node2`, where the scheduler put it.
    let word = match word.find("hello-") {
        Some(at) if !word.contains("hello-app") => format!("{}~", &word[..at]),
        _ => word,
    };
    if word.starts_with("node1/") || word.starts_with("node2/") || word == "node1" || word == "node2" {
        "node".to_owned()
    } else {
        word
    }
}

#[test]
fn the_verbs_say_what_kubectl_says() {
    let beside = Beside { lab: Lab::up("equal", 2) };
    let version = beside.lab.kubectl_ok("version --client -o json");
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    if minor.trim_end_matches('+').parse() != Ok(MINOR) {
        eprintln!("kubectl is not 1.{MINOR}, whose words these are: nothing compared");
        return;
    }
    for namespace in ["theirs", "ours"] {
        beside.lab.kubectl_ok(&format!("create namespace {namespace}"));
    }
    beside.both("create -f -", MANIFEST);
    beside.both("rollout status deploy/hello --timeout=60s", "");
    ok("create", beside.lab.kubectl_words(&["create", "-f", "-"], TOLD));
    let mut differences = Vec::new();
    for (lines, stdin) in [(READS, ""), (WRITES, ""), (DESCRIPTIONS, ""), (REFUSALS, ""), (FROM_FILES, OTHER)] {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix("! ") {
                Some(line) => beside.both(line, stdin),
                None => differences.extend(beside.difference(line, stdin)),
            }
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.concat());
    completes_what_kubectl_completes(&beside);
    edits_as_an_editor_leaves_it(&beside);
    watches_a_rollout_to_its_end(&beside);
    drains_a_node(&beside);
}

const READS: &str = r"
    get deploy,cm,svc
    get deploy hello -o wide
    get all
    get deploy hello -o name
    get svc hello -o jsonpath={.spec.ports[*].port}
    get svc -o custom-columns=NAME:.metadata.name,PORT:.spec.ports[*].port
    get svc --sort-by=.metadata.name --no-headers
    get svc --field-selector spec.type=NodePort
    get nothing
    get svc nothing
    get svc nothing --ignore-not-found
    get svc hello nothing
    get rs -l app=none
    api-resources
    api-resources -o wide
    api-resources -o name
    api-resources --api-group=apps
    api-resources --namespaced=false --no-headers
    api-resources --verbs=deletecollection --sort-by=name
    api-versions
    auth can-i get pods
    auth can-i get pods --subresource=log
    auth can-i list nodes
    auth can-i get /healthz
    auth can-i get pods --as=system:serviceaccount:default:default
    auth can-i --list
    auth can-i --list --no-headers
    auth whoami
    cluster-info
    get svc kubernetes -n default
    get svc -n default kubernetes -o name
    events -n theirs --for=deploy/hello
    events -n theirs --types=Warning
    rollout history deploy/hello
    rollout history deploy/hello --revision=9
    rollout status deploy/hello
    rollout status rs
    rollout status deploy/nothing
    explain svc.spec.ports
    explain events --api-version=events.k8s.io/v1
    wait --for=condition=Available deploy/hello
    wait --for=jsonpath={.spec.replicas}=2 deploy/hello
    wait --for=condition=Available deploy/hello -o name
    wait --for=delete pod/nothing
    wait --for=condition=Ready pod -l app=none
    wait --for=condition=Never deploy/hello --timeout=1s
    wait --for=condition=Never deploy/hello --timeout=0
    wait --for=jsonpath={.spec.replicas}=9 deploy/hello --timeout=1s
    wait --for=jsonpath={.data.greeting} cm/words
    wait --for=create cm/words
    wait --for=create cm/nothing --timeout=1s
    wait --for=delete cm/words --timeout=1s
";

const WRITES: &str = r#"
    label svc hello a=b c=d
    label svc hello a=b
    label svc hello a=x
    label svc hello a=x --overwrite
    label svc hello c-
    label svc hello c-
    label svc hello e=f --dry-run=client
    label svc hello e=f --dry-run=server
    label svc --all g=h
    label svc hello
    label svc hello nothing
    annotate svc hello note=other
    annotate svc hello note=other --overwrite
    annotate svc hello note- added=yes
    annotate deploy/hello kubernetes.io/change-cause=first
    patch svc hello -p '{"spec":{"sessionAffinity":"None"}}'
    patch svc hello -p '{"spec":{"sessionAffinity":"None"}}'
    patch cm words --type=merge -p '{"data":{"number":"2"}}'
    patch cm words --type=json -p '[{"op":"replace","path":"/data/number","value":"3"}]'
    patch cm words --type=json -p '[{"op":"remove","path":"/data/none"}]'
    patch cm words -p '{"data":{"number":"4"}}' --dry-run=client -o jsonpath={.data.number}
    patch cm words
    scale deploy/hello --replicas=3
    scale deploy/hello --replicas=2 --current-replicas=9
    scale deploy hello --replicas=2
    scale deploy nothing --replicas=2
    scale deploy --all --replicas=2
    scale deploy -l tier=front --replicas=2 -o name
    scale deploy -l tier=none --replicas=2
    scale deploy/hello --replicas=2 --timeout=30s
    scale deploy/hello --replicas=2 --dry-run=server
    get deploy hello --subresource=status -o jsonpath={.spec.replicas}
    get deploy hello --subresource=scale
    get deploy hello --subresource=scale -o jsonpath={.spec.replicas}
    get --raw /api/v1/namespaces/default/services/none
    get --raw /version
    patch deploy hello --subresource=scale -p '{"spec":{"replicas":3}}'
    patch deploy hello --subresource=scale --type=merge -p '{"spec":{"replicas":2}}'
    set image deploy/hello hello=stead.local/hello-app:2.0
    set image deploy/hello hello=stead.local/hello-app:2.0
    set image deploy/hello none=stead.local/hello-app:2.0
    set image deploy/hello *=stead.local/hello-app:2.0 hello=x
    set image deploy/hello
    ! rollout status deploy/hello --timeout=60s
    set env deploy/hello COLOR=red SHAPE=round
    set env deploy/hello COLOR=red SHAPE-
    set env deploy/hello --from=configmap/words --keys=greeting
    get deploy hello -o jsonpath={.spec.template.spec.containers[0].env[*].name}
    set env deploy/hello --list
    set env deploy/hello GREETING- NUMBER-
    set env deploy/hello COLOR=green --overwrite=false
    set env deploy/hello COLOR=green --dry-run=client
    set selector svc hello app=hello,tier=front
    set selector svc hello app=hello
    set selector deploy hello app=hello
    ! rollout status deploy/hello --timeout=60s
    rollout pause deploy/hello
    rollout pause deploy/hello
    rollout restart deploy/hello
    rollout undo deploy/hello
    rollout resume deploy/hello
    rollout resume deploy/hello
    rollout undo deploy/hello --to-revision=1
    rollout undo deploy/hello --to-revision=1
    rollout undo deploy/hello --to-revision=77
    rollout undo deploy/hello --dry-run=server
    ! rollout status deploy/hello --timeout=60s
    rollout restart deploy/hello
    ! rollout status deploy/hello --timeout=60s
    expose deploy hello --name=two --port=81
    expose deploy hello --name=three --port=81 --target-port=http --type=NodePort -o name
    expose cm words
    create service clusterip five --tcp=80:8080
    create service clusterip five --tcp=80:8080
    create service nodeport six --tcp=80 --dry-run=client
    create configmap ten --from-literal=a=b --from-literal=c=d
    create configmap ten --from-literal=a=b
    create service nodeport five --tcp=80
    create service externalname five --external-name=a.b
    create service clusterip seven --tcp=80 --clusterip=1.2.3.4
    create deployment hello --image=stead.local/hello-app:1.0
    create namespace default
    expose deploy hello --port=80
    patch svc hello --type=merge -p '{"spec":{"ports":[],"sessionAffinity":"Never"}}'
    patch svc hello --type=merge -p '{"spec":{"sessionAffinity":"Never"}}'
    create secret generic eleven --from-literal=a=b
    create secret generic eleven --from-literal=a=b
    create serviceaccount thirteen
    create serviceaccount thirteen
    create token nobody
    create service clusterip y --tcp=80 --dry-run=client -o yaml
    create service nodeport y --tcp=80:8080 --node-port=30123 --dry-run=client -o yaml
    create service externalname y --external-name=a.b --dry-run=client -o yaml
    create configmap y --from-literal=a=b --dry-run=client -o yaml
    create secret generic y --from-literal=a=b --dry-run=client -o yaml
    create service loadbalancer y --tcp=80 --dry-run=client -o yaml
    create serviceaccount y --dry-run=client -o yaml
    create namespace y --dry-run=client -o yaml
    create deployment y --image=stead.local/hello-app:1.0 --dry-run=client -o yaml
    run y --image=stead.local/hello-app:1.0 --dry-run=client -o yaml
    run y --image=stead.local/hello-app:1.0 --port=80 --env=A=b --restart=Never --dry-run=client -o yaml
    run y --image=x --dry-run=client -o yaml --annotations=a=b --privileged --image-pull-policy=Never
    run y --image=x --dry-run=client -o yaml --overrides='{"spec":{"nodeName":"q"}}'
    expose deploy hello --name=y --port=80 --dry-run=client -o yaml
    label svc hello q=r --dry-run=client -o jsonpath={.metadata.labels}
    delete svc two three
    delete svc two --ignore-not-found
    delete svc two
    delete svc -l none=none
    delete cm ten --interactive
    delete cm ten --wait=false
    delete cm
"#;

/// A ConfigMap is left with one key, since kubectl describes several in an order that changes from run to run.
const DESCRIPTIONS: &str = r#"
    ! patch cm words --type=json -p '[{"op":"remove","path":"/data/number"}]'
    describe svc five
    describe cm words
    describe secret eleven
    describe sa default
    describe endpoints hello
    describe endpointslices -l kubernetes.io/service-name=hello
    describe ns default
    describe lease node1 -n kube-node-lease
    describe svc nothing
    describe svc -l none=none
    describe svc hello --show-events=false
    describe svc fi
    describe deploy hello --show-events=false
    describe rs --show-events=false
    describe node node1 --show-events=false
    describe event told -n default
    describe ippools
    describe servicecidr kubernetes
"#;

const REFUSALS: &str = r"
    logs nothing
    logs deploy/nothing
    attach nothing
    exec nothing -- ls
    explain events --api-version=v9
    ~ run x --image=y -t
    ~ run x --image=y --rm
    ~ run x --image=y -i --dry-run=client
    create -f /nothing
    label svc nothing a=b
    patch svc nothing -p {}
    rollout status
    rollout restart deploy/nothing
    set image deploy/nothing a=b
    set env
    expose deploy nothing --port=80
    events --for=nothing
    ~ wait --for=nonsense deploy/hello
    ~ uncordon
    ~ cordon
    wait svc/nothing --for=condition=Ready
    auth can-i get
    cordon nothing
";

const FROM_FILES: &str = r"
    replace -f -
    get -f - -o name
    describe -f -
    scale -f - --replicas=2
    ~ delete -f -
    create -f -
    replace -f - --force
    annotate -f - x=y
    label -f - x=y
    delete -f - --ignore-not-found
    ~ delete -f -
    apply --server-side -f -
    apply --server-side -f - --dry-run=server
    apply --server-side --field-manager=other -f -
    apply --server-side --field-manager=other --force-conflicts -f - -o name
    ~ delete -f -
    apply -f -
    apply -f -
    diff -f -
    apply -f - -o name
    ~ delete -f -
    ! create -f -
";

/// Both are asked in the same namespace, for what a shell would show.
fn completes_what_kubectl_completes(beside: &Beside) {
    let pod = beside.lab.kubectl_ok("-n theirs get pod -l app=hello -o jsonpath={.items[0].metadata.name}");
    let of = |output: Output, line: &str| {
        let text = ok(line, output);
        let mut candidates: Vec<String> =
            text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
        let directive = candidates.pop().unwrap();
        candidates.sort();
        (candidates, directive)
    };
    for line in [
        "get ",
        "get depl",
        "get deploy ",
        "get deploy he",
        "get deploy/",
        "get deploy/he",
        "get svc,conf",
        "get svc hello ",
        "delete svc/hello svc/",
        "describe cm w",
        "edit no",
        "logs hell",
        "logs deploy/",
        "logs POD ",
        "exec POD -c he",
        "port-forward POD ",
        "port-forward svc/hello ",
        "cordon ",
        "-n kube- get ",
        "get svc -n kub",
        "get nothing ",
        "--context=none get svc ",
        "rollout stat",
    ] {
        let line = line.replace("POD", &pod);
        let words: Vec<&str> = ["__complete"].into_iter().chain(line.split(' ')).collect();
        let mut theirs = beside.lab.command("kubectl");
        theirs.args(["__complete", "-n", "theirs"]).args(&words[1..]);
        let mut ours = beside.lab.command(env!("CARGO_BIN_EXE_stead"));
        ours.args(["__complete", "-n", "theirs"]).args(&words[1..]);
        assert_eq!(of(run(ours, ""), &line), of(run(theirs, ""), &line), "{line:?}");
    }
    let script = format!(
        "source <({own} completion bash); COMP_LINE='{own} -n theirs get deploy --sort-by=x he'; COMP_POINT=${{#COMP_LINE}}
         _stead 2>/dev/null; echo \"${{COMPREPLY[@]}}\"; COMP_LINE='{own} get svc --namespace=the'; COMP_POINT=${{#COMP_LINE}}
         _stead 2>/dev/null; echo \"${{COMPREPLY[@]}}\"",
        own = env!("CARGO_BIN_EXE_stead")
    );
    let mut bash = beside.lab.command("bash");
    bash.args(["--norc", "-c", &script]);
    assert_eq!(ok("bash", run(bash, "")), "hello\ntheirs\n", "bash replaces what is behind the = only");
}

fn edits_as_an_editor_leaves_it(beside: &Beside) {
    beside.both("patch cm words --type=merge -p '{\"data\":{\"number\":\"5\"}}'", "");
    assert_eq!(ok("edit", beside.stead(&["edit", "cm", "words"], "")), "configmap/words edited\n");
    assert_eq!(ok("get", beside.stead(&["get", "cm", "words", "-o", "jsonpath={.data.number}"], "")), "7");
    assert_eq!(ok("edit", beside.stead(&["edit", "cm", "words"], "")), "Edit cancelled, no changes made.\n");
}

/// Which lines come before the last is a matter of time.
fn watches_a_rollout_to_its_end(beside: &Beside) {
    beside.both("rollout restart deploy/hello", "");
    let words = ["rollout", "status", "deploy/hello", "--timeout=60s"];
    let told = ok("rollout status", beside.stead(&words, ""));
    assert_eq!(told.lines().last(), Some("deployment \"hello\" successfully rolled out"), "{told}");
    let waiting = "Waiting for deployment \"hello\" rollout to finish: ";
    let observed = "Waiting for deployment spec update to be observed...";
    let is_known = |line: &str| line.starts_with(waiting) || line == observed;
    let count = told.lines().count();
    assert!(told.lines().take(count - 1).all(is_known), "{told}");
}

fn drains_a_node(beside: &Beside) {
    let stead = |line: &str| {
        let words = split(line);
        beside.stead(&words.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    assert_eq!(ok("cordon", stead("cordon node2")), "node/node2 cordoned\n");
    assert_eq!(ok("cordon", stead("cordon node2")), "node/node2 already cordoned\n");
    let refused = stead("drain node2 --pod-selector=app=hello");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("use --delete-emptydir-data to override"), "{refused:?}");
    assert_eq!(refused.status.code(), Some(1));
    let told = ok("drain", stead("drain node2 --delete-emptydir-data --force --timeout=60s"));
    assert!(told.starts_with("node/node2 already cordoned\n") && told.ends_with("node/node2 drained\n"), "{told}");
    eventually("no pod on node2", || {
        let names = ok("get", stead("get pods -A --field-selector spec.nodeName=node2 -o name"));
        names.is_empty().then_some(())
    });
    assert_eq!(ok("uncordon", stead("uncordon node2")), "node/node2 uncordoned\n");
}
