//! Services: what is allocated is nobody else's, and free again when it is given up.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use stead_store::{Embedded, Model, Store};

use crate::support::{Client, Cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "ports": [{"port": 80}]},
    })
}

fn address(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap()
}

fn node_port(service: &Value) -> u64 {
    service["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or_default()
}

async fn services(client: &Client) -> Vec<Value> {
    client.get("/api/v1/services").await.expect(200)["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_service_gets_its_defaults_an_address_and_a_node_port() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let web = admin.post(SERVICES, &service("web", "NodePort")).await.expect(201);
    assert_eq!(web["spec"]["clusterIPs"], json!([address(&web)]));
    assert_eq!(web["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(web["spec"]["ipFamilyPolicy"], "SingleStack");
    assert_eq!(web["spec"]["ports"][0]["targetPort"], 80);
    assert!((30086..=32767).contains(&node_port(&web)), "{web}");
    let octets = address(&web).split('.').map(|octet| octet.parse::<u32>().unwrap()).collect::<Vec<_>>();
    assert!(octets[2] * 256 + octets[3] > 256, "the lower band is for people: {web}");
    let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}});
    let headless = admin.post(SERVICES, &headless).await.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn addresses_and_ports_are_claimed_and_released() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let mut wanted = service("a", "NodePort");
    wanted["spec"]["clusterIP"] = "10.96.0.10".into();
    wanted["spec"]["ports"][0]["nodePort"] = 30007.into();
    admin.post(SERVICES, &wanted).await.expect(201);
    wanted["metadata"]["name"] = "b".into();
    let taken = admin.post(SERVICES, &wanted).await.expect(422);
    let causes = taken["details"]["causes"].to_string();
    assert!(causes.contains("failed to allocate IP 10.96.0.10: provided IP is already allocated"), "{causes}");
    wanted["spec"].as_object_mut().unwrap().remove("clusterIP");
    let taken = admin.post(SERVICES, &wanted).await.expect(422);
    let expected =
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated";
    assert_eq!(taken["message"], expected);
    let dry = admin.post(&format!("{SERVICES}?dryRun=All"), &wanted).await.expect(422);
    assert_eq!(dry["message"], expected);
    admin.delete(&format!("{SERVICES}/a")).await.expect(200);
    wanted["spec"]["clusterIP"] = "10.96.0.10".into();
    let again = admin.post(SERVICES, &wanted).await.expect(201);
    assert_eq!((address(&again), node_port(&again)), ("10.96.0.10", 30007));
}

#[tokio::test]
async fn updates_claim_and_release_what_changes() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let created = admin.post(SERVICES, &service("web", "ClusterIP")).await.expect(201);
    let path = format!("{SERVICES}/web");
    let patch = json!({"spec": {"type": "NodePort"}});
    let opened = admin.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let port = node_port(&opened);
    assert!(port >= 30000 && address(&opened) == address(&created));
    let replaced = admin.put(&path, &service("web", "NodePort")).await.expect(200);
    assert_eq!((node_port(&replaced), address(&replaced)), (port, address(&created)), "a replace inherits");
    let patch = json!({"spec": {"type": "ClusterIP"}});
    let closed = admin.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(node_port(&closed), 0);
    let mut other = service("other", "NodePort");
    other["spec"]["ports"][0]["nodePort"] = port.into();
    admin.post(SERVICES, &other).await.expect(201);
    let patch = json!({"spec": {"clusterIP": "10.96.0.77"}});
    let refused = admin.patch(&path, "merge-patch", &patch).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("may not change once set"), "{refused}");
    let taken = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}});
    let refused = admin.patch(&path, "strategic-merge-patch", &taken).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("provided port is already allocated"), "{refused}");
}

#[tokio::test]
async fn a_dry_run_reserves_nothing() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let before = cluster.store.revision().await.unwrap();
    for name in ["a", "b", "c"] {
        let shown = admin.post(&format!("{SERVICES}?dryRun=All"), &service(name, "NodePort")).await.expect(201);
        assert_eq!(node_port(&shown), 32_769, "one that upstream shows too");
        assert_eq!(address(&shown), "10.96.0.0");
        assert!(node_port(&shown) >= 30000);
    }
    assert_eq!(cluster.store.revision().await.unwrap(), before);
    admin.get(&format!("{SERVICES}/a")).await.expect(404);
}

