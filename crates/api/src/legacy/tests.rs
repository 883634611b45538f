use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decode::prune;

mod tables;

fn kind(plural: &str) -> &'static Kind {
    find(Version::V1beta1, plural).unwrap()
}

/// The v1 object, through the decoders of both versions.
#[track_caller]
fn to_v1(kind: &Kind, old: Value) -> Value {
    let decoded = prune(old, kind.resource.definition).unwrap();
    assert_eq!(decoded.strict_error(), None);
    let new = kind.to_v1(&decoded.value).unwrap();
    let definition = kind.modern.map_or("io.k8s.api.core.v1.Binding", |modern| modern.definition);
    let decoded = prune(new, definition).unwrap();
    assert_eq!(decoded.strict_error(), None, "{}", decoded.value);
    decoded.value
}

/// What the older version shows, which its own decoder knows whole.
#[track_caller]
fn from_v1(kind: &Kind, new: &Value) -> Value {
    let old = kind.from_v1(new);
    let decoded = prune(old.clone(), kind.resource.definition).unwrap();
    assert_eq!(decoded.strict_error(), None, "{old}");
    old
}

/// An object of 2014 is what is expected in v1, and what is shown of that means the same again.
#[track_caller]
fn check(plural: &str, old: Value, expected: Value) -> Value {
    let kind = kind(plural);
    let mut new = to_v1(kind, old);
    let shown = from_v1(kind, &new);
    assert_eq!(from_v1(kind, &to_v1(kind, shown.clone())), shown);
    for field in ["kind", "apiVersion"] {
        remove(&mut new, field);
    }
    assert_eq!(new, expected);
    shown
}

