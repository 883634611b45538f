//! ServiceCIDR and IPAddress: where the addresses of Services come from, and what says that one is in use.

use std::sync::Arc;

use serde_json::{Value, json};
use stead_store::Model;

use crate::support::{Client, Cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

fn at(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}})
}

fn range(name: &str, cidr: &str) -> Value {
    json!({
        "metadata": {"name": name, "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": [cidr]},
    })
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect(200);
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Five addresses beside that of the Service `kubernetes`.
async fn narrow() -> Cluster {
    Cluster::with(Arc::new(Model::new()), |config| config.service_ranges = vec!["10.96.0.0/29".parse().unwrap()]).await
}

/// `--service-node-port-range` at work: what is given out, what may be named, what the refusal names.
#[tokio::test]
async fn node_ports_come_from_the_range_that_is_set() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| config.node_ports = 20_000..=20_001).await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, node_port: Option<u16>| {
        let mut port = json!({"port": 80});
        if let Some(node_port) = node_port {
            port["nodePort"] = node_port.into();
        }
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [port]}})
    };
    let refused = admin.post(services, &service("outside", Some(30_080))).await;
    assert!(refused.message().ends_with("The range of valid ports is 20000-20001"), "{}", refused.text);
    refused.expect(422);
    let mut given = Vec::new();
    for (name, wanted) in [("named", Some(20_001)), ("chosen", None)] {
        let made = admin.post(services, &service(name, wanted)).await.expect(201);
        given.push(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    assert_eq!(given, [20_001, 20_000]);
    let full = admin.post(services, &service("late", None)).await;
    assert!(full.message().contains("failed to allocate a nodePort: range is full"), "{}", full.text);
    admin.delete(&format!("{services}/named")).await.expect(200);
    let late = admin.post(services, &service("late", None)).await.expect(201);
    assert_eq!(late["spec"]["ports"][0]["nodePort"], 20_001);
}

#[tokio::test]
async fn an_address_in_use_is_an_object_written_with_its_service() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| {
        config.service_ranges = vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()];
    })
    .await;
    let admin = cluster.admin();
    assert_eq!(names(&admin, ADDRESSES).await, ["10.96.0.1"], "that of the Service kubernetes");
    let mut both = service("both");
    both["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    let both = admin.post(SERVICES, &both).await.expect(201);
    for (address, family) in both["spec"]["clusterIPs"].as_array().unwrap().iter().zip(["IPv4", "IPv6"]) {
        let object = admin.get(&format!("{ADDRESSES}/{}", address.as_str().unwrap())).await.expect(200);
        assert_eq!(
            object["spec"],
            json!({"parentRef": {"resource": "services", "namespace": "default", "name": "both"}})
        );
        assert_eq!(
            object["metadata"]["labels"],
            json!({
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            })
        );
        assert_eq!(object["metadata"]["resourceVersion"], both["metadata"]["resourceVersion"], "one transaction");
        assert!(object["metadata"]["uid"].is_string() && object["metadata"]["creationTimestamp"].is_string());
    }
    let patch = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    admin.patch(&format!("{SERVICES}/both"), "merge-patch", &patch).await.expect(200);
    assert_eq!(names(&admin, ADDRESSES).await.len(), 2);
    admin.delete(&format!("{SERVICES}/both")).await.expect(200);
    assert_eq!(names(&admin, ADDRESSES).await, ["10.96.0.1"]);
}

