//! PUT: an object is replaced where it is as the client knows it. The same path stores what a patch has made.

use http::StatusCode;
use serde_json::Value;
use stead_api::{
    field::FieldError, kinds, managed_fields::settle_times, meta, resource::Subresource, status::ApiError,
};

use crate::{
    authorize::Demand,
    body::{Encoding, Sent},
    cache::with_revision,
    dispatch::{Answer, Call},
    managing::Noting,
    node_limits,
    query::Keep,
    refusal::Refusal,
    restricted,
    service::{self, Purpose, Removal},
    storage::{Claims, Stored, Written},
    verbs::create::{check_namespace, store_new},
};

/// How often a write that does not state what it replaces is tried when others write too.
const ATTEMPTS: usize = 16;

pub(crate) async fn replace(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let keep = call.query.keep();
    let mut sent = Encoding::of(call.headers)?.object(body, resource, call.query.field_validation())?;
    check_namespace(call, &mut sent.object)?;
    check_name(call, &sent.object)?;
    if call.path.subresource.is_none()
        && resource.create_on_update
        && call.server.storage.get(&call.key()).await?.is_none()
    {
        return create_by_update(call, demand, sent, keep).await;
    }
    let Sent { object, warnings } = sent;
    let make = |_: &Value| Ok(Sent { object: object.clone(), warnings: warnings.clone() });
    write(call, demand, keep, ATTEMPTS, Noting::Due, make).await
}

/// The object says its name, and it is the path's.
pub(crate) fn check_name(call: &Call<'_>, object: &Value) -> Result<(), Refusal> {
    match meta::name(object) {
        name if name == call.name() => Ok(()),
        "" => Err(ApiError::no_name(call.name()).into()),
        name => Err(ApiError::wrong_name(name, call.name()).into()),
    }
}

async fn create_by_update(call: &Call<'_>, demand: &Demand, sent: Sent, keep: Keep) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    if !meta::uid(&sent.object).is_empty() {
        let uid = meta::uid(&sent.object);
        return Err(ApiError::precondition_failed(resource, call.name(), "UID", uid, "").into());
    }
    let revision = meta::resource_version(&sent.object);
    if !revision.is_empty() && revision.parse::<u64>().is_err() {
        return Err(wrong_revision(revision));
    }
    store_new(call, demand, sent, keep, Noting::Due).await
}

/// Stores what `make` turns the present object (as it is served, with its revision) into. A write that meets a newer
/// object is made anew from that one, not more than `attempts` times.
pub(crate) async fn write(
    call: &Call<'_>,
    demand: &Demand,
    keep: Keep,
    attempts: usize,
    noting: Noting,
    make: impl Fn(&Value) -> Result<Sent, Refusal>,
) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let manager = match noting {
        Noting::Due => Some(call.manager()),
        Noting::Done => None,
    };
    for _ in 0..attempts {
        let found = call.server.storage.get(&call.key()).await?;
        let old = found.ok_or_else(|| ApiError::not_found(resource, call.name()))?;
        demand.check(&call.path, &old.object)?;
        let served = call.shown.is_converted().then(|| {
            let mut served = old.object.clone();
            kinds::become_served(resource, &mut served);
            served
        });
        let Sent { object: mut new, mut warnings } = make(served.as_ref().unwrap_or(&old.object))?;
        kinds::become_stored(resource, &mut new);
        check_preconditions(call, &new, &old)?;
        prepare(call, &mut new, &old.object, manager.as_deref())?;
        if call.path.subresource.is_none() {
            warnings.extend(resource.strategy.warnings(&new, Some(&old.object)));
        }
        if noting == Noting::Done {
            settle_times(&old.object, &mut new);
        }
        if new == old.object {
            return Ok(call.object(StatusCode::OK, &new, warnings));
        }
        if store(call, &mut new, &old, keep).await? == Stand::Stored {
            return Ok(call.object(StatusCode::OK, &new, warnings));
        }
    }
    Err(ApiError::modified(resource, call.name()).into())
}

/// Whether the write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Stored,
    /// Somebody was quicker.
    Again,
}

/// What the client says of the object it replaces has to hold.
fn check_preconditions(call: &Call<'_>, new: &Value, old: &Stored) -> Result<(), Refusal> {
    let resource = call.path.resource;
    let (uid, old_uid) = (meta::uid(new), meta::uid(&old.object));
    if !uid.is_empty() && uid != old_uid {
        return Err(ApiError::precondition_failed(resource, call.name(), "UID", uid, old_uid).into());
    }
    match meta::resource_version(new) {
        "" | "0" if resource.strategy.may_replace_any_revision() => Ok(()),
        "" | "0" => {
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            Err(ApiError::invalid_kind(resource.group, resource.plural, call.name(), &[error]).into())
        }
        stated if *stated == old.revision.to_string() => Ok(()),
        stated if stated.parse::<u64>().is_err() => Err(wrong_revision(stated)),
        _ => Err(ApiError::modified(resource, call.name()).into()),
    }
}