#[test]
fn a_service_with_one_port() {
    let shown = check(
        "services",
        json!({
            "id": "redis", "kind": "Service", "apiVersion": "v1beta1", "port": 6379, "containerPort": "redis-server",
            "protocol": "UDP", "portName": "db", "selector": {"name": "redis"}, "labels": {"name": "redis"},
            "createExternalLoadBalancer": true, "publicIPs": ["192.168.56.7"], "portalIP": "10.96.3.4",
            "proxyPort": 4711, "sessionAffinity": "ClientIP", "resourceVersion": 12, "namespace": "ns",
        }),
        json!({
            "metadata": {"name": "redis", "namespace": "ns", "labels": {"name": "redis"}, "resourceVersion": "12"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.3.4", "externalIPs": ["192.168.56.7"],
                "selector": {"name": "redis"}, "sessionAffinity": "ClientIP",
                "ports": [{"name": "db", "protocol": "UDP", "port": 6379, "targetPort": "redis-server"}],
            },

        }),
    );
    for (field, value) in [
        ("id", json!("redis")),
        ("resourceVersion", json!(12)),
        ("port", json!(6379)),
        ("containerPort", json!("redis-server")),
        ("portalIP", json!("10.96.3.4")),
        ("createExternalLoadBalancer", json!(true)),
        ("selfLink", json!("/api/v1beta1/services/redis?namespace=ns")),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(shown["metadata"]["name"], "redis");
}

#[test]
fn a_service_says_whom_it_chooses() {
    let service = |selector: Value| json!({"id": "s", "port": 80, "containerPort": 8080, "selector": selector});
    let everything = json!({"v1beta1.stead.local/selector": "everything"});
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    let rest = |metadata: Value| json!({"metadata": metadata, "spec": {"ports": ports}});
    let all = check("services", service(json!({})), rest(json!({"name": "s", "annotations": everything})));
    assert_eq!(
        (&all["selector"], &all["annotations"], &all["metadata"]["annotations"]),
        (&json!({}), &Value::Null, &Value::Null)
    );
    let nobody = check("services", service(Value::Null), rest(json!({"name": "s"})));
    assert_eq!(nobody["selector"], Value::Null);
}

#[test]
fn a_service_leaves_the_port_to_the_pod() {
    let old = json!({"id": "s", "port": 80, "containerPort": 0, "selector": {"a": "b"}});
    let kind = kind("services");
    let mut new = to_v1(kind, old);
    let typed = |new: &Value| serde_json::from_value::<k8s_openapi::api::core::v1::Service>(new.clone()).unwrap();
    assert!(service::takes_first_port(&typed(&new)) && !service::chooses_all(&typed(&new)));
    // What v1 fills in changes nothing, a port that somebody names does.
    new["spec"]["ports"][0]["targetPort"] = 80.into();
    assert!(service::takes_first_port(&typed(&new)));
    let shown = from_v1(kind, &new);
    assert_eq!((&shown["containerPort"], &shown["ports"], &shown["port"]), (&Value::Null, &Value::Null, &json!(80)));
    assert!(service::takes_first_port(&typed(&to_v1(kind, shown))));
    new["spec"]["ports"][0]["targetPort"] = 81.into();
    assert!(!service::takes_first_port(&typed(&new)));
    assert_eq!(from_v1(kind, &new)["containerPort"], 81);
}

#[test]
fn ports_count_before_the_flat_one() {
    let old = json!({
        "id": "s", "port": 1, "containerPort": 2, "PublicIPs": ["192.168.56.9"],
        "ports": [{"name": "a", "port": 80, "protocol": "TCP", "containerPort": 0}, {"name": "b", "port": 443, "nodePort": 30443}],
    });
    let shown = check(
        "services",
        old,
        json!({
            "metadata": {"name": "s"},
            "spec": {
                "externalIPs": ["192.168.56.9"],
                "ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 443, "nodePort": 30443}],
            },

        }),
    );
    assert_eq!((&shown["port"], &shown["portName"]), (&json!(80), &json!("a")));
}

#[test]
fn what_cannot_be_said_is_left_out() {
    let shown = kind("services").from_v1(&json!({
        "metadata": {"name": "s"},
        "spec": {"type": "ExternalName", "externalName": "x.example", "ports": [
            {"port": 7, "protocol": "SCTP"}, {"port": 8, "protocol": "TCP", "appProtocol": "http"}]},
    }));
    assert_eq!(
        (&shown["type"], &shown["port"], shown["ports"].as_array().unwrap().len()),
        (&Value::Null, &json!(8), 1)
    );
    let shown = kind("pods").from_v1(&json!({
        "metadata": {"name": "p"},
        "spec": {"volumes": [{"name": "c", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {"sizeLimit": "1Mi"}}],
            "containers": [{"name": "c", "image": "i", "env": [
                {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}, {"name": "Y", "value": "y"}],
                "livenessProbe": {"grpc": {"port": 1}}}]},
    }));
    let manifest = &shown["desiredState"]["manifest"];
    assert_eq!(manifest["volumes"], json!([{"name": "e", "source": {"emptyDir": {}}}]));
    assert_eq!(manifest["containers"][0]["env"], json!([{"name": "Y", "key": "Y", "value": "y"}]));
    assert_eq!(manifest["containers"][0]["livenessProbe"], Value::Null);
}

#[test]
fn endpoints_are_addresses_with_ports() {
    let shown = check(
        "endpoints",
        json!({"id": "s", "endpoints": ["10.1.0.1:80", "10.1.0.2:80", "[fd00::1]:81", "10.1.0.3:80"], "protocol": "UDP"}),
        json!({
            "metadata": {"name": "s"},
            "subsets": [
                {"addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}], "ports": [{"port": 80, "protocol": "UDP"}]},
                {"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 81, "protocol": "UDP"}]},
                {"addresses": [{"ip": "10.1.0.3"}], "ports": [{"port": 80, "protocol": "UDP"}]},
            ],
        }),
    );
    assert_eq!(shown["endpoints"], json!(["10.1.0.1:80", "10.1.0.2:80", "[fd00::1]:81", "10.1.0.3:80"]));
    assert_eq!(shown["subsets"][0]["addresses"][0], json!({"IP": "10.1.0.1"}));
    let wrong = kind("endpoints").to_v1(&json!({"id": "s", "endpoints": ["10.1.0.1", "10.1.0.1:0"]})).unwrap_err();
    let wrong = wrong.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(wrong[0], "endpoints[0]: Invalid value: \"10.1.0.1\": must be of the form ADDRESS:PORT");
    assert_eq!(wrong.len(), 2);
}

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

#[test]
fn events_bindings_and_namespaces() {
    let time = "2015-02-03T04:05:06Z";
    let shown = check(
        "events",
        json!({"id": "e", "namespace": "default", "source": "kubelet", "host": "node1", "reason": "started", "timestamp": time,
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "status": "ignored"}),
        json!({
            "metadata": {"name": "e", "namespace": "default"}, "reason": "started", "count": 1,
            "firstTimestamp": time, "lastTimestamp": time, "source": {"component": "kubelet", "host": "node1"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        }),
    );
    assert_eq!((&shown["timestamp"], &shown["source"]), (&json!(time), &json!("kubelet")));
    let binding = to_v1(kind("bindings"), json!({"podID": "p", "host": "node1", "namespace": "default"}));
    assert_eq!(
        (&binding["metadata"]["name"], &binding["target"]),
        (&json!("p"), &json!({"kind": "Node", "name": "node1"}))
    );
    check(
        "namespaces",
        json!({"id": "n", "labels": {"a": "b"}}),
        json!({"metadata": {"name": "n", "labels": {"a": "b"}}}),
    );
}

#[test]
fn names_may_stand_in_metadata_too() {
    let kind = kind("services");
    let new = to_v1(
        kind,
        json!({
            "metadata": {"namespace": "ns", "name": "other", "annotations": {"applied": "x"}}, "id": "s", "annotations": {"own": "y"},
            "port": 80, "containerPort": 80, "selector": {"a": "b"},
        }),
    );
    let expected = json!({"name": "s", "namespace": "ns", "annotations": {"applied": "x", "own": "y"}});
    assert_eq!(new["metadata"], expected);
}

#[test]
fn unknown_fields_are_named_as_they_were_written() {
    let old = json!({"id": "s", "prt": 80, "ports": [{"port": 80, "targetPort": 1}]});
    let decoded = prune(old, kind("services").resource.definition).unwrap();
    let error = decoded.strict_error().unwrap();
    assert_eq!(error, "strict decoding error: unknown field \"ports[0].targetPort\", unknown field \"prt\"");
    let wrong = prune(json!({"port": "eighty"}), kind("services").resource.definition).unwrap_err();
    assert!(wrong.to_string().contains("Service.port of type int32"), "{wrong}");
}

#[test]
fn an_update_leaves_what_it_cannot_say() {
    let stored = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "namespace": "ns", "finalizers": ["f/g"], "labels": {"old": "label"}, "uid": "u"},
        "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilyPolicy": "SingleStack", "type": "ClusterIP",
            "ports": [{"name": "a", "port": 80, "targetPort": 80, "protocol": "TCP", "appProtocol": "http"}]},
        "status": {"loadBalancer": {}},
    });
    let kind = kind("services");
    let mut shown = kind.from_v1(&stored);
    remove(&mut shown, "metadata");
    remove(&mut shown, "labels");
    shown["ports"][0]["containerPort"] = 81.into();
    let new = kind.update_to_v1(&shown, &stored).unwrap();
    assert_eq!(new["metadata"], json!({"name": "s", "namespace": "ns", "finalizers": ["f/g"], "uid": "u"}));
    assert_eq!(
        (&new["spec"]["clusterIPs"], &new["spec"]["ipFamilyPolicy"]),
        (&json!(["10.96.0.9"]), &json!("SingleStack"))
    );
    let port = json!({"name": "a", "port": 80, "targetPort": 81, "protocol": "TCP", "appProtocol": "http"});
    assert_eq!(new["spec"]["ports"], json!([port]));
}

