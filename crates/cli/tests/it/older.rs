//! A session of 2015: files of that time are created, their Services answer, and a pod reads the API without credentials.

use crate::lab::{Lab, eventually, ok};

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

    lab.kubectl_ok("delete rc myapp --timeout=60s");
    eventually("the pods to go with their controller", || {
        (lab.kubectl_ok("get pods -l name=myapp -o name").trim().is_empty()).then_some(())
    });
}
