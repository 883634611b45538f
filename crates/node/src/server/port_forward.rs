//! `port-forward`: connections to a pod's ports, inside its network namespace.
//!
//! Each is a pair of SPDY streams that name the port and, so that they find each other, a request. The SPDY connection is the upgraded
//! one itself, or is carried in a WebSocket's messages. [`channels`] is the way without SPDY.

mod channels;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use stead_model::ObjectKey;
use stead_streams::spdy::Reset;
use stead_sys::namespace::Namespace;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Body, Sources,
    spdy::{self, Stream},
    text, transport,
    upgrade::{self, Agreed, Carrier},
    writer::Writer,
};

const SPDY: &[&str] = &["portforward.k8s.io"];
const CHANNELS: &str = "v4.channel.k8s.io";
const WEB_SOCKET: &[&str] = &["SPDY/3.1+portforward.k8s.io", CHANNELS];

const CONNECT: Duration = Duration::from_secs(10);
/// How long one stream of a pair waits for the other.
const PAIR: Duration = Duration::from_secs(30);
const PIECE: usize = 16 << 10;

/// Answers `/portForward/NAMESPACE/POD?port=…`; only who speaks channels has to name ports so early.
pub(super) async fn answer(
    sources: &Sources,
    [namespace, pod]: [&str; 2],
    mut request: Request<Incoming>,
) -> Response<Body> {
    let key = ObjectKey::new(namespace, pod);
    let found = sources.logs.pod_uid(&key).and_then(|uid| sources.networks.open(&uid));
    let place = match found {
        Ok(place) => Arc::new(Pod { name: format!("{pod}_{namespace}"), namespace: place }),
        Err(message) => return text(StatusCode::NOT_FOUND, message),
    };
    let agreed = match upgrade::agree(request.headers(), SPDY, WEB_SOCKET) {
        Ok(agreed) => agreed,
        Err(answer) => return answer,
    };
    let ports = match agreed.protocol {
        CHANNELS => match channels::ports(request.uri().query().unwrap_or_default()) {
            Ok(ports) => ports,
            Err(message) => return text(StatusCode::BAD_REQUEST, message),
        },
        _ => Vec::new(),
    };
    let Ok(session) = Arc::clone(&sources.sessions).try_acquire_owned() else {
        return text(StatusCode::TOO_MANY_REQUESTS, "too many streaming sessions on this node");
    };
    let answer = agreed.answer(request.headers());
    tokio::spawn(async move {
        let _session = session;
        match hyper::upgrade::on(&mut request).await {
            Ok(upgraded) if agreed.protocol == CHANNELS => channels::serve(upgraded, ports, place).await,
            Ok(upgraded) => serve(upgraded, agreed, place).await,
            Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
        }
    });
    answer
}

/// Whose ports are forwarded.
struct Pod {
    name: String,
    namespace: Namespace,
}

/// The half of a pair that came first.
struct Waiting {
    stream: Stream,
    is_error: bool,
    since: Instant,
}

async fn serve(upgraded: hyper::upgrade::Upgraded, agreed: Agreed, pod: Arc<Pod>) {
    let connection = match agreed.carrier {
        Carrier::Spdy => transport::raw(upgraded),
        Carrier::WebSocket => transport::tunnelled(upgraded).await,
    };
    let (mut opened, _gone) = spdy::start(connection);
    let mut waiting: BTreeMap<String, Waiting> = BTreeMap::new();
    let mut forwards = JoinSet::new();
    while let Some(stream) = opened.recv().await {
        while forwards.try_join_next().is_some() {}
        let late: Vec<String> =
            waiting.iter().filter(|(_, half)| half.since.elapsed() > PAIR).map(|(id, _)| id.clone()).collect();
        for id in late {
            if let Some(half) = waiting.remove(&id) {
                half.stream.writer.reset(Reset::Cancel).await;
            }
        }
        let port = stream.headers.get("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let is_error = match stream.headers.get("streamtype") {
            Some("error") => true,
            Some("data") => false,
            _ => {
                stream.writer.reset(Reset::ProtocolError).await;
                continue;
            }
        };
        let Some(port) = port else {
            stream.writer.reset(Reset::ProtocolError).await;
            continue;
        };
        // Old clients name no request: then streams come in pairs, the error stream first.
        let id = stream.headers.get("requestid").map_or_else(|| format!("port {port}"), str::to_owned);
        match waiting.remove(&id) {
            Some(other) if other.is_error != is_error => {
                let (error, data) = if is_error { (stream, other.stream) } else { (other.stream, stream) };
                let data = (data.reader, Writer::Spdy(data.writer));
                forwards.spawn(forward(pod.clone(), port, Writer::Spdy(error.writer), data));
            }
            other => {
                if let Some(other) = other {
                    other.stream.writer.reset(Reset::ProtocolError).await;
                }
                waiting.insert(id, Waiting { stream, is_error, since: Instant::now() });
            }
        }
    }
    // What is left ends with the client.
}

/// One connection, from the client's data to the pod's port and back.
async fn forward(pod: Arc<Pod>, port: u16, error: Writer, (mut said, data): (mpsc::Receiver<Bytes>, Writer)) {
    match connect(&pod.namespace, port).await {
        Ok(connection) => {
            let (mut reader, mut writer) = connection.into_split();
            let up = async {
                while let Some(bytes) = said.recv().await {
                    if writer.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                // The pod sees that no more will come; what it still says is passed on.
                let _ = writer.shutdown().await;
            };
            let down = async {
                let mut piece = vec![0; PIECE];
                while let Ok(length) = reader.read(&mut piece).await {
                    let bytes = Bytes::copy_from_slice(&piece[..length]);
                    if length == 0 || data.write(bytes).await.is_err() {
                        break;
                    }
                }
                data.finish().await;
            };
            tokio::pin!(up);
            tokio::pin!(down);
            tokio::select! {
                () = &mut up => down.await,
                // Nothing comes back any more: what the client still sends has no answer to wait for.
                () = &mut down => {}
            }
        }
        Err(problem) => {
            let message = format!("error forwarding port {port} to pod {}, uid : {problem}", pod.name);
            let _ = error.write(message.into()).await;
            data.finish().await;
        }
    }
    error.finish().await;
    data.reset(Reset::Cancel).await;
    error.reset(Reset::Cancel).await;
}

/// To the pod's own loopback, by IPv4 and then by IPv6.
async fn connect(namespace: &Namespace, port: u16) -> Result<TcpStream, String> {
    let mut problems = Vec::new();
    for (family, address) in
        [("IPv4: dial tcp4", IpAddr::from(Ipv4Addr::LOCALHOST)), ("IPv6 dial tcp6:", IpAddr::from(Ipv6Addr::LOCALHOST))]
    {
        let target = SocketAddr::new(address, port);
        match timeout(CONNECT, connect_to(namespace, target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                problems.push(format!("{family} {target}: connect: connection refused"));
            }
            Ok(Err(error)) => problems.push(format!("{family} {target}: {error}")),
            Err(_) => problems.push(format!("{family} {target}: i/o timeout")),
        }
    }
    Err(format!("failed to connect to localhost:{port} inside namespace, {}", problems.join(" ")))
}

/// A socket belongs to the namespace that it was made in, wherever it is used.
async fn connect_to(namespace: &Namespace, target: SocketAddr) -> io::Result<TcpStream> {
    let namespace = namespace.try_clone()?;
    let make = move || namespace.run(|| if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() })?;
    let socket = tokio::task::spawn_blocking(make).await.map_err(io::Error::other)??;
    let stream = socket.connect(target).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