/// Who reads a Service, changes the port it was made with and sends it back means that port, though the answer lists it too.
#[test]
fn a_flat_port_that_was_changed_counts_before_the_list_that_was_not() {
    let kind = kind("services");
    let stored = kind.to_v1(&json!({"id": "s", "port": 80, "containerPort": 8080, "selector": {"a": "b"}})).unwrap();
    let check = |change: &dyn Fn(&mut Value), expect: Value| {
        let mut sent = kind.from_v1(&stored);
        change(&mut sent);
        let new = kind.update_to_v1(&sent, &stored).unwrap();
        assert_eq!(new["spec"]["ports"], expect, "{sent}");
    };
    check(&|_| {}, json!([{"port": 80, "targetPort": 8080}]));
    check(&|sent| sent["port"] = 81.into(), json!([{"port": 81, "targetPort": 8080}]));
    check(&|sent| sent["containerPort"] = 9090.into(), json!([{"port": 80, "targetPort": 9090}]));
    check(&|sent| sent["protocol"] = "UDP".into(), json!([{"port": 80, "targetPort": 8080, "protocol": "UDP"}]));
    // Who changes both has the list.
    let both = |sent: &mut Value| {
        sent["port"] = 81.into();
        sent["ports"][0]["port"] = 82.into();
    };
    check(&both, json!([{"port": 82, "targetPort": 8080}]));
    let several = |sent: &mut Value| {
        remove(sent, "port");
        sent["ports"] = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
    };
    check(&several, json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]));
}

