//! One watch over its life: which request is open, what of it was read, and what to do when it ends.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use rand::Rng;
use stead_api::{
    item::{FromItem, ItemError},
    snapshot::Change,
};
use stead_model::{ObjectKey, Revision};
use tokio::time::{sleep, timeout};

use super::{
    Backoff, Pulse, Query,
    frame::{Envelope, Frame, FrameError},
    split::{LineSplitter, ListSplitter},
};
use crate::{CallError, error::error_text};

/// Until the head of an answer is here.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a byte for so long a connection counts as dead: servers send a bookmark about once a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(150);
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Failures in a row that are usual while a server starts.
const QUIET_FAILURES: u32 = 6;
/// A watch that ends sooner is a failure, else a server that ends them all at once would be asked without pause.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

pub(super) struct Session<T> {
    client: Client,
    query: Query,
    state: State,
    ready: VecDeque<Change<T>>,
    backoff: Backoff,
    pulse: Pulse,
}

enum State {
    /// Nothing is known, or what is known is too old. Left by an open list.
    Unknown,
    /// All changes up to this revision were given out, and no request is open. Left by an open watch.
    Known(Revision),
    /// A list is being read as one body.
    Listing(Open<ListSplitter>),
    /// Changes come in.
    Watching(Open<LineSplitter>, Progress),
}

struct Open<S> {
    request: String,
    since: Instant,
    body: Body,
    splitter: S,
}

/// How far a watch has come.
#[derive(Clone, Copy)]
struct Progress {
    /// The objects of a streamed list still come; without its end the list means nothing.
    initial: bool,
    revision: Revision,
}

impl Progress {
    fn resume(self) -> State {
        if self.initial { State::Unknown } else { State::Known(self.revision) }
    }
}

impl<T: FromItem> Session<T> {
    pub(super) fn new(client: Client, query: Query, pulse: Pulse) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        Self { client, query, state: State::Unknown, ready: VecDeque::new(), backoff, pulse }
    }

    /// The next change, however long it takes.
    pub(super) async fn next(&mut self) -> Change<T> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return change;
            }
            if let Err(error) = self.advance().await {
                self.on_failure(&error).await;
            }
        }
    }

    /// Opens the request that is due, or reads one piece of the open one. An error leaves the state to go on from.
    async fn advance(&mut self) -> Result<(), CallError> {
        match mem::replace(&mut self.state, State::Unknown) {
            State::Unknown => self.open_list().await,
            State::Known(revision) => self.open_watch(revision).await,
            State::Listing(open) => self.read_list(open).await,
            State::Watching(open, progress) => self.read_watch(open, progress).await,
        }
    }

    async fn open_list(&mut self) -> Result<(), CallError> {
        match open(&self.client, self.query.watch_list(lifetime())).await {
            Ok(open) => self.state = State::Watching(open, Progress { initial: true, revision: Revision::ZERO }),
            Err(CallError::Refused { code: 400 | 422, .. }) => {
                self.state = State::Listing(open(&self.client, self.query.list()).await?);
            }
            Err(error) => return Err(error),
        }
        self.ready.push_back(Change::Init);
        Ok(())
    }

    async fn open_watch(&mut self, revision: Revision) -> Result<(), CallError> {
        match open(&self.client, self.query.watch_from(revision, lifetime())).await {
            Ok(open) => {
                self.pulse.beat();
                self.state = State::Watching(open, Progress { initial: false, revision });
            }
            // The state stays unknown: list again.
            Err(error) if error.is_gone() => {
                tracing::debug!(path = self.query.path, %revision, "compacted; listing");
                sleep(self.backoff.next_wait()).await;
            }
            Err(error) => {
                self.state = State::Known(revision);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn read_list(&mut self, mut open: Open<ListSplitter>) -> Result<(), CallError> {
        let Some(bytes) = open.read().await? else {
            let envelope = Envelope::parse(open.splitter.rest())
                .map_err(|source| CallError::Decode { request: open.request, source })?;
            self.ready.push_back(Change::InitDone);
            self.backoff.reset();
            self.pulse.beat();
            self.state = State::Known(envelope.revision());
            return Ok(());
        };
        open.splitter.feed(&bytes, |item| match T::from_item(item) {
            Ok(object) => self.ready.push_back(Change::InitApply(object)),
            Err(error) => self.ready.extend(unread(&self.query, item, &error).map(|(key, at)| Change::Unread(key, at))),
        });
        self.state = State::Listing(open);
        Ok(())
    }

    async fn read_watch(&mut self, mut open: Open<LineSplitter>, mut progress: Progress) -> Result<(), CallError> {
        let bytes = match open.read().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.state = progress.resume();
                if open.since.elapsed() < SHORTEST_WATCH {
                    sleep(self.backoff.next_wait()).await;
                }
                return Ok(());
            }
            Err(error) => {
                self.state = progress.resume();
                return Err(error);
            }
        };
        let mut result = Ok(());
        open.splitter.feed(&bytes, |line| {
            if result.is_ok() {
                result = Frame::parse(line).map(|frame| progress.on_frame(frame, &self.query, &mut self.ready));
            }
        });
        if !self.ready.is_empty() {
            self.backoff.reset();
        }
        match result {
            Ok(()) => {
                if !progress.initial {
                    self.pulse.beat();
                }
                self.state = State::Watching(open, progress);
            }
            // The state stays unknown: list again.
            Err(FrameError::Gone) => sleep(self.backoff.next_wait()).await,
            Err(error) => {
                self.state = progress.resume();
                return Err(error.into_call_error(&open.request));
            }
        }
        Ok(())
    }

    async fn on_failure(&mut self, error: &CallError) {
        let wait = self.backoff.next_wait();
        let (path, error) = (&self.query.path, error_text(error));
        if self.backoff.failures() <= QUIET_FAILURES {
            tracing::debug!(path, error, ?wait, "watch failed; trying again");
        } else {
            tracing::warn!(path, error, ?wait, "watch failed; trying again");
        }
        sleep(wait).await;
    }
}

