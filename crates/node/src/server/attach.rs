//! `attach`: what a container's program writes from now on, as its log gets it, joined with a client's streams.
//!
//! Containers have no standard input, so what a client sends there goes nowhere, and a line shows when it is whole.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use stead_model::ObjectKey;

use super::{Body, Sources, exec, logs, query, remote_command, session, text};
use crate::log::Output;

/// Answers `/attach/NAMESPACE/POD/CONTAINER?output=1&error=1`.
pub(super) async fn answer(
    sources: &Sources,
    [namespace, pod, container]: [&str; 3],
    request: Request<Incoming>,
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
    let followed = sources.clone();
    session::begin(sources, request, wanted, move |streams| async move {
        let follow = |output| logs::follow(&followed, &key, &run, output);
        match (follow(Output::Stdout).await, follow(Output::Stderr).await) {
            (Ok(stdout), Ok(stderr)) => streams.show(stdout, stderr).await,
            (Err(error), _) | (_, Err(error)) => {
                streams.end(&remote_command::Outcome::Failed(format!("log: {error}"))).await;
            }
        }
    })
}
