//! A session of 2015: files of that time are created, their Services answer, and a pod reads the API without credentials.

use crate::lab::{Lab, eventually, ok, run, stead};

/// A front end and what it is found by, as examples of that time wrote them.
const SERVICE: &str = r#"{
    "id": "myapp", "kind": "Service", "apiVersion": "v1beta1",
    "port": 80, "containerPort": 8080, "protocol": "TCP",
    "labels": {"name": "myapp"}, "selector": {"name": "myapp"}
}"#;
const CONTROLLER: &str = r#"{
    "id": "myapp", "kind": "ReplicationController", "apiVersion": "v1beta1",
    "desiredState": {
        "replicas": 2,
        "replicaSelector": {"name": "myapp"},
        "podTemplate": {
            "desiredState": {"manifest": {
                "version": "v1beta1", "id": "myapp",
                "containers": [{"name": "myapp", "image": "stead.local/hello-app:1.0", "ports": [{"containerPort": 8080}]}]
            }},
            "labels": {"name": "myapp"}
        }
    },
    "labels": {"name": "myapp"}
}"#;
/// Neither says a port nor a name: every pod, at the first port of its first container.
const ANY: &str = r#"{"id": "any", "kind": "Service", "apiVersion": "v1beta1", "port": 81, "selector": {}}"#;

#[test]
fn a_session_of_2015() {
    let lab = Lab::up_with("older", 1, &["--read-only-service"]);
    let create = |file: &str| ok("create", lab.kubectl_words(&["create", "-f", "-"], file));
    assert_eq!(create(SERVICE), "service/myapp created\n");
    assert_eq!(create(CONTROLLER), "replicationcontroller/myapp created\n");
    assert_eq!(create(ANY), "service/any created\n");
    let address = |service: &str| lab.kubectl_ok(&format!("get svc {service} -o jsonpath={{.spec.clusterIP}}"));
    let url = format!("http://{}", address("myapp"));
    eventually("the Service to answer", || lab.curl("node1", &url));
    eventually("both pods to answer", || (lab.answering("node1", &url, 20).len() == 2).then_some(()));
    let any = format!("http://{}:81", address("any"));
    eventually("the Service of every pod to answer", || lab.curl("node1", &any));

    lab.kubectl_ok("scale rc myapp --replicas=3");
    eventually("a third pod to answer", || (lab.answering("node1", &url, 40).len() == 3).then_some(()));
    let minions = lab.kubectl_ok("get --raw /api/v1beta1/minions");
    let minions: serde_json::Value = serde_json::from_str(&minions).unwrap();
    let capacity = &minions["items"][0]["resources"]["capacity"];
    let processors = std::thread::available_parallelism().unwrap().get().to_string();
    assert_eq!((&minions["items"][0]["id"], capacity["cpu"].as_str()), (&"node1".into(), Some(&*processors)));
    assert!(capacity["memory"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{minions}");

    let reader = address("kubernetes-ro");
    // Debian's busybox-static 1.35 crashes in its own wget, so the pod speaks HTTP by hand.
    let request = r"printf 'GET /api/v1beta1/pods HTTP/1.0\r\nHost: kubernetes-ro\r\n\r\n'";
    let script = format!("while :; do {request} | nc -w 2 {reader} 80 2>&1; sleep 0.2; done");
    lab.kubectl_words(&["run", "reader", "--image=stead.local/busybox", "--", "sh", "-c", &script], "");
    lab.kubectl_ok("wait --for=condition=Ready pod/reader --timeout=60s");
    eventually("the pod to read the API", || {
        lab.kubectl_ok("logs reader --tail=40").contains("\"PodList\"").then_some(())
    });
    let write = ["curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE"];
    let target = format!("http://{reader}/api/v1beta1/services/myapp");
    let code = ok("delete", lab.exec("node1", &[&write[..], &[&target]].concat()));
    assert_eq!(code, "405");

    every_form_goes_in_by_both(&lab);
    nodes_are_shown_as_minions(&lab);

    lab.kubectl_ok("delete rc myapp --timeout=60s");
    eventually("the pods to go with their controller", || {
        (lab.kubectl_ok("get pods -l name=myapp -o name").trim().is_empty()).then_some(())
    });
}

/// A pod whose containers share a directory of their own, and one of the machine.
const POD: &str = r#"{
    "id": "box-NAME", "kind": "Pod", "apiVersion": "v1beta1", "labels": {"name": "box"},
    "desiredState": {"manifest": {
        "version": "v1beta1", "id": "box",
        "containers": [
            {"name": "a", "image": "stead.local/busybox", "command": ["sh", "-c", "echo shared > /own/file; sleep 1000"],
             "volumeMounts": [{"name": "own", "mountPath": "/own"}]},
            {"name": "b", "image": "stead.local/busybox", "command": ["sleep", "1000"],
             "volumeMounts": [{"name": "own", "mountPath": "/own"}, {"name": "machine", "mountPath": "/machine", "readOnly": true}]}
        ],
        "volumes": [{"name": "own", "source": {"emptyDir": {}}}, {"name": "machine", "source": {"hostDir": {"path": "/etc"}}}]
    }}
}"#;
const ADDRESSES: &str =
    r#"{"id": "far-NAME", "kind": "Endpoints", "apiVersion": "v1beta1", "endpoints": ["192.0.2.7:8080"]}"#;
const PUBLIC: &str = r#"{
    "id": "public-NAME", "kind": "Service", "apiVersion": "v1beta1", "port": 80, "containerPort": 8080,
    "selector": {"name": "myapp"}, "PublicIPs": ["192.168.56.210"], "sessionAffinity": "ClientIP",
    "createExternalLoadBalancer": true
}"#;
const SCALED: &str = r#"{
    "id": "rc-NAME", "kind": "ReplicationController", "apiVersion": "v1beta1",
    "desiredState": {"replicas": 0, "replicaSelector": {"name": "rc-NAME"}, "podTemplate": {
        "desiredState": {"manifest": {"version": "v1beta1", "id": "c",
            "containers": [{"name": "c", "image": "stead.local/busybox"}]}},
        "labels": {"name": "rc-NAME"}}}
}"#;

