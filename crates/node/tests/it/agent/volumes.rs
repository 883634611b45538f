//! Volumes of pods, as containers see them.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};

use super::Node;
use crate::{api::Api, eventually};

/// A container that runs `script` and then stays; it needs no grace.
fn shell(name: &str, script: &str, mounts: Value) -> Value {
    let script = format!("{script}\nexec sleep 3600");
    json!({"name": name, "image": "stead.local/busybox", "command": ["sh", "-c", script], "volumeMounts": mounts})
}

fn host_path(path: &Path, kind: &str) -> Value {
    json!({"name": "host", "hostPath": {"path": path.to_str().unwrap(), "type": kind}})
}

/// The text of a file once there is some.
fn text_of(path: &Path) -> String {
    eventually(&format!("{} is written", path.display()), || {
        fs::read_to_string(path).is_ok_and(|text| !text.is_empty())
    });
    fs::read_to_string(path).unwrap()
}

fn remove(node: &Node, path: &str) {
    node.api.delete(path);
    eventually("nothing is left", || node.left_over() == 0);
}

pub(super) fn containers_share_volumes_and_localhost() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let host = node.dir.path().join("machine/data");
    let mounts = json!([
        {"name": "own", "mountPath": "/own"}, {"name": "own", "mountPath": "/own/read-only", "readOnly": true},
        {"name": "own", "mountPath": "/part", "subPath": "deep/part"}, {"name": "memory", "mountPath": "/memory"},
        {"name": "host", "mountPath": "/host"},
    ]);
    let one = shell(
        "one",
        r"until printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 127.0.0.1 8080 > /own/answer; do sleep 0.05; done
          echo from-one > /part/word
          (echo x > /own/read-only/x) 2>/dev/null || echo refused > /own/written
          dd if=/dev/zero of=/memory/zero bs=1024 count=2048 2>/dev/null
          wc -c < /memory/zero > /own/size
          echo done > /host/one",
        mounts.clone(),
    );
    let two = shell(
        "two",
        "until [ -e /host/one ]; do sleep 0.05; done; cat /own/answer /own/deep/part/word /own/written /own/size > /host/two",
        mounts,
    );
    let mut web = super::hello();
    web["name"] = "web".into();
    let volumes = json!([
        {"name": "own", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        host_path(&host, "DirectoryOrCreate"),
    ]);
    let path = node.create_pod("shared", json!({"containers": [web, one, two], "volumes": volumes}));
    let said = text_of(&host.join("two"));
    assert!(said.contains("Hostname: shared"), "{said}");
    assert!(said.ends_with("from-one\nrefused\n1048576\n"), "{said}");
    let own = node.dir.path().join("state/pods/uid-shared-node1/volumes/own");
    assert_eq!(fs::read_to_string(own.join("deep/part/word")).unwrap(), "from-one\n");
    remove(&node, &path);
    assert!(host.join("one").exists(), "a hostPath is not the pod's to remove");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("uid-shared-node1"), "{mounts}");
}

pub(super) fn pods_of_a_node_meet_in_a_host_path() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let machine = node.dir.path().join("machine");
    fs::create_dir(&machine).unwrap();
    fs::write(node.dir.path().join("secret"), "kept").unwrap();
    symlink(node.dir.path(), machine.join("out")).unwrap();
    symlink("inner", machine.join("in")).unwrap();
    fs::create_dir(machine.join("inner")).unwrap();
    let volumes = json!([host_path(&machine, "Directory")]);
    let whole = json!([{"name": "host", "mountPath": "/host"}]);
    let wait = "until [ -e /host/ask ]; do sleep 0.05; done; sed s/who/me/ /host/ask > /host/answer";
    node.create_pod("two", json!({"containers": [shell("c", wait, whole.clone())], "volumes": volumes}));
    let ask = "echo who > /host/.ask; mv /host/.ask /host/ask";
    node.create_pod("one", json!({"containers": [shell("c", ask, whole)], "volumes": volumes}));
    assert_eq!(text_of(&machine.join("answer")), "me\n");

    // A link inside the volume may be followed, one that leads out of it may not.
    let part = |path: &str| json!([{"name": "host", "mountPath": "/part", "subPath": path}]);
    node.create_pod("inside", json!({"containers": [shell("c", "echo x > /part/x", part("in"))], "volumes": volumes}));
    assert_eq!(text_of(&machine.join("inner/x")), "x\n");
    let script = "cat /part/secret > /dev/null && echo escaped > /part/escaped";
    let pod = json!({"containers": [shell("c", script, part("out"))], "volumes": volumes, "restartPolicy": "Never"});
    let path = node.create_pod("outside", pod);
    let message = |pod: &Value| {
        let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        state["message"].as_str().unwrap_or_default().to_owned()
    };
    eventually("the pod to be refused", || !message(&api.get(&path).unwrap()).is_empty());
    let message = message(&api.get(&path).unwrap());
    assert!(message.contains("cannot mount subPath \"out\" at /part"), "{message}");
    assert!(!node.dir.path().join("escaped").exists());
}

pub(super) fn what_is_missing_is_named_and_waited_for() {
    let api = Api::new();
    let mut node = Node::new(&api);
    node.start();
    let machine = node.dir.path().join("machine");
    let volumes = json!([host_path(&machine, "Directory"), {"name": "map", "configMap": {"name": "m"}}]);
    let mounts = json!([{"name": "host", "mountPath": "/host"}, {"name": "map", "mountPath": "/map"}]);
    let mut container =
        shell("c", "echo $FROM_MAP $(cat /map/key) > /host/said; touch /map/x || echo kept >> /host/said", mounts);
    container["env"] = json!([{"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "key"}}}]);
    let path = node.create_pod("waits", json!({"containers": [container], "volumes": volumes}));
    let check = format!(
        "MountVolume.SetUp failed for volume \"host\" : hostPath type check failed: {} is not a directory",
        machine.display()
    );
    eventually("an event about the path", || node.events("FailedMount").contains(&check));
    let state = || api.get(&path).unwrap()["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(state()["reason"], "ContainerCreating");

    fs::create_dir(&machine).unwrap();
    let missing = "MountVolume.SetUp failed for volume \"map\" : configmap \"m\" not found".to_owned();
    eventually("an event about the ConfigMap", || node.events("FailedMount").contains(&missing));
    let config_map = |name: &str, value: &str| {
        let path = format!("/api/v1/namespaces/default/configmaps/{name}");
        let metadata = json!({"name": name, "namespace": "default"});
        api.put(&path, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}));
    };
    config_map("m", "file");
    eventually("the container to wait for its variables", || state()["reason"] == "CreateContainerConfigError");
    assert_eq!(state()["message"], "configmap \"env\" not found");
    config_map("env", "variable");
    eventually("it to run", || {
        fs::read_to_string(machine.join("said")).is_ok_and(|text| text == "variable file\nkept\n")
    });
}
