//! The paths, bodies and answers of 2014 and 2015.

use http::{Request, header};
use serde_json::{Value, json};

use crate::support::{Client, Cluster};

const SERVICE: &str = "
id: myapp
kind: Service
apiVersion: v1beta1
port: 80
containerPort: 8080
labels: {name: myapp}
selector: {name: myapp}
";

fn controller() -> Value {
    json!({
        "id": "web", "kind": "ReplicationController", "apiVersion": "v1beta1", "labels": {"name": "web"},
        "desiredState": {"replicas": 2, "replicaSelector": {"name": "web"}, "podTemplate": {
            "labels": {"name": "web"},
            "desiredState": {"manifest": {"version": "v1beta1", "id": "web",
                "containers": [{"name": "web", "image": "stead.local/hello-app:1.0", "cpu": 100, "ports": [{"containerPort": 8080}]}]}},
        }},
    })
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect(200);
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn objects_of_2014_are_created_and_read_in_either_form() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let created = admin.post_raw("/api/v1beta1/services", "application/yaml", SERVICE).await.expect(201);
    assert_eq!(
        (&created["id"], &created["metadata"]["name"], &created["kind"]),
        (&json!("myapp"), &json!("myapp"), &json!("Service"))
    );
    assert!(created["resourceVersion"].is_u64() && created["portalIP"].is_string(), "{created}");
    assert_eq!((&created["apiVersion"], &created["namespace"]), (&json!("v1beta1"), &json!("default")));
    let modern = admin.get("/api/v1/namespaces/default/services/myapp").await.expect(200);
    assert_eq!(
        (&modern["spec"]["ports"][0]["targetPort"], &modern["spec"]["selector"]),
        (&json!(8080), &json!({"name": "myapp"}))
    );
    assert_eq!(modern["spec"]["clusterIP"], created["portalIP"]);
    let read = admin.get("/api/v1beta1/services/myapp").await.expect(200);
    assert_eq!(read, created);
    let third = admin.get("/api/v1beta3/namespaces/default/services/myapp").await.expect(200);
    assert_eq!((&third["spec"]["portalIP"], &third["apiVersion"]), (&created["portalIP"], &json!("v1beta3")));

    admin.post("/api/v1beta1/replicationControllers", &controller()).await.expect(201);
    let modern = admin.get("/api/v1/namespaces/default/replicationcontrollers/web").await.expect(200);
    assert_eq!(modern["spec"]["template"]["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "100m"}}));
    assert_eq!(names(&admin, "/api/v1beta1/services").await, ["kubernetes", "myapp"]);
    assert_eq!(names(&admin, "/api/v1beta1/services?labels=name%3Dmyapp&namespace=default").await, ["myapp"]);
    let list = admin.get("/api/v1beta1/services?namespace=nobody").await.expect(200);
    assert_eq!(
        (&list["kind"], &list["items"], list["resourceVersion"].is_u64()),
        (&json!("ServiceList"), &json!([]), true)
    );
}

#[tokio::test]
async fn errors_are_named_as_they_were_written_and_say_the_id() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let missing = admin.get("/api/v1beta1/pods/nothing").await.expect(404);
    assert_eq!((&missing["kind"], &missing["details"]["id"]), (&json!("Status"), &json!("nothing")));
    let post = |query: &str, body: Value| {
        let (admin, path) = (admin.clone(), format!("/api/v1beta1/services{query}"));
        async move { admin.post(&path, &body).await }
    };
    let wrong = post("?fieldValidation=Strict", json!({"id": "a", "port": 80, "contanerPort": 1})).await;
    assert!(wrong.message().contains("unknown field \"contanerPort\"") && wrong.code == 400, "{}", wrong.text);
    let warned = post("", json!({"id": "a", "port": 80, "contanerPort": 1, "selector": {"a": "b"}})).await;
    assert!(warned.warnings()[0].contains("unknown field \\\"contanerPort\\\""), "{:?}", warned.warnings());
    warned.expect(201);
    let exists = post("", json!({"id": "a", "port": 80})).await.expect(409);
    assert_eq!(exists["message"], "services \"a\" already exists");
    let invalid = post("", json!({"id": "b", "port": 70000})).await.expect(422);
    assert!(invalid["message"].as_str().unwrap().contains("must be between 1 and 65535"), "{invalid}");
    let typed = post("", json!({"id": "b", "port": "eighty"})).await;
    assert!(typed.message().contains("Service.port of type int32"), "{}", typed.text);
    let endpoints =
        admin.post("/api/v1beta1/endpoints", &json!({"id": "e", "endpoints": ["nonsense"]})).await.expect(422);
    assert!(endpoints["message"].as_str().unwrap().contains("endpoints[0]: Invalid value"), "{endpoints}");
    let other = post("", json!({"id": "b", "kind": "Pod"})).await;
    assert!(other.message().contains("cannot be handled as a Service"), "{}", other.text);
    assert_eq!(admin.get("/api/v1beta1/widgets").await.expect(404)["kind"], "Status");
    assert_eq!(admin.get("/api/v1beta1/secrets").await.code, 404);
    let nobody = cluster.client(stead_apiserver::Identity::anonymous());
    nobody.get("/api/v1beta1/pods").await.expect(401);
    let somebody = cluster.client(stead_apiserver::Identity::new("somebody", &[]));
    somebody.post("/api/v1beta1/services", &json!({"id": "x", "port": 1})).await.expect(403);
}

#[tokio::test]
async fn an_update_of_that_time_leaves_todays_fields_alone() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"a": "b"}}, "spec": {
        "type": "NodePort", "selector": {"x": "y"}, "publishNotReadyAddresses": true,
        "ports": [{"name": "p", "port": 80, "targetPort": 81, "appProtocol": "http"}]}});
    let before = admin.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let mut old = admin.get("/api/v1beta1/services/s").await.expect(200);
    old.as_object_mut().unwrap().remove("metadata");
    old["selector"] = json!({"x": "z"});
    let put = admin.put("/api/v1beta1/services/s", &old).await.expect(200);
    assert_eq!(put["selector"], json!({"x": "z"}));
    let after = admin.get("/api/v1/namespaces/default/services/s").await.expect(200);
    assert_eq!(after["spec"]["selector"], json!({"x": "z"}));
    for field in ["ports", "publishNotReadyAddresses", "clusterIPs", "ipFamilies", "type"] {
        assert_eq!(after["spec"][field], before["spec"][field], "{field}");
    }
    // At a revision that is past.
    assert_eq!(admin.put("/api/v1beta1/services/s", &old).await.expect(409)["reason"], "Conflict");
    let patch = json!({"labels": {"c": "d"}, "metadata": {"annotations": {"of": "today"}}});
    let patched = admin.patch("/api/v1beta1/services/s", "merge-patch", &patch).await.expect(200);
    assert_eq!((&patched["labels"], &patched["annotations"]), (&json!({"a": "b", "c": "d"}), &json!({"of": "today"})));
    let deleted = admin.delete("/api/v1beta1/services/s").await.expect(200);
    assert_eq!(
        (&deleted["kind"], &deleted["status"], &deleted["details"]["id"]),
        (&json!("Status"), &json!("Success"), &json!("s"))
    );
    admin.get("/api/v1/namespaces/default/services/s").await.expect(404);
}