/// Without `containerPort` traffic goes on to the pod's first port, whatever `port` becomes and however the Service is changed.
#[test]
fn a_port_that_is_left_to_the_pod_stays_left_to_it() {
    let kind = kind("services");
    let old = json!({"id": "u", "port": 81, "selector": {"a": "b"}});
    let mut stored = kind.to_v1(&old).unwrap();
    stored["spec"]["ports"][0]["targetPort"] = 81.into();
    stored["spec"]["ports"][0]["appProtocol"] = "http".into();
    let mut put = kind.from_v1(&stored);
    put["port"] = 84.into();
    let patch = json!({"port": 84});
    let mut patched = kind.patchable(&stored, &patch);
    patched["port"] = 84.into();
    for changed in [json!({"id": "u", "port": 84, "selector": {"a": "b"}}), put, patched] {
        let new = kind.update_to_v1(&changed, &stored).unwrap();
        assert_eq!(new["spec"]["ports"], json!([{"port": 84, "appProtocol": "http"}]), "{changed}");
        assert_eq!(kind.from_v1(&new).get("containerPort"), None);
    }
    let said = kind.update_to_v1(&json!({"id": "u", "port": 84, "containerPort": 8080}), &stored).unwrap();
    assert_eq!(said["spec"]["ports"][0]["targetPort"], 8080);
}

#[test]
fn protocols_are_read_in_any_case() {
    let service = |old: Value| kind("services").to_v1(&old).unwrap()["spec"]["ports"][0]["protocol"].clone();
    assert_eq!(service(json!({"id": "s", "port": 80, "protocol": "udp"})), "UDP");
    assert_eq!(service(json!({"id": "s", "ports": [{"port": 80, "protocol": "tcp"}]})), "TCP");
    let container = json!({"name": "c", "ports": [{"containerPort": 80, "protocol": "tcp"}]});
    let pod = json!({"id": "p", "desiredState": {"manifest": {"containers": [container.clone()]}}});
    let pod = kind("pods").to_v1(&pod).unwrap();
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    let endpoints = json!({"id": "e", "protocol": "udp", "endpoints": ["192.0.2.1:53"]});
    let endpoints = kind("endpoints").to_v1(&endpoints).unwrap();
    assert_eq!(endpoints["subsets"][0]["ports"][0]["protocol"], "UDP");
    let newer = |plural: &str, old: Value| find(Version::V1beta3, plural).unwrap().to_v1(&old).unwrap();
    let service = newer("services", json!({"spec": {"ports": [{"port": 80, "protocol": "udp"}]}}));
    assert_eq!(service["spec"]["ports"][0]["protocol"], "UDP");
    let pod = newer("pods", json!({"spec": {"containers": [container]}}));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
}

