//! `scale`: the number of replicas of a Deployment or ReplicaSet as an `autoscaling/v1` Scale.

use http::StatusCode;
use serde_json::{Value, json};
use stead_api::{decode::prune, field::FieldError, meta, selector::parse_label_selector, status::ApiError};

use crate::{
    authorize::Demand,
    body::{Encoding, Sent},
    dispatch::{Answer, Call},
    path::Verb,
    refusal::Refusal,
    verbs::{patch::read, update::write},
};

const ATTEMPTS: usize = 5;
const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

pub(crate) async fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let found = call.server.storage.get(&call.key()).await?;
    let found = found.ok_or_else(|| ApiError::not_found(call.path.resource, call.name()))?;
    Ok(answer(&found.object, Vec::new()))
}

/// PUT and PATCH.
pub(crate) async fn write_scale(call: &Call<'_>, verb: Verb, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep()?;
    let sent = match verb {
        Verb::Patch => None,
        _ => Some(Encoding::of(call.headers)?.value(body)?),
    };
    let patch = match &sent {
        None => Some(read(call, body)?),
        Some(_) => None,
    };
    let make = |present: &Value| -> Result<Sent, Refusal> {
        let scale = match (&sent, &patch) {
            (Some(scale), _) => scale.clone(),
            (None, Some((kind, patch))) => kind.apply(&scale(present), patch, DEFINITION)?,
            (None, None) => scale(present),
        };
        let replicas = replicas(call, &scale)?;
        let mut object = present.clone();
        object["spec"]["replicas"] = replicas.into();
        for key in ["resourceVersion", "uid"] {
            if let Some(stated) = scale["metadata"][key].as_str().filter(|stated| !stated.is_empty()) {
                meta::set(&mut object, key, stated);
            }
        }
        let decoded =
            prune(object, call.path.resource.definition).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mut object = decoded.value;
        object["apiVersion"] = call.path.resource.api_version().into();
        object["kind"] = call.path.resource.kind.into();
        Ok(Sent { object, warnings: Vec::new() })
    };
    let done = write(call, &Demand::Nothing, keep, ATTEMPTS, make).await?;
    let object: Value = serde_json::from_slice(&done.body)
        .map_err(|error| ApiError::internal("a Scale cannot be made", error.to_string()))?;
    Ok(answer(&object, done.warnings))
}

fn replicas(call: &Call<'_>, scale: &Value) -> Result<i64, Refusal> {
    let invalid =
        |error: FieldError| -> Refusal { ApiError::invalid_kind("autoscaling", "Scale", call.name(), &[error]).into() };
    match &scale["spec"]["replicas"] {
        Value::Null => Ok(0),
        Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
            Some(number) if number >= 0 => Ok(number.into()),
            _ => Err(invalid(FieldError::invalid("spec.replicas", number, "must be greater than or equal to 0"))),
        },
        other => Err(ApiError::bad_request(format!(
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal {other} into Go struct field \
             ScaleSpec.spec.replicas of type int32"
        ))
        .into()),
    }
}

fn answer(object: &Value, warnings: Vec<String>) -> Answer {
    Answer { code: StatusCode::OK, body: scale(object).to_string().into(), warnings }
}

/// The Scale of an object.
fn scale(object: &Value) -> Value {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let selector = parse_label_selector(object.pointer("/spec/selector")).ok().flatten();
    let selector = selector.map(|selector| selector.to_string()).unwrap_or_default();
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata[key] = value.clone();
        }
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"), "selector": selector},
    })
}
