//! Proxy subresources, in a network namespace of the test's own where pods' addresses are its own. The tests whose names begin with
//! `cve` are the rows of the security history that such a proxy could repeat.

use std::{future::Future, process::Command, thread};

use axum::{Router, body::Body, extract::Request, response::IntoResponse as _};
use futures::StreamExt as _;
use http::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use stead_apiserver::{Identity, Limits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{Client, Cluster, DEADLINE, eventually, series, upgrade};

const POD: &str = "10.244.1.2";
const NODE: &str = "192.168.56.101";
/// In no range of the cluster.
const FOREIGN: &str = "172.16.0.9";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What is behind the proxy: it shows what it was asked, and does what its path says.
async fn behind(request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    match parts.uri.path() {
        "/page" => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], "<a href=\"/x\">x</a>").into_response(),
        "/away" => (StatusCode::FOUND, [(header::LOCATION, query)]).into_response(),
        "/endless" => {
            let pieces = futures::stream::iter([Ok::<_, std::io::Error>("begun")]).chain(futures::stream::pending());
            Body::from_stream(pieces).into_response()
        }
        "/cors" => ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], "x").into_response(),
        "/upgrade" if query == "yes" => {
            let mut request = Request::from_parts(parts, body);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word.map(|letter| letter.to_ascii_uppercase())).await.unwrap();
            });
            let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "shout")];
            (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
        }
        "/upgrade" if query == "sly" => {
            (StatusCode::FOUND, [(header::LOCATION, "https://192.168.56.101:10250/run")]).into_response()
        }
        "/upgrade" => (StatusCode::FORBIDDEN, "not for you").into_response(),
        _ => {
            let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())));
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let seen = json!({
                "method": parts.method.to_string(),
                "target": parts.uri.to_string(),
                "headers": headers.collect::<serde_json::Map<_, _>>(),
                "body": String::from_utf8_lossy(&body),
            });
            axum::Json(seen).into_response()
        }
    }
}

/// Serves on `address` as long as the runtime lives.
async fn serve(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(behind)).await });
    port
}

/// A cluster with a node, a pod on it that answers at `port`, and a Service of that pod.
struct World {
    cluster: Cluster,
    admin: Client,
    port: u16,
}

impl World {
    async fn new() -> Self {
        Self::on(Cluster::new().await).await
    }

    async fn on(cluster: Cluster) -> Self {
        let admin = cluster.admin();
        let port = serve(POD).await;
        let world = Self { cluster, admin, port };
        world.admin.post("/api/v1/nodes", &json!({"metadata": {"name": "node1"}})).await.expect(201);
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": NODE}]}});
        world.admin.patch("/api/v1/nodes/node1/status", "merge-patch", &status).await.expect(200);
        world.pod("web", POD).await;
        let ports = json!([{"name": "http", "port": 80, "targetPort": port}]);
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": ports}});
        world.admin.post(SERVICES, &service).await.expect(201);
        world.endpoints("web", POD, &json!({"kind": "Pod", "namespace": "default", "name": "web"})).await;
        world
    }

    async fn pod(&self, name: &str, address: &str) {
        let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": self.port}]});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
        self.admin.post(PODS, &pod).await.expect(201);
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "node1"}});
        self.admin.post(&format!("{PODS}/{name}/binding"), &binding).await.expect(201);
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        self.admin.patch(&format!("{PODS}/{name}/status"), "merge-patch", &status).await.expect(200);
    }

    async fn endpoints(&self, name: &str, address: &str, target: &Value) {
        let address = json!({"ip": address, "targetRef": target});
        let subset = json!({"addresses": [address], "ports": [{"name": "http", "port": self.port}]});
        let endpoints = json!({"metadata": {"name": name}, "subsets": [subset]});
        let path = format!("/api/v1/namespaces/default/endpoints/{name}");
        let code = self.admin.put(&path, &endpoints).await.code;
        assert!(code.is_success(), "{code}");
    }

    /// The code and the message or body of a GET.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.admin.get(path).await;
        let text = if answer.message().is_empty() { answer.text.clone() } else { answer.message().to_owned() };
        (answer.code.as_u16(), text)
    }

    async fn check(&self, path: &str, code: u16, text: &str) {
        let found = self.get(path).await;
        assert!(found.0 == code && found.1.contains(text), "{path}: {found:?}");
    }
}

