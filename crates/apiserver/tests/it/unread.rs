//! Watchers that never read: what is kept for them is bounded, others see everything in time, and they are cut.
//!
//! `STEAD_UNREAD_WATCHERS` sets how many (100). Each takes two descriptors here.

use std::{env, fs, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use stead_apiserver::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
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
async fn fall_silent(address: SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
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

/// A server that waits two seconds, where it listens, who may connect to it, and its task.
async fn served() -> (Cluster, SocketAddr, TlsConnector, JoinHandle<()>) {
    let cluster = Cluster::limited(Limits { unread: Duration::from_secs(2), ..Limits::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (cluster.server.clone(), cluster.serving());
    let serving = tokio::spawn(async move { server.serve(vec![listener], tls, std::future::pending()).await });
    let issued = cluster.pki.issue_client("somebody", &["system:masters"]).unwrap();
    let connector = TlsConnector::from(client_tls(&cluster.pki, &issued));
    (cluster, address, connector, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_never_read_cost_little_and_are_cut() {
    let (cluster, address, connector, serving) = served().await;
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

/// A client over HTTP/2 whose streams have windows of one kilobyte.
struct Narrow {
    sender: http2::SendRequest<Empty<Bytes>>,
    carried: JoinHandle<hyper::Result<()>>,
}

impl Narrow {
    async fn connect(address: SocketAddr, connector: &TlsConnector) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1 << 10);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        Self { sender, carried: tokio::spawn(connection) }
    }

    async fn get(&mut self, path: &str) -> Incoming {
        let request = Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.into_body()
    }
}

/// Reads until `text` has come.
async fn read_until(body: &mut Incoming, text: &str) {
    let mut read = String::new();
    while !read.contains(text) {
        let frame = body.frame().await.expect("the watch goes on").unwrap();
        read.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_window_ends_its_own_watch_and_nothing_else_of_the_connection() {
    let (cluster, address, connector, serving) = served().await;
    let admin = cluster.admin();
    let filled = |name: &str| json!({"metadata": {"name": name}, "data": {"filler": "x".repeat(WRITTEN)}});
    let watch = format!("{MAPS}?watch=1");
    let mut client = Narrow::connect(address, &connector).await;
    let (mut unread, mut read) = (client.get(&watch).await, client.get(&watch).await);
    let mut quiet = client.get("/api/v1/namespaces/default/secrets?watch=1").await;
    admin.post(MAPS, &filled("first")).await.expect(201);
    read_until(&mut read, "}\n").await;
    let watches = async |count: usize| {
        let counted = async || (sum(&cluster, "apiserver_longrunning_requests").await == count).then_some(());
        eventually("end of the watches that are not read", counted).await;
    };
    watches(1).await;
    client.get("/api/v1/namespaces/default/services").await.collect().await.unwrap();
    admin.post(MAPS, &filled("second")).await.expect(201);
    read_until(&mut read, "second").await;
    timeout(Duration::from_millis(10), quiet.frame()).await.expect_err("a watch without events waits");
    let ended = async {
        while let Some(frame) = unread.frame().await {
            frame?;
        }
        hyper::Result::Ok(())
    };
    assert!(ended.await.is_err(), "a watch that was cut is no whole one");

    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(client.get(&watch).await);
    }
    admin.post(MAPS, &filled("third")).await.expect(201);
    timeout(Duration::from_secs(30), client.carried).await.expect("too many: the connection is cut").unwrap().ok();
    watches(0).await;
    serving.abort();
}
