//! `attach`: the standard streams of a container's own program, joined with a client's.
//!
//! How a client's input ends is its container's matter: with `stdinOnce` the program's ends too, without only the client's stay does.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use stead_model::ObjectKey;

use super::{Body, Sources, error_text, exec, query, remote_command, session, text};

/// Answers `/attach/NAMESPACE/POD/CONTAINER?input=1&output=1&error=1&tty=1`.
pub(super) async fn answer(
    sources: &Sources,
    [namespace, pod, container]: [&str; 3],
    request: Request<Incoming>,
) -> Response<Body> {
    let wanted = match exec::wanted(&query::pairs(request.uri().query().unwrap_or_default())) {
        Ok(wanted) => wanted,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let run = match sources.logs.running(&ObjectKey::new(namespace, pod), container) {
        Ok(run) => run,
        Err(message) => return text(StatusCode::NOT_FOUND, message),
    };
    let runtime = Arc::clone(&sources.runtime);
    session::begin(sources, request, wanted, move |streams| async move {
        match runtime.attach(&run).await {
            Ok(attached) => streams.attach(attached).await,
            Err(error) => streams.end(&remote_command::Outcome::Failed(error_text(&error))).await,
        }
    })
}
