//! POST of a new object; also PUT to a name that does not exist, for kinds that allow it.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use stead_api::{kinds, meta, status::ApiError};
use stead_model::Revision;
use stead_store::StoreError;

use crate::{
    authorize::Demand,
    body::{Encoding, Sent},
    dispatch::{Answer, Call},
    managing::Noting,
    node_limits,
    query::Keep,
    refusal::Refusal,
    restricted,
    service::{self, Purpose},
    stamp::new_uid,
    storage::Written,
};

/// How often a generated name, or a number found for a Service, is chosen anew when somebody has it.
const ATTEMPTS: usize = 8;

pub(crate) async fn create(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep();
    let resource = call.path.resource;
    let mut sent = Encoding::of(call.headers)?.object(body, resource, call.query.field_validation())?;
    if resource.namespaced && call.path.namespace.is_none() {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation").into());
    }
    check_namespace(call, &mut sent.object)?;
    if !matches!(meta::resource_version(&sent.object), "" | "0") {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created").into());
    }
    store_new(call, demand, sent, keep, Noting::Due).await
}

/// The object's namespace is the path's.
pub(crate) fn check_namespace(call: &Call<'_>, object: &mut Value) -> Result<(), Refusal> {
    match (call.path.namespace, meta::namespace(object)) {
        (Some(namespace), "") => meta::set(object, "namespace", namespace),
        (Some(namespace), stated) if stated != namespace => return Err(ApiError::wrong_namespace().into()),
        _ => {}
    }
    Ok(())
}

/// Prepares, checks and stores an object that is not there yet.
pub(crate) async fn store_new(
    call: &Call<'_>,
    demand: &Demand,
    sent: Sent,
    keep: Keep,
    noting: Noting,
) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let Sent { mut object, mut warnings } = sent;
    kinds::become_stored(resource, &mut object);
    demand.check(&call.path, &object)?;
    let mut place = home(call, meta::name(&object), Source::Cache).await?;
    begin(&mut object);
    resource.strategy.default(&mut object);
    if noting == Noting::Due {
        call.note(&call.manager(), None, &mut object);
    }
    resource.strategy.prepare_create(&mut object);
    let prefix =
        if meta::name(&object).is_empty() { meta::generate_name_prefix(&object).to_owned() } else { String::new() };
    for _ in 0..ATTEMPTS {
        let mut new = object.clone();
        if !prefix.is_empty() {
            meta::set(&mut new, "name", meta::generate_name(&prefix, rand::random()));
            // Some defaults are made of the name.
            resource.strategy.default(&mut new);
        }
        match attempt(call, &mut new, keep, place.clone()).await? {
            Outcome::Stored => {
                warnings.extend(resource.strategy.warnings(&new, None));
                return Ok(call.object(StatusCode::CREATED, &new, warnings));
            }
            Outcome::Exists if prefix.is_empty() => {
                return Err(ApiError::already_exists(resource, meta::name(&new)).into());
            }
            Outcome::Exists | Outcome::Again => {}
            Outcome::OthersChanged => {
                place = home(call, meta::name(&new), Source::Store).await?;
                call.server.allocator.catch_up().await?;
            }
        }
    }
    if prefix.is_empty() {
        return Err(ApiError::server_timeout(resource, "create", 1).into());
    }
    Err(ApiError::generate_name_conflict(resource, &prefix).into())
}

enum Outcome {
    Stored,
    Exists,
    /// Something chosen freely was taken.
    Again,
    /// The namespace, or a range of Service addresses, is not as it was read.
    OthersChanged,
}

async fn attempt(
    call: &Call<'_>,
    new: &mut Value,
    keep: Keep,
    home: Option<(String, Revision)>,
) -> Result<Outcome, Refusal> {
    let resource = call.path.resource;
    let server = call.server;
    let is_service = service::is_service(resource);
    if is_service {
        service::resolve(server, new, None)?;
    }
    let mut errors = resource.strategy.validate_create(new);
    if is_service {
        errors.extend(service::refusals(server, new, None).await?);
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, meta::name(new), &errors).into());
    }
    restricted::check(call, new, None)?;
    node_limits::check(call, new, None)?;
    let key = resource.registry_key(meta::namespace(new), meta::name(new));
    let granted = match is_service {
        true => Some(service::grant(server, new, None, Purpose::of(keep)).await?),
        false => None,
    };
    let mut claims = granted.as_ref().map(|granted| granted.claims.clone()).unwrap_or_default();
    claims.relies_on.extend(home);
    if keep == Keep::DryRun {
        let exists = !server.storage.existing(&[&key]).await?.is_empty();
        if let Some(granted) = granted {
            service::check_free(server, new, granted).await?;
        }
        return Ok(if exists { Outcome::Exists } else { Outcome::Stored });
    }
    let lease = match resource.time_to_live {
        Some(seconds) => Some(server.event_leases.lease(seconds).await?),
        None => None,
    };
    let written = match server.storage.put(&key, new, Revision::ZERO, lease, &claims).await {
        Err(StoreError::NoLease(lease)) => {
            server.event_leases.forget(lease).await;
            return Ok(Outcome::Again);
        }
        written => written?,
    };
    match written {
        Written::At(revision) => {
            if let Some(granted) = granted {
                granted.keep();
            }
            crate::cache::with_revision(new, revision);
            Ok(Outcome::Stored)
        }
        Written::Changed => Ok(Outcome::Exists),
        Written::OthersChanged => Ok(Outcome::OthersChanged),
        Written::Taken(keys) => {
            service::yield_to(server, new, granted, &keys).await?;
            Ok(Outcome::Again)
        }
    }
}

/// Metadata that the server alone gives.
fn begin(object: &mut Value) {
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion", "selfLink"] {
        meta::unset(object, key);
    }
    meta::set(object, "uid", new_uid());
    meta::set(object, "creationTimestamp", meta::seconds(Timestamp::now()));
}

/// Where the namespace is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Cache,
    Store,
}

/// The namespace exists and is not on its way out. Its key and revision, for the write to rely on.
async fn home(call: &Call<'_>, name: &str, source: Source) -> Result<Option<(String, Revision)>, Refusal> {
    let resource = call.path.resource;
    let Some(namespace) = call.path.namespace.filter(|_| resource.namespaced) else { return Ok(None) };
    let kind = &stead_api::kinds::namespace::RESOURCE;
    let key = kind.registry_key("", namespace);
    let cached = call.server.cache(kind).get(namespace).filter(|_| source == Source::Cache);
    let (object, revision) = match cached {
        Some(entry) => (entry.object(), entry.revision),
        None => {
            let stored = call.server.storage.get(&key).await?;
            let stored = stored.ok_or_else(|| ApiError::not_found(kind, namespace))?;
            (stored.object, stored.revision)
        }
    };
    if meta::is_being_deleted(&object) {
        // What the cache shows may be of a namespace that is gone and made anew; the store knows.
        if source == Source::Cache {
            return Box::pin(home(call, name, Source::Store)).await;
        }
        return Err(ApiError::namespace_terminating(resource, name, namespace).into());
    }
    Ok(Some((key, revision)))
}