/// Runs a test where the addresses of pods and nodes are this machine's.
fn in_own_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("no network namespace can be made here ({error}): nothing tried");
            return;
        }
        let ip = |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
        ip(&["link", "set", "lo", "up"]);
        for address in [POD, NODE, FOREIGN, "169.254.169.254"] {
            ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(DEADLINE, test()).await.unwrap() });
    });
    thread.join().unwrap();
}

#[test]
fn paths_of_2014_lead_to_the_same_places() {
    in_own_network(|| async {
        let world = World::new().await;
        for path in [
            "/api/v1beta1/proxy/services/web:80/a%20b/?namespace=default&yes",
            "/api/v1beta1/proxy/pods/web/a%20b/?yes",
            "/api/v1beta1/services/web:http/proxy/a%20b/?yes",
            "/api/v1beta3/proxy/namespaces/default/services/web:80/a%20b/?yes",
        ] {
            let seen = world.admin.get(path).await.expect(200);
            assert_eq!(seen["target"], "/a%20b/?yes", "{path}");
            let asked = seen["headers"]["x-forwarded-uri"].as_str().unwrap();
            assert!(asked.starts_with("/api/v1/namespaces/default/"), "{path}: {asked} names the namespace");
        }
        for path in ["/api/v1beta1/proxy/services/web:80", "/api/v1beta3/proxy/namespaces/default/services/web:80"] {
            let seen = world.admin.get(&format!("{path}/")).await.expect(200);
            assert_eq!(seen["target"], "/", "{path}");
            for answer in
                [world.admin.get(&format!("{path}?q=1")).await, world.admin.delete(&format!("{path}?q=1")).await]
            {
                assert_eq!(answer.code, StatusCode::MOVED_PERMANENTLY, "{path}");
                assert_eq!(answer.headers[header::LOCATION], format!("{path}/?q=1"));
            }
        }
    });
}

#[test]
fn every_form_and_method_is_passed_on() {
    in_own_network(|| async {
        let world = World::new().await;
        let port = world.port;
        for path in [
            format!("{SERVICES}/web:80/proxy/a%20b/?q=%2F"),
            format!("{SERVICES}/web:http/proxy/a%20b/?q=%2F"),
            format!("{SERVICES}/http:web:http/proxy/a%20b/?q=%2F"),
            format!("{SERVICES}/web%3A80/proxy/a%20b/?q=%2F"),
            format!("{PODS}/web/proxy/a%20b/?q=%2F"),
            format!("{PODS}/http:web:{port}/proxy/a%20b/?q=%2F"),
        ] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let request = Request::builder().method(method).uri(&path).header("x-kept", "1");
                let request = request.header("authorization", "Bearer secret").header("x-remote-user", "root");
                let request = request.header("impersonate-user", "root").header("host", "api:6443");
                let request = request.header("impersonate-group", "system:masters");
                let request = request.header("te", "trailers").header("connection", "x-dropped");
                let body = if method == "POST" { Body::from("text") } else { Body::empty() };
                let answer = world.admin.call(request.header("x-dropped", "1").body(body).unwrap()).await;
                let seen = answer.expect(200);
                assert_eq!((&seen["method"], &seen["target"]), (&json!(method), &json!("/a%20b/?q=%2F")), "{path}");
                assert_eq!(seen["body"], if method == "POST" { "text" } else { "" });
                let headers = seen["headers"].as_object().unwrap();
                let expected = json!({
                    "host": "api:6443", "x-kept": "1", "x-forwarded-host": "api:6443", "x-forwarded-proto": "https",
                    "x-forwarded-uri": path.split('?').next().unwrap(),
                });
                for (name, value) in expected.as_object().unwrap() {
                    assert_eq!(headers.get(name), Some(value), "{name}");
                }
                for name in ["authorization", "x-remote-user", "impersonate-user", "te", "x-dropped", "connection"] {
                    assert!(!headers.contains_key(name), "{name} was passed on");
                }
            }
            let request = Request::builder().method(Method::HEAD).uri(&path).body(Body::empty()).unwrap();
            let answer = world.admin.call(request).await;
            assert_eq!((answer.code, answer.text.as_str()), (StatusCode::OK, ""));
        }
        let answer = world.admin.get(&format!("{SERVICES}/web:80/proxy?q=1")).await;
        assert_eq!(answer.code, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(answer.headers[header::LOCATION], format!("{SERVICES}/web:80/proxy/?q=1"));
        let posted = world.admin.post(&format!("{SERVICES}/web:80/proxy"), &json!({})).await.expect(200);
        assert_eq!(posted["target"], "/");
        let node_port = serve(NODE).await;
        let seen = world.admin.get(&format!("/api/v1/nodes/node1:{node_port}/proxy/x")).await.expect(200);
        assert_eq!(seen["target"], "/x");
    });
}

