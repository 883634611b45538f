//! Carries an outcome out: sends its writes, records what they lead to, and says what the snapshot will show.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use kube::Client;
use serde_json::{Value, json};
use stead_api::{item::parse_revision, snapshot::Kind};
use stead_client::{
    CallError, Class, Recorder,
    write::{self, DeleteOptions},
};
use stead_model::ObjectKey;
use tokio::sync::Semaphore;

use super::desk::Seen;
use crate::{First, Note, Source, Verb, Write, work::Work};

/// Requests at once, over all works.
const AT_ONCE: usize = 64;

#[derive(Clone)]
pub(super) struct Carrier {
    client: Client,
    recorders: Arc<BTreeMap<Source, Recorder>>,
    permits: Arc<Semaphore>,
}

/// What became of an outcome. Writes that were not tried any more have no result.
pub(super) struct Done {
    pub work: Work,
    pub results: Vec<Result<Written, Class>>,
}

pub(super) enum Written {
    Seen(Seen),
    /// It was not due: what it presumed gone is there.
    Skipped,
}

impl Carrier {
    pub(super) fn new(client: Client, recorders: BTreeMap<Source, Recorder>) -> Self {
        Self { client, recorders: Arc::new(recorders), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    pub(super) async fn carry_out(self, work: Work, writes: Vec<Write>) -> Done {
        let (pods, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(is_new_pod);
        let mut lanes = BTreeMap::<(Kind, ObjectKey, usize), Vec<Write>>::new();
        for (index, write) in others.into_iter().enumerate() {
            let index = if write.key.name.is_empty() { index } else { 0 };
            lanes.entry((write.kind, write.key.clone(), index)).or_default().push(write);
        }
        let lanes = join_all(lanes.into_values().map(|lane| self.in_order(lane)));
        let (lanes, pods) = tokio::join!(lanes, self.slow_start(pods));
        Done { work, results: lanes.into_iter().flatten().chain(pods).collect() }
    }

    pub(super) fn record(&self, note: &Note) {
        if let Some(recorder) = self.recorders.get(&note.source) {
            recorder.record(&note.object, note.kind, note.reason, &*note.message);
        }
    }

    /// Writes to one object; what comes after a failure is not tried.
    async fn in_order(&self, writes: Vec<Write>) -> Vec<Result<Written, Class>> {
        let mut results = Vec::new();
        for write in writes {
            let result = self.write(&write).await;
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
        results
    }

    /// One, two, four … at once, as long as none fails: what is refused once will be refused many times.
    async fn slow_start(&self, mut writes: Vec<Write>) -> Vec<Result<Written, Class>> {
        let (mut results, mut batch) = (Vec::new(), 1);
        while !writes.is_empty() {
            let now: Vec<Write> = writes.drain(..batch.min(writes.len())).collect();
            results.extend(join_all(now.iter().map(|write| self.write(write))).await);
            if results.iter().any(Result::is_err) {
                break;
            }
            batch *= 2;
        }
        results
    }

    async fn write(&self, write: &Write) -> Result<Written, Class> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        match self.prepare(write).await {
            Ok(Ready::Yes) => {}
            Ok(Ready::No) => return Ok(Written::Skipped),
            Err(error) => return Err(self.on_failure(write, &error)),
        }
        match self.send(write).await {
            Ok(answer) => {
                if let Some(note) = &write.on_success {
                    let name = answer.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(&write.key.name);
                    self.record(&Note { message: note.message.replace("{name}", name), ..note.clone() });
                }
                Ok(Written::Seen(seen(write, &answer)))
            }
            // It is as it should be.
            Err(error) if error.is_not_found() && matches!(write.verb, Verb::Delete { .. } | Verb::Finalize(_)) => {
                Ok(Written::Seen(seen(write, &Value::Null)))
            }
            Err(error) => Err(self.on_failure(write, &error)),
        }
    }

    fn on_failure(&self, write: &Write, error: &CallError) -> Class {
        let class = error.class();
        tracing::debug!(%error, ?class, "write failed");
        // That the world has moved on is nobody's fault.
        if let Some(note) = write.on_failure.as_ref().filter(|_| class != Class::Conflict) {
            let said = match error {
                CallError::Refused { message, .. } => message.clone(),
                other => other.to_string(),
            };
            self.record(&Note { message: note.message.replace("{error}", &said), ..note.clone() });
        }
        class
    }

    async fn prepare(&self, write: &Write) -> Result<Ready, CallError> {
        for first in &write.first {
            match first {
                First::EnsureGone { kind, key, uid } => {
                    if self.is_there(*kind, key, uid).await? {
                        return Ok(Ready::No);
                    }
                }
                First::DeleteCollection { path } => self.delete_collection(path).await?,
            }
        }
        Ok(Ready::Yes)
    }

    async fn is_there(&self, kind: Kind, key: &ObjectKey, uid: &str) -> Result<bool, CallError> {
        match write::get::<Value>(&self.client, &kind.path(key)).await {
            Ok(object) => {
                let found = object.pointer("/metadata/uid").and_then(Value::as_str);
                Ok(uid.is_empty() || found == Some(uid))
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete_collection(&self, path: &str) -> Result<(), CallError> {
        match write::delete(&self.client, path, &DeleteOptions::default()).await {
            // Events end by themselves where the server cannot do this.
            Err(error) if !matches!(error.status(), Some((404 | 405, _))) => Err(error),
            _ => Ok(()),
        }
    }

    async fn send(&self, write: &Write) -> Result<Value, CallError> {
        let (client, kind, key) = (&self.client, write.kind, &write.key);
        match &write.verb {
            Verb::Create(object) => write::create(client, &kind.collection(&key.namespace), object).await,
            Verb::Update(object) => write::update(client, &kind.path(key), object).await,
            Verb::Patch(patch) => write::patch_merge(client, &kind.path(key), patch).await,
            Verb::PatchStatus { status, revision } => {
                let mut patch = json!({ "status": status });
                if let Some(revision) = revision {
                    patch["metadata"] = json!({ "resourceVersion": revision });
                }
                write::patch_merge(client, &format!("{}/status", kind.path(key)), &patch).await
            }
            Verb::Delete { uid, grace_seconds, propagation } => {
                let options = DeleteOptions {
                    uid: (!uid.is_empty()).then(|| uid.clone()),
                    grace_seconds: *grace_seconds,
                    propagation: *propagation,
                };
                write::delete(client, &kind.path(key), &options).await
            }
            Verb::Bind { uid, node } => {
                let binding = json!({
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": { "namespace": key.namespace, "name": key.name, "uid": uid },
                    "target": { "apiVersion": "v1", "kind": "Node", "name": node },
                });
                write::create(client, &format!("{}/binding", kind.path(key)), &binding).await
            }
            Verb::Finalize(object) => write::update(client, &format!("{}/finalize", kind.path(key)), object).await,
        }
    }
}

enum Ready {
    Yes,
    No,
}

fn is_new_pod(write: &Write) -> bool {
    write.kind == Kind::Pod && matches!(write.verb, Verb::Create(_))
}

/// What the snapshot shows once it has this write.
fn seen(write: &Write, answer: &Value) -> Seen {
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    match &write.verb {
        Verb::Delete { uid, grace_seconds: Some(0), .. } => Seen::Gone(write.kind, write.key.clone(), uid.clone()),
        Verb::Delete { uid, .. } => Seen::Ending(write.kind, write.key.clone(), uid.clone()),
        Verb::Finalize(object) => {
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
            Seen::Gone(write.kind, write.key.clone(), uid.to_owned())
        }
        Verb::Bind { uid, .. } => Seen::Bound(write.key.clone(), uid.clone()),
        Verb::Create(_) | Verb::Update(_) | Verb::Patch(_) | Verb::PatchStatus { .. } => {
            Seen::Revision(write.kind, parse_revision(&text("/metadata/resourceVersion")))
        }
    }
}
