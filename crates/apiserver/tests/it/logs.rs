//! Logs from a node's agent, in a network namespace of the test's own: the address of a node is never loopback.

use std::{process::Command, sync::Arc};

use axum::{Router, extract::Request, response::IntoResponse as _};
use http::{StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use stead_apiserver::{pki::Pki, tls};
use stead_store::Model;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::support::{Client, Cluster, upgrade};

const NODE: &str = "192.168.56.101";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What an agent answers, for each container's name.
async fn answer(request: Request) -> axum::response::Response {
    let path = request.uri().path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
    match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "bad" => (StatusCode::BAD_REQUEST, "container \"bad\" has no log").into_response(),
        "sly" => (StatusCode::FOUND, [(header::LOCATION, "https://127.0.0.1/secret")]).into_response(),
        _ => format!("asked for {path}\n").into_response(),
    }
}

/// Serves on the node's address as long as the runtime lives. Only clients with a certificate are answered.
async fn agent(pki: &Pki) -> u16 {
    let issued = pki.issue_server(&["node1"], &[NODE.parse().unwrap()]).unwrap();
    let acceptor = TlsAcceptor::from(tls::server_config(pki.ca_pem(), &issued).unwrap());
    let listener = TcpListener::bind((NODE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(answer);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert!(stream.get_ref().1.peer_certificates().is_some(), "the server shows who it is");
            let router = router.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                router.clone().oneshot(request.map(axum::body::Body::new))
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

async fn pod(admin: &Client, name: &str, state: Value) {
    let containers = ["good", "bad", "sly"].map(|name| json!({"name": name, "image": "i"}));
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": containers}});
    admin.post(PODS, &pod).await.expect(201);
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "node1"}});
    admin.post(&format!("{PODS}/{name}/binding"), &binding).await.expect(201);
    let statuses = ["good", "bad", "sly"].map(
        |name| json!({"name": name, "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": state}),
    );
    let status = json!({"status": {"phase": "Running", "containerStatuses": statuses}});
    admin.patch(&format!("{PODS}/{name}/status"), "merge-patch", &status).await.expect(200);
}

async fn logs() {
    let cluster = Cluster::with(Arc::new(Model::new()), |_| {}).await;
    let admin = cluster.admin();
    let port = agent(&cluster.pki).await;
    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "node1"}})).await.expect(201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": NODE}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    admin.patch("/api/v1/nodes/node1/status", "merge-patch", &status).await.expect(200);
    pod(&admin, "runs", json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})).await;
    pod(&admin, "waits", json!({"waiting": {"reason": "ErrImagePull"}})).await;

    let log = admin.get(&format!("{PODS}/runs/log?container=good&tailLines=5&follow=true")).await;
    assert_eq!(log.text, "asked for /containerLogs/default/runs/good?follow=true&tailLines=5\n");
    assert_eq!(log.headers[header::CONTENT_TYPE], "text/plain");
    let check = |path: &'static str, code: u16, text: &'static str| {
        let admin = admin.clone();
        async move {
            let answer = admin.get(&format!("{PODS}/{path}")).await;
            assert_eq!(answer.code.as_u16(), code, "{path}: {}", answer.text);
            assert!(answer.message().contains(text), "{path}: {}", answer.text);
        }
    };
    check("runs/log", 400, "a container name must be specified for pod runs, choose one of: [good bad sly]").await;
    check("runs/log?container=none", 400, "container none is not valid for pod runs").await;
    check("runs/log?container=bad", 400, "container \"bad\" has no log").await;
    check("runs/log?container=sly", 500, "redirect").await;
    check("runs/log?container=good&tailLines=-1", 422, "must be greater than or equal to 0").await;
    check(
        "waits/log?container=good",
        400,
        "container \"good\" in pod \"waits\" is waiting to start: image can't be pulled",
    )
    .await;
    let containers = json!([{"name": "good", "image": "i"}]);
    admin.post(PODS, &json!({"metadata": {"name": "pending"}, "spec": {"containers": containers}})).await.expect(201);
    check("pending/log", 204, "").await;
    check("none/log", 404, "pods \"none\" not found").await;
    check("runs/exec?container=good&command=sh", 400, "Upgrade request required").await;
    check("runs/exec?command=sh", 400, "a container name must be specified for pod runs").await;
    check("pending/portforward", 400, "pod pending does not have a host assigned").await;
    // Only 101 is a tunnel, whatever else an agent says; its own refusal is shown as it is.
    for (container, expected) in [
        ("sly", "HTTP/1.1 500|invalid upgrade response: status code 302"),
        ("good", "HTTP/1.1 500|invalid upgrade response: status code 200"),
        ("bad", "HTTP/1.1 400|container \"bad\" has no log"),
    ] {
        let (head, text) = expected.split_once('|').unwrap();
        let path = format!("{PODS}/runs/exec?container={container}&command=sh&stdout=1");
        let answer = upgrade(&cluster, &path, "", text).await;
        assert!(answer.starts_with(head) && answer.contains(text), "{answer}");
        assert!(!answer.to_lowercase().contains("location:"), "{answer}");
    }
    let moved = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}});
    admin.patch("/api/v1/nodes/node1/status", "merge-patch", &moved).await.expect(200);
    check("runs/log?container=good", 500, "which no agent can have").await;
}

#[test]
fn logs_come_from_the_nodes_agent() {
    let thread = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("no network namespace can be made here ({error}): nothing tried");
            return;
        }
        for arguments in [["link", "set", "lo", "up"].as_slice(), &["address", "add", "192.168.56.101/32", "dev", "lo"]]
        {
            assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(logs());
    });
    thread.join().unwrap();
}
