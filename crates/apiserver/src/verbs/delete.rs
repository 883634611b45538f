//! DELETE of an object or of a collection: preconditions, propagation by finalizers, grace for pods, and what waits for others.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use stead_api::{
    decode::prune,
    field::FieldError,
    kinds, meta,
    status::{ApiError, Status},
};

use crate::{
    authorize::Demand,
    body::Encoding,
    cache::with_revision,
    dispatch::{Answer, Call},
    query::{At, InvalidQuery, Keep, wrong_dry_run},
    refusal::Refusal,
    service::Removal,
    storage::{Claims, Stored, Written},
    verbs::list::Page,
    view::LIST_END,
};

/// How often a deletion that states no revision is tried when others write too.
const ATTEMPTS: usize = 16;
/// How many objects of a collection are deleted at a time.
const AT_A_TIME: usize = 32;
const DEFINITION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Namespaces that a cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What a client may say of a deletion, in the body or the query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
    dry_run: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

pub(crate) async fn delete(call: &Call<'_>, demand: &Demand, body: &Bytes) -> Result<Answer, Refusal> {
    let (options, keep) = options(call, body)?;
    let name = call.name().to_owned();
    let outcome = delete_one(call, demand, call.namespace(), &name, &options, keep).await?;
    let resource = call.path.resource;
    if outcome.end == End::Gone && !resource.delete_returns_object {
        let status = Status::deleted(resource, &name, meta::uid(&outcome.object)).to_value();
        return Ok(Answer { code: StatusCode::OK, body: status.to_string().into(), warnings: Vec::new() });
    }
    let code = match (outcome.end, options.orphan_dependents) {
        (End::Waits, Some(false)) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok(call.object(code, &outcome.object, Vec::new()))
}

/// Deletes each object of the list that a GET with the same query answers; one that is gone meanwhile is no error.
pub(crate) async fn delete_collection(call: &Call<'_>, body: &Bytes) -> Result<Answer, Refusal> {
    let mut listed = call.query.list()?;
    if let (At::NotOlderThan(revision), None) = (listed.at, call.query.get("resourceVersionMatch")) {
        // Upstream reads collections to be deleted in pages, and pages exactly where they are asked for.
        listed.at = At::Exact(revision);
    }
    let (options, keep) = options(call, body)?;
    let page = Page::read(call, &listed).await?;
    let now = Timestamp::now();
    let mut items = Vec::new();
    let (options, nothing) = (&options, &Demand::Nothing);
    let deletions = page
        .entries
        .into_iter()
        .map(|entry| async move { delete_one(call, nothing, entry.namespace(), entry.name(), options, keep).await });
    let mut outcomes = stream::iter(deletions).buffered(AT_A_TIME);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Ok(outcome) => {
                let json = serde_json::to_vec(&outcome.object).expect("a JSON value can be written").into();
                items.push(call.shown.item(&json, now));
            }
            Err(refusal) if refusal.is_not_found() => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let mut body = call.shown.list_head(&page.meta).into_bytes();
    body.extend_from_slice(&items.join(&b","[..]));
    body.extend_from_slice(LIST_END.as_bytes());
    Ok(Answer { code: StatusCode::OK, body: body.into(), warnings: Vec::new() })
}

fn options(call: &Call<'_>, body: &Bytes) -> Result<(Options, Keep), Refusal> {
    let query = call.query;
    let options = if body.is_empty() {
        let number = |text: &str| text.parse().map_err(|_| InvalidQuery::Number(text.to_owned()));
        Options {
            grace_period_seconds: query.get("gracePeriodSeconds").map(number).transpose()?,
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: query.get("orphanDependents").map(|_| query.is_true("orphanDependents")),
            ..Options::default()
        }
    } else {
        read(&Encoding::of(call.headers)?.value(body, DEFINITION)?)?
    };
    let keep = options.keep(call)?;
    Ok((options, keep))
}

/// The options that a body states.
fn read(stated: &Value) -> Result<Options, Refusal> {
    let found = match stated {
        Value::Null => return Ok(Options::default()),
        Value::Object(_) => {
            check_kind(stated)?;
            prune(stated.clone(), DEFINITION).map_err(ApiError::bad_request)?;
            let options = Options::deserialize(stated);
            return Ok(options.map_err(|error| ApiError::bad_request(format!("DeleteOptions: {error}")))?);
        }
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    let expected =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    Err(ApiError::bad_request(format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type {expected}"
    ))
    .into())
}

/// Whoever sends an object instead of options has meant something else.
fn check_kind(value: &Value) -> Result<(), Refusal> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    match text("kind") {
        None | Some("DeleteOptions") => Ok(()),
        Some(kind) => {
            let version = text("apiVersion").unwrap_or("meta.k8s.io/v1");
            let scheme = "pkg/apis/meta/internalversion/scheme/register.go:27";
            let problem = format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
            Err(ApiError::bad_request(problem).into())
        }
    }
}

