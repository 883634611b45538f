//! What both versions know comes back, and nothing panics.

use proptest::prelude::*;

use super::*;

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