#[tokio::test]
async fn a_full_range_says_so_and_serves_what_is_given_back() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| {
        config.service_ranges = vec!["10.96.0.0/29".parse().unwrap()];
        config.node_ports = 30000..=30001;
    })
    .await;
    let admin = cluster.admin();
    for name in ["a", "b", "c", "d", "e"] {
        admin.post(SERVICES, &service(name, "ClusterIP")).await.expect(201);
    }
    let full = admin.post(SERVICES, &service("f", "ClusterIP")).await.expect(500);
    assert_eq!(full["reason"], "InternalError");
    assert!(full["message"].as_str().unwrap().contains("range is full"), "{full}");
    admin.delete(&format!("{SERVICES}/c")).await.expect(200);
    admin.post(SERVICES, &service("f", "ClusterIP")).await.expect(201);
    for name in ["a", "b"] {
        admin
            .patch(&format!("{SERVICES}/{name}"), "merge-patch", &json!({"spec": {"type": "NodePort"}}))
            .await
            .expect(200);
    }
    let patch = json!({"spec": {"type": "NodePort"}});
    let full = admin.patch(&format!("{SERVICES}/d"), "merge-patch", &patch).await.expect(500);
    assert!(full["message"].as_str().unwrap().contains("range is full"), "{full}");
}

#[tokio::test]
async fn endpoints_go_with_their_service() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin.post(SERVICES, &service("web", "ClusterIP")).await.expect(201);
    let endpoints = json!({
        "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": "10.244.1.5"}], "ports": [{"port": 8080}]}],
    });
    admin.post("/api/v1/namespaces/default/endpoints", &endpoints).await.expect(201);
    let deleted = admin.delete(&format!("{SERVICES}/web")).await.expect(200);
    assert_eq!(deleted["kind"], "Service", "the object is answered");
    admin.get("/api/v1/namespaces/default/endpoints/web").await.expect(404);
}

#[tokio::test]
async fn a_finalizer_holds_a_service_and_what_it_claims() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let mut held = service("held", "ClusterIP");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = admin.post(SERVICES, &held).await.expect(201);
    let marked = admin.delete(&format!("{SERVICES}/held")).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let mut other = service("other", "ClusterIP");
    other["spec"]["clusterIP"] = address(&held).into();
    admin.post(SERVICES, &other).await.expect(422);
    let patch = json!({"metadata": {"finalizers": null}});
    admin.patch(&format!("{SERVICES}/held"), "merge-patch", &patch).await.expect(200);
    admin.get(&format!("{SERVICES}/held")).await.expect(404);
    admin.post(SERVICES, &other).await.expect(201);
}