impl Options {
    /// Whether anything is to be done. Fails if the options contradict themselves. Upstream forgets the query where there is a
    /// body; here whoever asks for a trial in either gets one, and what the body misspells is said alone.
    pub(super) fn keep(&self, call: &Call<'_>) -> Result<Keep, Refusal> {
        let (own, asked) = (Vec::from_iter(self.dry_runs()), Vec::from_iter(call.query.all("dryRun")));
        let wrong = wrong_dry_run(&own).or_else(|| wrong_dry_run(&asked));
        let problems = Vec::from_iter(self.problems().into_iter().chain(wrong));
        if !problems.is_empty() {
            return Err(ApiError::invalid_kind("meta.k8s.io", "DeleteOptions", "", &problems).into());
        }
        Ok(if own.is_empty() && asked.is_empty() { Keep::Stored } else { Keep::DryRun })
    }

    /// What the options themselves say of trying.
    pub(super) fn dry_runs(&self) -> impl Iterator<Item = &str> {
        self.dry_run.iter().flatten().map(String::as_str)
    }

    fn problems(&self) -> Vec<FieldError> {
        let Some(policy) = self.propagation_policy.as_deref() else { return Vec::new() };
        let mut problems = Vec::new();
        if self.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            problems.push(FieldError::invalid("propagationPolicy", format!("{policy:?}"), why));
        }
        if !matches!(policy, "Orphan" | "Background" | "Foreground") {
            let known = &["Foreground", "Background", "Orphan", "nil"];
            problems.push(FieldError::not_supported("propagationPolicy", policy, known));
        }
        problems
    }

    /// The finalizer that asks for the wanted propagation.
    fn finalizer(&self) -> Option<&'static str> {
        match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
            (Some("Foreground"), _) => Some(FOREGROUND),
            _ => None,
        }
    }

    /// Whether the client has said anything about propagation.
    fn states_propagation(&self) -> bool {
        self.propagation_policy.is_some() || self.orphan_dependents.is_some()
    }

    fn check(&self, call: &Call<'_>, name: &str, old: &Stored) -> Result<(), Refusal> {
        let Some(preconditions) = &self.preconditions else { return Ok(()) };
        let (uid, revision) = (meta::uid(&old.object), old.revision.to_string());
        let differs = |what: &str, wanted: &Option<String>, found: &str, since: &str| match wanted {
            Some(wanted) if wanted != found => {
                Err(ApiError::deletion_conflict(call.path.resource, name, (what, wanted, found), since).into())
            }
            _ => Ok(()),
        };
        differs("UID", &preconditions.uid, uid, "deleted and then recreated")?;
        differs("ResourceVersion", &preconditions.resource_version, &revision, "modified")
    }
}

/// What became of an object.
struct Outcome {
    object: Value,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Gone,
    /// It is marked, and goes when its finalizers are removed or its agent is done with it.
    Waits,
}

/// Deletes the pod that the path names, and lets its last state say that it was evicted.
pub(super) async fn evict(call: &Call<'_>, demand: &Demand, options: &Options, keep: Keep) -> Result<(), Refusal> {
    let evicted = |pod: &mut Value| kinds::pod::become_evicted(pod, Timestamp::now());
    remove(call, demand, (call.namespace(), call.name()), options, keep, evicted).await.map(|_| ())
}

async fn delete_one(
    call: &Call<'_>,
    demand: &Demand,
    namespace: &str,
    name: &str,
    options: &Options,
    keep: Keep,
) -> Result<Outcome, Refusal> {
    remove(call, demand, (namespace, name), options, keep, |_| {}).await
}