#[tokio::test]
async fn the_servers_own_ranges_are_an_object_that_is_ready() {
    let store = Arc::new(Model::new());
    let cluster = Cluster::with(store.clone(), |_| {}).await;
    let object = cluster.admin().get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(object["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    let ready = &object["status"]["conditions"][0];
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    // A second family joins when the server is started with one.
    let wider =
        Cluster::with(store.clone(), |config| config.service_ranges.push("fd56:96::/112".parse().unwrap())).await;
    let object = wider.admin().get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(object["spec"]["cidrs"], json!(["10.96.0.0/16", "fd56:96::/112"]));
    // Other ranges are reported and change nothing.
    let other = Cluster::with(store, |config| config.service_ranges = vec!["10.98.0.0/16".parse().unwrap()]).await;
    let object = other.admin().get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(object["spec"]["cidrs"], json!(["10.96.0.0/16", "fd56:96::/112"]));
    let events = other.admin().get("/api/v1/namespaces/default/events").await.expect(200).to_string();
    assert!(events.contains("KubernetesDefaultServiceCIDRInconsistent"), "{events}");
}

#[tokio::test]
async fn ranges_join_and_leave_while_the_server_runs() {
    let cluster = narrow().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d", "e"] {
        admin.post(SERVICES, &service(name)).await.expect(201);
    }
    let full = admin.post(SERVICES, &service("f")).await.expect(500);
    assert!(full["message"].as_str().unwrap().contains("failed to allocate a serviceIP: range is full"), "{full}");
    let outside = admin.post(SERVICES, &at("f", "10.97.0.9")).await.expect(422);
    let text = "failed to allocate IP 10.97.0.9: the provided network does not match the current range";
    assert!(outside["message"].as_str().unwrap().contains(text), "{outside}");

    admin.post(RANGES, &range("more", "10.97.0.0/24")).await.expect(201);
    let more = admin.post(SERVICES, &service("f")).await.expect(201);
    let address = more["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.97.0."), "{address}");
    let broadcast = admin.post(SERVICES, &at("g", "10.97.0.255")).await.expect(422);
    let text = "failed to allocate IP 10.97.0.255: the provided network does not match the current range";
    assert!(broadcast["message"].as_str().unwrap().contains(text), "{broadcast}");

    let ending = admin.delete(&format!("{RANGES}/more")).await.expect(200);
    assert!(ending["metadata"]["deletionTimestamp"].is_string(), "an address is in use: {ending}");
    admin.post(SERVICES, &service("g")).await.expect(500);
    admin.post(SERVICES, &at("g", "10.97.0.9")).await.expect(422);
    admin.get(&format!("{SERVICES}/f")).await.expect(200);
    admin.get(&format!("{ADDRESSES}/{address}")).await.expect(200);

    // What is not ready serves as little.
    admin.post(RANGES, &range("later", "10.98.0.0/24")).await.expect(201);
    let judged = |status: &str| {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let status = format!("{RANGES}/later/status");
    admin.patch(&status, "merge-patch", &judged("False")).await.expect(200);
    admin.post(SERVICES, &service("g")).await.expect(500);
    admin.patch(&status, "merge-patch", &judged("True")).await.expect(200);
    admin.post(SERVICES, &service("g")).await.expect(201);
}

#[tokio::test]
async fn ranges_may_overlap_and_no_address_is_given_out_twice() {
    let cluster = narrow().await;
    let admin = cluster.admin();
    admin.post(RANGES, &range("same", "10.96.0.0/29")).await.expect(201);
    admin.post(RANGES, &range("wider", "10.96.0.0/28")).await.expect(201);
    for n in 0..13 {
        admin.post(SERVICES, &service(&format!("s{n}"))).await.expect(201);
    }
    admin.post(SERVICES, &service("one-too-many")).await.expect(500);
    assert_eq!(names(&admin, ADDRESSES).await.len(), 14);
}

/// A Service relies on its range: where that is being deleted at the same time, the range or the Service is refused, or waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_out_of_a_range_after_its_end_was_told() {
    let cluster = narrow().await;
    let admin = cluster.admin();
    for round in 0..10 {
        let name = format!("r{round}");
        admin.post(RANGES, &range(&name, &format!("10.97.{round}.0/24"))).await.expect(201);
        let (client, path) = (admin.clone(), format!("{RANGES}/{name}"));
        let end = tokio::spawn(async move { client.delete(&path).await });
        let mut creations = Vec::new();
        for n in 0..8 {
            let (admin, wanted) = (cluster.admin(), at(&format!("s{round}-{n}"), &format!("10.97.{round}.{}", n + 1)));
            creations.push(tokio::spawn(async move { admin.post(SERVICES, &wanted).await }));
        }
        let told =
            end.await.unwrap().expect(200)["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        for creation in creations {
            let answer = creation.await.unwrap();
            if answer.code == 201 {
                let made = answer.body["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
                assert!(made < told, "made at {made}, told at {told}");
            } else {
                assert_eq!(answer.code, 422, "{}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_somebody_else_holds_is_not_given_out() {
    let cluster = narrow().await;
    let admin = cluster.admin();
    let held = |name: &str| {
        json!({"metadata": {"name": name},
            "spec": {"parentRef": {"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "edge"}}})
    };
    for last in 2..=5 {
        admin.post(ADDRESSES, &held(&format!("10.96.0.{last}"))).await.expect(201);
    }
    let taken = admin.post(SERVICES, &at("a", "10.96.0.2")).await.expect(422);
    assert!(taken["message"].as_str().unwrap().contains("provided IP is already allocated"), "{taken}");
    let free = admin.post(SERVICES, &service("a")).await.expect(201);
    assert_eq!(free["spec"]["clusterIP"], "10.96.0.6", "the only one left");
    admin.post(SERVICES, &service("b")).await.expect(500);
    admin.post(ADDRESSES, &held("10.96.0.6")).await.expect(409);
    let unknown = admin.put(&format!("{ADDRESSES}/10.96.0.99"), &held("10.96.0.99")).await;
    assert_eq!(unknown.code, 404, "an update creates nothing");
    let patch = json!({"spec": {"parentRef": {"name": "other"}}});
    let moved = admin.patch(&format!("{ADDRESSES}/10.96.0.2"), "merge-patch", &patch).await.expect(422);
    assert!(moved["message"].as_str().unwrap().contains("spec.parentRef: Invalid value"), "{moved}");
    admin.delete(&format!("{ADDRESSES}/10.96.0.3")).await.expect(200);
    let free = admin.post(SERVICES, &service("b")).await.expect(201);
    assert_eq!(free["spec"]["clusterIP"], "10.96.0.3", "what is given back is found when nothing else is left");
}

#[tokio::test]
async fn the_version_before_shows_the_same_objects() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let old = RANGES.replace("/v1/", "/v1beta1/");
    let made = admin.post(&old, &range("more", "10.97.0.0/24")).await.expect(201);
    assert_eq!(made["apiVersion"], "networking.k8s.io/v1beta1");
    let found = admin.get(&format!("{RANGES}/more")).await.expect(200);
    assert_eq!((&found["apiVersion"], &found["spec"]), (&json!("networking.k8s.io/v1"), &made["spec"]));
    let list = admin.get(&old).await.expect(200);
    assert_eq!(list["items"][1]["apiVersion"], "networking.k8s.io/v1beta1");
    assert_eq!(names(&admin, &ADDRESSES.replace("/v1/", "/v1beta1/")).await, ["10.96.0.1"]);
    let group = admin.get("/apis/networking.k8s.io").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
}

#[tokio::test]
async fn printing_columns_of_servicecidr_and_ipaddress() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (path, columns, cells) in [
        (RANGES, json!(["Name", "CIDRs", "Age"]), json!(["kubernetes", "10.96.0.0/16"])),
        (ADDRESSES, json!(["Name", "ParentRef"]), json!(["10.96.0.1", "services/default/kubernetes"])),
    ] {
        let answer = admin.get_as(path, table).await.expect(200);
        let names = answer["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].clone());
        assert_eq!(Value::from_iter(names), columns);
        assert_eq!(answer["rows"][0]["cells"].as_array().unwrap()[..2], cells.as_array().unwrap()[..]);
    }
    let resources = admin.get("/apis/networking.k8s.io/v1").await.expect(200).to_string();
    for name in ["servicecidrs", "servicecidrs/status", "ipaddresses"] {
        assert!(resources.contains(&format!("\"name\":\"{name}\"")), "{resources}");
    }
}
