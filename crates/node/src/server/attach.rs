//! `attach`: what a container's program writes from now on, as its log gets it, joined with a client's streams.
//!
//! Containers have no standard input, so what a client sends there goes nowhere, and a line shows when it is whole.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use stead_model::ObjectKey;

use super::{Body, Sources, exec, logs, query, remote_command, text, upgrade};
use crate::log::Output;

/// Answers `/attach/NAMESPACE/POD/CONTAINER?output=1&error=1`.
pub(super) async fn answer(
    sources: &Sources,
    [namespace, pod, container]: [&str; 3],
    mut request: Request<Incoming>,
) -> Response<Body> {
    let wanted = match exec::wanted(&query::pairs(request.uri().query().unwrap_or_default())) {
        Ok(wanted) => wanted,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let key = ObjectKey::new(namespace, pod);
    let run = match sources.logs.running(&key, container) {
        Ok(run) => run,
        Err(message) => return text(StatusCode::NOT_FOUND, message),
    };
    let agreed = match upgrade::agree(request.headers(), remote_command::SPDY, remote_command::WEB_SOCKET) {
        Ok(agreed) => agreed,
        Err(answer) => return answer,
    };
    let Ok(session) = Arc::clone(&sources.sessions).try_acquire_owned() else {
        return text(StatusCode::TOO_MANY_REQUESTS, "too many streaming sessions on this node");
    };
    let answer = agreed.answer(request.headers());
    let sources = sources.clone();
    tokio::spawn(async move {
        let _session = session;
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let streams = match remote_command::open(upgraded, agreed, wanted).await {
            Ok(streams) => streams,
            Err(error) => return tracing::debug!(%error, "a client did not open its streams"),
        };
        let follow = |output| logs::follow(&sources, &key, &run, output);
        match (follow(Output::Stdout).await, follow(Output::Stderr).await) {
            (Ok(stdout), Ok(stderr)) => streams.show(stdout, stderr).await,
            (Err(error), _) | (_, Err(error)) => {
                streams.end(&remote_command::Outcome::Failed(format!("log: {error}"))).await;
            }
        }
    });
    answer
}
