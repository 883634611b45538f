//! What of a Service is not open to everybody: rows of the list of past vulnerabilities that concern writes.

use std::sync::Arc;

use serde_json::{Value, json};
use stead_apiserver::Identity;
use stead_store::Model;

use crate::support::Cluster;

fn services(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/services")
}

fn external(name: &str, addresses: &[&str], port: u16) -> Value {
    json!({"metadata": {"name": name}, "spec": {"externalIPs": addresses, "ports": [{"port": port}]}})
}

async fn opened(ranges: &[&str]) -> Cluster {
    let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Cluster::with(Arc::new(Model::new()), |config| config.external_ips = ranges).await
}

#[tokio::test]
async fn cve_2020_8554_external_ips_are_refused_and_the_flag_that_opens_them_named() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let refused = admin.post(&services("default"), &external("web", &["192.0.2.1"], 80)).await.expect(422);
    assert_eq!(
        refused["message"],
        "Service \"web\" is invalid: spec.externalIPs[0]: Forbidden: 192.0.2.1 is not open to Services of namespace \
         \"default\": the server opens addresses with --allow-external-ips, here 192.0.2.1/32@default"
    );
    admin.post(&services("default"), &external("web", &[], 80)).await.expect(201);
    let patch = json!({"spec": {"externalIPs": ["2001:db8::1"]}});
    let refused = admin.patch(&format!("{}/web", services("default")), "merge-patch", &patch).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("2001:db8::1/128@default"), "{refused}");
}

#[tokio::test]
async fn cve_2020_8554_a_range_is_open_to_all_or_to_one_namespace() {
    let cluster = opened(&["192.0.2.0/28@kube-system", "198.51.100.0/24"]).await;
    let admin = cluster.admin();
    for (namespace, address, code) in [
        ("kube-system", "192.0.2.1", 201),
        ("default", "192.0.2.1", 422),
        ("kube-system", "192.0.2.16", 422),
        ("default", "198.51.100.7", 201),
        ("kube-system", "198.51.100.7", 201),
    ] {
        let name = format!("s{}", address.replace('.', "-"));
        let answer = admin.post(&services(namespace), &external(&name, &[address], 80)).await;
        assert_eq!(answer.code, code, "{namespace} {address}: {}", answer.text);
        if code == 201 {
            let warnings = answer.warnings().join("\n");
            assert!(
                warnings.contains("spec.externalIPs is deprecated") && !warnings.contains("not acted on"),
                "{warnings}"
            );
        }
    }
}

#[tokio::test]
async fn cve_2020_8554_what_a_service_had_before_stays_and_may_be_given_up() {
    let store = Arc::new(Model::new());
    let before =
        Cluster::with(store.clone(), |config| config.external_ips = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let path = services("default");
    before.admin().post(&path, &external("web", &["192.0.2.1", "192.0.2.2"], 80)).await.expect(201);
    let closed = Cluster::with(store, |_| {}).await;
    let admin = closed.admin();
    let patch = |spec: Value| {
        let (admin, path) = (admin.clone(), format!("{path}/web"));
        async move { admin.patch(&path, "merge-patch", &json!({"spec": spec})).await.code.as_u16() }
    };
    assert_eq!(patch(json!({"selector": {"app": "web"}})).await, 200);
    assert_eq!(patch(json!({"externalIPs": ["192.0.2.1"]})).await, 200);
    assert_eq!(patch(json!({"externalIPs": ["192.0.2.1", "192.0.2.2"]})).await, 422);
}

/// Nodes take the traffic to a load balancer's address whoever wrote it into the status.
#[tokio::test]
async fn cve_2020_8554_the_status_of_load_balancers_is_refused_and_the_flag_that_opens_it_named() {
    let cluster = opened(&["192.0.2.0/24", "192.168.56.100/32"]).await;
    let admin = cluster.admin();
    let mut balancer = external("lb", &[], 6443);
    balancer["spec"]["type"] = "LoadBalancer".into();
    balancer["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let created = admin.post(&services("default"), &balancer).await.expect(201);
    assert_eq!(created["status"], json!({"loadBalancer": {}}), "a create says nothing about it");
    let path = format!("{}/lb", services("default"));
    let status = |addresses: &[&str]| {
        let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        json!({"status": {"loadBalancer": {"ingress": ingress}}})
    };
    for identity in [Identity::new("system:node:node1", &["system:nodes"]), Identity::new("jane", &["dev"])] {
        let client = cluster.client(identity);
        client.patch(&format!("{path}/status"), "merge-patch", &status(&["192.0.2.1"])).await.expect(403);
        client.patch(&path, "merge-patch", &status(&["192.0.2.1"])).await.expect(403);
    }
    let unchanged = admin.patch(&path, "merge-patch", &status(&["192.0.2.1"])).await.expect(200);
    assert_eq!(unchanged["status"], json!({"loadBalancer": {}}), "the object itself does not carry it");
    for (addresses, expect) in [
        (
            &["192.0.2.1", "198.51.100.1"][..],
            "status.loadBalancer.ingress[1].ip: Forbidden: 198.51.100.1 is not open to Services of namespace \"default\": the server \
             opens addresses with --allow-external-ips, here 198.51.100.1/32@default",
        ),
        (
            &["192.168.56.100"],
            "status.loadBalancer.ingress[0].ip: Invalid value: 192.168.56.100: the API server listens on port 6443 of it",
        ),
    ] {
        let refused = admin.patch(&format!("{path}/status"), "merge-patch", &status(addresses)).await.expect(422);
        assert_eq!(refused["message"], format!("Service \"lb\" is invalid: {expect}"));
    }
    let written = admin.patch(&format!("{path}/status"), "merge-patch", &status(&["192.0.2.1"])).await.expect(200);
    assert_eq!(written["status"]["loadBalancer"]["ingress"], json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]));
    // A name leads nowhere by itself.
    let named = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}});
    admin.patch(&format!("{path}/status"), "merge-patch", &named).await.expect(200);
}

