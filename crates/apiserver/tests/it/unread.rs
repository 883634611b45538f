//! Watchers that never read: what is kept for them is bounded, others see everything in time, and they are cut.
//!
//! `STEAD_UNREAD_WATCHERS` sets how many (100). Each takes two descriptors here.

use std::{env, fs, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use stead_apiserver::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Cluster, client_tls, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WRITES: usize = 64;
const WRITTEN: usize = 64 << 10;
/// For one that does not read: what HTTP, TLS, a frame, and the kernel's buffers of both ends hold, with room. All that is written is eight
/// times that.
const KEPT: usize = 512 << 10;

fn silent_watchers() -> usize {
    env::var("STEAD_UNREAD_WATCHERS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// A watch whose answer has begun, and of which nothing more is read.
async fn fall_silent(address: std::net::SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    let stream = socket.connect(address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let request = format!("GET {MAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// The sum of a metric over all its labels.
async fn sum(cluster: &Cluster, metric: &str) -> usize {
    let answer = cluster.admin().get("/metrics").await;
    let lines = answer.text.lines().filter(|line| line.starts_with(metric) && line.contains("configmaps"));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as usize).sum()
}

fn resident_mib() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_never_read_cost_little_and_are_cut() {
    let cluster = Cluster::limited(Limits { unread: Duration::from_secs(2), ..Limits::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], tls, std::future::pending()).await });
    let issued = cluster.pki.issue_client("somebody", &["system:masters"]).unwrap();
    let connector = TlsConnector::from(client_tls(&cluster.pki, &issued));

    let (count, before) = (silent_watchers(), resident_mib());
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(fall_silent(address, &connector).await);
    }
    let established = resident_mib();
    let admin = cluster.admin();
    let mut reading = admin.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(sum(&cluster, "apiserver_longrunning_requests").await, count + 1);
    let filler = "x".repeat(WRITTEN);
    for number in 0..WRITES {
        let name = format!("map-{number}");
        admin.post(MAPS, &json!({"metadata": {"name": name}, "data": {"filler": filler}})).await.expect(201);
        let event = reading.next().await.unwrap();
        assert_eq!(event["object"]["metadata"]["name"], Value::from(name), "others see every change");
    }
    println!("{count} watchers: {before} MiB, {established} MiB connected, {} MiB written", resident_mib());
    let sent = sum(&cluster, "apiserver_watch_events_total").await - WRITES;
    let bound = count * KEPT / WRITTEN;
    assert!(sent <= bound, "{sent} events were made for {count} watchers that do not read, of {bound} at most");

    eventually("end of those watches", async || {
        (sum(&cluster, "apiserver_longrunning_requests").await == 1).then_some(())
    })
    .await;
    for stream in &silent {
        let error = SockRef::from(stream.get_ref().0).take_error().unwrap().map(|error| error.kind());
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset), "their connections are gone");
    }
    admin.post(MAPS, &json!({"metadata": {"name": "last"}})).await.expect(201);
    assert_eq!(reading.next().await.unwrap()["object"]["metadata"]["name"], "last");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_window_ends_its_own_watch_and_nothing_else_of_the_connection() {
    let cluster = Cluster::limited(Limits { unread: Duration::from_secs(2), ..Limits::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], tls, std::future::pending()).await });
    let issued = cluster.pki.issue_client("somebody", &["system:masters"]).unwrap();
    let connector = TlsConnector::from(client_tls(&cluster.pki, &issued));
    let stream = connector.connect("localhost".try_into().unwrap(), TcpStream::connect(address).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1 << 10);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream.await.unwrap())).await.unwrap();
    let carried = tokio::spawn(connection);
    let mut ask = async |path: String| {
        let request = Request::get(format!("https://localhost{path}")).body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.into_body()
    };
    let watch = format!("{MAPS}?watch=1&resourceVersion=0");
    let (mut unread, mut read, mut quiet) =
        (ask(watch.clone()).await, ask(watch).await, ask("/api/v1/services?watch=1&resourceVersion=0".into()).await);
    let filler = "x".repeat(8 << 10);
    let admin = cluster.admin();
    admin.post(MAPS, &json!({"metadata": {"name": "map"}, "data": {"filler": filler}})).await.expect(201);
    let mut text = String::new();
    while !text.ends_with('\n') {
        let frame = read.frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(text.contains(&filler), "whoever reads gets it all");
    eventually("end of that watch", async || {
        (sum(&cluster, "apiserver_longrunning_requests").await == 1).then_some(())
    })
    .await;
    let ended = loop {
        match unread.frame().await {
            Some(Ok(_)) => {}
            other => break other,
        }
    };
    assert!(ended.is_some_and(|frame| frame.is_err()), "its stream was reset");
    assert!(ask("/api/v1/namespaces/default/services".into()).await.collect().await.is_ok());
    admin.post(MAPS, &json!({"metadata": {"name": "last"}})).await.expect(201);
    assert!(read.frame().await.unwrap().is_ok(), "the other watches of the connection go on");
    let nothing = tokio::time::timeout(Duration::from_millis(10), quiet.frame()).await;
    assert!(nothing.is_err() || nothing.is_ok_and(|frame| frame.is_some_and(|frame| frame.is_ok())));
    carried.abort();
    serving.abort();
}
