//! Who gets in, and who may do what: over TLS as real clients come, and in process for the rest.

use http::StatusCode;
use serde_json::{Value, json};
use stead_apiserver::{Identity, auth::NODES, pki::kubeconfig};
use tokio::{net::TcpListener, sync::oneshot};

use crate::support::Cluster;

fn node(name: &str) -> Identity {
    Identity::new(format!("system:node:{name}"), &[NODES])
}

#[tokio::test]
async fn the_unknown_see_health_and_version_alone() {
    let cluster = Cluster::new().await;
    let unknown = cluster.client(Identity::anonymous());
    for path in ["/healthz", "/livez", "/readyz", "/readyz/store"] {
        let answer = unknown.get(path).await;
        assert_eq!((answer.code, &*answer.text), (StatusCode::OK, "ok"), "{path}");
    }
    let verbose = unknown.get("/readyz?verbose").await;
    assert!(
        verbose.text.starts_with("[+]ping ok\n") && verbose.text.ends_with("readyz check passed\n"),
        "{}",
        verbose.text
    );
    assert_eq!(unknown.get("/version").await.expect(200)["gitVersion"], "v1.36.2");
    for path in ["/", "/api", "/apis", "/api/v1/pods", "/openapi/v3", "/metrics"] {
        assert_eq!(unknown.get(path).await.expect(401)["reason"], "Unauthorized", "{path}");
    }
    unknown.post("/api/v1/namespaces", &json!({"metadata": {"name": "x"}})).await.expect(401);
}

#[tokio::test]
async fn nodes_write_their_own_objects() {
    let cluster = Cluster::new().await;
    let (admin, node1) = (cluster.admin(), cluster.client(node("node1")));
    let make = |name: &str| json!({"metadata": {"name": name}});
    node1.post("/api/v1/nodes", &make("node1")).await.expect(201);
    let refused = node1.post("/api/v1/nodes", &make("node2")).await.expect(403);
    assert_eq!(
        refused["message"],
        "nodes \"node2\" is forbidden: node \"node1\" is not allowed to modify node \"node2\""
    );
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    node1.patch("/api/v1/nodes/node1/status", "strategic-merge-patch", &ready).await.expect(200);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    node1.post(leases, &make("node1")).await.expect(201);
    node1.post(leases, &make("node2")).await.expect(403);
    let pods = "/api/v1/namespaces/default/pods";
    for (name, bound) in [("mine", "node1"), ("other", "node2")] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        node1.post(pods, &pod).await.expect(403);
        admin.post(pods, &pod).await.expect(201);
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": bound}});
        node1.post(&format!("{pods}/{name}/binding"), &binding).await.expect(403);
        admin.post(&format!("{pods}/{name}/binding"), &binding).await.expect(201);
    }
    let running = json!({"status": {"phase": "Running"}});
    node1.patch(&format!("{pods}/mine/status"), "strategic-merge-patch", &running).await.expect(200);
    let refused = node1.patch(&format!("{pods}/other/status"), "strategic-merge-patch", &running).await.expect(403);
    let expected = "pods \"other\" is forbidden: node \"node1\" can only update pod status for pods with spec.nodeName set to itself";
    assert_eq!(refused["message"], expected);
    node1.delete(&format!("{pods}/other")).await.expect(403);
    node1.delete_with(&format!("{pods}/mine"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    node1.get("/api/v1/services").await.expect(200);
    let refused = node1.delete("/api/v1/namespaces/default/services/kubernetes").await.expect(403);
    let expected = "services \"kubernetes\" is forbidden: User \"system:node:node1\" cannot delete resource \"services\" in API group \"\" in the namespace \"default\"";
    assert_eq!(refused["message"], expected);
    let event = json!({
        "metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "mine"}, "source": {"component": "agent"},
    });
    node1.post("/api/v1/namespaces/default/events", &event).await.expect(201);
}

#[tokio::test]
async fn nothing_is_written_to_all_namespaces_at_once() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for kind in stead_api::kinds::ALL.iter().filter(|kind| kind.namespaced) {
        let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
        let path = format!("{root}/{}/{}", kind.version, kind.plural);
        let object = json!({"metadata": {"name": "x"}});
        for answer in [admin.post(&path, &object).await, admin.delete(&path).await] {
            let refused = answer.expect(405);
            assert_eq!(refused["reason"], "MethodNotAllowed", "{path}");
            assert_eq!(refused["details"], json!({}), "{path}");
        }
        cluster.client(Identity::new("jane", &[])).delete(&path).await.expect(403);
    }
    admin.get("/api/v1/namespaces/default/services/kubernetes").await.expect(200);
}

