//! `stead port-forward POD|TYPE/NAME [LOCAL:]REMOTE…`: ports of a pod, on addresses of this machine, until Ctrl-C.

mod ports;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use clap::Args;
use stead_streams::spdy::Headers;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use self::ports::Forward;
use crate::{
    api::Api,
    connection::Connection,
    duration::Span,
    error::VerbError,
    kinds::Kinds,
    pods,
    streaming::{self, PIECE, Stream},
};

const PROTOCOL: &str = "portforward.k8s.io";

#[derive(Debug, Args)]
pub struct PortForwardArgs {
    /// POD, or TYPE/NAME of what has pods, as `svc/web`: a ready one is taken
    #[arg(value_name = "POD")]
    pod: String,
    /// [LOCAL:]REMOTE each; a LOCAL that is left empty is any free port. A Service's ports are its own
    #[arg(value_name = "[LOCAL:]REMOTE", required = true)]
    ports: Vec<String>,
    /// Addresses to listen on; `localhost` is 127.0.0.1 and ::1
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,…", default_value = "localhost")]
    address: Vec<String>,
    /// With TYPE/NAME: how long to wait for a pod, as 20s or 5m
    #[arg(long, value_name = "TIME", default_value = "1m0s")]
    pod_running_timeout: Span,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: &PortForwardArgs) -> Result<(), VerbError> {
    let addresses = addresses(&args.address)?;
    let api = args.connection.open().await?;
    let kinds = Kinds::read(&api).await?;
    let pod = pods::find(&api, &kinds, &args.pod, args.pod_running_timeout).await?;
    let service = match args.pod.split_once('/') {
        Some((word, name)) if kinds.find(word)?.kind == "Service" => {
            Some(kinds.find(word)?.read(&api, &api.namespace, name).await?)
        }
        _ => None,
    };
    let forwards = args.ports.iter().map(|text| ports::parse(text)?.resolve(service.as_ref(), &pod));
    let forwards = forwards.collect::<Result<Vec<Forward>, _>>()?;
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        let problem = format!("unable to forward port because pod is not running. Current status={phase}");
        return Err(VerbError::Remote(problem));
    }
    forward(&api, stead_api::meta::name(&pod), &forwards, &addresses).await
}

fn addresses(words: &[String]) -> Result<Vec<Vec<IpAddr>>, VerbError> {
    let parse = |word: &String| match word.as_str() {
        "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
        word => word
            .parse()
            .map(|address| vec![address])
            .map_err(|_| VerbError::argument("--address", format!("{word} is not a valid IP"))),
    };
    words.iter().map(parse).collect()
}

async fn forward(api: &Api, pod: &str, forwards: &[Forward], addresses: &[Vec<IpAddr>]) -> Result<(), VerbError> {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/portforward", api.namespace);
    let connection = streaming::open(api, &path, PROTOCOL).await?;
    let requests = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for forward in forwards {
        for (listener, here) in listen(forward, addresses).await? {
            println!("Forwarding from {here} -> {}", forward.remote);
            let way = Way { connection: connection.clone(), requests: requests.clone(), remote: forward.remote };
            tasks.spawn(serve(way, listener, here.port()));
        }
    }
    tokio::select! {
        () = connection.lost() => Err(VerbError::Lost),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// To one port of the pod.
#[derive(Clone)]
struct Way {
    connection: streaming::Connection,
    /// Pairs of streams on this connection so far; each has a number of its own.
    requests: Arc<AtomicU64>,
    remote: u16,
}

/// A listener on each address; of the two of `localhost` one is enough.
async fn listen(forward: &Forward, addresses: &[Vec<IpAddr>]) -> Result<Vec<(TcpListener, SocketAddr)>, VerbError> {
    let mut listeners: Vec<(TcpListener, SocketAddr)> = Vec::new();
    let mut port = forward.local;
    for alternatives in addresses {
        let mut problems = Vec::new();
        let before = listeners.len();
        for address in alternatives {
            let wanted = SocketAddr::new(*address, port);
            match TcpListener::bind(wanted).await.and_then(|one| one.local_addr().map(|here| (one, here))) {
                Ok((listener, here)) => {
                    port = here.port();
                    listeners.push((listener, here));
                }
                Err(error) => problems.push(format!("{wanted}: {error}")),
            }
        }
        if listeners.len() == before {
            return Err(VerbError::Listen(problems.join(", ")));
        }
    }
    Ok(listeners)
}

async fn serve(way: Way, listener: TcpListener, local: u16) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors: those of connections that end are free again soon.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        println!("Handling connection for {local}");
        let way = way.clone();
        carried.spawn(async move {
            if let Err(problem) = carry(&way, client).await {
                eprintln!("an error occurred forwarding {local} -> {}: {problem}", way.remote);
            }
        });
    }
}

/// One connection of a client, as a pair of streams.
async fn carry(way: &Way, client: TcpStream) -> Result<(), String> {
    let (port, id) = (way.remote.to_string(), way.requests.fetch_add(1, Ordering::Relaxed).to_string());
    let headers =
        |kind: &'static str| Headers::new([("streamtype", kind), ("port", port.as_str()), ("requestid", id.as_str())]);
    let failed = |error: std::io::Error| format!("error creating stream: {error}");
    let mut problems = way.connection.stream(headers("error")).await.map_err(failed)?;
    problems.writer.finish().await;
    let data = way.connection.stream(headers("data")).await.map_err(failed)?;
    let writer = data.writer.clone();
    let _ = client.set_nodelay(true);
    // Its reader is gone after it: what nobody reads would hold up the other connections.
    join(client, data).await;
    writer.reset().await;
    let mut said = Vec::new();
    while let Some(bytes) = problems.reader.recv().await {
        said.extend_from_slice(&bytes);
    }
    if said.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// Passes bytes both ways until the pod says no more.
async fn join(client: TcpStream, Stream { mut reader, writer }: Stream) {
    let (mut from_client, mut to_client) = client.into_split();
    let up = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            if writer.write(Bytes::copy_from_slice(&piece[..length])).await.is_err() {
                break;
            }
        }
        writer.finish().await;
    };
    let down = async {
        while let Some(bytes) = reader.recv().await {
            if to_client.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(up);
    tokio::pin!(down);
    // When the pod has ended the connection, nobody waits for what the client would still send.
    tokio::select! {
        () = &mut up => down.await,
        () = &mut down => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_localhost_or_ips() {
        let check = |word: &str, expect: Option<&[&str]>| {
            let found = addresses(&[word.to_owned()]).ok().map(|lists| lists.concat());
            let expect = expect.map(|list| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>());
            assert_eq!(found, expect, "{word}");
        };
        check("localhost", Some(&["127.0.0.1", "::1"]));
        check("127.0.0.2", Some(&["127.0.0.2"]));
        check("::", Some(&["::"]));
        check("example.com", None);
    }
}