#[test]
fn answers_lead_back_through_the_proxy() {
    in_own_network(|| async {
        let world = World::new().await;
        let root = format!("{SERVICES}/web:80/proxy");
        world.check(&format!("{root}/page"), 200, &format!("<a href=\"{root}/x\">x</a>")).await;
        let cors = world.admin.get(&format!("{root}/cors")).await;
        assert!(!cors.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        let inside = world.admin.get(&format!("{root}/away?/login")).await;
        assert_eq!(inside.code, StatusCode::FOUND);
        assert_eq!(inside.headers[header::LOCATION], format!("{root}/login"));
    });
}

#[test]
fn what_cannot_be_reached_is_said_in_upstreams_words() {
    in_own_network(|| async {
        let world = World::new().await;
        let service = json!({"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}]}});
        world.admin.post(SERVICES, &service).await.expect(201);
        world.admin.put("/api/v1/namespaces/default/endpoints/empty", &json!({"metadata": {"name": "empty"}})).await;
        for (path, code, text) in [
            (format!("{SERVICES}/a:b:c:d/proxy/"), 400, "invalid service request \"a:b:c:d\""),
            (format!("{SERVICES}/ftp:web:80/proxy/"), 400, "invalid service request \"ftp:web:80\""),
            (format!("{SERVICES}/web:81/proxy/"), 503, "no service port 81 found for service \"web\""),
            (format!("{SERVICES}/web:other/proxy/"), 503, "no endpoints available for service \"web:other\""),
            (format!("{SERVICES}/empty/proxy/"), 503, "no endpoints available for service \"empty\""),
            (format!("{SERVICES}/none/proxy/"), 404, "endpoints \"none\" not found"),
            (format!("{SERVICES}/none:80/proxy/"), 404, "services \"none\" not found"),
            (format!("{PODS}/none/proxy/"), 404, "pods \"none\" not found"),
            (format!("{PODS}/web:x/proxy/"), 400, "invalid pod request \"web:x\""),
            (format!("{PODS}/web:9/proxy/"), 503, "error trying to reach service: dial tcp 10.244.1.2:9: connect"),
            ("/api/v1/nodes/none/proxy/".into(), 404, "nodes \"none\" not found"),
            ("/api/v1/nodes/node1:x/proxy/".into(), 400, "invalid node request \"node1:x\""),
            ("/api/v1/nodes/node1/proxy/".into(), 503, "error trying to reach service: dial tcp 192.168.56.101:10250"),
        ] {
            world.check(&path, code, text).await;
        }
    });
}

#[test]
fn cve_2021_25740_endpoints_that_are_no_pod_of_the_namespace_are_not_proxied() {
    in_own_network(|| async {
        let world = World::new().await;
        for target in [
            Value::Null,
            json!({"kind": "Pod", "namespace": "kube-system", "name": "web"}),
            json!({"kind": "Pod", "namespace": "default", "name": "none"}),
            json!({"kind": "Node", "namespace": "default", "name": "web"}),
        ] {
            world.endpoints("web", POD, &target).await;
            world.check(&format!("{SERVICES}/web:80/proxy/"), 503, "no endpoints available for service").await;
        }
        let target = json!({"kind": "Pod", "namespace": "default", "name": "web"});
        world.endpoints("web", FOREIGN, &target).await;
        world.check(&format!("{SERVICES}/web:80/proxy/"), 503, "no endpoints available for service").await;
    });
}

#[test]
fn cve_2020_8562_a_pods_address_is_checked_and_then_is_the_one_connected_to() {
    in_own_network(|| async {
        let world = World::new().await;
        // A dishonest agent may write any status; each of these addresses would answer.
        for (number, address) in ["127.0.0.1", "169.254.169.254", FOREIGN, NODE, "10.96.0.1"].iter().enumerate() {
            let name = format!("sly{number}");
            world.pod(&name, address).await;
            world.check(&format!("{PODS}/{name}/proxy/"), 400, "address not allowed").await;
            let target = json!({"kind": "Pod", "namespace": "default", "name": name});
            let subset = json!({"addresses": [{"ip": address, "targetRef": target}],
                "ports": [{"name": "http", "port": world.port}]});
            let endpoints = json!({"metadata": {"name": "web"}, "subsets": [subset]});
            let path = "/api/v1/namespaces/default/endpoints/web";
            if world.admin.put(path, &endpoints).await.code.is_success() {
                world.check(&format!("{SERVICES}/web:80/proxy/"), 503, "no endpoints available").await;
            }
        }
    });
}

#[test]
fn cve_2022_3294_nodes_are_proxied_at_addresses_that_a_node_can_have() {
    in_own_network(|| async {
        let world = World::new().await;
        for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1"] {
            let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
            world.admin.patch("/api/v1/nodes/node1/status", "merge-patch", &status).await.expect(200);
            for id in ["node1".to_owned(), format!("node1:{}", world.port)] {
                world.check(&format!("/api/v1/nodes/{id}/proxy/"), 500, "which no agent can have").await;
            }
        }
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": POD}]}});
        world.admin.patch("/api/v1/nodes/node1/status", "merge-patch", &status).await.expect(200);
        let path = format!("/api/v1/nodes/node1:{}/proxy/", world.port);
        world.check(&path, 400, "address not allowed").await;
    });
}

#[test]
fn cve_2020_8561_redirects_are_handed_to_the_client_and_not_followed() {
    in_own_network(|| async {
        let world = World::new().await;
        let secret = serve(FOREIGN).await;
        let place = format!("http://{FOREIGN}:{secret}/secret");
        let answer = world.admin.get(&format!("{SERVICES}/web:80/proxy/away?{place}")).await;
        assert_eq!((answer.code, answer.text.as_str()), (StatusCode::FOUND, ""));
        assert_eq!(answer.headers[header::LOCATION], place);
    });
}

#[test]
fn upgrades_are_passed_through() {
    in_own_network(|| async {
        let world = World::new().await;
        let text = upgrade(&world.cluster, &format!("{SERVICES}/web:80/proxy/upgrade?yes"), "word", "WORD").await;
        assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nWORD"), "{text}");
    });
}

#[test]
fn cve_2020_8559_an_upgrade_that_is_answered_with_a_redirect_is_no_tunnel() {
    in_own_network(|| async {
        let world = World::new().await;
        let text =
            upgrade(&world.cluster, &format!("{SERVICES}/web:80/proxy/upgrade?sly"), "word", "status code 302").await;
        assert!(text.starts_with("HTTP/1.1 500 "), "{text}");
        assert!(text.contains("invalid upgrade response: status code 302"), "{text}");
        assert!(!text.to_lowercase().contains("location:") && !text.contains("WORD"), "{text}");
        let text = upgrade(&world.cluster, &format!("{SERVICES}/web:80/proxy/upgrade?no"), "", "not for you").await;
        assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    });
}

#[test]
fn what_one_client_has_proxied_leaves_some_for_others() {
    in_own_network(|| async {
        let world = World::on(Cluster::limited(Limits { outbound: 4, ..Limits::default() }).await).await;
        let [greedy, other] = ["greedy", "other"].map(|name| world.cluster.client(Identity::control_plane(name)));
        let path = format!("{SERVICES}/web:80/proxy/endless");
        let ask = async |client: &Client| {
            let response = client.send(Request::get(&path).body(Body::empty()).unwrap()).await;
            (response.status().as_u16(), response)
        };
        let mut held = Vec::new();
        for (client, code) in [(&greedy, 200), (&greedy, 200), (&greedy, 429), (&other, 200), (&other, 429)] {
            let (found, response) = ask(client).await;
            assert_eq!(found, code);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), code == 429);
            held.push(response);
        }
        let running = async || {
            let text = world.admin.get("/metrics").await.text;
            let labels = ["resource=\"services\"", "subresource=\"proxy\"", "verb=\"CONNECT\""];
            series(&text, "apiserver_longrunning_requests", &labels)
        };
        assert_eq!(running().await, Some(3.0));
        held.clear();
        assert_eq!(ask(&greedy).await.0, 200);
        eventually("end of all", async || (running().await == Some(0.0)).then_some(())).await;
    });
}

#[test]
fn agents_may_not_proxy() {
    in_own_network(|| async {
        let world = World::new().await;
        let agent = world.cluster.client(Identity::new("system:node:node1", &["system:nodes"]));
        for path in
            [format!("{SERVICES}/web:80/proxy/"), format!("{PODS}/web/proxy/"), "/api/v1/nodes/node1/proxy/".into()]
        {
            let answer = agent.get(&path).await;
            assert!(answer.code == StatusCode::FORBIDDEN && answer.message().contains("/proxy\""), "{}", answer.text);
        }
    });
}