#[tokio::test]
async fn the_forbidden_do_not_learn_what_is_served() {
    let cluster = Cluster::new().await;
    let jane = cluster.client(Identity::new("jane", &[]));
    let refused = jane.get("/api/v1/nope").await.expect(403);
    let expected =
        "nope is forbidden: User \"jane\" cannot list resource \"nope\" in API group \"\" at the cluster scope";
    assert_eq!(refused["message"], expected);
    assert_eq!(refused["details"], json!({"kind": "nope"}));
    jane.get("/apis/apps/v9").await.expect(404);
    assert_eq!(cluster.admin().get("/api/v1/nope").await.expect(404)["details"], json!({}));
}

#[tokio::test]
async fn a_node_changes_no_labels_finalizers_or_owners_through_pod_status() {
    let cluster = Cluster::new().await;
    let (admin, node1) = (cluster.admin(), cluster.client(node("node1")));
    let pods = "/api/v1/namespaces/default/pods";
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]);
    let pod = json!({
        "metadata": {"name": "mine", "labels": {"app": "web"}, "ownerReferences": owner},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
    });
    admin.post(pods, &pod).await.expect(201);
    let status = format!("{pods}/mine/status");
    for (metadata, field) in [
        (json!({"labels": {"app": "bank"}}), "labels"),
        (json!({"labels": null}), "labels"),
        (json!({"finalizers": ["example.com/hold"]}), "finalizers"),
    ] {
        let refused = node1.patch(&status, "merge-patch", &json!({"metadata": metadata})).await.expect(403);
        let expected = format!("pods \"mine\" is forbidden: node \"node1\" cannot update {field} through pod status");
        assert_eq!(refused["message"], expected);
    }
    // Nobody changes owners there; upstream drops it in silence.
    for client in [&node1, &admin] {
        let none = json!({"metadata": {"ownerReferences": null}, "status": {"phase": "Running"}});
        let kept = client.patch(&status, "merge-patch", &none).await.expect(200);
        assert_eq!(kept["metadata"]["ownerReferences"], owner);
    }
    admin.patch(&status, "merge-patch", &json!({"metadata": {"labels": {"app": "shop"}}})).await.expect(200);
}

