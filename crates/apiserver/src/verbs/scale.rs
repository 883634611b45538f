//! `scale`: the number of replicas of a workload as an `autoscaling/v1` Scale.
//!
//! What a Scale says of an object, and when it is valid, is `stead_api::kinds::scale`'s; here one is read, and written as
//! an update of the object behind it.

use http::StatusCode;
use serde_json::Value;
use stead_api::{decode::prune, kinds::scale, meta, patch::PatchType, status::ApiError};

use crate::{
    authorize::Demand,
    body::{Encoding, Sent},
    dispatch::{Answer, Call},
    managing::Noting,
    path::Verb,
    refusal::Refusal,
    verbs::{
        patch::read,
        update::{check_name, write},
    },
};

const ATTEMPTS: usize = 5;
const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";
const API_VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";

pub(crate) async fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let found = call.server.storage.get(&call.key()).await?;
    let found = found.ok_or_else(|| ApiError::not_found(call.path.resource, call.name()))?;
    Ok(answer(&found.object, Vec::new()))
}

/// PUT and PATCH.
pub(crate) async fn write_scale(call: &Call<'_>, verb: Verb, body: &[u8]) -> Result<Answer, Refusal> {
    let keep = call.query.keep();
    let change = Change::read(call, verb, body)?;
    let make = |present: &Value| -> Result<Sent, Refusal> {
        let scale = change.applied(call, scale::of(present))?;
        let mut object = present.clone();
        scale::apply(&mut object, &scale);
        for key in ["resourceVersion", "uid"] {
            if let Some(stated) = scale["metadata"][key].as_str().filter(|stated| !stated.is_empty()) {
                meta::set(&mut object, key, stated);
            }
        }
        Ok(Sent { object, warnings: Vec::new() })
    };
    let done = write(call, &Demand::Nothing, keep, ATTEMPTS, Noting::Due, make).await?;
    let object: Value = serde_json::from_slice(&done.body)
        .map_err(|error| ApiError::internal("a Scale cannot be made", error.to_string()))?;
    Ok(answer(&object, done.warnings))
}

/// What a client sends.
enum Change {
    /// The Scale to be.
    Put(Value),
    Patch(PatchType, Value),
}

impl Change {
    fn read(call: &Call<'_>, verb: Verb, body: &[u8]) -> Result<Self, Refusal> {
        if verb == Verb::Patch {
            let (kind, patch) = read(call, body)?;
            return Ok(Self::Patch(kind, patch));
        }
        let scale = canonical(Encoding::of(call.headers)?.value(body, DEFINITION)?)?;
        check_name(call, &scale)?;
        Ok(Self::Put(scale))
    }

    /// The valid Scale that it makes of the `present` one.
    fn applied(&self, call: &Call<'_>, present: Value) -> Result<Value, Refusal> {
        let scale = match self {
            Self::Put(scale) => scale.clone(),
            Self::Patch(kind, patch) => canonical(kind.apply(&present, patch, DEFINITION)?)?,
        };
        let errors = scale::validate(&scale, &present);
        if !errors.is_empty() {
            return Err(ApiError::invalid_kind("autoscaling", "Scale", call.name(), &errors).into());
        }
        Ok(scale)
    }
}

fn canonical(scale: Value) -> Result<Value, Refusal> {
    let text = |field: &str| scale[field].as_str().filter(|stated| !stated.is_empty());
    let (version, kind) = (text("apiVersion").unwrap_or(API_VERSION), text("kind").unwrap_or(KIND));
    if (version, kind) != (API_VERSION, KIND) {
        let short = version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "{kind} in version {short:?} cannot be handled as a Scale: it is of {version}, not of {API_VERSION} Scale"
        ))
        .into());
    }
    let decoded = prune(scale, DEFINITION).map_err(|error| {
        ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"))
    })?;
    Ok(decoded.value)
}

fn answer(object: &Value, warnings: Vec<String>) -> Answer {
    Answer { code: StatusCode::OK, body: scale::of(object).to_string().into(), warnings }
}
