//! Services and Endpoints.

use super::*;

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