/// Who may lead endpoints to pods, Services and nodes: of those that there are today the administrator alone, and all can ask.
#[tokio::test]
async fn endpoints_into_the_cluster_need_a_permission_that_can_be_asked_for() {
    let cluster = Cluster::new().await;
    let account = Identity::new("system:serviceaccount:default:bot", &["system:serviceaccounts"]);
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (client, may) in
        [(cluster.admin(), true), (cluster.client(node("node1")), false), (cluster.client(account), false)]
    {
        for (group, resource) in [("", "endpoints"), ("discovery.k8s.io", "endpointslices")] {
            let attributes = json!({
                "verb": "create", "group": group, "resource": resource, "subresource": "restricted", "namespace": "default",
            });
            let answer = client.post(reviews, &json!({"spec": {"resourceAttributes": attributes}})).await.expect(201);
            assert_eq!(answer["status"]["allowed"], may, "{resource}");
        }
        for (index, address) in ["10.244.1.7", "10.96.0.77", "192.168.56.101"].into_iter().enumerate() {
            let name = format!("e{index}");
            let subsets = json!([{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]);
            let code = if may { 201 } else { 403 };
            client.post(endpoints, &json!({"metadata": {"name": name}, "subsets": subsets})).await.expect(code);
            let slice = json!({
                "metadata": {"name": name}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
            });
            client.post(slices, &slice).await.expect(code);
        }
    }
}

#[tokio::test]
async fn a_node_gives_itself_no_restricted_labels_and_no_address_of_services() {
    let cluster = Cluster::new().await;
    let (admin, node1) = (cluster.admin(), cluster.client(node("node1")));
    let label = "example.node-restriction.kubernetes.io/tier";
    let named = |labels: Value| json!({"metadata": {"name": "node1", "labels": labels}});
    let refused = node1.post("/api/v1/nodes", &named(json!({label: "1"}))).await.expect(403);
    let text =
        format!("nodes \"node1\" is forbidden: node \"node1\" is not allowed to set the following labels: {label}");
    assert_eq!(refused["message"], text);
    node1.post("/api/v1/nodes", &named(json!({"kubernetes.io/os": "linux"}))).await.expect(201);
    admin.patch("/api/v1/nodes/node1", "merge-patch", &named(json!({label: "1"}))).await.expect(200);
    for path in ["/api/v1/nodes/node1", "/api/v1/nodes/node1/status"] {
        let refused = node1.patch(path, "merge-patch", &named(json!({label: null}))).await.expect(403);
        let text = format!("nodes \"node1\" is forbidden: node \"node1\" is not allowed to modify labels: {label}");
        assert_eq!(refused["message"], text);
    }
    node1.patch("/api/v1/nodes/node1", "merge-patch", &named(json!({"a": "b"}))).await.expect(200);
    let at = |address: &str| json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
    let refused = node1.patch("/api/v1/nodes/node1/status", "merge-patch", &at("10.96.0.1")).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("in the range 10.96.0.0/16 of Services"), "{refused}");
    node1.patch("/api/v1/nodes/node1/status", "merge-patch", &at("192.168.56.101")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_say_who_connects() {
    let cluster = Cluster::new().await;
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let urls = [&first, &second].map(|listener| format!("https://{}", listener.local_addr().unwrap()));
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        server.serve(vec![first, second], tls, stopped).await;
    });
    let issue = |user: &str, groups: &[&str]| cluster.pki.issue_client(user, groups).unwrap();
    for url in &urls {
        let admin = connect(url, cluster.pki.ca_pem(), &issue("kubernetes-admin", &["system:masters"])).await;
        let services: Value = admin.request(get("/api/v1/services")).await.unwrap();
        assert_eq!(services["items"][0]["metadata"]["name"], "kubernetes");
        let node = connect(url, cluster.pki.ca_pem(), &issue("system:node:n", &["system:nodes"])).await;
        let error = node.request::<Value>(delete("/api/v1/namespaces/kube-public")).await.unwrap_err();
        assert!(error.to_string().contains("system:node:n"), "{error}");
        let stranger = connect(url, cluster.pki.ca_pem(), &issue("jane", &[])).await;
        let error = stranger.request::<Value>(get("/api/v1/services")).await.unwrap_err();
        assert!(error.to_string().contains("User \"jane\" cannot list resource"), "{error}");
        let other_authority = stead_apiserver::pki::Pki::create().unwrap();
        let forged = other_authority.issue_client("kubernetes-admin", &["system:masters"]).unwrap();
        let forged = connect(url, cluster.pki.ca_pem(), &forged).await;
        forged.request::<Value>(get("/api/v1/services")).await.unwrap_err();
    }
    // A watch ends with the server, and does not hold it.
    let admin = connect(&urls[0], cluster.pki.ca_pem(), &issue("kubernetes-admin", &["system:masters"])).await;
    let mut watch = admin.send(get("/api/v1/services?watch=1").map(kube::client::Body::from)).await.unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    stop.send(()).unwrap();
    tokio::time::timeout(crate::support::DEADLINE, serving).await.unwrap().unwrap();
    let end = async {
        use http_body_util::BodyExt as _;
        while let Some(Ok(_)) = watch.body_mut().frame().await {}
    };
    tokio::time::timeout(crate::support::DEADLINE, end).await.expect("the watch ends");
}

fn get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).unwrap()
}

fn delete(path: &str) -> http::Request<Vec<u8>> {
    http::Request::delete(path).body(Vec::new()).unwrap()
}

async fn connect(url: &str, ca_pem: &str, client: &stead_apiserver::pki::CertKey) -> kube::Client {
    let text = kubeconfig(url, ca_pem, client);
    let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}
