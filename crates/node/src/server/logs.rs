//! Serving container logs.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use stead_api::item::object_key;
use stead_model::ObjectKey;

use super::{Body, Sources, error_text, text};
use crate::{
    log::{End, LogQuery, LogReader, Run as Wanted},
    pod::{Observed, Run},
    runtime::ContainerKey,
};

/// Which runs of which pods there are; the agent keeps it, requests read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogIndex(Arc<RwLock<BTreeMap<ObjectKey, PodRuns>>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PodRuns {
    uid: String,
    containers: BTreeMap<String, ContainerRuns>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ContainerRuns {
    /// The newest run that has a log.
    current: Option<u32>,
    previous: Option<u32>,
    is_running: bool,
}

/// How often a log that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl LogIndex {
    pub(crate) fn update(&self, pod: &Pod, observed: &Observed) {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| {
            let state = observed.containers.get(&container.name);
            (container.name.clone(), state.map(ContainerRuns::of).unwrap_or_default())
        });
        let runs = PodRuns { uid: pod.metadata.uid.clone().unwrap_or_default(), containers: containers.collect() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(object_key(&pod.metadata), runs);
    }

    /// Forgets the pod, unless another of its name has come.
    pub(crate) fn remove(&self, pod: &Pod) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = object_key(&pod.metadata);
        if index.get(&key).is_some_and(|runs| Some(&runs.uid) == pod.metadata.uid.as_ref()) {
            index.remove(&key);
        }
    }

    fn find(&self, key: &ObjectKey, container: &str) -> Result<(String, ContainerRuns), String> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pod = index.get(key).ok_or_else(|| format!("pod \"{}\" is not on this node", key.name))?;
        let runs = pod.containers.get(container);
        let runs = runs.ok_or_else(|| format!("container {container} is not valid for pod {}", key.name))?;
        Ok((pod.uid.clone(), *runs))
    }

    /// The run of a container that runs now; the error is for the client.
    pub(super) fn running(&self, key: &ObjectKey, container: &str) -> Result<ContainerKey, String> {
        let (pod_uid, runs) = self.find(key, container)?;
        match runs.current.filter(|_| runs.is_running) {
            Some(attempt) => Ok(ContainerKey { pod_uid, container: container.to_owned(), attempt }),
            None => Err(format!("container not found (\"{container}\")")),
        }
    }

    /// The uid of the pod; the error is for the client.
    pub(super) fn pod_uid(&self, key: &ObjectKey) -> Result<String, String> {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pod = index.get(key).ok_or_else(|| format!("pod \"{}\" is not on this node", key.name))?;
        Ok(pod.uid.clone())
    }

    fn is_running(&self, key: &ObjectKey, run: &ContainerKey) -> bool {
        self.find(key, &run.container)
            .is_ok_and(|(uid, runs)| uid == run.pod_uid && runs.current == Some(run.attempt) && runs.is_running)
    }
}

impl ContainerRuns {
    fn of(state: &crate::pod::Container) -> Self {
        let before = state.last.as_ref().map(|last| last.attempt);
        match &state.run {
            Run::None => Self::default(),
            // The new run has no log yet.
            Run::Starting { attempt } | Run::Unconfigured { attempt, .. } => {
                Self { current: before, previous: attempt.checked_sub(2), is_running: false }
            }
            Run::Running { attempt, .. } => Self { current: Some(*attempt), previous: before, is_running: true },
            Run::Ended(finished) => Self { current: Some(finished.attempt), previous: before, is_running: false },
        }
    }
}

pub(super) async fn answer(
    sources: &Sources,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &str,
) -> Response<Body> {
    let key = ObjectKey::new(namespace, pod);
    let query = match LogQuery::parse(query, Timestamp::now()) {
        Ok(query) => query,
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let (pod_uid, runs) = match sources.logs.find(&key, container) {
        Ok(found) => found,
        Err(message) => return text(StatusCode::NOT_FOUND, message),
    };
    let attempt = match query.run {
        Wanted::Current => runs.current.ok_or_else(|| {
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating")
        }),
        Wanted::Previous => runs
            .previous
            .ok_or_else(|| format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")),
    };
    let run = match attempt {
        Ok(attempt) => ContainerKey { pod_uid, container: container.to_owned(), attempt },
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let path = sources.runtime.log(&run);
    match open(path, query.clone()).await {
        Ok(reader) => stream_log(sources.logs.clone(), key, run, reader, query.end),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("log: {}", error_text(&error))),
    }
}

async fn open(path: PathBuf, query: LogQuery) -> io::Result<LogReader> {
    tokio::task::spawn_blocking(move || LogReader::open(&path, query)).await.map_err(io::Error::other)?
}

fn pieces(
    index: LogIndex,
    pod: ObjectKey,
    run: ContainerKey,
    reader: LogReader,
    end: End,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((index, pod, run, reader), move |(index, pod, run, mut reader)| async move {
        loop {
            // Asked before reading: what is written before the end is then read.
            let goes_on = end == End::Follow && index.is_running(&pod, &run);
            let read = tokio::task::spawn_blocking(move || {
                let piece = reader.next_piece();
                (reader, piece)
            });
            let (back, piece) = read.await.map_err(io::Error::other)?;
            reader = back;
            let piece = piece?;
            if !piece.is_empty() {
                return Ok(Some((Bytes::from(piece), (index, pod, run, reader))));
            }
            if !goes_on || reader.is_exhausted() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
}

fn stream_log(index: LogIndex, pod: ObjectKey, run: ContainerKey, reader: LogReader, end: End) -> Response<Body> {
    let frames = pieces(index, pod, run, reader, end).map_ok(Frame::data);
    let body: Body = BodyExt::boxed_unsync(StreamBody::new(frames));
    let mut response = Response::new(body);
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}
