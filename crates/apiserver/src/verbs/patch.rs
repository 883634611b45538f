//! PATCH: JSON, merge and strategic merge patches (configurations to apply are [`apply`](super::apply)'s), applied to the object as it is and tried again when others write too.

use serde_json::Value;
use stead_api::{decode::prune, field::FieldError, meta, patch::PatchType, status::ApiError};

use crate::{
    authorize::Demand,
    body::{Sent, accept, media_type},
    dispatch::{Answer, Call},
    managing::Noting,
    query::FieldValidation,
    refusal::Refusal,
    verbs::{
        apply,
        create::check_namespace,
        update::{check_name, write},
    },
};

/// How often a patch is applied anew. A patch that names a revision fails at the first that differs.
const ATTEMPTS: usize = 5;

pub(crate) async fn patch(call: &Call<'_>, demand: &Demand, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep();
    let validation = call.query.field_validation();
    let resource = call.path.resource;
    if media_type(call.headers) == apply::MEDIA_TYPE {
        return apply::apply_configuration(call, demand, keep, body).await;
    }
    if call.query.get("force").is_some() {
        let problem = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid_kind("meta.k8s.io", "PatchOptions", "", &[problem]).into());
    }
    let (kind, patch) = read(call, body)?;
    let make = |present: &Value| -> Result<Sent, Refusal> {
        let patched = kind.apply(present, &patch, resource.definition)?;
        if kind != PatchType::StrategicMerge {
            check_kind(present, &patched)?;
        }
        let decoded = prune(patched, resource.definition).map_err(|error| error.to_string());
        let decoded = decoded.and_then(|decoded| match decoded.strict_error() {
            Some(error) if validation == FieldValidation::Strict => Err(error),
            _ => Ok(decoded),
        });
        let decoded = match (decoded, kind) {
            (Ok(decoded), _) => decoded,
            (Err(why), PatchType::StrategicMerge) => return Err(unreadable(&go_value(&patch), why)),
            (Err(why), _) => {
                let patched = kind.apply(present, &patch, resource.definition)?;
                return Err(unreadable(&patched.to_string(), why));
            }
        };
        let mut sent = accept(Ok(decoded), resource, validation)?;
        check_identity(call, &mut sent.object, present)?;
        Ok(sent)
    };
    write(call, demand, keep, ATTEMPTS, Noting::Due, make).await
}

/// What was patched is still the object that the path names.
fn check_identity(call: &Call<'_>, patched: &mut Value, present: &Value) -> Result<(), Refusal> {
    let resource = call.path.resource;
    check_name(call, patched)?;
    check_namespace(call, patched)?;
    match meta::uid(patched) {
        "" => Ok(()),
        uid if uid == meta::uid(present) => Ok(()),
        uid => {
            let problem = FieldError::invalid("metadata.uid", format!("{uid:?}"), "field is immutable");
            Err(ApiError::invalid(resource, call.name(), &[problem.clone(), problem]).into())
        }
    }
}

/// The patch, and in which of its forms it is written.
pub(crate) fn read(call: &Call<'_>, body: &[u8]) -> Result<(PatchType, Value), Refusal> {
    let kind = PatchType::from_media_type(media_type(call.headers)).ok_or_else(ApiError::unsupported_patch)?;
    let patch = stead_api::patch::parse(body)?;
    Ok((kind, patch))
}

/// A patch does not make another kind of object. Strategic ones cannot, for they know the kind.
fn check_kind(present: &Value, patched: &Value) -> Result<(), Refusal> {
    let is_other = |field: &str| patched.get(field).is_some_and(|value| !value.is_null() && value != &present[field]);
    if !is_other("kind") && !is_other("apiVersion") {
        return Ok(());
    }
    let [kind, version] = ["kind", "apiVersion"].map(|field| patched[field].as_str().unwrap_or_default());
    let detail = format!(
        "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    );
    Err(unreadable(&patched.to_string(), detail))
}

/// What a patch makes is no object of the kind. `shown` is what upstream shows of it.
fn unreadable(shown: &str, why: String) -> Refusal {
    ApiError::invalid_kind("", "", "", &[FieldError::invalid("patch", format!("{shown:?}"), why)]).into()
}

/// As Go prints a decoded value.
fn go_value(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{key}:{}", go_value(value)));
            format!("map[{}]", Vec::from_iter(entries).join(" "))
        }
        Value::Array(list) => format!("[{}]", Vec::from_iter(list.iter().map(go_value)).join(" ")),
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