#[test]
fn a_patch_of_the_flat_port_counts() {
    let stored = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}]}});
    let patchable = |patch: Value| kind("services").patchable(&stored, &patch)["ports"].clone();
    assert_eq!(patchable(json!({"containerPort": 8081})), Value::Null);
    assert_eq!(patchable(json!([{"op": "replace", "path": "/port", "value": 81}])), Value::Null);
    assert_eq!(patchable(json!({"labels": {"a": "b"}}))[0]["nodePort"], 30080);
    assert_eq!(patchable(json!({"port": 1, "ports": []}))[0]["port"], 80);
    let balanced = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    let kind = kind("services");
    assert_eq!(kind.patchable(&balanced, &json!({"createExternalLoadBalancer": false}))["type"], Value::Null);
    assert_eq!(kind.patchable(&balanced, &json!({"port": 81}))["type"], "LoadBalancer");
}

#[test]
fn lists_and_status() {
    let list = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "n"}}]});
    let shown = kind("minions").list_from_v1(&list);
    assert_eq!(
        (&shown["kind"], &shown["resourceVersion"], &shown["selfLink"]),
        (&json!("MinionList"), &json!(9), &json!("/api/v1beta1/minions"))
    );
    assert_eq!(
        (&shown["items"][0]["id"], &shown["items"], &shown["items"][0]["kind"]),
        (&json!("n"), &shown["minions"], &Value::Null)
    );
    let status = status_from_v1(&json!({"kind": "Status", "details": {"name": "s"}, "code": 404}));
    assert_eq!((&status["details"]["id"], &status["details"]["name"]), (&json!("s"), &json!("s")));
}

#[test]
fn v1beta3_has_todays_shape_and_its_own_names() {
    let of = |plural: &str| find(Version::V1beta3, plural).unwrap();
    let service = of("services");
    let old = json!({"metadata": {"name": "s"}, "spec": {"portalIP": "10.96.0.7", "publicIPs": ["192.168.56.9"], "createExternalLoadBalancer": true,
        "ports": [{"port": 80, "targetPort": 8080}], "selector": {}}});
    let new = to_v1(service, old);
    assert_eq!((&new["spec"]["clusterIP"], &new["spec"]["type"]), (&json!("10.96.0.7"), &json!("LoadBalancer")));
    let shown = from_v1(service, &new);
    assert_eq!((&shown["spec"]["portalIP"], &shown["spec"]["selector"]), (&json!("10.96.0.7"), &json!({})));
    assert_eq!(to_v1(service, shown)["spec"], new["spec"]);
    let pod = of("pods");
    let old = json!({"metadata": {"name": "p"}, "spec": {"host": "node1", "containers": [{"name": "a", "image": "i", "privileged": true}]},
        "status": {"containerStatuses": [{"name": "a", "ready": true, "restartCount": 0, "image": "i", "imageID": "", "state": {"termination": {"exitCode": 3}}}]}});
    let new = to_v1(pod, old);
    assert_eq!(
        (&new["spec"]["nodeName"], &new["spec"]["containers"][0]["securityContext"]),
        (&json!("node1"), &json!({"privileged": true}))
    );
    assert_eq!(new["status"]["containerStatuses"][0]["state"], json!({"terminated": {"exitCode": 3}}));
    assert_eq!(from_v1(pod, &new)["status"]["containerStatuses"][0]["state"], json!({"termination": {"exitCode": 3}}));
    let endpoints = of("endpoints");
    let new = to_v1(
        endpoints,
        json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"IP": "10.0.0.1"}], "ports": [{"port": 1}]}]}),
    );
    assert_eq!(new["subsets"][0]["addresses"], json!([{"ip": "10.0.0.1"}]));
    for plural in ["replicationcontrollers", "nodes", "namespaces", "events", "bindings"] {
        let kind = of(plural);
        let new = to_v1(kind, json!({"metadata": {"name": "x", "labels": {"a": "b"}}}));
        assert_eq!(from_v1(kind, &new)["metadata"]["labels"], json!({"a": "b"}), "{plural}");
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,6}"
}

fn labels() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(name(), name(), 0..3).prop_map(|labels| json!(labels))
}

