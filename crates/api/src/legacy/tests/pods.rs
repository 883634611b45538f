//! Pods, what makes them, and what they run on.

use super::*;

#[test]
fn a_pod_has_a_manifest() {
    let shown = check(
        "pods",
        json!({
            "id": "frontend", "kind": "Pod", "apiVersion": "v1beta1", "labels": {"name": "frontend"},
            "nodeSelector": {"disk": "ssd"},
            "desiredState": {"host": "node1", "manifest": {
                "version": "v1beta1", "id": "frontend", "restartPolicy": {"onFailure": {}},
                "volumes": [{"name": "shared", "source": {"emptyDir": {}}}, {"name": "host", "source": {"hostDir": {"path": "/srv"}}},
                    {"name": "implied"}],
                "containers": [{
                    "name": "web", "image": "stead.local/busybox", "command": ["httpd", "-f"], "entrypoint": ["/bin/busybox"],
                    "cpu": 250, "memory": 134217728, "imagePullPolicy": "PullNever",
                    "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080}],
                    "env": [{"key": "OLD", "value": "1"}, {"name": "NEW", "value": "2"},
                        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "name"}}}],
                    "volumeMounts": [{"name": "shared", "path": "/old"}, {"name": "host", "mountPath": "/new", "readOnly": true}],
                    "livenessProbe": {"type": "http", "initialDelaySeconds": 5, "httpGet": {"path": "/", "port": 80}},
                }],
            }},
        }),
        json!({
            "metadata": {"name": "frontend", "labels": {"name": "frontend"}},
            "spec": {
                "nodeName": "node1", "nodeSelector": {"disk": "ssd"}, "restartPolicy": "OnFailure",
                "volumes": [{"name": "shared", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/srv"}},
                    {"name": "implied", "emptyDir": {}}],
                "containers": [{
                    "name": "web", "image": "stead.local/busybox", "args": ["httpd", "-f"], "command": ["/bin/busybox"],
                    "imagePullPolicy": "Never",
                    "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080}],
                    "env": [{"name": "OLD", "value": "1"}, {"name": "NEW", "value": "2"},
                        {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                    "resources": {"limits": {"cpu": "250m", "memory": "134217728"}},
                    "volumeMounts": [{"name": "shared", "mountPath": "/old"}, {"name": "host", "mountPath": "/new", "readOnly": true}],
                    "livenessProbe": {"initialDelaySeconds": 5, "httpGet": {"path": "/", "port": 80}},
                }],
            },

        }),
    );
    let manifest = &shown["desiredState"]["manifest"];
    assert_eq!((&manifest["version"], &manifest["id"]), (&json!("v1beta2"), &json!("frontend")));
    assert_eq!(manifest["restartPolicy"], json!({"onFailure": {}}));
    let container = &manifest["containers"][0];
    assert_eq!((&container["cpu"], &container["memory"]), (&json!(250), &json!(134_217_728)));
    assert_eq!(container["env"][0], json!({"name": "OLD", "key": "OLD", "value": "1"}));
    assert_eq!(container["resources"]["limits"], json!({"cpu": "0.25", "memory": 134_217_728}));
}

#[test]
fn a_manifest_of_an_unknown_version_is_refused() {
    let old = json!({"desiredState": {"manifest": {"version": "v2", "id": "p", "containers": []}}});
    let errors = kind("pods").to_v1(&old).unwrap_err();
    assert!(
        errors[0].to_string().starts_with("desiredState.manifest.version: Unsupported value: \"v2\""),
        "{}",
        errors[0]
    );
}

#[test]
fn what_a_pod_is_doing() {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node1", "containers": [{"name": "a", "image": "i"}]},
        "status": {
            "phase": "Running", "podIP": "10.244.1.2", "hostIP": "192.168.56.101",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "a", "image": "i", "imageID": "x", "ready": false, "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
        },
    });
    let shown = from_v1(kind("pods"), &pod);
    assert_eq!(
        shown["currentState"],
        json!({
            "status": "Running", "host": "node1", "hostIP": "192.168.56.101", "podIP": "10.244.1.2",
            "Condition": [{"kind": "Ready", "status": "None"}],
            "info": {"a": {"image": "i", "imageID": "x", "ready": false, "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"termination": {"exitCode": 1, "reason": "Error"}}}},
        })
    );
    let words = ["Pending", "Running", "Succeeded", "Failed", "Unknown"].map(pod::status_word);
    assert_eq!(words, ["Waiting", "Running", "Succeeded", "Failed", "Unknown"]);
    assert_eq!(pod::phase_to_v1("Terminated"), Some("Failed"));
}

#[test]
fn a_replication_controller_has_a_template() {
    let shown = check(
        "replicationControllers",
        json!({
            "id": "web", "labels": {"name": "web"},
            "desiredState": {"replicas": 0, "replicaSelector": {"name": "web"}, "podTemplate": {
                "labels": {"name": "web"}, "annotations": {"a": "b"},
                "desiredState": {"manifest": {"version": "v1beta1", "id": "web", "restartPolicy": {"always": {}},
                    "containers": [{"name": "web", "image": "web:1"}]}},
            }},
        }),
        json!({
            "metadata": {"name": "web", "labels": {"name": "web"}},
            "spec": {"replicas": 0, "selector": {"name": "web"}, "template": {
                "metadata": {"labels": {"name": "web"}, "annotations": {"a": "b"}},
                "spec": {"restartPolicy": "Always", "containers": [{"name": "web", "image": "web:1"}]},
            }},

        }),
    );
    assert_eq!(shown["currentState"], json!({"replicas": 0}));
}

#[test]
fn a_minion_shows_its_machine() {
    let node = json!({
        "metadata": {"name": "node1", "labels": {"a": "b"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
        "status": {
            "capacity": {"cpu": "1500m", "memory": "4044404Ki", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.56.101"}, {"type": "Hostname", "address": "node1"},
                {"type": "InternalDNS", "address": "n"}],
            "nodeInfo": {"kernelVersion": "6.1", "operatingSystem": "linux"},
        },
    });
    let shown = from_v1(kind("minions"), &node);
    assert_eq!((&shown["kind"], &shown["hostIP"]), (&json!("Minion"), &json!("192.168.56.101")));
    assert_eq!(shown["resources"]["capacity"], json!({"cpu": "1.5", "memory": 4_141_469_696_i64, "pods": 110}));
    assert_eq!(
        shown["status"]["conditions"],
        json!([{"kind": "Ready", "status": "Full", "reason": "KubeletReady", "lastProbeTime": "2026-01-01T00:00:00Z"}])
    );
    assert_eq!(
        (shown["status"]["addresses"].as_array().unwrap().len(), &shown["status"]["nodeInfo"]),
        (2, &json!({"kernelVersion": "6.1"}))
    );
    let again = to_v1(kind("minions"), shown);
    assert_eq!(again["status"]["capacity"], json!({"cpu": "1500m", "memory": "4141469696", "pods": "110"}));
    let new = to_v1(
        kind("minions"),
        json!({"id": "m", "hostIP": "10.0.0.1", "resources": {"capacity": {"cpu": 2, "memory": 1024}}}),
    );
    assert_eq!(new["status"]["addresses"], json!([{"type": "InternalIP", "address": "10.0.0.1"}]));
    assert_eq!(new["status"]["capacity"], json!({"cpu": "2", "memory": "1024"}));
}
