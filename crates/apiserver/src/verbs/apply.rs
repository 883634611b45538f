//! PATCH with a configuration to apply (server-side apply): made into an update, or into a creation where there is no object.

use serde_json::{Value, json};
use stead_api::{
    field::FieldError,
    managed_fields::{ApplyError, Force, apply},
    meta,
    status::ApiError,
};

use crate::{
    authorize::{self, Demand},
    body::{Encoding, Sent},
    dispatch::{Answer, Call},
    managing::{Noting, writer},
    path::Verb,
    query::Keep,
    refusal::Refusal,
    verbs::{create::store_new, update::write},
};

/// The media type of configurations; JSON is YAML.
pub(crate) const MEDIA_TYPE: &str = "application/apply-patch+yaml";
const ATTEMPTS: usize = 5;

/// What a client wants applied.
struct Configuration {
    /// As it was sent.
    value: Value,
    warnings: Vec<String>,
    manager: String,
    force: Force,
}

pub(crate) async fn apply_configuration(
    call: &Call<'_>,
    demand: &Demand,
    keep: Keep,
    body: &[u8],
) -> Result<Answer, Refusal> {
    let config = Configuration::read(call, body)?;
    let is_new = call.path.subresource.is_none() && call.server.storage.get(&call.key()).await?.is_none();
    if is_new {
        return create(call, &config, keep).await;
    }
    let make = |present: &Value| config.applied(call, present);
    match write(call, demand, keep, ATTEMPTS, Noting::Done, make).await {
        // Gone in between: there is something to create now.
        Err(refusal) if refusal.is_not_found() && call.path.subresource.is_none() => create(call, &config, keep).await,
        done => done,
    }
}

async fn create(call: &Call<'_>, config: &Configuration, keep: Keep) -> Result<Answer, Refusal> {
    let resource = call.path.resource;
    let demand = authorize::resource(call.identity, Verb::Create, &call.path)?;
    let uid = meta::uid(&config.value);
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(ApiError::conflict(resource, call.name(), why).into());
    }
    let mut empty =
        json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": call.name()}});
    if let Some(namespace) = call.path.namespace {
        meta::set(&mut empty, "namespace", namespace);
    }
    let sent = config.applied(call, &empty)?;
    if meta::name(&config.value).is_empty() {
        return Err(ApiError::no_name(call.name()).into());
    }
    store_new(call, &demand, sent, keep, Noting::Done).await
}

impl Configuration {
    fn read(call: &Call<'_>, body: &[u8]) -> Result<Self, Refusal> {
        let resource = call.path.resource;
        if call.query.get("fieldManager").is_none_or(str::is_empty) {
            let problem = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_kind("meta.k8s.io", "PatchOptions", "", &[problem]).into());
        }
        let value = Encoding::Yaml.value(body, resource.definition)?;
        check(call, &value)?;
        let validation = call.query.field_validation();
        let Sent { warnings, .. } = Encoding::Yaml.object(body, resource, validation)?;
        let force = if call.query.is_true("force") { Force::Take } else { Force::Refuse };
        Ok(Self { value, warnings, manager: call.manager(), force })
    }

    fn applied(&self, call: &Call<'_>, present: &Value) -> Result<Sent, Refusal> {
        let resource = call.path.resource;
        let api_version = resource.api_version();
        let writer = writer(call, &self.manager, resource, &api_version);
        let object = apply(present, &self.value, &writer, self.force).map_err(|error| self.refused(error))?;
        Ok(Sent { object, warnings: self.warnings.clone() })
    }

    fn refused(&self, error: ApplyError) -> Refusal {
        if let ApplyError::Conflicts(_) = error {
            return ApiError::apply_conflict(&error).into();
        }
        let (namespace, name) = (meta::namespace(&self.value), meta::name(&self.value));
        let what = format!("{namespace}/{name}; {}", go_kind(&self.value));
        ApiError::bad_request(format!("failed to create typed patch object ({what}): {error}")).into()
    }
}

/// Version and kind as Go prints them: `apps/v1, Kind=Deployment`, `/v1, Kind=Service`.
fn go_kind(object: &Value) -> String {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let core = if text("apiVersion").contains('/') { "" } else { "/" };
    format!("{core}{}, Kind={}", text("apiVersion"), text("kind"))
}

/// The configuration is an object of the path's kind, name and namespace, and says nothing of its owners.
fn check(call: &Call<'_>, config: &Value) -> Result<(), Refusal> {
    let resource = call.path.resource;
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != resource.api_version() || kind != resource.kind {
        return Err(ApiError::bad_request(format!("invalid object type: {}", go_kind(config))).into());
    }
    if config.pointer("/metadata/managedFields").is_some_and(|stated| !stated.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil").into());
    }
    match meta::name(config) {
        "" => {}
        name if name == call.name() => {}
        name => return Err(ApiError::wrong_name(name, call.name()).into()),
    }
    match meta::namespace(config) {
        "" => Ok(()),
        namespace if namespace == call.namespace() => Ok(()),
        _ => Err(ApiError::wrong_namespace().into()),
    }
}