async fn nothing_is_handed_out_twice(store: Arc<dyn Store>) {
    let cluster = Cluster::with(store, |config| config.node_ports = 30000..=30399).await;
    // Two servers over one store, as after a take-over.
    let second = Cluster::with(cluster.store.clone(), |config| config.node_ports = 30000..=30399).await;
    let mut tasks = Vec::new();
    for n in 0..300 {
        let client = if n % 2 == 0 { cluster.admin() } else { second.admin() };
        tasks.push(tokio::spawn(async move {
            let name = format!("s{n}");
            client.post(SERVICES, &service(&name, "NodePort")).await.expect(201);
            if n % 3 == 0 {
                client.delete(&format!("{SERVICES}/{name}")).await.expect(200);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let all = services(&cluster.admin()).await;
    let addresses = all.iter().map(address).collect::<BTreeSet<_>>();
    let ports = all.iter().map(node_port).filter(|port| *port > 0).collect::<BTreeSet<_>>();
    assert_eq!((all.len(), addresses.len(), ports.len()), (201, 201, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_handed_out_twice_by_two_servers_on_the_model() {
    nothing_is_handed_out_twice(Arc::new(Model::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_handed_out_twice_by_two_servers_on_the_durable_engine() {
    let directory = tempfile::tempdir().unwrap();
    nothing_is_handed_out_twice(Arc::new(Embedded::open(&directory.path().join("store")).unwrap())).await;
}

#[tokio::test]
async fn a_server_finds_what_another_has_left() {
    let narrow = |config: &mut stead_apiserver::Config| config.node_ports = 30000..=30099;
    let first = Cluster::with(Arc::new(Model::new()), narrow).await;
    let second = Cluster::with(first.store.clone(), narrow).await;
    for n in 0..98 {
        first.admin().post(SERVICES, &service(&format!("s{n}"), "NodePort")).await.expect(201);
    }
    for n in 98..100 {
        second.admin().post(SERVICES, &service(&format!("s{n}"), "NodePort")).await.expect(201);
    }
    second.admin().post(SERVICES, &service("none-left", "NodePort")).await.expect(500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_had_by_one_of_many() {
    let cluster = Cluster::new().await;
    let mut tasks = Vec::new();
    for n in 0..50 {
        let admin = cluster.admin();
        tasks.push(tokio::spawn(async move {
            let mut wanted = service(&format!("s{n}"), "ClusterIP");
            wanted["spec"]["clusterIP"] = "10.96.3.3".into();
            admin.post(SERVICES, &wanted).await.code.as_u16()
        }));
    }
    let mut codes = Vec::new();
    for task in tasks {
        codes.push(task.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(codes[0], 201);
    assert!(codes[1..].iter().all(|code| *code == 422), "{codes:?}");
}

#[tokio::test]
async fn both_families_are_served_where_the_cluster_has_them() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| {
        config.service_ranges = vec!["10.96.0.0/16".parse().unwrap(), "fd56:96::/112".parse().unwrap()];
    })
    .await;
    let admin = cluster.admin();
    let mut six = service("six", "ClusterIP");
    six["spec"]["ipFamilies"] = json!(["IPv6"]);
    let six = admin.post(SERVICES, &six).await.expect(201);
    assert!(address(&six).starts_with("fd56:96::"), "{six}");
    let mut both = service("both", "ClusterIP");
    both["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    let both = admin.post(SERVICES, &both).await.expect(201);
    assert_eq!(both["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    let patch = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let one = admin.patch(&format!("{SERVICES}/both"), "merge-patch", &patch).await.expect(200);
    assert_eq!(one["spec"]["clusterIPs"], json!([address(&both)]));
    let mut again = service("again", "ClusterIP");
    again["spec"]["ipFamilies"] = json!(["IPv6"]);
    again["spec"]["clusterIP"] = both["spec"]["clusterIPs"][1].clone();
    admin.post(SERVICES, &again).await.expect(201);
}

#[tokio::test]
async fn a_finalizer_removed_through_the_status_releases_too() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let mut held = service("held", "NodePort");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = admin.post(SERVICES, &held).await.expect(201);
    let status = format!("{SERVICES}/held/status");
    let labelled = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ports": [{"port": 81}]}});
    let labelled = admin.patch(&status, "merge-patch", &labelled).await.expect(200);
    assert_eq!((&labelled["metadata"]["labels"], &labelled["spec"]), (&json!({"a": "b"}), &held["spec"]));
    admin.delete(&format!("{SERVICES}/held")).await.expect(200);
    let patch = json!({"metadata": {"finalizers": null}});
    admin.patch(&status, "merge-patch", &patch).await.expect(200);
    admin.get(&format!("{SERVICES}/held")).await.expect(404);
    let mut other = service("other", "NodePort");
    other["spec"]["clusterIP"] = address(&held).into();
    other["spec"]["ports"][0]["nodePort"] = node_port(&held).into();
    admin.post(SERVICES, &other).await.expect(201);
}

#[tokio::test]
async fn health_check_node_ports_come_from_the_node_ports() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| config.node_ports = 30000..=30003).await;
    let admin = cluster.admin();
    let mut local = service("local", "LoadBalancer");
    local["spec"]["externalTrafficPolicy"] = "Local".into();
    let answer = admin.post(SERVICES, &local).await;
    let warnings = answer.warnings().join("\n");
    assert!(!warnings.contains("externalTrafficPolicy"), "{warnings}");
    let created = answer.expect(201);
    let health = created["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30000..=30003).contains(&health) && health != node_port(&created), "{created}");

    let path = format!("{SERVICES}/local");
    let changed = json!({"spec": {"healthCheckNodePort": 30000 + (health - 30000 + 1) % 4}});
    let refused = admin.patch(&path, "merge-patch", &changed).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("spec.healthCheckNodePort: Forbidden: field is immutable"),
        "{refused}"
    );
    let mut second = local.clone();
    second["metadata"]["name"] = "second".into();
    second["spec"]["healthCheckNodePort"] = health.into();
    let taken = admin.post(SERVICES, &second).await.expect(500);
    let text =
        format!("failed to allocate requested HealthCheck NodePort {health}: provided port is already allocated");
    assert!(taken["message"].as_str().unwrap().contains(&text), "{taken}");

    let cluster_wide = json!({"spec": {"externalTrafficPolicy": "Cluster"}});
    let released = admin.patch(&path, "merge-patch", &cluster_wide).await.expect(200);
    assert_eq!(released["spec"].get("healthCheckNodePort"), None);
    admin.post(SERVICES, &second).await.expect(201);
}

/// Two ports for two claims, one of them named: the other can only be chosen right by looking at the one that is named.
#[tokio::test]
async fn a_node_port_is_never_chosen_to_be_the_one_that_the_same_service_names() {
    for dry_run in ["", "?dryRun=All"] {
        for named in [30000, 30001] {
            // What is not stored is only said to be none of those that are named.
            let other = if dry_run.is_empty() { 30001 - (named - 30000) } else { named + 1 };
            let cluster = Cluster::with(Arc::new(Model::new()), |config| config.node_ports = 30000..=30001).await;
            let admin = cluster.admin();
            let mut local = service("local", "LoadBalancer");
            local["spec"]["externalTrafficPolicy"] = "Local".into();
            local["spec"]["healthCheckNodePort"] = named.into();
            let made = admin.post(&format!("{SERVICES}{dry_run}"), &local).await.expect(201);
            assert_eq!((&made["spec"]["healthCheckNodePort"], node_port(&made)), (&json!(named), other), "{made}");

            let cluster = Cluster::with(Arc::new(Model::new()), |config| config.node_ports = 30000..=30001).await;
            let admin = cluster.admin();
            let mut two = service("two", "NodePort");
            two["spec"]["ports"] = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": named}]);
            let made = admin.post(&format!("{SERVICES}{dry_run}"), &two).await.expect(201);
            assert_eq!((node_port(&made), &made["spec"]["ports"][1]["nodePort"]), (other, &json!(named)), "{made}");
        }
    }
}

#[tokio::test]
async fn an_update_creates_and_needs_no_revision() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let path = format!("{SERVICES}/web");
    let made = admin.put(&path, &service("web", "ClusterIP")).await.expect(201);
    let mut changed = service("web", "ClusterIP");
    changed["spec"]["selector"] = json!({"app": "web"});
    let updated = admin.put(&path, &changed).await.expect(200);
    assert_eq!(address(&updated), address(&made));
    assert_eq!(updated["metadata"].get("generation"), None, "a Service counts no generations");
    let deleted = admin.delete(&path).await.expect(200);
    assert_eq!((&deleted["kind"], address(&deleted)), (&json!("Service"), address(&made)));
}

#[tokio::test]
async fn an_external_name_has_no_addresses_and_its_dns_is_said_to_be_missing() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let external =
        json!({"metadata": {"name": "db"}, "spec": {"type": "ExternalName", "externalName": "db.example.org"}});
    let answer = admin.post(SERVICES, &external).await;
    assert!(answer.warnings().join("\n").contains("spec.type: not acted on"), "{:?}", answer.warnings());
    let created = answer.expect(201);
    assert_eq!(
        created["spec"],
        json!({"type": "ExternalName", "externalName": "db.example.org", "sessionAffinity": "None"})
    );
    let path = format!("{SERVICES}/db");
    let patch = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
    let inside = admin.patch(&path, "merge-patch", &patch).await.expect(200);
    let held = address(&inside).to_owned();
    let patch = json!({"spec": {"type": "ExternalName"}});
    let outside = admin.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(outside["spec"].get("clusterIP"), None);
    admin.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{held}")).await.expect(404);
}