#[tokio::test]
async fn watches_show_the_older_form() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let list = admin.get("/api/v1beta1/services").await.expect(200);
    let from = list["resourceVersion"].as_u64().unwrap();
    for path in [
        format!("/api/v1beta1/watch/services?namespace=default&resourceVersion={from}"),
        format!("/api/v1beta1/services?watch=true&resourceVersion={from}"),
    ] {
        let mut events = admin.watch(&path).await;
        admin.post_raw("/api/v1beta1/services", "application/yaml", SERVICE).await.expect(201);
        let event = events.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["id"], &event["object"]["containerPort"]),
            (&json!("ADDED"), &json!("myapp"), &json!(8080))
        );
        admin.delete("/api/v1beta1/services/myapp").await.expect(200);
        assert_eq!(events.next().await.unwrap()["type"], "DELETED");
    }
}

#[tokio::test]
async fn minions_bindings_and_namespaces() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let minion = json!({"id": "m", "kind": "Minion", "apiVersion": "v1beta1", "hostIP": "192.168.56.101", "resources": {"capacity": {"cpu": 2, "memory": 1_073_741_824}}});
    let made = admin.post("/api/v1beta1/minions", &minion).await.expect(201);
    assert_eq!(
        (&made["hostIP"], &made["resources"]["capacity"]),
        (&json!("192.168.56.101"), &json!({"cpu": "2", "memory": 1_073_741_824}))
    );
    let list = admin.get("/api/v1beta1/minions").await.expect(200);
    assert_eq!(
        (&list["kind"], &list["minions"], &list["items"][0]["id"]),
        (&json!("MinionList"), &list["items"], &json!("m"))
    );
    let pod = json!({"id": "p", "desiredState": {"manifest": {"version": "v1beta1", "id": "p", "containers": [{"name": "a", "image": "stead.local/busybox"}]}}});
    admin.post("/api/v1beta1/pods", &pod).await.expect(201);
    let bound = admin.post("/api/v1beta1/bindings", &json!({"podID": "p", "host": "m"})).await.expect(201);
    assert_eq!(bound["status"], "Success");
    for (bindings, field) in
        [("/api/v1beta1/bindings", "podID"), ("/api/v1beta3/namespaces/default/bindings", "metadata.name")]
    {
        let refused = admin.post(bindings, &json!({"host": "m", "target": {"name": "m"}})).await.expect(422);
        assert_eq!(refused["message"], format!("Binding \"\" is invalid: {field}: Required value"));
    }
    let pod = admin.get("/api/v1beta1/pods/p").await.expect(200);
    assert_eq!(
        (&pod["currentState"]["host"], &pod["desiredState"]["host"], &pod["currentState"]["status"]),
        (&json!("m"), &json!("m"), &json!("Waiting"))
    );
    assert_eq!(names(&admin, "/api/v1beta1/pods?fields=DesiredState.Host%3Dm").await, ["p"]);
    admin.post("/api/v1beta1/namespaces", &json!({"id": "n"})).await.expect(201);
    admin.post("/api/v1beta1/services?namespace=n", &json!({"id": "s", "port": 80})).await.expect(201);
    assert_eq!(names(&admin, "/api/v1beta1/services?namespace=n").await, ["s"]);
}