fn wrong_revision(stated: &str) -> Refusal {
    ApiError::bad_request(format!("metadata.resourceVersion: Invalid value: {stated:?}: must be a number")).into()
}

/// Fills what clients need not send, and puts back what they may not change. What changes is noted for `manager`.
fn prepare(call: &Call<'_>, new: &mut Value, old: &Value, manager: Option<&str>) -> Result<(), Refusal> {
    let strategy = call.path.resource.strategy;
    for key in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        match old.pointer(&format!("/metadata/{key}")) {
            Some(value) => meta::set(new, key, value.clone()),
            None => meta::unset(new, key),
        }
    }
    if let (true, Some(generation)) = (meta::generation(new) == 0, old.pointer("/metadata/generation")) {
        meta::set(new, "generation", generation.clone());
    }
    meta::unset(new, "selfLink");
    strategy.default(new);
    if let Some(manager) = manager {
        call.note(manager, Some(old), new);
    }
    match call.path.subresource {
        Some(Subresource::Status) => strategy.prepare_status_update(new, old),
        Some(Subresource::Finalize) => kinds::namespace::prepare_finalize(new, old),
        _ => strategy.prepare_update(new, old),
    }
    if service::is_service(call.path.resource) && call.path.subresource.is_none() {
        service::resolve(call.server, new, Some(old))?;
    }
    Ok(())
}

/// Nothing holds an object that is being deleted any more.
fn is_released(call: &Call<'_>, new: &Value) -> bool {
    if std::ptr::eq(call.path.resource, &kinds::namespace::RESOURCE) {
        return kinds::namespace::is_finalized(new);
    }
    meta::is_being_deleted(new)
        && meta::finalizers(new).next().is_none()
        && meta::deletion_grace_period_seconds(new).unwrap_or_default() == 0
}

async fn store(call: &Call<'_>, new: &mut Value, old: &Stored, keep: Keep) -> Result<Stand, Refusal> {
    let resource = call.path.resource;
    let server = call.server;
    let mut errors = resource.strategy.validate_update(new, &old.object);
    if service::is_service(resource) {
        errors.extend(service::refusals(server, new, Some(&old.object)).await?);
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, meta::name(new), &errors).into());
    }
    restricted::check(call, new, Some(&old.object))?;
    node_limits::check(call, new, Some(&old.object))?;
    if is_released(call, new) {
        return remove(call, new, old, keep).await;
    }
    let granted = match service::is_service(resource) {
        true => Some(service::grant(server, new, Some(&old.object), Purpose::of(keep)).await?),
        false => None,
    };
    if keep == Keep::DryRun {
        if let Some(granted) = granted {
            service::check_free(server, new, granted).await?;
        }
        return Ok(Stand::Stored);
    }
    let none = Claims::default();
    let claims = granted.as_ref().map_or(&none, |granted| &granted.claims);
    let lease = match resource.time_to_live {
        Some(seconds) => Some(server.event_leases.lease(seconds).await?),
        None => old.lease,
    };
    match server.storage.put(&call.key(), new, old.revision, lease, claims).await? {
        Written::At(revision) => {
            if let Some(granted) = granted {
                granted.keep();
            }
            with_revision(new, revision);
            Ok(Stand::Stored)
        }
        Written::Changed => Ok(Stand::Again),
        Written::OthersChanged => {
            server.allocator.catch_up().await?;
            Ok(Stand::Again)
        }
        Written::Taken(keys) => {
            service::yield_to(server, new, granted, &keys).await?;
            Ok(Stand::Again)
        }
    }
}

/// The update took away what kept the object: it goes.
async fn remove(call: &Call<'_>, new: &mut Value, old: &Stored, keep: Keep) -> Result<Stand, Refusal> {
    if keep == Keep::DryRun {
        return Ok(Stand::Stored);
    }
    let removal = Removal::of(call.path.resource, &old.object);
    let written = call.server.storage.delete(&call.key(), old.revision, &removal.claims, &removal.others).await?;
    match written {
        Written::At(revision) => {
            removal.done(call.server);
            with_revision(new, revision);
            Ok(Stand::Stored)
        }
        Written::Changed | Written::OthersChanged | Written::Taken(_) => Ok(Stand::Again),
    }
}