#[tokio::test]
async fn lax_ip_parsing_is_refused_in_every_field_of_addresses() {
    let cluster = opened(&["0.0.0.0/0"]).await;
    let admin = cluster.admin();
    for (spec, field) in [
        (json!({"clusterIP": "10.96.0.010"}), "spec.clusterIPs[0]"),
        (json!({"clusterIP": "::ffff:10.96.0.10"}), "spec.clusterIPs[0]"),
        (json!({"externalIPs": ["192.0.2.01"]}), "spec.externalIPs[0]"),
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["010.0.0.0/8"]}),
            "spec.LoadBalancerSourceRanges[0]",
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]}),
            "spec.LoadBalancerSourceRanges[0]",
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["::ffff:10.0.0.0/104"]}),
            "spec.LoadBalancerSourceRanges[0]",
        ),
    ] {
        let mut service = json!({"metadata": {"name": "web"}, "spec": spec});
        service["spec"]["ports"] = json!([{"port": 80}]);
        let refused = admin.post(&services("default"), &service).await.expect(422);
        let causes = refused["details"]["causes"].to_string();
        assert!(causes.contains(field), "{service}: {causes}");
    }
    let refused = async |path: &str, object: Value, field: &str| {
        let refused = admin.post(path, &object).await.expect(422);
        let causes = refused["details"]["causes"].to_string();
        assert!(causes.contains(field), "{object}: {causes}");
    };
    for cidr in ["010.0.0.0/16", "::ffff:10.0.0.0/104", "FD00::/112", "fd00:0::/112", "10.0.0.1/16"] {
        let object = json!({"metadata": {"name": "a"}, "spec": {"cidrs": [cidr]}});
        refused("/apis/networking.k8s.io/v1/servicecidrs", object, "spec.cidrs[0]").await;
    }
    for name in ["10.0.0.01", "::ffff:10.0.0.1", "FD00::1", "fd00:0::1"] {
        let spec = json!({"parentRef": {"resource": "services", "name": "a"}});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        refused("/apis/networking.k8s.io/v1/ipaddresses", object, "metadata.name").await;
    }
    for (kind, address) in [("IPv4", "192.0.2.01"), ("IPv6", "::ffff:192.0.2.1"), ("IPv6", "2001:DB8::1")] {
        let endpoints = json!([{"addresses": [address]}]);
        let object = json!({"metadata": {"name": "a"}, "addressType": kind, "endpoints": endpoints});
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        refused(path, object, "endpoints[0].addresses[0]").await;
    }
    for address in ["192.0.2.01", "::ffff:192.0.2.1"] {
        let object = json!({"metadata": {"name": "a"}, "subsets": [{"addresses": [{"ip": address}]}]});
        refused("/api/v1/namespaces/default/endpoints", object, "subsets[0].addresses[0].ip").await;
    }
    let balancer = json!({"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    admin.post(&services("default"), &balancer).await.expect(201);
    for address in ["192.0.2.01", "::ffff:192.0.2.1"] {
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        let path = format!("{}/lb/status", services("default"));
        let refused = admin.patch(&path, "merge-patch", &status).await.expect(422);
        assert_eq!(refused["details"]["causes"][0]["field"], "status.loadBalancer.ingress[0].ip");
    }
}

#[tokio::test]
async fn cve_2021_25737_endpoints_on_loopback_link_and_metadata_are_refused_in_both_kinds() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for (kind, address) in [
        ("IPv4", "127.0.0.1"),
        ("IPv4", "127.8.8.8"),
        ("IPv6", "::1"),
        ("IPv4", "169.254.169.254"),
        ("IPv4", "169.254.1.1"),
        ("IPv6", "fe80::1"),
        ("IPv6", "fd00:ec2::254"),
        ("IPv4", "100.100.100.200"),
        ("IPv4", "168.63.129.16"),
    ] {
        let endpoints = json!({"metadata": {"name": "a"}, "subsets": [{"notReadyAddresses": [{"ip": address}]}]});
        let refused = admin.post("/api/v1/namespaces/default/endpoints", &endpoints).await.expect(422);
        assert_eq!(refused["details"]["causes"][0]["field"], "subsets[0].notReadyAddresses[0].ip", "{address}");
        let slice = json!({"metadata": {"name": "a"}, "addressType": kind, "endpoints": [{"addresses": [address]}]});
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let refused = admin.post(slices, &slice).await.expect(422);
        assert_eq!(refused["details"]["causes"][0]["field"], "endpoints[0].addresses[0]", "{address}");
    }
}

