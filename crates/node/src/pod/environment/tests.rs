use serde_json::{Value, json};
use stead_api::item::FromItem;

use super::*;

const POD: &[&str] = &["10.244.1.2", "fd56:244:1::2"];
const HOST: &[&str] = &["192.168.56.101"];

fn service(namespace: &str, name: &str, ip: &str, ports: Value) -> ServiceView {
    let json = json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports},
    });
    ServiceView::from_item(json.to_string().as_bytes()).unwrap()
}

fn pod(namespace: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "p", "namespace": namespace, "uid": "u",
            "labels": {"app": "web", "example.com/tier": "front"}, "annotations": {"note": "a b"},
        },
        "spec": {"nodeName": "n", "serviceAccountName": "robot", "containers": []},
    }))
    .unwrap()
}

fn try_lines(
    pod: &Pod,
    container: Value,
    services: &[ServiceView],
    config_maps: &ConfigMaps,
) -> Result<Vec<String>, String> {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let (own, host) = (parse(POD), parse(HOST));
    let container: Container = serde_json::from_value(container).unwrap();
    let image = ["PATH=/image".to_owned(), "LANG=C".to_owned()];
    let addresses = Addresses { pod: &own, host: &host };
    let environment = environment(pod, &container, &image, services.iter(), config_maps, "p", addresses);
    environment.map(|environment| environment.lines).map_err(|error| error.to_string())
}

/// What a container has besides the image's variables and its host name.
fn own_lines(pod: &Pod, container: Value, services: &[ServiceView]) -> Vec<String> {
    let lines = try_lines(pod, container, services, &ConfigMaps::new()).unwrap();
    lines.into_iter().filter(|line| !["PATH=/image", "LANG=C", "HOSTNAME=p"].contains(&line.as_str())).collect()
}

/// All lines that Services give, in order.
fn check_services(pod: &Pod, services: &[ServiceView], expect: &[&str]) {
    assert_eq!(own_lines(pod, json!({"name": "c"}), services), expect);
}

#[test]
fn a_service_is_written_in_the_order_of_upstream() {
    let ports = json!([{"port": 6379, "protocol": "TCP"}]);
    check_services(
        &pod("ns"),
        &[service("ns", "redis-master", "10.0.0.11", ports)],
        &[
            "REDIS_MASTER_SERVICE_HOST=10.0.0.11",
            "REDIS_MASTER_SERVICE_PORT=6379",
            "REDIS_MASTER_PORT=tcp://10.0.0.11:6379",
            "REDIS_MASTER_PORT_6379_TCP=tcp://10.0.0.11:6379",
            "REDIS_MASTER_PORT_6379_TCP_PROTO=tcp",
            "REDIS_MASTER_PORT_6379_TCP_PORT=6379",
            "REDIS_MASTER_PORT_6379_TCP_ADDR=10.0.0.11",
        ],
    );
    // IPv6 stands in brackets where a port follows; ports with names have a variable more; a leading digit stays.
    let ports = json!([{"name": "web-ui", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    check_services(
        &pod("ns"),
        &[service("ns", "2nd", "fd56:96::1", ports)],
        &[
            "2ND_SERVICE_HOST=fd56:96::1",
            "2ND_SERVICE_PORT=80",
            "2ND_SERVICE_PORT_WEB_UI=80",
            "2ND_SERVICE_PORT_DNS=53",
            "2ND_PORT=tcp://[fd56:96::1]:80",
            "2ND_PORT_80_TCP=tcp://[fd56:96::1]:80",
            "2ND_PORT_80_TCP_PROTO=tcp",
            "2ND_PORT_80_TCP_PORT=80",
            "2ND_PORT_80_TCP_ADDR=fd56:96::1",
            "2ND_PORT_53_UDP=udp://[fd56:96::1]:53",
            "2ND_PORT_53_UDP_PROTO=udp",
            "2ND_PORT_53_UDP_PORT=53",
            "2ND_PORT_53_UDP_ADDR=fd56:96::1",
        ],
    );
}

#[test]
fn services_are_those_of_the_namespace_and_kubernetes() {
    let one = |number: u16| json!([{"port": number}]);
    let services = [
        service("default", "kubernetes", "10.96.0.1", one(443)),
        service("default", "other", "10.96.0.2", one(80)),
        service("ns", "own", "10.96.0.3", one(80)),
        service("ns", "headless", "None", one(80)),
        service("ns", "alias", "", one(80)),
    ];
    let hosts = |pod: &Pod, services: &[ServiceView]| {
        let lines = own_lines(pod, json!({"name": "c"}), services);
        lines.into_iter().filter(|line| line.contains("_SERVICE_HOST=")).collect::<Vec<_>>()
    };
    let kubernetes = "KUBERNETES_SERVICE_HOST=10.96.0.1";
    assert_eq!(hosts(&pod("ns"), &services), [kubernetes, "OWN_SERVICE_HOST=10.96.0.3"]);
    assert_eq!(hosts(&pod("default"), &services), [kubernetes, "OTHER_SERVICE_HOST=10.96.0.2"]);
    for namespace in ["ns", "default"] {
        let mut pod = pod(namespace);
        pod.spec.as_mut().unwrap().enable_service_links = Some(false);
        assert_eq!(hosts(&pod, &services), [kubernetes]);
    }
    // One of that name in the pod's own namespace takes the place of the other, whole.
    let [kubernetes, ..] = services;
    let named = json!([{"port": 6443}]);
    for services in [
        [kubernetes.clone(), service("ns", "kubernetes", "10.96.0.9", named.clone())],
        [service("ns", "kubernetes", "10.96.0.9", named.clone()), kubernetes.clone()],
    ] {
        let lines = own_lines(&pod("ns"), json!({"name": "c"}), &services);
        assert_eq!(lines[0], "KUBERNETES_SERVICE_HOST=10.96.0.9");
        assert!(!lines.iter().any(|line| line.contains("443_TCP") && !line.contains("6443")), "{lines:?}");
    }
}

#[test]
fn what_the_container_says_itself_counts() {
    let services = [service("default", "kubernetes", "10.96.0.1", json!([{"port": 443}]))];
    let container = json!({"name": "c", "env": [
        {"name": "URL", "value": "http://$(KUBERNETES_SERVICE_HOST)/$(NOBODY)/$$(URL)"},
        {"name": "KUBERNETES_SERVICE_HOST", "value": "mine"},
        {"name": "AFTER", "value": "$(KUBERNETES_SERVICE_HOST)"},
        {"name": "PATH", "value": "/mine"},
        {"name": "TWICE", "value": "1"},
        {"name": "TWICE", "value": "$(TWICE)2"},
    ]});
    let lines = try_lines(&pod("ns"), container, &services, &ConfigMaps::new()).unwrap();
    let expect = [
        "PATH=/mine",
        "LANG=C",
        "HOSTNAME=p",
        "URL=http://10.96.0.1/$(NOBODY)/$(URL)",
        "KUBERNETES_SERVICE_HOST=mine",
        "AFTER=mine",
        "TWICE=12",
        "KUBERNETES_SERVICE_PORT=443",
        "KUBERNETES_PORT=tcp://10.96.0.1:443",
    ];
    assert_eq!(lines[..expect.len()], expect);
}

#[test]
fn fields_of_the_pod_become_variables() {
    for (path, expect) in [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels['example.com/tier']", "front"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "a b"),
        ("spec.nodeName", "n"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "10.244.1.2"),
        ("status.podIPs", "10.244.1.2,fd56:244:1::2"),
        ("status.hostIP", "192.168.56.101"),
        ("status.hostIPs", "192.168.56.101"),
    ] {
        // What a field holds is not expanded.
        let env =
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}, {"name": "B", "value": "<$(A)>"}]);
        let lines = own_lines(&pod("ns"), json!({"name": "c", "env": env}), &[]);
        assert_eq!(lines, [format!("A={expect}"), format!("B=<{expect}>")], "{path}");
    }
    let env = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.hostname"}}}]);
    let refused = try_lines(&pod("ns"), json!({"name": "c", "env": env}), &[], &ConfigMaps::new());
    assert_eq!(refused, Err("environment variable A: field spec.hostname is not served".to_owned()));
}