#[tokio::test]
async fn discovery_names_the_older_versions_behind_v1() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    assert_eq!(admin.get("/api").await.expect(200)["versions"], json!(["v1", "v1beta1", "v1beta3"]));
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let versions = admin.get_as("/api", aggregated).await.expect(200)["items"][0]["versions"].clone();
    let versions = versions.as_array().unwrap().iter().map(|version| version["version"].clone()).collect::<Vec<_>>();
    assert_eq!(versions, ["v1", "v1beta1", "v1beta3"]);
    let list = admin.get("/api/v1beta1").await.expect(200);
    assert!(list["resources"].as_array().unwrap().iter().any(|resource| resource["name"] == "minions"), "{list}");
    assert_eq!(admin.get("/apis/v1beta1").await.expect(200), list);
    let document = admin.get("/openapi/v3/api/v1beta1").await.expect(200);
    let definition = &document["components"]["schemas"]["io.k8s.api.core.v1beta1.Service"];
    assert_eq!(
        definition["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1beta1", "kind": "Service"}])
    );
    assert_eq!(definition["properties"]["portalIP"]["type"], "string");
}

/// A read-only server answers as `kubernetes-ro` does.
#[tokio::test]
async fn who_reads_only_sees_objects_and_no_more() {
    let address = "192.168.56.100:7080".parse().unwrap();
    let cluster =
        Cluster::with(std::sync::Arc::new(stead_store::Model::new()), |config| config.read_only = Some(address)).await;
    let admin = cluster.admin();
    let service = admin.get("/api/v1/namespaces/default/services/kubernetes-ro").await.expect(200);
    assert_eq!(service["metadata"]["labels"], json!({"component": "apiserver", "provider": "kubernetes"}));
    assert_eq!(
        (&service["spec"]["ports"][0]["port"], &service["spec"]["ports"][0]["targetPort"]),
        (&json!(80), &json!(7080))
    );
    let endpoints = admin.get("/api/v1beta1/endpoints/kubernetes-ro").await.expect(200);
    assert_eq!(endpoints["endpoints"], json!(["192.168.56.100:7080"]));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = cluster.server.clone();
    let serving = tokio::spawn(async move { server.serve_read_only(listener).await });
    let ask = |method: &'static str, path: &'static str| async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "kubernetes-ro");
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let response =
            tokio::time::timeout(crate::support::DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
        let (parts, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let (code, pods) = ask("GET", "/api/v1beta1/pods").await;
    assert_eq!((code, &pods["kind"]), (200, &json!("PodList")));
    assert_eq!(ask("GET", "/api/v1/services").await.0, 200);
    assert_eq!(ask("HEAD", "/api/v1/services").await.0, 405);
    for (method, path, code) in [
        ("POST", "/api/v1/namespaces/default/services", 405),
        ("POST", "/api/v1beta1/services", 405),
        ("DELETE", "/api/v1beta1/services/kubernetes", 405),
        ("PUT", "/api/v1beta1/services/kubernetes", 405),
        ("GET", "/api/v1/namespaces/default/pods/p/log", 403),
        ("GET", "/api/v1beta1/pods/p/log", 403),
    ] {
        assert_eq!(ask(method, path).await.0, code, "{method} {path}");
    }
    for path in [
        "/api/v1/secrets",
        "/api/v1beta1/secrets",
        "/api/v1beta1/proxy/minions/m/",
        "/api/v1/namespaces/default/pods/p/exec?command=id",
    ] {
        assert!(matches!(ask("GET", path).await.0, 403 | 404), "{path}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_read_only_service_that_is_not_wanted_any_more_goes() {
    let store = std::sync::Arc::new(stead_store::Model::new());
    let address = "192.168.56.100:7080".parse().unwrap();
    drop(Cluster::with(store.clone(), |config| config.read_only = Some(address)).await);
    let cluster = Cluster::with(store, |_| {}).await;
    cluster.admin().get("/api/v1/namespaces/default/services/kubernetes-ro").await.expect(404);
    cluster.admin().get("/api/v1/namespaces/default/endpoints/kubernetes-ro").await.expect(404);
}

#[tokio::test]
async fn deleting_a_replication_controller_leaves_its_pods_unless_told_otherwise() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let collection = "/api/v1/namespaces/default/replicationcontrollers";
    let path = format!("{collection}/web");
    admin.post("/api/v1beta1/replicationControllers", &controller()).await.expect(201);
    let scale = admin.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(2), &json!("name=web")));
    assert_eq!(names_of(&admin, &format!("{collection}?fieldSelector=status.replicas%3D0")).await, ["web"]);
    let going = admin.delete(&path).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]));
    let freed = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, "merge-patch", &freed).await.expect(200);
    admin.get(&path).await.expect(404);
    admin.post("/api/v1beta1/replicationControllers", &controller()).await.expect(201);
    let gone = admin.delete_with(&path, &json!({"propagationPolicy": "Background"})).await.expect(200);
    assert_eq!(gone["status"], "Success");
}

async fn names_of(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect(200);
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