prop_compose! {
    fn port()(name in name(), port in 1..65536, target in prop_oneof![
        (1..65536).prop_map(Value::from), name().prop_map(Value::from)], udp in any::<bool>(), node in prop::option::of(30000..30010_i64)) -> Value {
        let mut port = json!({"name": name, "port": port, "targetPort": target, "protocol": if udp { "UDP" } else { "TCP" }});
        if let Some(node) = node {
            port["nodePort"] = node.into();
        }
        port
    }
}

prop_compose! {
    /// A v1 Service of which v1beta1 knows everything.
    fn known_service()(name in name(), labels in labels(), annotations in labels(), ports in prop::collection::vec(port(), 1..4),
        selector in labels(), ty in prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer"]),
        external in prop::collection::vec("10\\.0\\.0\\.[1-9]", 0..2), revision in 1..u64::MAX) -> Value {
        let object = json!({"metadata": {"name": name, "namespace": "ns", "labels": labels, "annotations": annotations, "resourceVersion": revision.to_string()},
            "spec": {"ports": ports, "selector": selector, "type": ty, "clusterIP": "10.96.0.3", "externalIPs": external, "sessionAffinity": "None"},
        });
        prune(object, "io.k8s.api.core.v1.Service").unwrap().value
    }
}

prop_compose! {
    fn container()(name in name(), args in prop::collection::vec(name(), 0..3), command in prop::collection::vec(name(), 0..2), cpu in 1..5000_i64, memory in 1..1_i64 << 40,
        env in prop::collection::vec((name(), name()), 0..3), privileged in any::<bool>(), policy in prop::sample::select(vec!["Always", "Never", "IfNotPresent"])) -> Value {
        let env = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>();
        let cpu = if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") };
        json!({"name": name, "image": "i", "args": args, "command": command, "env": env, "imagePullPolicy": policy,
            "securityContext": {"privileged": privileged}, "resources": {"limits": {"cpu": cpu, "memory": memory.to_string()}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]})
    }
}

prop_compose! {
    fn known_pod()(name in name(), labels in labels(), containers in prop::collection::vec(container(), 1..3),
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]), path in prop::option::of("/[a-z]{1,5}")) -> Value {
        let source = path.map_or(json!({"name": "v", "emptyDir": {}}), |path| json!({"name": "v", "hostPath": {"path": path}}));
        let object = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": containers, "restartPolicy": policy,
            "volumes": [source], "nodeName": "n", "dnsPolicy": "Default"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}});
        prune(object, "io.k8s.api.core.v1.Pod").unwrap().value
    }
}

/// What both versions know is the same after there and back, with the flat form alone.
fn there_and_back(plural: &str, new: &Value) -> (Value, Value) {
    let kind = kind(plural);
    let mut shown = from_v1(kind, new);
    remove(&mut shown, "metadata");
    let mut again = to_v1(kind, shown.clone());
    for field in ["kind", "apiVersion"] {
        remove(&mut again, field);
    }
    let mut once_more = from_v1(kind, &again);
    remove(&mut once_more, "metadata");
    assert_eq!(once_more, shown);
    (again, new.clone())
}

proptest! {
    #[test]
    fn services_come_back_as_they_were(service in known_service()) {
        let (again, service) = there_and_back("services", &service);
        prop_assert_eq!(again, service);
    }

    #[test]
    fn pods_come_back_as_they_were(pod in known_pod()) {
        let (again, pod) = there_and_back("pods", &pod);
        prop_assert_eq!(again, pod);
    }

    /// Whatever v1beta1's decoder lets in becomes an object that v1's decoder lets in.
    #[test]
    fn nothing_panics(text in "\\PC*", number in any::<i32>()) {
        for kind in super::resources::KINDS {
            let old = json!({"id": text, "port": number, "endpoints": [text], "podID": text, "metadata": {"name": text},
                "desiredState": {"manifest": {"id": text}}, "selector": {}, "subsets": null});
            if let Ok(decoded) = prune(old, kind.resource.definition)
                && let Ok(new) = kind.to_v1(&decoded.value)
            {
                kind.from_v1(&new);
            }
        }
    }
}