#[test]
fn config_maps_become_variables() {
    let config_map = |data: Value| serde_json::from_value::<ConfigMap>(json!({ "data": data })).unwrap();
    let config_maps = ConfigMaps::from([("m".to_owned(), config_map(json!({"b": "two", "a": "one $(X)"})))]);
    let check = |container: Value, expect: Result<&[&str], &str>| {
        let lines = try_lines(&pod("ns"), container, &[], &config_maps);
        let with_image = |own: &[&str]| {
            ["PATH=/image", "LANG=C", "HOSTNAME=p"].iter().chain(own).map(|line| (*line).to_owned()).collect()
        };
        assert_eq!(lines, expect.map(with_image).map_err(str::to_owned));
    };
    let key = |map: &str, key: &str, optional: bool| {
        json!({"name": "c", "env": [{"name": "A", "valueFrom": {
            "configMapKeyRef": {"name": map, "key": key, "optional": optional}}}]})
    };
    check(key("m", "a", false), Ok(&["A=one $(X)"]));
    check(key("m", "c", true), Ok(&[]));
    check(key("x", "a", true), Ok(&[]));
    check(key("m", "c", false), Err("couldn't find key c in ConfigMap ns/m"));
    check(key("x", "a", false), Err("configmap \"x\" not found"));
    let whole = |map: &str, optional: bool| {
        json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": map, "optional": optional}}],
            "env": [{"name": "P_b", "value": "own"}, {"name": "C", "value": "$(P_a)"}]})
    };
    check(whole("m", false), Ok(&["P_a=one $(X)", "P_b=own", "C=one $(X)"]));
    check(whole("x", true), Ok(&["P_b=own", "C=$(P_a)"]));
    check(whole("x", false), Err("configmap \"x\" not found"));
    let container: Container = serde_json::from_value(whole("m", false)).unwrap();
    assert_eq!(config_maps_of(&container).collect::<Vec<_>>(), ["m"]);
}

#[test]
fn references_to_variables_are_expanded() {
    let known = BTreeMap::from([("A".to_owned(), "one".to_owned()), ("B_C".to_owned(), "two".to_owned())]);
    for (text, expect) in [
        ("$(A)-$(B_C)", "one-two"),
        ("$$(A) $(X) $A $", "$(A) $(X) $A $"),
        ("$(A", "$(A"),
        ("$$$(A)", "$one"),
        ("$($(A))", "$($(A))"),
        ("$()", "$()"),
        ("", ""),
        ("ü$(A)ü", "üoneü"),
    ] {
        assert_eq!(expand(text, &known), expect, "{text}");
    }
}
