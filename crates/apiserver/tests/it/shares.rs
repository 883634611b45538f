//! One client, however much it asks for, leaves something for others.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use stead_apiserver::{Identity, Limits, auth::NODES};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::support::{Cluster, DEADLINE, client_tls, eventually};

const MAPS: &str = "/api/v1/configmaps?watch=1&resourceVersion=0";

#[tokio::test]
async fn watches_of_one_client_leave_some_for_others() {
    let cluster = Cluster::limited(Limits { watches: 8, ..Limits::default() }).await;
    let node = |name: &str| cluster.client(Identity::new(format!("system:node:{name}"), &[NODES]));
    let (greedy, other) = (node("greedy"), node("other"));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(greedy.watch(MAPS).await);
    }
    let refused = greedy.get(MAPS).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.message(), "Too many requests, please try again later.");
    let refused = refused.expect(429);
    assert_eq!((&refused["reason"], &refused["details"]["retryAfterSeconds"]), (&"TooManyRequests".into(), &1.into()));
    held.push(other.watch(MAPS).await);
    held.push(other.watch(MAPS).await);
    drop(cluster.admin().watch(MAPS).await);
    held.clear();
    drop(greedy.watch(MAPS).await);
}

#[tokio::test]
async fn requests_of_one_client_leave_some_for_others() {
    let cluster = Cluster::limited(Limits { requests: 4, ..Limits::default() }).await;
    let [greedy, other] = ["greedy", "other"].map(|name| cluster.client(Identity::control_plane(name)));
    let list = "/api/v1/configmaps";
    // A body that does not end, and a list that is not read.
    let slow = greedy.clone();
    let slow = tokio::spawn(async move {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        slow.post_raw("/api/v1/namespaces/default/configmaps", "application/json", body).await
    });
    let unread = greedy.send(Request::get(list).body(Body::empty()).unwrap()).await;
    assert_eq!(unread.status(), 200);
    let refused = eventually("refusal", async || {
        let answer = greedy.get(list).await;
        (answer.code == 429).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!(
        (refused.headers["retry-after"].as_bytes(), &refused.body["reason"]),
        (&b"1"[..], &"TooManyRequests".into())
    );
    other.get(list).await.expect(200);
    greedy.get("/healthz").await;
    assert_eq!(greedy.get("/healthz").await.text, "ok");
    drop(greedy.watch(MAPS).await);
    drop(unread);
    greedy.get(list).await.expect(200);
    slow.abort();
}

/// Asks for `path` on a connection of its own, and answers the code and what keeps that connection.
async fn ask(address: SocketAddr, tls: &Arc<ClientConfig>, path: &str) -> (u16, Response<Incoming>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "localhost").body(Empty::<Bytes>::new()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
    (answer.status().as_u16(), answer)
}

#[tokio::test]
async fn connections_of_one_client_leave_some_for_others() {
    let cluster = Cluster::limited(Limits { connections: 4, ..Limits::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], tls, std::future::pending()).await });
    let [greedy, other] = ["greedy", "other"].map(|name| {
        let issued = cluster.pki.issue_client(&format!("system:node:{name}"), &[NODES]).unwrap();
        client_tls(&cluster.pki, &issued)
    });
    let mut held = Vec::new();
    for _ in 0..2 {
        let (code, watch) = ask(address, &greedy, MAPS).await;
        assert_eq!(code, 200);
        held.push(watch);
    }
    let (code, refused) = ask(address, &greedy, "/api/v1/services").await;
    assert_eq!((code, &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let status = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&status).unwrap()["reason"], "TooManyRequests");
    assert_eq!(ask(address, &other, "/api/v1/services").await.0, 200);
    drop(held);
    eventually("place", async || (ask(address, &greedy, "/api/v1/services").await.0 == 200).then_some(())).await;
    serving.abort();
}
