//! `port-forward` as the Python and Rust clients speak it: the ports are named in the request, and each has two numbered channels of a
//! WebSocket, one for data and one for what went wrong. On both the agent first says the port, as two bytes, little endian.
//!
//! A channel has no end of its own: the connection ends when every port's has ended, or when the client goes.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use hyper::upgrade::Upgraded;
use stead_streams::channel::{self, Version};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Pod, forward};
use crate::server::{
    query,
    transport::{self, Activity, LINGER},
    writer::{Socket, Writer},
};

/// Messages of a client that wait for one port, each of at most 1 MiB.
const QUEUE: usize = 4;
/// The number of a channel is a byte.
const MAX_PORTS: usize = 128;

/// The ports that a request names, in its order; the error is for the client.
pub(super) fn ports(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for (_, value) in query::pairs(query).iter().filter(|(name, _)| name == "port") {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for word in value.split(',') {
            match word.parse::<u16>() {
                Ok(0) => return Err(format!("port {value:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(problem) => return Err(format!("unable to parse {value:?} as a port: {problem}")),
            }
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".to_owned()),
        1..=MAX_PORTS => Ok(ports),
        many => Err(format!("{many} ports are named; one connection carries at most {MAX_PORTS}")),
    }
}

pub(super) async fn serve(upgraded: Upgraded, ports: Vec<u16>, pod: Arc<Pod>) {
    let (sink, mut messages) = transport::web_socket(upgraded).await.split();
    let activity = Activity::new();
    let socket = Arc::new(Socket::new(sink, activity.clone()));
    let mut queues: Vec<mpsc::Sender<Bytes>> = Vec::new();
    let mut forwards = JoinSet::new();
    for (index, port) in (0..).zip(ports) {
        let (data, error) = channel::port_channel(index);
        let [data, error] = [data, error].map(|number| Writer::Channel { socket: socket.clone(), number });
        for writer in [&data, &error] {
            if writer.write(Bytes::copy_from_slice(&port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        let (queue, said) = mpsc::channel(QUEUE);
        queues.push(queue);
        forwards.spawn(forward(pod.clone(), port, error, (said, data)));
    }
    let moved = activity.clone();
    let read = async move {
        while let Some(Ok(message)) = messages.next().await {
            moved.mark();
            let parsed = match message {
                Message::Binary(bytes) => Version::V4.parse(bytes),
                Message::Close(_) => break,
                _ => continue,
            };
            // Nobody reads what a client says of errors, or on a channel that no port has.
            let Ok(channel::Message::Data(number, bytes)) = parsed else { continue };
            if let Some(queue) = queues.get(usize::from(number / 2)).filter(|_| number.is_multiple_of(2)) {
                // The pod may want no more.
                let _ = queue.send(bytes).await;
            }
        }
    };
    tokio::pin!(read);
    let all_ended = async { while forwards.join_next().await.is_some() {} };
    tokio::pin!(all_ended);
    tokio::select! {
        // The pod is still given what the client said before it went.
        () = &mut read => drop(timeout(LINGER, &mut all_ended).await),
        () = &mut all_ended => {
            socket.finish().await;
            // What the client still sends is read, or the kernel would cut off what it has not read yet itself.
            let _ = timeout(LINGER, &mut read).await;
        }
        () = activity.idle() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_one_by_one_or_in_lists() {
        let check = |query: &str, expected: Result<&[u16], &str>| {
            let found = ports(query);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{query}");
        };
        check("port=80&x=1&port=81%2C82", Ok(&[80, 81, 82]));
        check("", Err("query parameter \"port\" is required"));
        check("port=", Err("query parameter \"port\" cannot be empty"));
        check("port=0", Err("port \"0\" must be > 0"));
        check("port=65536", Err("unable to parse \"65536\" as a port: number too large to fit in target type"));
        check("port=http", Err("unable to parse \"http\" as a port: invalid digit found in string"));
        let many = vec!["1"; 129].join(",");
        check(&format!("port={many}"), Err("129 ports are named; one connection carries at most 128"));
    }
}
