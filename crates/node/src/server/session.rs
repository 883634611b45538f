//! From a request for a container's streams to the streams themselves, for `exec` and `attach`: the upgrade, and how many at once.

use std::{future::Future, sync::Arc};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{
    Body, Sources,
    remote_command::{self, Streams},
    text, upgrade,
};
use crate::runtime::Wanted;

/// Answers the request, and hands `carry` the streams that the client opens. A refusal is the answer, and `carry` is dropped.
pub(super) fn begin<Carried>(
    sources: &Sources,
    mut request: Request<Incoming>,
    wanted: Wanted,
    carry: impl FnOnce(Streams) -> Carried + Send + 'static,
) -> Response<Body>
where
    Carried: Future<Output = ()> + Send,
{
    let agreed = match upgrade::agree(request.headers(), remote_command::SPDY, remote_command::WEB_SOCKET) {
        Ok(agreed) => agreed,
        Err(answer) => return answer,
    };
    let Ok(session) = Arc::clone(&sources.sessions).try_acquire_owned() else {
        return text(StatusCode::TOO_MANY_REQUESTS, "too many streaming sessions on this node");
    };
    let answer = agreed.answer(request.headers());
    tokio::spawn(async move {
        let _session = session;
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        match remote_command::open(upgraded, agreed, wanted).await {
            Ok(streams) => carry(streams).await,
            Err(error) => tracing::debug!(%error, "a client did not open its streams"),
        }
    });
    answer
}