#[tokio::test]
async fn ports_of_the_api_server_and_of_agents_are_never_taken() {
    let cluster = opened(&["192.168.56.0/24"]).await;
    let admin = cluster.admin();
    let node = json!({"metadata": {"name": "node1"}});
    admin.post("/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.168.56.101"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
    admin.patch("/api/v1/nodes/node1/status", "merge-patch", &status).await.expect(200);
    let path = services("default");
    for (address, port, expect) in [
        ("192.168.56.100", 6443, Some("the API server listens on this port of 192.168.56.100")),
        ("192.168.56.100", 10250, None),
        ("192.168.56.101", 10250, Some("the agent of node node1 listens on this port of 192.168.56.101")),
        ("192.168.56.101", 6443, None),
        ("192.168.56.200", 10250, None),
    ] {
        let name = format!("s{}-{port}", address.replace('.', "-"));
        let answer = admin.post(&path, &external(&name, &[address], port)).await;
        match expect {
            Some(text) => {
                assert_eq!(answer.code, 422, "{}", answer.text);
                assert!(
                    answer.message().contains(&format!("spec.ports[0].port: Invalid value: {port}: {text}")),
                    "{}",
                    answer.text
                );
            }
            None => assert_eq!(answer.code, 201, "{}", answer.text),
        }
    }
    let mut datagrams = external("udp", &["192.168.56.101"], 10250);
    datagrams["spec"]["ports"][0]["protocol"] = "UDP".into();
    admin.post(&path, &datagrams).await.expect(201);
    let patch = json!({"spec": {"ports": [{"port": 10250}]}});
    let refused = admin.patch(&format!("{path}/udp"), "merge-patch", &patch).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("the agent of node node1"), "{refused}");
}

#[tokio::test]
async fn node_ports_of_the_cluster_itself_are_never_given_out() {
    let cluster = Cluster::with(Arc::new(Model::new()), |config| config.node_ports = 6441..=6446).await;
    let admin = cluster.admin();
    let path = services("default");
    let node_port = |name: &str, port: u16| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}});
    let refused = admin.post(&path, &node_port("web", 6443)).await.expect(422);
    let text = "spec.ports[0].nodePort: Invalid value: 6443: provided port is used by the API server or by the agents of nodes";
    assert!(refused["message"].as_str().unwrap().contains(text), "{refused}");
    for n in 0..5 {
        let service = admin.post(&path, &node_port(&format!("s{n}"), 0)).await.expect(201);
        assert_ne!(service["spec"]["ports"][0]["nodePort"], 6443);
    }
    admin.post(&path, &node_port("full", 0)).await.expect(500);
    admin.delete(&format!("{path}/s0")).await.expect(200);
    admin.post(&path, &node_port("again", 0)).await.expect(201);
}