/// `change` is made to an object that stays for a while.
async fn remove(
    call: &Call<'_>,
    demand: &Demand,
    (namespace, name): (&str, &str),
    options: &Options,
    keep: Keep,
    change: impl Fn(&mut Value),
) -> Result<Outcome, Refusal> {
    let resource = call.path.resource;
    let is_namespace = std::ptr::eq(resource, &kinds::namespace::RESOURCE);
    if is_namespace && IMMORTAL.contains(&name) {
        return Err(ApiError::forbidden(resource, name, "this namespace may not be deleted").into());
    }
    let key = resource.registry_key(namespace, name);
    for _ in 0..ATTEMPTS {
        let found = call.server.storage.get(&key).await?;
        let old = found.ok_or_else(|| ApiError::not_found(resource, name))?;
        demand.check(&call.path, &old.object)?;
        options.check(call, name, &old)?;
        let mut new = old.object.clone();
        change(&mut new);
        mark(call, &mut new, options, is_namespace);
        let gone = if is_namespace {
            kinds::namespace::is_finalized(&new)
        } else {
            meta::finalizers(&new).next().is_none()
                && meta::deletion_grace_period_seconds(&new).unwrap_or_default() == 0
        };
        let end = if gone { End::Gone } else { End::Waits };
        if keep == Keep::DryRun || end == End::Waits && new == old.object {
            let mut object = if end == End::Gone { old.object } else { new };
            with_revision(&mut object, old.revision);
            return Ok(Outcome { object, end });
        }
        let removal = Removal::of(resource, &old.object);
        if end == End::Gone && std::ptr::eq(resource, &kinds::ip_address::RESOURCE) {
            // The Service that has it gets it back before anybody else does.
            call.server.allocator.hold();
        }
        let storage = &call.server.storage;
        let written = match end {
            End::Gone => storage.delete(&key, old.revision, &removal.claims, &removal.others).await?,
            End::Waits => storage.put(&key, &new, old.revision, old.lease, &Claims::default()).await?,
        };
        if let Written::At(revision) = written {
            // What is answered for an object that is gone is its last state, unmarked, as upstream has it.
            let mut object = if end == End::Gone { old.object } else { new };
            with_revision(&mut object, revision);
            if end == End::Gone {
                removal.done(call.server);
            }
            return Ok(Outcome { object, end });
        }
    }
    Err(ApiError::modified(resource, name).into())
}

/// Writes into `object` that it is being deleted, and how.
fn mark(call: &Call<'_>, object: &mut Value, options: &Options, is_namespace: bool) {
    let now = Timestamp::now();
    let wanted = match options.states_propagation() {
        true => Some(options.finalizer()),
        false if call.path.resource.strategy.orphans_dependents() && !states_propagation(object) => Some(Some(ORPHAN)),
        false => None,
    };
    if let Some(wanted) = wanted {
        let others = meta::finalizers(object).filter(|finalizer| ![ORPHAN, FOREGROUND].contains(finalizer));
        let all = others.map(str::to_owned).chain(wanted.map(str::to_owned)).collect::<Vec<_>>();
        if all.is_empty() {
            meta::unset(object, "finalizers");
        } else {
            meta::set(object, "finalizers", all);
        }
    }
    if is_namespace {
        kinds::namespace::become_terminating(object, now);
        return;
    }
    let grace = if std::ptr::eq(call.path.resource, &kinds::pod::RESOURCE) { pod_grace(object, options) } else { 0 };
    let marked = meta::deletion_timestamp(object);
    let present = meta::deletion_grace_period_seconds(object).unwrap_or_default();
    if marked.is_some() && present <= grace {
        return;
    }
    // A shorter grace counts from when the longer one began.
    let began = marked.map_or(now, |end| end - Duration::from_secs(present.unsigned_abs()));
    let end = if grace == 0 && marked.is_some() { now } else { began + Duration::from_secs(grace.unsigned_abs()) };
    meta::set(object, "deletionTimestamp", meta::seconds(end));
    meta::set(object, "deletionGracePeriodSeconds", grace);
}

/// Whether an earlier deletion, or the object's author, has said what becomes of dependents.
fn states_propagation(object: &Value) -> bool {
    meta::finalizers(object).any(|finalizer| [ORPHAN, FOREGROUND].contains(&finalizer))
}

/// How long the agent may take to end a pod. Nobody has to end what never ran on a node, or runs no more.
fn pod_grace(pod: &Value, options: &Options) -> i64 {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let stated = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    match options.grace_period_seconds.or(stated).unwrap_or(30) {
        seconds if seconds < 0 => 1,
        // What no time can express is as good as a century.
        seconds => seconds.min(3_155_760_000),
    }
}
