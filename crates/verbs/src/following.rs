//! One object over time: as it is now, then each change, through watches that end and begin again.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use stead_api::meta;

use crate::{
    api::{Api, Ended, JSON, Next, escape},
    error::VerbError,
    kinds::Kind,
};

/// What there is to see of the object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Object(&'a Value),
    /// It is not there, or not any more.
    Gone,
}

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// As `on` said.
    Stopped,
    TimedOut,
}

/// Calls `on` with the object as it is and at each change, until it says that it has enough or `limit` is over.
pub(crate) async fn follow(
    api: &Api,
    kind: &Kind,
    namespace: &str,
    name: &str,
    limit: Option<Duration>,
    on: impl FnMut(Seen<'_>) -> Result<Next, VerbError>,
) -> Result<Followed, VerbError> {
    let following = until_stopped(api, kind, namespace, name, on);
    match limit {
        None => following.await?,
        Some(limit) => match tokio::time::timeout(limit, following).await {
            Ok(stopped) => stopped?,
            Err(_) => return Ok(Followed::TimedOut),
        },
    }
    Ok(Followed::Stopped)
}

async fn until_stopped(
    api: &Api,
    kind: &Kind,
    namespace: &str,
    name: &str,
    mut on: impl FnMut(Seen<'_>) -> Result<Next, VerbError>,
) -> Result<(), VerbError> {
    let selected = format!("{}?fieldSelector=metadata.name%3D{}", kind.collection(Some(namespace)), escape(name));
    loop {
        let list = api.get(&selected).await?;
        let seen = list["items"].get(0).map_or(Seen::Gone, Seen::Object);
        if on(seen)? == Next::Stop {
            return Ok(());
        }
        let watch = format!("{selected}&watch=true&resourceVersion={}", meta::resource_version(&list));
        let ended = api.watch(&watch, JSON, |event, object| match event {
            "BOOKMARK" => Ok(Next::More),
            "DELETED" => on(Seen::Gone),
            _ => on(Seen::Object(&object)),
        });
        match ended.await {
            Ok(Ended::Enough) => return Ok(()),
            Ok(Ended::ByServer) | Err(VerbError::Server { code: StatusCode::GONE, .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