impl Progress {
    fn on_frame<T: FromItem>(&mut self, frame: Frame<'_>, query: &Query, ready: &mut VecDeque<Change<T>>) {
        let is_there = !matches!(frame, Frame::Deleted(_));
        let into_change = match frame {
            Frame::Added(_) | Frame::Modified(_) if self.initial => Change::InitApply,
            Frame::Added(_) | Frame::Modified(_) => Change::Apply,
            Frame::Deleted(_) => Change::Delete,
            Frame::Bookmark { revision, ends_list } => {
                self.revision = self.revision.max(revision);
                if ends_list && self.initial {
                    self.initial = false;
                    ready.push_back(Change::InitDone);
                }
                return;
            }
        };
        let (Frame::Added(json) | Frame::Modified(json) | Frame::Deleted(json)) = frame else { return };
        match T::from_item(json) {
            Ok(object) => {
                self.revision = self.revision.max(object.revision());
                ready.push_back(into_change(object));
            }
            Err(error) => {
                let Some((key, revision)) = unread(query, json, &error) else { return };
                self.revision = self.revision.max(revision);
                ready.push_back(if is_there {
                    Change::Unread(key, revision)
                } else {
                    Change::UnreadGone(key, revision)
                });
            }
        }
    }
}

impl<S> Open<S> {
    /// The next piece of the body; `None` at its end.
    async fn read(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let frame = timeout(IDLE_TIMEOUT, self.body.frame())
                .await
                .map_err(|_| CallError::Timeout { request: self.request.clone(), seconds: IDLE_TIMEOUT.as_secs() })?;
            match frame {
                None => return Ok(None),
                Some(Err(source)) => return Err(CallError::Body { request: self.request.clone(), source }),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

async fn open<S: Default>(client: &Client, uri: String) -> Result<Open<S>, CallError> {
    let request = format!("GET {uri}");
    let http_request = Request::get(uri)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(|source| CallError::Request { request: request.clone(), source })?;
    let timed_out = |_| CallError::Timeout { request: request.clone(), seconds: HEAD_TIMEOUT.as_secs() };
    let response = timeout(HEAD_TIMEOUT, client.send(http_request))
        .await
        .map_err(timed_out)?
        .map_err(|source| CallError::Transport { request: request.clone(), source })?;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return Ok(Open { request, since: Instant::now(), body, splitter: S::default() });
    }
    let body = timeout(HEAD_TIMEOUT, body.collect()).await.map_err(timed_out)?;
    let body = body.map_err(|source| CallError::Body { request: request.clone(), source })?.to_bytes();
    Err(CallError::refused(&request, head.status, &body))
}

/// How long a watch is to live, in seconds: spread out, so that watches opened together do not end together.
fn lifetime() -> u64 {
    rand::rng().random_range(300..600)
}

/// Which object it is that cannot be read, and at which revision; `None` where not even that can be.
fn unread(query: &Query, json: &[u8], error: &ItemError) -> Option<(ObjectKey, Revision)> {
    let envelope = Envelope::parse(json).unwrap_or_default();
    let (key, error) = (envelope.key(), error_text(error));
    tracing::warn!(path = query.path, object = %key, error, "object cannot be read; it stays as it was known");
    (!key.name.is_empty()).then(|| (key, envelope.revision()))
}
