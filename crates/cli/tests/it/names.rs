//! Names and selectors that are none, or would lead elsewhere: neither kubectl nor `stead` touches anything but what was named.

use std::process::Output;

use crate::lab::{Lab, run, stead};

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {a: b}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: one}
spec: {replicas: 0, selector: {a: b}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: stead.local/busybox}]}}}
";
const UNNAMED: &str = "apiVersion: v1\nkind: ConfigMap\ndata: {x: word}\n";
const TO_BE_NAMED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n";

/// Each with what `stead` says of it. Both refuse all.
const WORDS: &[(&str, &str)] = &[
    ("delete cm ''", "error: resource name may not be empty"),
    ("delete cm .", "error: invalid resource name \".\": [may not be '.']"),
    ("delete cm ..", "error: invalid resource name \"..\": [may not be '..']"),
    ("delete cm/..", "error: invalid resource name \"..\": [may not be '..']"),
    ("delete cm a%2F", "error: invalid resource name \"a%2F\": [may not contain '%']"),
    ("delete cm one?dryRun=All", "Error from server (NotFound)"),
    ("delete cm one#", "Error from server (NotFound)"),
    ("delete cm/", "error: arguments in resource/name form must have a single resource and name"),
    ("delete cm/one/status", "error: arguments in resource/name form may not have more than one slash"),
    ("delete cm one/", "error: there is no need to specify a resource type as a separate argument"),
    ("delete cm", "error: "),
    ("delete cm -l ''", "error: "),
    ("delete cm -l ' '", "error: "),
    ("delete cm one -l a=b", "error: name cannot be provided when a selector is specified"),
    ("delete cm one --all", "error: name cannot be provided when a selector is specified"),
    ("delete cm '' --all", "error: name cannot be provided when a selector is specified"),
    ("delete ''", "error: the server doesn't have a resource type \"\""),
    ("get cm ''", "error: resource name may not be empty"),
    ("get cm '' -o yaml", "error: resource name may not be empty"),
    ("get cm one -l a=b", "error: name cannot be provided when a selector is specified"),
    ("describe cm ''", "error: resource name may not be empty"),
    ("edit cm ''", "error: resource name may not be empty"),
    ("wait cm '' --for=delete", "error: resource name may not be empty"),
    ("wait cm -l '' --for=delete", "error: resource(s) were provided, but no name was specified"),
    ("label cm '' x=y", "error: resource name may not be empty"),
    ("label cm --all '' x=y", "error: resource name may not be empty"),
    ("label cm -l '' x=y", "error: resource(s) were provided, but no name was specified"),
    ("annotate cm .. x=y", "error: invalid resource name \"..\": [may not be '..']"),
    ("patch cm '' -p {}", "error: resource name may not be empty"),
    ("scale rc '' --replicas=1", "error: resource name may not be empty"),
    ("set selector svc '' x=y", "error: resource name may not be empty"),
    ("expose svc '' --port=80", "error: resource name may not be empty"),
    ("rollout restart deploy ''", "error: resource name may not be empty"),
    ("port-forward '' 80", "error: resource name may not be empty"),
    ("cordon ''", "error: resource name may not be empty"),
    ("cordon -l ''", "error: "),
    ("create token ''", "error: "),
];

/// Of [`UNNAMED`] and of [`TO_BE_NAMED`].
const FROM_FILES: &[&str] = &[
    "delete -f -",
    "replace -f -",
    "replace --force -f -",
    "apply -f -",
    "apply --server-side -f -",
    "diff -f -",
    "label x=y -f -",
    "patch -p {} -f -",
    "wait --for=delete -f -",
    "delete -f - cm one",
    "get -f - cm",
];

/// Every line is refused, and leaves everything as it was; a selector chooses among what a file names.
pub(crate) fn lead_nowhere_else(lab: &Lab) {
    for namespace in ["theirs", "ours"] {
        lab.kubectl_ok(&format!("create namespace {namespace}"));
        lab.kubectl_words(&["-n", namespace, "create", "-f", "-"], OBJECTS);
    }
    let kinds = "configmaps,services,replicationcontrollers";
    // The address that a Service has got counts as much as its name.
    let stored = |namespace: &str| lab.kubectl_ok(&format!("-n {namespace} get {kinds} -o yaml"));
    let before = (stored("theirs"), stored("ours"));
    let is_untouched = |line: &str| assert_eq!((stored("theirs"), stored("ours")), before, "{line}");
    for (line, expect) in WORDS {
        let refused = refused(lab, line, "");
        assert!(refused.starts_with(expect), "{line}: {refused}");
    }
    is_untouched("words");
    for file in [UNNAMED, TO_BE_NAMED] {
        for line in FROM_FILES {
            let refused = refused(lab, line, file);
            assert!(refused.contains("error: "), "{line}: {refused}");
        }
    }
    is_untouched("files");

    let labelled = both(lab, "label -f - -l a=b x=y", OBJECTS);
    // The server gives the controller the labels of its template.
    assert_eq!(labelled, "configmap/one labeled\nreplicationcontroller/one labeled\n");
    let deleted = both(lab, "delete -f - -l a=b", OBJECTS);
    assert_eq!(deleted, "configmap \"one\" deleted\n");
    let named = both(lab, "get cm two -l '' -o name", "");
    assert_eq!(named, "configmap/two\n");
}

/// The words of a shell, as far as single quotes go.
fn split(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap(),
            None => rest.split_once(' ').map_or((rest, ""), |(word, after)| (word, after)),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn theirs(lab: &Lab, line: &str, stdin: &str) -> Output {
    lab.kubectl_words(&[&["-n", "theirs"], &split(line)[..]].concat(), stdin)
}

fn ours(lab: &Lab, line: &str, stdin: &str) -> Output {
    let mut command = stead();
    command.args(["-n", "ours"]).args(split(line));
    command.env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path()).env("KUBE_EDITOR", "false");
    run(command, stdin)
}

/// What `stead` says; kubectl refuses it too.
fn refused(lab: &Lab, line: &str, stdin: &str) -> String {
    let (theirs, ours) = (theirs(lab, line, stdin), ours(lab, line, stdin));
    assert!(!theirs.status.success(), "kubectl {line}: {theirs:?}");
    assert!(!ours.status.success(), "stead {line}: {ours:?}");
    String::from_utf8(ours.stderr).unwrap()
}

/// What both print.
fn both(lab: &Lab, line: &str, stdin: &str) -> String {
    let (theirs, ours) = (theirs(lab, line, stdin), ours(lab, line, stdin));
    assert!(theirs.status.success() && ours.status.success(), "{line}: {theirs:?} {ours:?}");
    assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&theirs.stdout), "{line}");
    String::from_utf8(ours.stdout).unwrap()
}