fn ours(lab: &Lab, line: &str, file: &str) -> String {
    let mut command = stead();
    command.args(line.split(' ')).env("KUBECONFIG", lab.kubeconfig()).env("HOME", lab.directory.path());
    ok(line, run(command, file))
}

fn every_form_goes_in_by_both(lab: &Lab) {
    let mut forms = vec![(POD, "pod/box"), (ADDRESSES, "endpoints/far"), (PUBLIC, "service/public")];
    forms.push((SCALED, "replicationcontroller/rc"));
    for (form, name) in &forms {
        let theirs = ok(name, lab.kubectl_words(&["create", "-f", "-"], &form.replace("NAME", "theirs")));
        assert_eq!(theirs, format!("{name}-theirs created\n"));
        assert_eq!(ours(lab, "create -f -", &form.replace("NAME", "ours")), format!("{name}-ours created\n"));
    }
    for name in ["box-theirs", "box-ours"] {
        lab.kubectl_ok(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
        eventually("the containers to share a directory", || {
            let read = lab.kubectl(&format!("exec {name} -c b -- cat /own/file"));
            (read.stdout == b"shared\n").then_some(())
        });
        assert!(lab.kubectl_ok(&format!("exec {name} -c b -- ls /machine")).contains("hosts"));
    }
    for name in ["theirs", "ours"] {
        let spec = "{.spec.externalIPs[0]} {.spec.type} {.spec.sessionAffinity}";
        let words = ["get", "svc", &format!("public-{name}"), "-o", &format!("jsonpath={spec}")];
        assert_eq!(ok("get", lab.kubectl_words(&words, "")), "192.168.56.210 LoadBalancer ClientIP");
        let addresses =
            lab.kubectl_ok(&format!("get endpoints far-{name} -o jsonpath={{.subsets[0].addresses[0].ip}}"));
        assert_eq!(addresses, "192.0.2.7");
    }

    // A file of that time names its objects by `id` alone, for every verb.
    let form = SCALED.replace("NAME", "ours");
    let name = "replicationcontroller/rc-ours";
    assert_eq!(ours(lab, "label -f - tier=back", &form), format!("{name} labeled\n"));
    assert_eq!(ours(lab, "get -f - -o name", &form), format!("{name}\n"));
    assert_eq!(ours(lab, "apply -f -", &form), format!("{name} configured\n"));
    assert_eq!(ours(lab, "diff -f -", &form), "");
    assert_eq!(ours(lab, "replace -f -", &form), format!("{name} replaced\n"));
    assert_eq!(
        ours(lab, "replace --force -f -", &form),
        "replicationcontroller \"rc-ours\" deleted\nreplicationcontroller/rc-ours replaced\n"
    );
    assert_eq!(ours(lab, "delete -f -", &form), "replicationcontroller \"rc-ours\" deleted\n");
    assert!(lab.kubectl_ok("get rc").contains("rc-theirs"), "only what the file names goes");
    lab.kubectl_ok("delete pod box-theirs box-ours --force --wait=false");
}

/// What is shown in a version is made of v1, whatever version the kind was found in.
fn nodes_are_shown_as_minions(lab: &Lab) {
    let table = ours(lab, "get minions --output-version v1beta1 --no-headers", "");
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!((cells.first(), cells.last()), (Some(&"node1"), Some(&"Ready")), "{table}");
    let minion: serde_json::Value =
        serde_json::from_str(&ours(lab, "get minions node1 --output-version v1beta1 -o json", "")).unwrap();
    assert_eq!((&minion["id"], &minion["kind"]), (&"node1".into(), &"Minion".into()));
    assert!(minion["resources"]["capacity"]["cpu"].is_string() || minion["resources"]["capacity"]["cpu"].is_number());
    let node: serde_json::Value =
        serde_json::from_str(&ours(lab, "get minions node1 --output-version v1 -o json", "")).unwrap();
    assert_eq!((&node["kind"], &node["apiVersion"]), (&"Node".into(), &"v1".into()));
    assert!(ours(lab, "get events --output-version v1beta1", "").starts_with("FIRSTSEEN "));
}
